// A picture to change. value = {w, h, picture: {id, w, h} | null, strokes, base, inverted, frame: [left, top, right, bottom],
// strength, alone, padding, blur, fill}, as studio/editing.py has it: strokes in pixels of the picture, what they cover may
// change; the frame is how much larger than the picture the new one is. One "edited" for each thing a person does.
const M = window.maquette,
  P = window.maquettePad,
  { el, button } = M,
  { tinted, ink, along } = window.maquetteEdit;
const KIND = "edit",
  STEP = 8,
  FRAME_MAX = 2048,
  SIZES = [4, 8, 16, 24, 40, 64];
const SIDES = ["left", "top", "right", "bottom"];
const START = {
  picture: null,
  strokes: [],
  base: null,
  inverted: false,
  frame: [0, 0, 0, 0],
  strength: 0.75,
  alone: false,
  padding: 32,
  blur: 4,
  fill: "original",
};
const FRESH = { strokes: [], base: null, inverted: false, frame: [0, 0, 0, 0] }; // of another picture
const root = element.querySelector(".mq-edit-pad");
let pull = null,
  tool = "brush",
  size = 24,
  view = { scale: 1, left: 0, top: 0 };

// ---- the parts
const tools = {
  brush: button("brush", "Paint what may change (B)", () => choose("brush")),
  eraser: button("eraser", "Eraser (E)", () => choose("eraser")),
  undo: button("undo", "Undo (Ctrl+Z)", () => desk.undo()),
  redo: button("redo", "Redo (Ctrl+Shift+Z)", () => desk.redo()),
  invert: button("invert", "Turn around what is painted and what is not", () =>
    desk.commit({ ...desk.now, inverted: !desk.now.inverted }, "invert"),
  ),
  clear: button("trash", "Take all paint off", () => act.clear()),
  remove: button("x", "Take the picture off", () => act.remove()),
};
const range = el("input", {
  type: "range",
  min: 4,
  max: 128,
  step: 1,
  "aria-label": "Brush size",
  title: "Brush size ([ and ])",
  oninput: () => resize(+range.value),
});
const dot = el("span", { class: "mq-brush-dot" });
const input = P.chooser(P.PICTURES, take);
const sheet = el("div", { class: "mq-edit-frame" }),
  image = el("img", { class: "mq-edit-picture", alt: "The picture to change", draggable: "false" });
const canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": "Paint over what may change, with mouse, pen or finger" }),
  pen = canvas.getContext("2d");
const ring = el("div", { class: "mq-ring" });
const handles = SIDES.map((side, i) =>
  el("button", {
    type: "button",
    class: "mq-pull",
    "data-side": side,
    title: "Drag outwards to paint beyond the border (or use the arrows)",
    onpointerdown: (e) => grab(e, i),
    onkeydown: (e) => step(e, i),
  }),
);
const hint = el(
  "div",
  { class: "mq-pad-hint mq-edit-hint" },
  el("strong", { text: "Drop a picture to change here" }),
  el("span", { text: "or send a finished one to the canvas" }),
  el("button", { type: "button", class: "mq-plain", text: "Choose a picture", onclick: () => input.click() }),
);
const stage = el("div", { class: "mq-stage mq-edit-stage" }, sheet, image, canvas, ...handles, hint, ring);
const measures = el("span", { class: "mq-edit-size", role: "status" }),
  back = el("button", {
    type: "button",
    class: "mq-link",
    text: "Back to the picture's size",
    onclick: () => desk.commit({ ...desk.now, frame: [0, 0, 0, 0] }, "frame"),
  }),
  advice = el("span", { class: "mq-edit-advice" });
const set = (name, value) => desk.commit({ ...desk.now, [name]: value }, name);
const panel = window.maquetteEdit.settings(set);
root.append(
  el(
    "div",
    { class: "mq-toolbar", role: "toolbar", "aria-label": "Tools of the picture" },
    el("span", { class: "mq-group" }, tools.brush, tools.eraser),
    el("span", { class: "mq-group mq-size" }, el("span", { class: "mq-brush-box", "aria-hidden": "true" }, dot), range),
    el("span", { class: "mq-group" }, tools.undo, tools.redo, tools.invert, tools.clear),
    el("span", { class: "mq-group mq-right" }, tools.remove, button("image", "Picture to change", () => input.click(), { caption: "Picture" }), input),
  ),
  stage,
  el("p", { class: "mq-edit-line" }, measures, back, advice),
  panel.node,
);

