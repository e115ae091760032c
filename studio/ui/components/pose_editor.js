// Skeletons to drag. value = {canvas_width, canvas_height, people: [{pose_keypoints_2d: [x, y, on, ...]}], background},
// as studio/skeleton.py has it. One "edited" for each thing a person does, and "pose_file" with the text of a file.
const M = window.maquette,
  P = window.maquettePose,
  pads = window.maquettePad,
  { el, button } = M,
  { svg, pictogram, skeleton, far, off, place, nearest } = P;
const root = element.querySelector(".mq-pose-editor");
let drag = null,
  who = -1,
  joint = -1; // the chosen person, and the chosen joint of theirs

const tools = {
  add: button("plus", "Add a person", () => act.add(), { caption: "Person" }),
  copy: button("copy", "Copy the chosen person", () => act.copy()),
  mirror: button("mirror", "Mirror the chosen person", () => act.mirror()),
  remove: button("trash", "Remove the chosen person", () => act.remove()),
  undo: button("undo", "Undo (Ctrl+Z)", () => desk.undo()),
  redo: button("redo", "Redo (Ctrl+Shift+Z)", () => desk.redo()),
  save: button("download", "Save the pose as a JSON file", () => save()),
};
const poseFile = pads.chooser(".json,application/json", (file) => open(file));
const traced = pads.tracing({ root, desk: () => desk, opacity: 0.5 });
const people = svg("g", {}),
  marks = svg("g", {});
const board = svg(
  "svg",
  { tabindex: 0, role: "application", "aria-label": "Pose: drag the joints; arrow keys move the chosen one" },
  people,
  marks,
);
const hint = el(
  "div",
  { class: "mq-pad-hint" },
  el("strong", { text: "Nobody is here yet" }),
  el("span", { text: "Choose a ready pose, or drop a picture to trace" }),
);
const photo = pads.fromPhoto({ root, kind: "pose", title: "Read the people of a photo, to correct by hand", then: detected, fit: "fill" });
const stage = el("div", { class: "mq-stage mq-pose-stage" }, traced.image, board, hint);
const said = el("span", { class: "mq-pose-said", role: "status" }),
  toggle = el("button", { type: "button", class: "mq-link", onclick: () => act.toggle() });
const figures = P.PRESETS.map(([name, figure]) =>
  el(
    "button",
    { type: "button", class: "mq-preset", "aria-label": name, title: name, onclick: () => act.preset(figure) },
    pictogram(figure),
    el("span", { text: name }),
  ),
);
root.append(
  el(
    "div",
    { class: "mq-toolbar", role: "toolbar", "aria-label": "Posing tools" },
    el("span", { class: "mq-group" }, tools.add, tools.copy, tools.mirror, tools.remove),
    el("span", { class: "mq-group" }, tools.undo, tools.redo),
    el(
      "span",
      { class: "mq-group mq-right" },
      ...photo.tools,
      ...traced.tools,
      button("upload", "Open a pose: a JSON file of OpenPose", () => poseFile.click()),
      tools.save,
      poseFile,
    ),
  ),
  el(
    "div",
    { class: "mq-pose-desk" },
    el("div", {}, stage, el("div", { class: "mq-pose-line" }, said, toggle)),
    el("div", { class: "mq-presets", role: "group", "aria-label": "Ready poses" }, ...figures),
  ),
);

function read(value) {
  const given = value && Array.isArray(value.people) ? value : { people: [] };
  const whole = given.people.map((p) => p?.pose_keypoints_2d).filter((k) => k?.length === 54);
  return {
    w: given.canvas_width || 512,
    h: given.canvas_height || 512,
    people: whole.map((k) => P.fill(Array.from(k, Number))),
    background: given.background || null,
  };
}
const written = (pose) => ({
  canvas_width: pose.w,
  canvas_height: pose.h,
  people: pose.people.map((k) => ({ pose_keypoints_2d: k })),
});
const desk = pads.desk({
  ...{ element, props, trigger, watch, read, kind: "pose", name: "pose", id: "pose-editor", onto: P.onto },
  written: (pose) => ({ ...written(pose), background: pose.background }),
  holds: (pose) => pose.people.length || pose.background,
  show: () => show(),
  replaced: () => (who = joint = -1),
});

