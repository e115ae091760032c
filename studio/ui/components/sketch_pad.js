// A pad of strokes, for sketches and for edges. value = {w, h, strokes: [{c, s, e, p: [x, y, pressure, ...]}], base: {id, box}
// | null, background: {url, opacity} | null}, in units of the pad; the same drawing rule as studio/strokes.py. The base is a
// finished map, light on black, which the strokes go over. One "edited" for each thing a person does.
const M = window.maquette,
  P = window.maquettePad,
  { el, button } = M;
const INK = "#1d1b19",
  SIZES = [2, 4, 8, 12, 20, 32];
const root = element.querySelector(".mq-sketch-pad"),
  { kind, name, panel } = root.dataset,
  EDGES = kind === "edges";
let tool = "brush",
  size = EDGES ? 4 : 12;

const tools = {
  brush: button("brush", "Brush (B)", () => choose("brush")),
  eraser: button("eraser", "Eraser (E)", () => choose("eraser")),
  undo: button("undo", "Undo (Ctrl+Z)", () => desk.undo()),
  redo: button("redo", "Redo (Ctrl+Shift+Z)", () => desk.redo()),
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
const canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": "Canvas: draw with mouse, pen or finger" }),
  pen = canvas.getContext("2d");
const ring = el("div", { class: "mq-ring" });
const hint = el(
  "div",
  { class: "mq-pad-hint" },
  el("strong", { text: EDGES ? "Draw fine edges here" : "Draw here" }),
  el("span", { text: "or drop a picture of your own to trace" }),
);
const traced = P.tracing({ root, desk: () => desk });
const photo = P.fromPhoto({
  root,
  kind,
  title: "Lines from a photo, to correct by hand",
  then: ({ map, source, annotator, options }) =>
    desk.commit(
      { ...desk.now, base: { id: map, box: [0, 0, desk.now.w, desk.now.h], source, annotator, options } },
      "photo",
    ),
});
const stage = el("div", { class: "mq-stage" }, traced.image, canvas, hint, ring);
root.append(
  el(
    "div",
    { class: "mq-toolbar", role: "toolbar", "aria-label": "Drawing tools" },
    el("span", { class: "mq-group" }, tools.brush, tools.eraser),
    el("span", { class: "mq-group mq-size" }, dotBox, range),
    el("span", { class: "mq-group" }, tools.undo, tools.redo, tools.clear),
    el("span", { class: "mq-group mq-right" }, ...photo.tools, ...traced.tools),
  ),
  stage,
);

function read(value) {
  const given = value && Array.isArray(value.strokes) ? value : { strokes: [] };
  const { strokes, base, background } = given;
  return { w: given.w || 512, h: given.h || 512, strokes, base: base || null, background: background || null };
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
  const box = (b) => b.map((v, i) => Math.round((v * by + (i < 2 ? shift[i] : 0)) * 100) / 100);
  const base = drawing.base && { ...drawing.base, box: box(drawing.base.box) };
  return { ...drawing, w, h, base, strokes: drawing.strokes.map(moved) };
}
const desk = P.desk({
  ...{ element, props, trigger, watch, kind, name, id: panel, read, onto },
  written: (drawing) => ({ ...drawing }),
  holds: (drawing) => drawing.strokes.length || drawing.base || drawing.background,
  show: () => {
    fetchBase();
    fit();
    show();
  },
  before: ({ strokes }) => (strokes.length ? { ...desk.now, strokes: strokes.slice(0, -1) } : null), // before a reload
});
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
  scale = width / desk.now.w;
  redraw();
}
// How a stroke is drawn with this pen; ink: its colour, or that of every stroke.
function ink(s, on = pen, color = s.c) {
  on.lineCap = on.lineJoin = "round";
  on.globalCompositeOperation = s.e ? "destination-out" : "source-over";
  on.strokeStyle = on.fillStyle = s.e ? "#000" : color;
}
function point(s, on = pen) {
  on.beginPath();
  on.arc(s.p[0], s.p[1], Math.max(0.5, (s.s * s.p[2]) / 2), 0, 7);
  on.fill();
}
function segment(s, i) {
  const p = s.p;
  pen.lineWidth = Math.max(1, s.s * p[3 * i + 2]);
  pen.beginPath();
  pen.moveTo(p[3 * i - 3], p[3 * i - 2]);
  pen.lineTo(p[3 * i], p[3 * i + 1]);
  pen.stroke();
}
function paint(s, on, color) {
  ink(s, on, color);
  point(s, on);
  const p = s.p,
    count = p.length / 3;
  for (let i = 1; i < count; ) {
    // segments of one width in one path: where their soft edges overlap, the line would have knots
    const pressure = p[3 * i + 2];
    on.lineWidth = Math.max(1, s.s * pressure);
    on.beginPath();
    on.moveTo(p[3 * i - 3], p[3 * i - 2]);
    for (; i < count && p[3 * i + 2] === pressure; i++) on.lineTo(p[3 * i], p[3 * i + 1]);
    on.stroke();
  }
}
// The map under the strokes as ink: what is light on it covers, what is black is not there.
let under = { id: "", dark: null, light: null };
function fetchBase() {
  const id = desk.now.base?.id ?? "";
  if (id === under.id) return;
  under = { id, dark: null, light: null };
  if (!id) return;
  const map = new Image();
  map.addEventListener("load", () => {
    if (under.id !== id) return;
    under = { id, dark: tinted(map, INK), light: tinted(map, "#fff") };
    redraw();
    M.emit("drawn", kind);
  });
  map.addEventListener("error", () => {
    if (under.id !== id) return;
    M.say("The lines of the photo are not there any more.");
    desk.commit({ ...desk.now, base: null }, "photo");
  });
  map.src = `./api/v1/assets/${id}`;
}
function tinted(map, color) {
  const sheet = el("canvas", { width: map.naturalWidth, height: map.naturalHeight }),
    on = sheet.getContext("2d");
  on.drawImage(map, 0, 0);
  const seen = on.getImageData(0, 0, sheet.width, sheet.height);
  for (let i = 0; i < seen.data.length; i += 4) seen.data[i + 3] = seen.data[i];
  on.putImageData(seen, 0, 0);
  on.globalCompositeOperation = "source-in";
  on.fillStyle = color;
  on.fillRect(0, 0, sheet.width, sheet.height);
  return sheet;
}
function drawAll(on, color, sheet) {
  on.globalCompositeOperation = "source-over";
  if (desk.now.base && sheet) on.drawImage(sheet, ...desk.now.base.box);
  for (const s of desk.now.strokes) paint(s, on, color);
}
function redraw() {
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(scale, 0, 0, canvas.height / desk.now.h, 0, 0);
  drawAll(pen, undefined, under.dark);
}
M.thumb(kind, (on, w, h) => {
  if (!desk.now.strokes.length && !desk.now.base) return false;
  const sheet = el("canvas", { width: w, height: h }),
    light = sheet.getContext("2d");
  light.setTransform(w / desk.now.w, 0, 0, h / desk.now.h, 0, 0);
  drawAll(light, "#fff", under.light);
  on.fillStyle = "#000";
  on.fillRect(0, 0, w, h);
  on.drawImage(sheet, 0, 0);
  return true;
});
function show() {
  const { w, h, strokes, base, background } = desk.now;
  stage.style.aspectRatio = `${w} / ${h}`;
  stage.style.maxWidth = P.stageWidth(w, h);
  traced.show();
  hint.hidden = strokes.length > 0 || Boolean(base) || Boolean(background) || Boolean(stroke());
  tools.brush.setAttribute("aria-pressed", tool === "brush");
  tools.eraser.setAttribute("aria-pressed", tool === "eraser");
  tools.undo.disabled = !desk.canUndo;
  tools.redo.disabled = !desk.canRedo;
  tools.clear.disabled = !strokes.length && !base;
  range.value = size;
  const shown = Math.max(2, Math.min(26, (size * (stage.clientWidth || 512)) / w));
  dot.style.width = dot.style.height = shown + "px";
  element.dataset.strokes = strokes.length;
  root.dataset.tool = tool;
}
const act = {
  undo: () => desk.undo(),
  redo: () => desk.redo(),
  clear() {
    if (desk.now.strokes.length || desk.now.base) {
      desk.commit({ ...desk.now, strokes: [], base: null }, "clear");
      M.say("The canvas is empty.", act.undo);
    }
  },
  brush: () => choose("brush"),
  eraser: () => choose("eraser"),
  thinner: () => resize([...SIZES].reverse().find((s) => s < size) ?? 2),
  thicker: () => resize(SIZES.find((s) => s > size) ?? 64),
};
M.on(element, "canvas", ({ tool: front, what }) => front === kind && act[what]?.());

// ---- mouse, pen, finger
const at = (e) => {
  const box = canvas.getBoundingClientRect(),
    { w, h } = desk.now,
    within = (v, side) => Math.min(2 * side, Math.max(-side, P.tenth(v)));
  return [within(((e.clientX - box.left) * w) / box.width, w), within(((e.clientY - box.top) * h) / box.height, h)];
};
const stroke = P.brushing(canvas, ring, {
  at,
  least: () => desk.now.w / 400,
  width: () => (size * canvas.getBoundingClientRect().width) / desk.now.w,
  begin: (turned) => ({ c: INK, s: size, e: tool === "eraser" || turned ? 1 : 0 }),
  drawn(s, i) {
    hint.hidden = true;
    ink(s);
    if (i) segment(s, i);
    else point(s);
  },
  done: (s) => desk.commit({ ...desk.now, strokes: [...desk.now.strokes, s] }, "stroke"),
});

P.receiving(root, stage, { picture: traced.take });
M.on(element, "trace", (url) => M.tool() === kind && traced.url(url));
new ResizeObserver(() => {
  fit();
  show();
}).observe(stage);
desk.start();
