// A pad of strokes. value = {w, h, strokes: [{c, s, e, p: [x, y, pressure, ...]}], background: {url, opacity} | null},
// in units of the pad; the same drawing rule as studio/strokes.py. One "sketch_edit" for each thing a person does.
const M = window.maquette,
  { el, button } = M;
const INK = "#1d1b19",
  SIZES = [4, 8, 12, 20, 32];
const root = element.querySelector(".mq-sketch-pad");
let now = read(props.value),
  past = [],
  future = [],
  unfitted = null,
  stroke = null,
  tool = "brush",
  size = 12;

const tools = {
  brush: button("brush", "Brush (B)", () => choose("brush")),
  eraser: button("eraser", "Eraser (E)", () => choose("eraser")),
  undo: button("undo", "Undo (Ctrl+Z)", () => act.undo()),
  redo: button("redo", "Redo (Ctrl+Shift+Z)", () => act.redo()),
  clear: button("trash", "Clear the canvas", () => act.clear()),
};
const range = el("input", {
  type: "range",
  min: 2,
  max: 64,
  step: 1,
  "aria-label": "Brush size",
  title: "Brush size ([ and ])",
  oninput: () => resize(+range.value),
});
const dot = el("span", { class: "mq-brush-dot" }),
  dotBox = el("span", { class: "mq-brush-box", "aria-hidden": "true" }, dot);
const file = el("input", {
  type: "file",
  accept: "image/png,image/jpeg,image/webp",
  hidden: true,
  onchange: () => {
    trace(file.files[0]);
    file.value = "";
  },
});
const opacity = el("input", {
  type: "range",
  min: 0.1,
  max: 1,
  step: 0.05,
  "aria-label": "Strength of the picture to trace",
  title: "How strongly the picture to trace is shown",
  oninput: () => {
    image.style.opacity = opacity.value;
  },
  onchange: () => commit({ ...now, background: { ...now.background, opacity: +opacity.value } }, "background"),
});
const traced = el(
  "span",
  { class: "mq-traced" },
  opacity,
  button("x", "Remove the picture to trace", () => commit({ ...now, background: null }, "background")),
);
const image = el("img", { class: "mq-trace", alt: "", draggable: "false" });
const canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": "Canvas: draw with mouse, pen or finger" }),
  pen = canvas.getContext("2d");
const ring = el("div", { class: "mq-ring" });
const hint = el(
  "div",
  { class: "mq-pad-hint" },
  el("strong", { text: "Draw here" }),
  el("span", { text: "or drop a picture of your own to trace" }),
);
const stage = el("div", { class: "mq-stage" }, image, canvas, hint, ring);
root.append(
  el(
    "div",
    { class: "mq-toolbar", role: "toolbar", "aria-label": "Drawing tools" },
    el("span", { class: "mq-group" }, tools.brush, tools.eraser),
    el("span", { class: "mq-group mq-size" }, dotBox, range),
    el("span", { class: "mq-group" }, tools.undo, tools.redo, tools.clear),
    el(
      "span",
      { class: "mq-group mq-right" },
      traced,
      button("image", "Picture to trace", () => file.click(), { caption: "Trace" }),
      file,
    ),
  ),
  stage,
);

function read(value) {
  const given = value && Array.isArray(value.strokes) ? value : { strokes: [] };
  return { w: given.w || 512, h: given.h || 512, strokes: given.strokes, background: given.background || null };
}
// The drawing on a sheet of w by h: as large as fits, in the middle, nothing bent.
function onto(drawing, w, h) {
  if (drawing.w === w && drawing.h === h) return drawing;
  const by = Math.min(w / drawing.w, h / drawing.h),
    shift = [(w - drawing.w * by) / 2, (h - drawing.h * by) / 2];
  const moved = (s) => ({
    ...s,
    s: Math.min(400, Math.max(0.5, s.s * by)),
    p: s.p.map((v, i) => (i % 3 < 2 ? Math.round((v * by + shift[i % 3]) * 100) / 100 : v)),
  });
  return { ...drawing, w, h, strokes: drawing.strokes.map(moved) };
}
// On a sheet of another aspect. While nothing is drawn meanwhile, every aspect starts from the drawing as it was made,
// so that it is no smaller when the first aspect is back.
function refit(w, h) {
  const whole = unfitted?.shown === now ? unfitted.drawing : now;
  now = onto(whole, w, h);
  unfitted = { drawing: whole, shown: now };
  props.value = { ...now };
}
function choose(name) {
  tool = name;
  show();
}
function resize(wanted) {
  size = Math.min(64, Math.max(2, wanted));
  show();
}