// ---- what is seen
const side = () => Math.sqrt(desk.now.w * desk.now.h);
const unit = () => desk.now.w / (board.getBoundingClientRect().width || desk.now.w); // canvas units in a pixel of the screen
// Where the handles of the chosen person are: always on the canvas, even when the person is larger.
function handles(k) {
  const b = P.bounds(k),
    gap = side() / 64 + 14 * unit(),
    rim = 12 * unit(),
    within = (v, most) => Math.min(most - rim, Math.max(rim, v));
  const box = { x: b.left - gap, y: b.top - gap, width: b.right - b.left + 2 * gap, height: b.bottom - b.top + 2 * gap };
  return {
    box,
    scale: [within(box.x + box.width, desk.now.w), within(box.y + box.height, desk.now.h)],
    turn: [within(box.x + box.width / 2, desk.now.w), within(box.y - 20 * unit(), desk.now.h)],
  };
}
function drawMarks(k) {
  marks.replaceChildren();
  if (!k) return;
  const { box, scale, turn } = handles(k),
    u = unit(),
    knob = (name, [x, y], title) =>
      svg("circle", { class: "mq-knob", "data-knob": name, cx: x, cy: y, r: 7 * u }, svg("title", {}, title));
  marks.append(
    svg("rect", { ...box, rx: 6 * u, class: "mq-frame-of" }),
    svg("line", { x1: box.x + box.width / 2, y1: box.y, x2: turn[0], y2: turn[1], class: "mq-stem" }),
    knob("scale", scale, "Drag to scale (+ and -)"),
    knob("turn", turn, "Drag to turn ([ and ])"),
  );
  if (joint >= 0)
    marks.append(svg("circle", { cx: k[3 * joint], cy: k[3 * joint + 1], r: side() / 64 + 5 * u, class: "mq-ring-of" }));
}
function draw() {
  const shown = drag?.people ?? desk.now.people;
  people.replaceChildren(...shown.map((k, i) => skeleton(k, i === who, Math.max(2, side() / 64))));
  drawMarks(shown[who]);
}
function show() {
  if (who >= desk.now.people.length) who = desk.now.people.length - 1;
  if (who < 0) joint = -1;
  stage.style.setProperty("--aspect", desk.now.w / desk.now.h);
  board.setAttribute("viewBox", `0 0 ${desk.now.w} ${desk.now.h}`);
  traced.show();
  hint.hidden = desk.now.people.length > 0 || Boolean(desk.now.background);
  for (const name of ["copy", "mirror", "remove"]) tools[name].disabled = who < 0;
  tools.undo.disabled = !desk.canUndo;
  tools.redo.disabled = !desk.canRedo;
  tools.save.disabled = !desk.now.people.length;
  element.dataset.people = desk.now.people.length;
  describe();
  draw();
}
function describe() {
  const count = desk.now.people.length,
    all = count === 1 ? "1 person" : `${count} people`;
  const of = count > 1 ? ` of person ${who + 1}` : "";
  const name = joint >= 0 ? P.JOINTS[joint][0].toUpperCase() + P.JOINTS[joint].slice(1) + of : "";
  const missing = joint >= 0 && !desk.now.people[who][3 * joint + 2];
  if (joint >= 0) said.textContent = missing ? `${name} is left out.` : `${name}.`;
  else if (who >= 0) said.textContent = count > 1 ? `Person ${who + 1} of ${count}.` : "Drag a joint, or a limb to move the person.";
  else said.textContent = count ? `${all}. Click one to choose it.` : "";
  toggle.hidden = joint < 0;
  toggle.textContent = missing ? "Put it back" : "Leave it out";
}
// ---- one edit
const commit = (next, what) => desk.commit(next, what, { again: what.startsWith("key") });
const changed = (k) => ({ ...desk.now, people: desk.now.people.map((old, i) => (i === who ? k : old)) });
const change = (k, what) => commit(changed(k), what);
function added(k) {
  const next = { ...desk.now, people: [...desk.now.people, k] };
  who = desk.now.people.length;
  joint = -1;
  commit(next, "add");
}
const height = () => Math.min(0.9 * desk.now.h, 1.25 * desk.now.w);
function free() {
  const taken = desk.now.people.map((k) => P.centre(k)[0] / desk.now.w),
    room = (x) => Math.min(0.24, ...taken.map((t) => Math.abs(t - x)));
  return [0.5, 0.25, 0.75, 0.12, 0.88, 0.38, 0.62].reduce((a, b) => (room(b) > room(a) + 0.01 ? b : a)) * desk.now.w;
}
const stand = (figure) => P.placed(figure, free(), (desk.now.h + height() * 0.94) / 2, height());
const act = {
  add: () => added(stand(P.PRESETS[0][1])),
  preset(figure) {
    if (who < 0 && desk.now.people.length === 1) who = 0;
    if (who < 0) added(stand(figure));
    else change(P.posed(desk.now.people[who], figure), "preset");
  },
  copy() {
    if (who >= 0) added(P.moved(desk.now.people[who], desk.now.w / 10, 0));
  },
  mirror() {
    if (who >= 0) change(P.mirrored(desk.now.people[who]), "mirror");
  },
  remove() {
    if (who < 0) return;
    const next = { ...desk.now, people: desk.now.people.filter((_, i) => i !== who) };
    joint = -1;
    commit(next, "remove");
    M.say("The person is removed.", act.undo);
  },
  toggle() {
    if (joint < 0) return;
    const k = desk.now.people[who];
    change(P.withJoint(k, joint, k[3 * joint], k[3 * joint + 1], k[3 * joint + 2] ? 0 : 1), "toggle");
  },
  undo: () => desk.undo(),
  redo: () => desk.redo(),
};
M.on(element, "canvas", ({ tool, what }) => tool === "pose" && act[what]?.());

