// A sheet to paint maps on: how near everything is (depth), what is where (segments), or what is said where (regions).
// value = {w, h, ops, base, background}, and for regions {regions, softness}, as studio/painting has it;
// window.maquettePaint draws it by the same rule. One "edited" for each edit.
const M = window.maquette,
  P = window.maquettePad,
  R = window.maquettePaint,
  T = window.maquetteThings,
  { svg } = window.maquettePose,
  H = window.maquetteHands,
  { el, button } = M;
const root = element.querySelector(".mq-paint-pad"),
  { kind, name, panel } = root.dataset,
  DEPTH = kind === "depth",
  SPOKEN = kind === "regions",
  REGIONS = new Map(JSON.parse(root.dataset.regions)), // name -> 0xRRGGBB
  SIZES = [4, 8, 16, 28, 44, 64, 96, 140];
const brushing = () => state.tool === "brush" || state.tool === "erase";
const lightOf = () => (state.tool === "ball" || state.tool === "box" ? "middle" : "light");
const state = {
  tool: "brush",
  size: DEPTH ? 64 : 28,
  soft: DEPTH ? 0.6 : undefined,
  light: 220, // of the brush
  middle: 130, // of a new ball or box
  region: DEPTH ? undefined : REGIONS.keys().next().value,
  chosen: -1, // the thing with handles
  preview: null, // the ops under the hand
};
let hand = null, // what the pointer is doing
  sheet = null;

// ---- the toolbar
const THINGS = DEPTH
  ? {
      gradient: ["gradient", "Backdrop: drag from far to near"],
      floor: ["floor", "Floor: drag its horizon"],
      ball: ["ball", "Ball: drag from its middle"],
      box: ["box", "Box: drag from corner to corner"],
    }
  : {
      fill: ["fill", "Fill what hangs together"],
      area: ["lasso", "Area: draw around it"],
      rect: ["rect", "Rectangle: drag from corner to corner"],
    };
const pick = (id, [shape, title]) => button(shape, title, () => choose(id));
const tools = {
  ...(DEPTH ? { move: pick("move", ["pointer", "Choose and move things (V)"]) } : {}),
  brush: pick("brush", ["brush", "Brush (B)"]),
  erase: pick("erase", ["eraser", "Eraser (E)"]),
  ...Object.fromEntries(Object.entries(THINGS).map(([id, look]) => [id, pick(id, look)])),
};
const undo = button("undo", "Undo (Ctrl+Z)", () => act.undo()),
  redo = button("redo", "Redo (Ctrl+Shift+Z)", () => act.redo()),
  clear = button("trash", "Clear the canvas", () => act.clear());
const slider = (label, [min, max, step], oninput, onchange) =>
  el("input", { type: "range", min, max, step, "aria-label": label, title: label, oninput, onchange });
const sizes = slider("Brush size ([ and ])", [4, 160, 1], () => resize(+sizes.value)),
  softs = slider("How softly the brush fades", [0, 1, 0.05], () => (state.soft = +softs.value)),
  lights = slider("How near: of the brush, or of the chosen thing", [0, 255, 1], nearing, settle),
  turns = slider("Turn the box, in degrees", [-45, 45, 1], turning, settle);
const dot = el("span", { class: "mq-brush-dot" }),
  dotBox = el("span", { class: "mq-brush-box", "aria-hidden": "true" }, dot),
  sizing = el("span", { class: "mq-group mq-size" }, dotBox, sizes),
  softening = el("label", { class: "mq-group mq-slide" }, el("span", { text: "Soft" }), softs),
  turned = el("label", { class: "mq-group mq-slide" }, el("span", { text: "Turn" }), turns),
  [far, near] = ["Far", "Near"].map((text) => el("span", { text })),
  nearness = el("span", { class: "mq-group mq-slide mq-near" }, far, lights, near);
const NAME = { depth: "Depth", segments: "Segments", regions: "Regions" }[kind],
  canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": `${NAME}: paint with mouse, pen or finger` }),
  pen = canvas.getContext("2d", { willReadFrequently: true });
const marks = svg("svg", { "aria-hidden": "true" }),
  ring = el("div", { class: "mq-ring" });