const desk = P.desk({
  ...{ element, props, trigger, watch, kind: KIND, name: "edit", id: "edit-pad" },
  read(value) {
    const given = Object.fromEntries(Object.entries(value ?? {}).filter(([name, part]) => (name in START || name === "w" || name === "h") && part !== null));
    return { w: 512, h: 512, ...START, ...given };
  },
  written: (edit) => ({ ...edit }),
  onto: (edit, w, h) => ({ ...edit, w, h }), // a picture has its own aspect
  holds: (edit) => edit.picture,
  show: () => {
    fetchBase();
    show();
  },
  before: (edit) => (edit.strokes.length ? { ...edit, strokes: edit.strokes.slice(0, -1) } : null), // before a reload
});
const painted = () => desk.now.strokes.length > 0 || Boolean(desk.now.base) || desk.now.inverted;
const grown = (frame) => frame.some((side) => side > 0);

// ---- where everything lies: the frame fits the stage with room for its handles
const frameNow = () => pull?.frame ?? desk.now.frame;
function lay() {
  const { picture } = desk.now;
  if (!picture || !stage.clientWidth) return;
  const [l, t, r, b] = frameNow(),
    [wide, high] = [picture.w + l + r, picture.h + t + b],
    room = 26;
  if (!pull) {
    const scale = Math.min((stage.clientWidth - 2 * room) / wide, (stage.clientHeight - 2 * room) / high);
    view = { scale, left: (stage.clientWidth - wide * scale) / 2 + l * scale, top: (stage.clientHeight - high * scale) / 2 + t * scale };
  }
  const { scale, left, top } = view;
  place(image, left, top, picture.w * scale, picture.h * scale);
  place(canvas, left, top, picture.w * scale, picture.h * scale);
  const frame = [left - l * scale, top - t * scale, wide * scale, high * scale];
  place(sheet, ...frame);
  const middle = [frame[0] + frame[2] / 2, frame[1] + frame[3] / 2],
    at = [[frame[0], middle[1]], [middle[0], frame[1]], [frame[0] + frame[2], middle[1]], [middle[0], frame[1] + frame[3]]];
  handles.forEach((handle, i) => {
    handle.style.left = at[i][0] + "px";
    handle.style.top = at[i][1] + "px";
  });
  sheet.toggleAttribute("data-grown", grown([l, t, r, b]));
  sayMeasures();
}
function place(node, left, top, width, height) {
  node.style.cssText = `left:${left}px;top:${top}px;width:${width}px;height:${height}px`;
}
function sayMeasures() {
  const { picture } = desk.now,
    [l, t, r, b] = frameNow();
  const own = `${picture.w} × ${picture.h}`;
  measures.textContent = grown([l, t, r, b]) ? `${own} grows to ${picture.w + l + r} × ${picture.h + t + b} pixels.` : `${own} pixels.`;
  handles.forEach((handle, i) => handle.setAttribute("aria-label", `Room at the ${SIDES[i]}: ${[l, t, r, b][i]} pixels`));
  back.hidden = !grown([l, t, r, b]);
}