// ---- drawing
let scale = 1;
function fit() {
  const box = canvas.getBoundingClientRect(),
    ratio = window.devicePixelRatio || 1;
  if (!box.width) return;
  const width = Math.round(box.width * ratio),
    height = Math.round(box.height * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  scale = width / now.w;
  redraw();
}
function ink(s) {
  pen.setTransform(scale, 0, 0, canvas.height / now.h, 0, 0);
  pen.lineCap = pen.lineJoin = "round";
  pen.globalCompositeOperation = s.e ? "destination-out" : "source-over";
  pen.strokeStyle = pen.fillStyle = s.e ? "#000" : s.c;
}
function point(s) {
  pen.beginPath();
  pen.arc(s.p[0], s.p[1], Math.max(0.5, (s.s * s.p[2]) / 2), 0, 7);
  pen.fill();
}
function segment(s, i) {
  const p = s.p;
  pen.lineWidth = Math.max(1, s.s * p[3 * i + 2]);
  pen.beginPath();
  pen.moveTo(p[3 * i - 3], p[3 * i - 2]);
  pen.lineTo(p[3 * i], p[3 * i + 1]);
  pen.stroke();
}
function paint(s) {
  ink(s);
  point(s);
  const p = s.p,
    count = p.length / 3;
  for (let i = 1; i < count; ) {
    // segments of one width in one path: where their soft edges overlap, the line would have knots
    const pressure = p[3 * i + 2];
    pen.lineWidth = Math.max(1, s.s * pressure);
    pen.beginPath();
    pen.moveTo(p[3 * i - 3], p[3 * i - 2]);
    for (; i < count && p[3 * i + 2] === pressure; i++) pen.lineTo(p[3 * i], p[3 * i + 1]);
    pen.stroke();
  }
}
function redraw() {
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  now.strokes.forEach(paint);
}
function show() {
  const limit = matchMedia("(max-width: 900px)").matches
    ? "none"
    : `min(100%, calc(max(320px, 100vh - 372px) * ${now.w} / ${now.h}))`;
  stage.style.aspectRatio = `${now.w} / ${now.h}`;
  stage.style.maxWidth = limit;
  const back = now.background?.url;
  if (back && image.getAttribute("src") !== back) image.src = back;
  if (!back) image.removeAttribute("src");
  image.hidden = !back;
  traced.hidden = !back;
  image.style.opacity = opacity.value = now.background?.opacity ?? 0.45;
  hint.hidden = now.strokes.length > 0 || Boolean(back) || Boolean(stroke);
  tools.brush.setAttribute("aria-pressed", tool === "brush");
  tools.eraser.setAttribute("aria-pressed", tool === "eraser");
  tools.undo.disabled = !past.length && !now.strokes.length;
  tools.redo.disabled = !future.length;
  tools.clear.disabled = !now.strokes.length;
  range.value = size;
  const shown = Math.max(2, Math.min(26, (size * (stage.clientWidth || 512)) / now.w));
  dot.style.width = dot.style.height = shown + "px";
  element.dataset.strokes = now.strokes.length;
  root.dataset.tool = tool;
}
image.addEventListener("error", () => {
  if (now.background) {
    M.say("The picture to trace is not there any more.");
    commit({ ...now, background: null }, "background");
  }
});

// ---- one edit: what it was goes to the past, the new value to Python
function commit(next, what) {
  past.push(now);
  if (past.length > 200) past.shift();
  future = [];
  put(next, what);
}
function put(next, what) {
  now = next;
  fit();
  show();
  props.value = { ...now };
  trigger("sketch_edit", { what, strokes: now.strokes.length });
}
const act = {
  undo() {
    if (past.length) {
      future.push(now);
      put({ ...onto(past.pop(), now.w, now.h) }, "undo");
    } else if (now.strokes.length) {
      future.push(now);
      put({ ...now, strokes: now.strokes.slice(0, -1) }, "undo");
    } // drawn before a reload
  },
  redo() {
    if (future.length) {
      past.push(now);
      put(onto(future.pop(), now.w, now.h), "redo");
    }
  },
  clear() {
    if (now.strokes.length) {
      commit({ ...now, strokes: [] }, "clear");
      M.say("The canvas is empty.", act.undo);
    }
  },
  brush: () => choose("brush"),
  eraser: () => choose("eraser"),
  thinner: () => resize([...SIZES].reverse().find((s) => s < size) ?? 2),
  thicker: () => resize(SIZES.find((s) => s > size) ?? 64),
};
M.on(element, "pad", (name) => act[name]());

// ---- mouse, pen, finger
const tenth = (x) => Math.round(x * 10) / 10;
const at = (e) => {
  const box = canvas.getBoundingClientRect();
  return [tenth(((e.clientX - box.left) * now.w) / box.width), tenth(((e.clientY - box.top) * now.h) / box.height)];
};
const pressure = (e) => (e.pointerType === "pen" && e.pressure ? tenth(0.4 + e.pressure * 1.2) : 1);
const inside = ([x, y]) => [Math.min(2 * now.w, Math.max(-now.w, x)), Math.min(2 * now.h, Math.max(-now.h, y))];
canvas.addEventListener("pointerdown", (e) => {
  if ((e.button > 0 && e.buttons !== 32) || !e.isPrimary || stroke) return;
  e.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(e.pointerId);
  stroke = { c: INK, s: size, e: tool === "eraser" || e.buttons === 32 ? 1 : 0, p: [...inside(at(e)), pressure(e)] };
  hint.hidden = true;
  ink(stroke);
  point(stroke);
});
canvas.addEventListener("pointermove", (e) => {
  const box = canvas.getBoundingClientRect(),
    across = (size * box.width) / now.w;
  ring.style.cssText = `display:block;left:${e.clientX - box.left}px;top:${e.clientY - box.top}px;width:${across}px;height:${across}px`;
  if (!stroke || !e.isPrimary) return;
  ink(stroke);
  const every = e.getCoalescedEvents?.() ?? [];
  for (const c of every.length ? every : [e]) {
    const [x, y] = inside(at(c)),
      p = stroke.p;
    if (Math.hypot(x - p[p.length - 3], y - p[p.length - 2]) < now.w / 400) continue;
    p.push(x, y, pressure(c));
    segment(stroke, p.length / 3 - 1);
  }
});
const lift = () => {
  if (!stroke) return;
  const done = stroke;
  stroke = null;
  commit({ ...now, strokes: [...now.strokes, done] }, "stroke");
};
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", lift);
canvas.addEventListener("pointerleave", () => {
  ring.style.display = "none";
});

// ---- a picture to trace: dropped, pasted, chosen, or sent from the results
async function trace(picture) {
  if (!picture) return;
  root.dataset.busy = "1";
  try {
    const { id } = await M.call("POST", "assets", picture);
    commit({ ...now, background: { url: `./api/v1/assets/${id}`, opacity: 0.45 } }, "background");
  } catch (error) {
    M.say(error.message);
  } finally {
    delete root.dataset.busy;
  }
}
root.addEventListener("dragover", (e) => {
  e.preventDefault();
  stage.classList.add("mq-over");
});
root.addEventListener("dragleave", () => stage.classList.remove("mq-over"));
root.addEventListener("drop", (e) => {
  e.preventDefault();
  stage.classList.remove("mq-over");
  const picture = [...e.dataTransfer.files].find((f) => f.type.startsWith("image/"));
  if (picture) trace(picture);
  else M.say(M.NO_PICTURE);
});
root.addEventListener("paste", (e) => {
  const item = [...e.clipboardData.items].find((i) => i.type.startsWith("image/"));
  if (item) trace(item.getAsFile());
});
M.on(element, "trace", (url) => {
  if (M.tool() === "scribble") commit({ ...now, background: { url, opacity: 0.45 } }, "background");
});

watch("value", () => {
  const next = read(props.value);
  const first = !element.dataset.ready && ready();
  if (JSON.stringify(next) === JSON.stringify(now)) return;
  if (props.value?.refit) refit(next.w, next.h);
  else {
    if (!first && (now.strokes.length || now.background)) {
      past.push(now);
      future = [];
    } // what Python replaces can be undone too
    now = next;
  }
  show();
  fit();
});
new ResizeObserver(() => {
  fit();
  show();
}).observe(stage);
show();
fit();
// The first value is the draft of this browser: to draw before it is there would be to draw on another sheet.
function ready() {
  element.dataset.ready = "1";
  element.closest("#sketch-pad")?.setAttribute("data-ready", "1");
  root.classList.add("mq-usable");
  M.loaded("sketch", () => now);
  return true;
}
if (props.value) ready();