// ---- mouse, pen, finger
const at = (e) => {
  const box = board.getBoundingClientRect();
  return [((e.clientX - box.left) * desk.now.w) / box.width, ((e.clientY - box.top) * desk.now.h) / box.height];
};
const inFront = () => desk.now.people.map((_, i) => i).sort((a, b) => (b === who) - (a === who) || b - a);
// What lies under the pointer: a knob, a joint, or a limb, which stands for the whole person.
function under(point, reach) {
  if (who >= 0) {
    const { scale, turn } = handles(desk.now.people[who]);
    const knob = nearest(["scale", "turn"], (name) => far(point, name === "scale" ? scale : turn), reach);
    if (knob) return { how: knob, person: who, joint };
  }
  for (const person of inFront()) {
    const k = desk.now.people[person],
      seen = person === who ? P.ALL : P.on(k),
      hit = nearest(seen, (i) => far(point, place(k, i)), reach);
    if (hit !== undefined) return { how: "joint", person, joint: hit };
  }
  for (const person of inFront()) {
    const k = desk.now.people[person],
      whole = P.LIMBS.filter(([a, b]) => k[3 * a + 2] && k[3 * b + 2]);
    if (nearest(whole, ([a, b]) => off(point, place(k, a), place(k, b)), reach))
      return { how: "person", person, joint: -1 };
  }
  return null;
}
const reachOf = (e) => (e.pointerType === "touch" ? 24 : 14) * unit();
const inside = ([x, y]) => [Math.min(desk.now.w, Math.max(0, x)), Math.min(desk.now.h, Math.max(0, y))];
function dragged(k, { how, start, joint: held }, point) {
  const [dx, dy] = [point[0] - start[0], point[1] - start[1]],
    middle = P.centre(k),
    angle = ([x, y]) => Math.atan2(y - middle[1], x - middle[0]);
  if (how === "joint") return P.withJoint(k, held, ...inside([k[3 * held] + dx, k[3 * held + 1] + dy]));
  if (how === "person") return P.moved(k, dx, dy);
  if (how === "turn") return P.turned(k, middle, angle(point) - angle(start));
  const corner = [P.bounds(k).left, P.bounds(k).top];
  return P.scaled(k, corner, Math.max(0.1, far(point, corner) / Math.max(1, far(start, corner))));
}
// half a canvas beside it is the most
const fits = (k) => P.ALL.every((i) => Math.abs(k[3 * i] / desk.now.w - 0.5) < 1 && Math.abs(k[3 * i + 1] / desk.now.h - 0.5) < 1);
board.addEventListener("pointerdown", (e) => {
  if (e.button > 0 || !e.isPrimary || drag) return;
  e.preventDefault();
  board.focus({ preventScroll: true });
  const start = at(e),
    hit = under(start, reachOf(e));
  who = hit ? hit.person : -1;
  joint = hit ? hit.joint : -1;
  if (hit) {
    board.setPointerCapture(e.pointerId);
    drag = { ...hit, start, from: [e.clientX, e.clientY], people: null };
  }
  show();
});
board.addEventListener("pointermove", (e) => {
  if (!drag || !e.isPrimary) {
    if (!drag) board.dataset.over = under(at(e), reachOf(e))?.how ?? "";
    return;
  }
  if (!drag.people && far(drag.from, [e.clientX, e.clientY]) < 3) return;
  const k = dragged(desk.now.people[who], drag, at(e));
  if (fits(k)) drag.people = changed(k).people;
  draw();
});
function lift(keep) {
  if (!drag) return;
  const done = drag;
  drag = null;
  if (keep && done.people) commit({ ...desk.now, people: done.people }, done.how);
  else draw();
  if (keep && !done.people) tapped(done);
}
// Twice on a joint leaves it out or puts it back, with a finger, too: the browser's own dblclick needs a node that stays.
let tap = { at: 0 };
function tapped({ how, person, joint: held }) {
  const again = Date.now() - tap.at < 450 && tap.person === person && tap.held === held;
  tap = { at: again ? 0 : Date.now(), person, held };
  if (again && how === "joint") act.toggle();
}
board.addEventListener("pointerup", () => lift(true));
board.addEventListener("pointercancel", () => lift(false));