// ---- what is painted
let under = { id: "", sheet: null };
function fetchBase() {
  const id = desk.now.base?.id ?? "";
  if (id === under.id) return;
  under = { id, sheet: null };
  if (!id) return;
  const map = new Image();
  map.addEventListener("load", () => {
    if (under.id !== id) return;
    under = { id, sheet: tinted(map) };
    redraw();
    M.emit("drawn", KIND);
  });
  map.addEventListener("error", () => {
    if (under.id !== id) return;
    M.say("What was painted is not there any more.");
    set("base", null);
  });
  map.src = `./api/v1/assets/${id}`;
}
// The brush lays paint on, whatever is turned around: on what is turned around, that takes strokes away.
const erases = (s) => Boolean(s.e) !== desk.now.inverted;
function paintAll(on) {
  const { picture, strokes, base, inverted } = desk.now;
  ink(on, false);
  if (base && under.sheet) on.drawImage(under.sheet, ...base.box);
  for (const s of strokes) {
    ink(on, s.e);
    along(on, s, 0);
  }
  if (!inverted) return;
  on.globalCompositeOperation = "source-out";
  on.fillRect(0, 0, picture.w, picture.h);
}
function redraw() {
  const { picture } = desk.now;
  if (!picture) return;
  const sharp = Math.min(1, 1024 / Math.max(picture.w, picture.h)) * Math.max(1, Math.min(4, 512 / Math.max(picture.w, picture.h)));
  canvas.width = Math.max(1, Math.round(picture.w * sharp));
  canvas.height = Math.max(1, Math.round(picture.h * sharp));
  pen.setTransform(canvas.width / picture.w, 0, 0, canvas.height / picture.h, 0, 0);
  paintAll(pen);
}
M.thumb(KIND, (on, w, h) => {
  const { picture } = desk.now;
  if (!picture || !image.complete || !image.naturalWidth) return Boolean(picture);
  const by = Math.min(w / picture.w, h / picture.h),
    box = [(w - picture.w * by) / 2, (h - picture.h * by) / 2, picture.w * by, picture.h * by];
  on.drawImage(image, ...box);
  on.globalAlpha = 0.6;
  on.drawImage(canvas, ...box);
  return true;
});
image.addEventListener("load", () => M.emit("drawn", KIND));
image.addEventListener("error", () => {
  if (!desk.now.picture) return;
  M.say("The picture to change is not there any more.");
  desk.commit({ ...desk.now, ...FRESH, picture: null }, "remove");
});

function show() {
  const { w, h, picture, strokes, frame } = desk.now,
    [l, t, r, b] = frame,
    [wide, high] = picture ? [picture.w + l + r, picture.h + t + b] : [w, h];
  stage.style.aspectRatio = `${wide} / ${high}`;
  stage.style.maxWidth = P.stageWidth(wide, high, picture ? 540 : 420); // under a picture stand its settings
  root.toggleAttribute("data-picture", Boolean(picture));
  const url = picture && `./api/v1/assets/${picture.id}`;
  if (url && image.getAttribute("src") !== url) image.src = url;
  if (!url) image.removeAttribute("src");
  for (const node of [image, canvas, sheet, panel.node, measures, advice, ...handles]) node.hidden = !picture;
  hint.hidden = Boolean(picture);
  tools.brush.setAttribute("aria-pressed", tool === "brush");
  tools.eraser.setAttribute("aria-pressed", tool === "eraser");
  tools.invert.setAttribute("aria-pressed", desk.now.inverted);
  tools.undo.disabled = !desk.canUndo;
  tools.redo.disabled = !desk.canRedo;
  tools.invert.disabled = tools.brush.disabled = tools.eraser.disabled = !picture;
  tools.clear.disabled = !painted();
  tools.remove.hidden = !picture;
  back.hidden = true;
  range.value = size;
  showSettings();
  if (picture) {
    lay();
    redraw();
  }
  const shown = Math.max(2, Math.min(26, picture ? across() * view.scale : size));
  dot.style.width = dot.style.height = shown + "px";
  element.dataset.strokes = strokes.length;
  element.dataset.frame = frame.join(",");
  root.dataset.tool = tool;
}
function showSettings() {
  const some = painted() || grown(desk.now.frame);
  panel.show(desk.now, some);
  advice.textContent = some ? "" : "Paint over what should change; without paint, all of it does.";
}
function choose(name) {
  tool = name;
  show();
}
function resize(wanted) {
  size = Math.min(128, Math.max(4, wanted));
  show();
}
const act = {
  undo: () => desk.undo(),
  redo: () => desk.redo(),
  clear() {
    desk.commit({ ...desk.now, strokes: [], base: null, inverted: false }, "clear");
    M.say("The paint is off.", act.undo);
  },
  remove() {
    desk.commit({ ...desk.now, ...FRESH, picture: null }, "remove");
    M.say("The picture is off the canvas.", act.undo);
  },
  brush: () => choose("brush"),
  eraser: () => choose("eraser"),
  thinner: () => resize([...SIZES].reverse().find((s) => s < size) ?? 4),
  thicker: () => resize(SIZES.find((s) => s > size) ?? 128),
};
M.on(element, "canvas", ({ tool: front, what }) => front === KIND && act[what]?.());