const [BEGIN, HOW_TO] = {
  depth: ["Paint what is near", "Light is near, dark is far: begin with a floor and a ball"],
  segments: ["Paint what is where", "Choose a region, then paint it or fill the sheet"],
  regions: ["Paint where things are", "Give each a colour and write below what is there; the prompt tells of the whole"],
}[kind];
const hint = el("div", { class: "mq-pad-hint" }, el("strong", { text: BEGIN }), el("span", { text: HOW_TO }));
const traced = P.tracing({ root, desk: () => desk });
const photo = P.fromPhoto({
  root,
  kind,
  title: DEPTH ? "Depth of a photo, to correct by hand" : "Regions of a photo, to correct by hand",
  then: lay,
});
const stage = el("div", { class: "mq-stage mq-paint-stage" }, canvas, traced.image, marks, hint, ring);
const said = el("span", { class: "mq-pose-said", role: "status" }),
  here = el("span", { class: "mq-here" }),
  remove = el("button", { type: "button", class: "mq-link", text: "Remove it", onclick: () => act.remove() });
const picker = DEPTH
  ? null
  : window.maquetteRegions[SPOKEN ? "rows" : "chips"]({ palette: REGIONS, state, choose: paintWith, desk: () => desk });
const colors = () => picker?.colors() ?? REGIONS;
root.append(
  el(
    "div",
    { class: "mq-toolbar", role: "toolbar", "aria-label": "Painting tools" },
    el("span", { class: "mq-group" }, ...Object.values(tools)),
    ...(DEPTH ? [] : [sizing]),
    el("span", { class: "mq-group" }, undo, redo, clear),
    el("span", { class: "mq-group mq-right" }, ...(SPOKEN ? [] : photo.tools), ...traced.tools),
  ),
  ...(DEPTH
    ? [
        el(
          "div",
          { class: "mq-toolbar", role: "group", "aria-label": "Brush and things" },
          nearness,
          ...[sizing, softening, turned],
          el(
            "span",
            { class: "mq-group mq-right" },
            button("blur", "Smooth everything", () => act.smooth(), { caption: "Smooth" }),
            button("invert", "Invert: near becomes far", () => act.invert(), { caption: "Invert" }),
          ),
        ),
      ]
    : []),
  el(
    "div",
    { class: DEPTH || SPOKEN ? "" : "mq-pose-desk" },
    el("div", {}, stage, el("div", { class: "mq-pose-line" }, said, remove, here)),
    ...(DEPTH ? [] : [picker.node]),
  ),
);

// ---- the painting
function read(value) {
  const given = value && Array.isArray(value.ops) ? value : { ops: [] };
  const { ops, base, background } = given;
  const said = SPOKEN && {
    regions: given.regions?.length ? given.regions : window.maquetteRegions.first(REGIONS),
    softness: given.softness,
  };
  return { w: given.w || 512, h: given.h || 512, ops, base: base || null, background: background || null, ...said };
}
// On a sheet of w by h: as large as fits, in the middle, nothing bent.
function onto(painting, w, h) {
  if (painting.w === w && painting.h === h) return painting;
  const by = Math.min(w / painting.w, h / painting.h),
    shift = [(w - painting.w * by) / 2, (h - painting.h * by) / 2];
  const box = (b) => b.map((v, i) => T.hundredth(v * by + (i < 2 ? shift[i] : 0)));
  const base = painting.base && { ...painting.base, box: box(painting.base.box) };
  return { ...painting, w, h, base, ops: painting.ops.map((op) => T.scaled(op, by, shift)) };
}
const desk = P.desk({
  ...{ element, props, trigger, watch, kind, name, id: panel, read, onto },
  written: (painting) => ({ ...painting }),
  holds: (p) => p.ops.length || p.base || p.background || p.regions?.some(({ words }) => words),
  show: () => {
    fetchBase();
    draw();
    show();
  },
  before: ({ ops }) => (ops.length ? { ...desk.now, ops: ops.slice(0, -1) } : null), // painted before a reload
  replaced: () => (state.chosen = -1),
});
function change(ops, what, again) {
  state.preview = null;
  desk.commit({ ...desk.now, ops }, what, again);
}
const ops = () => state.preview ?? desk.now.ops;
const thing = () => [ops()[state.chosen]].find((op) => op && T.isThing(op)); // an undo may put another op there
const swapped = (op) => ops().map((old, i) => (i === state.chosen ? op : old));

// The map under what is painted: what an annotator made of a photo. It covers the sheet, in the middle.
let picture = { id: "" };
function fetchBase() {
  const id = desk.now.base?.id ?? "";
  if (id === picture.id) return;
  picture = { id };
  if (id) R.load(id).then((found) => {
    if (picture.id !== id) return;
    picture = { id, ...found };
    draw();
    M.emit("drawn", kind);
  }, () => {
    if (picture.id !== id) return;
    M.say("The map of the photo is not there any more.");
    desk.commit({ ...desk.now, base: null }, "photo");
  });
}
async function lay({ map, source, annotator, options }) {
  const found = await P.busy(root, () => R.load(map));
  if (!found) return;
  const { w, h } = desk.now,
    by = Math.max(w / found.w, h / found.h),
    box = [(w - found.w * by) / 2, (h - found.h * by) / 2, found.w * by, found.h * by].map(T.hundredth);
  picture = { id: map, ...found };
  desk.commit({ ...desk.now, base: { id: map, box, source, annotator, options } }, "photo");
}