// ---- keys, while the board has the focus
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function nudge([dx, dy], by) {
  const k = desk.now.people[who];
  if (joint < 0) return fits(P.moved(k, dx * by, dy * by)) && change(P.moved(k, dx * by, dy * by), "key-move");
  const to = inside([k[3 * joint] + dx * by, k[3 * joint + 1] + dy * by]);
  return change(P.withJoint(k, joint, ...to), `key-${who}-${joint}`);
}
const resize = (by) => {
  const k = P.scaled(desk.now.people[who], P.centre(desk.now.people[who]), by);
  if (fits(k)) change(k, "key-scale");
};
const turn = (by) => change(P.turned(desk.now.people[who], P.centre(desk.now.people[who]), by), "key-turn");
const walk = (by) => {
  joint = (joint + by + 18) % 18;
  show();
};
const meet = (by) => {
  who = (who + by + desk.now.people.length) % desk.now.people.length;
  show();
};
const KEYS = {
  Delete: () => (joint >= 0 ? desk.now.people[who][3 * joint + 2] && act.toggle() : act.remove()),
  Backspace: () => KEYS.Delete(),
  "+": () => resize(1.05),
  "-": () => resize(1 / 1.05),
  "[": () => turn(-Math.PI / 36),
  "]": () => turn(Math.PI / 36),
  ".": () => walk(1),
  ",": () => walk(-1),
  PageDown: () => meet(1),
  PageUp: () => meet(-1),
};
board.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || !desk.now.people.length || drag) return;
  const arrow = ARROWS[e.key];
  if (!arrow && !KEYS[e.key]) return;
  e.preventDefault();
  if (who < 0) who = 0;
  if (arrow) nudge(arrow, e.shiftKey ? 10 : 1);
  else KEYS[e.key]();
});

// ---- files: a photo with people, a pose
function detected({ source, ...pose }) {
  const found = P.onto(read(pose), desk.now.w, desk.now.h);
  if (!found.people.length) return M.say("Nobody was found in this picture.");
  who = found.people.length === 1 ? 0 : -1;
  joint = -1;
  const background = { url: `./api/v1/assets/${source}`, opacity: 0.5 };
  return desk.commit({ ...desk.now, people: found.people, background }, "photo");
}
async function open(file) {
  if (file) trigger("pose_file", { text: await file.slice(0, 2_000_001).text() }); // a larger one is refused there
}
function save() {
  const text = JSON.stringify(written(desk.now), null, 1),
    link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "pose.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
pads.receiving(root, stage, { picture: traced.take, other: open });
M.on(element, "trace", (url) => M.tool() === "pose" && traced.url(url));
M.thumb("pose", (on, w, h) => P.paint(on, desk.now, w, h));
new ResizeObserver(draw).observe(stage);
desk.start();