// ---- mouse, pen, finger on the picture
// the brush is as large on the screen for every picture: its size is that on a picture of 512 pixels
const across = () => Math.min(400, Math.max(1, P.tenth((size * Math.max(desk.now.picture.w, desk.now.picture.h)) / 512)));
const at = (e) => {
  const box = canvas.getBoundingClientRect(),
    { w, h } = desk.now.picture,
    most = Math.max(w, h);
  const within = (x) => P.tenth(Math.min(2 * most, Math.max(-most, x)));
  return [within(((e.clientX - box.left) * w) / box.width), within(((e.clientY - box.top) * h) / box.height)];
};
P.brushing(canvas, ring, {
  at,
  least: () => Math.max(desk.now.picture.w, desk.now.picture.h) / 400,
  width: () => (desk.now.picture ? across() * view.scale : 0),
  begin: (turned) => ({ c: "#000000", s: across(), e: (tool === "eraser" || turned) !== desk.now.inverted ? 1 : 0 }),
  drawn(stroke, i) {
    ink(pen, erases(stroke));
    along(pen, stroke, i);
  },
  done: (stroke) => desk.commit({ ...desk.now, strokes: [...desk.now.strokes, stroke] }, "stroke"),
});

// ---- the frame: a border is dragged outwards, in steps of 8 pixels, and back to the picture's own
const snapped = (pixels) => Math.min(FRAME_MAX, Math.max(0, Math.round(pixels / STEP) * STEP));
function grab(e, i) {
  if (e.button > 0 || !e.isPrimary || pull) return;
  e.preventDefault();
  const handle = e.currentTarget,
    from = [e.clientX, e.clientY],
    [start, sign] = [desk.now.frame[i], i < 2 ? -1 : 1];
  handle.setPointerCapture(e.pointerId);
  handle.focus({ preventScroll: true });
  pull = { frame: [...desk.now.frame] };
  const moved = (m) => {
    const by = (i % 2 ? m.clientY - from[1] : m.clientX - from[0]) * sign;
    pull.frame[i] = snapped(start + by / view.scale);
    lay();
  };
  const done = (keep) => {
    handle.removeEventListener("pointermove", moved);
    handle.onpointerup = handle.onpointercancel = null;
    const frame = pull.frame;
    pull = null;
    if (keep && frame[i] !== start) desk.commit({ ...desk.now, frame }, "frame");
    else lay();
  };
  handle.addEventListener("pointermove", moved);
  handle.onpointerup = () => done(true);
  handle.onpointercancel = () => done(false);
}
function step(e, i) {
  const outwards = ["ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"][i],
    inwards = ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"][i];
  if (e.key !== outwards && e.key !== inwards) return;
  e.preventDefault();
  const frame = [...desk.now.frame],
    by = STEP * (e.shiftKey ? 8 : 1) * (e.key === outwards ? 1 : -1);
  frame[i] = snapped(frame[i] + by);
  if (frame[i] !== desk.now.frame[i]) desk.commit({ ...desk.now, frame }, `frame-${i}`, { again: true });
}

// ---- pictures: dropped, pasted, chosen, or a finished one
async function take(picture) {
  if (!picture) return;
  const kept = await P.busy(root, async () => {
    const { id } = await M.call("POST", "assets", picture),
      seen = new Image();
    seen.src = `./api/v1/assets/${id}`;
    await seen.decode();
    return { id, w: seen.naturalWidth, h: seen.naturalHeight };
  });
  if (kept) desk.commit({ ...desk.now, ...FRESH, picture: kept }, "picture");
}
P.receiving(root, stage, { picture: take });
M.on(element, "trace", async (url) => {
  if (M.tool() !== KIND) return;
  const answer = await fetch(url).catch(() => null);
  if (answer?.ok) take(await answer.blob());
  else M.say("The picture is not there any more.");
});
new ResizeObserver(() => show()).observe(stage);
desk.start();