// ---- what is seen
function draw() {
  const { w, h } = desk.now;
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  sheet = R.render(kind, { ...desk.now, ops: ops() }, picture.data ? picture : null, colors());
  R.put(sheet, pen);
  labels = picker?.labels?.(sheet) ?? [];
  drawMarks();
}
let labels = [], // what is said where, on the sheet
  frame = 0;
const soon = () => (frame ||= requestAnimationFrame(() => ((frame = 0), draw())));
function drawMarks() {
  const { w, h } = desk.now,
    op = thing();
  marks.setAttribute("viewBox", `0 0 ${w} ${h}`);
  marks.replaceChildren();
  for (const { x, y, text } of labels) {
    const mark = svg("text", { x, y, class: "mq-words-here", "font-size": 13 * pixel() });
    mark.textContent = text;
    marks.append(mark);
  }
  if (hand?.area) marks.append(svg("polyline", { points: hand.area.join(" "), class: "mq-outline" }));
  if (!op) return;
  if (op.kind === "ball") marks.append(svg("circle", { cx: op.x, cy: op.y, r: op.r, class: "mq-outline" }));
  const sides = { width: 2 * op.rx, height: 2 * op.ry };
  if (op.kind === "box") marks.append(svg("rect", { x: op.x - op.rx, y: op.y - op.ry, ...sides, class: "mq-outline" }));
  if (op.kind === "floor") marks.append(svg("line", { x1: 0, y1: op.y, x2: w, y2: op.y, class: "mq-outline" }));
  if (op.kind === "gradient") marks.append(svg("polyline", { points: op.p.join(" "), class: "mq-outline" }));
  for (const [how, [x, y]] of T.handles(op, w, h))
    marks.append(svg("circle", { class: "mq-knob", "data-knob": how, cx: x, cy: y, r: 7 * pixel() }));
}
const WORDS = { ball: "Ball", box: "Box", floor: "Floor", gradient: "Backdrop" };
const HOW = {
  ball: "drag it, or its knob to resize it",
  box: "drag it, or its knob to resize it",
  floor: "drag the horizon",
  gradient: "drag its ends",
};
function show() {
  const { w, h, base, background, ops: done } = desk.now;
  if (!thing()) state.chosen = -1;
  const op = thing(),
    { tool, size, soft } = state;
  stage.style.aspectRatio = `${w} / ${h}`;
  stage.style.maxWidth = P.stageWidth(w, h, SPOKEN ? 500 : 420);
  traced.show();
  hint.hidden = done.length > 0 || Boolean(base) || Boolean(background) || Boolean(hand);
  for (const [id, node] of Object.entries(tools)) node.setAttribute("aria-pressed", tool === id);
  undo.disabled = !desk.canUndo;
  redo.disabled = !desk.canRedo;
  clear.disabled = !done.length && !base;
  sizing.hidden = softening.hidden = DEPTH && (!brushing() || Boolean(op));
  turned.hidden = op?.kind !== "box";
  lights.disabled = tool === "erase" && !op;
  lights.value = op ? T.light(op) : state[lightOf()];
  turns.value = op?.turn ?? 0;
  sizes.value = size;
  softs.value = soft ?? 0;
  const across = Math.max(2, Math.min(26, (size * (stage.clientWidth || 512)) / w));
  dot.style.width = dot.style.height = across + "px";
  picker?.show();
  remove.hidden = !op;
  said.textContent = op ? `${WORDS[op.kind]}: ${HOW[op.kind]}.` : (picker?.said() ?? "");
  element.dataset.ops = done.length;
  root.dataset.tool = tool;
  drawMarks();
}
M.thumb(kind, (on, w, h) => {
  if (!desk.now.ops.length && !desk.now.base) return false;
  on.drawImage(canvas, 0, 0, w, h);
  return true;
});
function choose(id) {
  state.tool = id;
  if (id !== "move" && thing()?.kind !== id) state.chosen = -1;
  show();
}
function paintWith(id) {
  state.region = id;
  if (state.tool === "erase") state.tool = "brush";
  show();
}
function resize(wanted) {
  state.size = R.clamp(wanted, 4, 160);
  show();
}
// A slider moves the chosen thing at once; it is one edit when it is let go.
function preset(op) {
  state.preview = swapped(op);
  soon();
}
function nearing() {
  if (thing()) preset(T.withLight(thing(), +lights.value));
  else state[lightOf()] = +lights.value;
}
function turning() {
  if (thing()) preset({ ...thing(), turn: +turns.value });
}
function settle() {
  if (state.preview) change(state.preview, "thing");
}

const act = {
  undo: () => desk.undo(),
  redo: () => desk.redo(),
  clear() {
    if (!desk.now.ops.length && !desk.now.base) return;
    desk.commit({ ...desk.now, ops: [], base: null }, "clear");
    M.say("The canvas is empty.", act.undo);
  },
  remove: () => thing() && change(desk.now.ops.filter((_, i) => i !== state.chosen), "remove"),
  smooth: () => change([...desk.now.ops, { kind: "smooth", s: 4 }], "smooth"),
  invert() {
    const done = desk.now.ops;
    change(done.at(-1)?.kind === "invert" ? done.slice(0, -1) : [...done, { kind: "invert" }], "invert");
  },
  brush: () => choose("brush"),
  eraser: () => choose("erase"),
  thinner: () => resize([...SIZES].reverse().find((s) => s < state.size) ?? 4),
  thicker: () => resize(SIZES.find((s) => s > state.size) ?? 160),
};
M.on(element, "canvas", ({ tool: front, what }) => front === kind && act[what]?.());

// ---- mouse, pen, finger
const tenth = (x) => Math.round(x * 10) / 10;
const at = (e) => {
  const box = canvas.getBoundingClientRect(),
    { w, h } = desk.now;
  const place = (v, side) => tenth(R.clamp(v * side, -side, 2 * side));
  return [place((e.clientX - box.left) / box.width, w), place((e.clientY - box.top) / box.height, h)];
};
const pressure = (e) => (e.pointerType === "pen" && e.pressure ? tenth(0.4 + e.pressure * 1.2) : 1);
const pixel = () => desk.now.w / (canvas.getBoundingClientRect().width || desk.now.w); // of the screen, on the sheet
const reach = (e) => (e.pointerType === "touch" ? 24 : 12) * pixel();

const lent = { at, pressure, reach, thing, swapped, change, soon, show, drawMarks, sheet: () => sheet },
  begin = H.hands({ state, desk, pen, ...lent });
canvas.addEventListener("pointerdown", (e) => {
  if ((e.button > 0 && e.buttons !== 32) || !e.isPrimary || hand) return;
  e.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(e.pointerId);
  hand = begin(e);
  hint.hidden = true;
});
canvas.addEventListener("pointermove", (e) => {
  hover(e);
  if (!hand || !e.isPrimary) return;
  hand.move?.(e);
  if (hand.every) {
    const all = e.getCoalescedEvents?.() ?? [];
    (all.length ? all : [e]).forEach(hand.every);
  }
});
function lift(keep) {
  const done = hand;
  hand = null;
  if (!done) return;
  if (keep) done.done();
  else {
    state.preview = null;
    draw();
  }
  show();
}
canvas.addEventListener("pointerup", () => lift(true));
canvas.addEventListener("pointercancel", () => lift(false));
canvas.addEventListener("pointerleave", () => {
  ring.style.display = "none";
  here.textContent = "";
});
function hover(e) {
  const box = canvas.getBoundingClientRect(),
    across = (state.size * box.width) / desk.now.w;
  ring.style.cssText = brushing()
    ? `display:block;left:${e.clientX - box.left}px;top:${e.clientY - box.top}px;width:${across}px;height:${across}px`
    : "";
  if (DEPTH) {
    if (!hand) canvas.dataset.over = thing() ? (T.grip(thing(), at(e), reach(e), desk.now.w, desk.now.h) ?? "") : "";
    return;
  }
  const [x, y] = at(e).map(Math.floor),
    inside = x >= 0 && y >= 0 && x < sheet.w && y < sheet.h;
  const color = inside && sheet.shown[y * sheet.w + x],
    found = color ? picker.named(color) : "";
  here.textContent = found && `Here is: ${found}.`;
}

// ---- keys, while the canvas has the focus
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || hand) return;
  const by = e.shiftKey ? 10 : 1,
    op = thing(),
    arrow = op && ARROWS[e.key];
  const way = (v) => T.dragged(op, op.kind === "gradient" ? "near" : "move", [0, 0], v, desk.now.h);
  if (arrow) change(swapped(way(arrow.map((v) => v * by))), "key", { again: true });
  else if (op && (e.key === "Delete" || e.key === "Backspace")) act.remove();
  else if (DEPTH && e.key.toLowerCase() === "v") choose("move");
  else return;
  e.preventDefault();
});

P.receiving(root, stage, { picture: traced.take });
M.on(element, "trace", (url) => M.tool() === kind && traced.url(url));
new ResizeObserver(() => sheet && show()).observe(stage);
desk.start();
