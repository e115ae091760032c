// All that the picture follows, one row a control: its map, how closely, from when until when, alone or left out.
// value = {solo, units: [{kind, on, conditioning_scale, control_guidance_start, control_guidance_end, mode, map?}]}, as
// studio/ui/stack.py has it. A row is seen when its tab is in front or when there is something in it.
const M = window.maquette,
  { el, button } = M;
const root = element.querySelector(".mq-control-stack");
const TABS = JSON.parse(root.dataset.tabs); // [kind, caption, id of the editor, what its box says, "unit" or "picture"]
const MODES = [
  ["balanced", "Words and map alike"],
  ["prompt", "Words matter more"],
  ["control", "The map matters more"],
];
const PLAIN = ["regions"]; // kinds that have no model, and words on both sides
const HOW_CLOSELY = "How closely to follow it (conditioning_scale): 1 is as trained, 0 is off";
const HOW_MUCH = "How much the regions' own words count there (conditioning_scale): 1 is alone, at 0.5 the prompt has half, 0 is off";
const about = (kind) => TABS.find(([k]) => k === kind);
const nameOf = (unit) => (unit.map ? `${unit.kind}:${unit.map}` : unit.kind);
const rows = new Map(); // name -> its parts
const filled = new Map(); // name -> whether there is a map
const list = el("ol", { "aria-label": "What the picture follows" });
root.append(list);
let opened = "";

const units = () => props.value?.units ?? [];
const find = (name) => units().find((unit) => nameOf(unit) === name);
function put(next, what) {
  props.value = { ...props.value, ...next };
  show();
  trigger("edited", { what });
}
const change = (name, fields) =>
  put({ units: units().map((unit) => (nameOf(unit) === name ? { ...unit, ...fields } : unit)) }, Object.keys(fields)[0]);

// ---- one row
function sharing(label, oninput) {
  const range = el("input", { type: "range", min: 0, max: 1, step: 0.05, "aria-label": label, oninput });
  return { range, said: el("output") };
}
function row(name) {
  const unit = find(name),
    tab = unit.map ? null : about(unit.kind),
    caption = tab?.[1] ?? unit.kind;
  const box = el("input", {
    type: "checkbox",
    "aria-label": tab?.[3] ?? `Follow the ${unit.kind} map`,
    onchange: () => change(name, { on: box.checked }),
  });
  const thumb = el("canvas", { width: 80, height: 80, class: "mq-map" });
  const range = el("input", {
    type: "range",
    min: 0,
    max: 2,
    step: 0.05,
    class: "mq-scale",
    "aria-label": "How closely",
    title: PLAIN.includes(unit.kind) ? HOW_MUCH : HOW_CLOSELY,
    oninput: () => {
      number.value = range.value;
    },
    onchange: () => change(name, { conditioning_scale: +range.value }),
  });
  const number = el("input", {
    type: "number",
    min: 0,
    max: 2,
    step: 0.05,
    "aria-label": "How closely, as a number",
    onchange: () => change(name, { conditioning_scale: Math.min(2, Math.max(0, +number.value || 0)) }),
  });
  const solo = button("eye", `Only ${caption}: leave out all others`, () => put({ solo: props.value.solo === name ? "" : name }, "solo"));
  const remove = button("x", "Take it off the stack", () => {
    const before = props.value;
    put({ units: units().filter((u) => nameOf(u) !== name), solo: props.value.solo === name ? "" : props.value.solo }, "remove");
    M.say("The map is taken off.", () => put(before, "undo"));
  });
  const more = button("sliders", "From when until when, and whether words matter more", () => {
    opened = opened === name ? "" : name;
    show();
  });
  const grip = el("button", { type: "button", class: "mq-grip", title: "Drag to order (or Alt with the arrows)", "aria-label": `Order ${caption}` }, M.icon("grip"));
  const start = sharing("Counts from", () => shareOf("start", +start.range.value)),
    end = sharing("Counts until", () => shareOf("end", +end.range.value));
  function shareOf(which, value) {
    const { control_guidance_start: from, control_guidance_end: until } = find(name);
    if (which === "start") change(name, { control_guidance_start: Math.min(value, until - 0.05) });
    else change(name, { control_guidance_end: Math.max(value, from + 0.05) });
  }
  const mode = el(
    "select",
    { "aria-label": "Words or map", onchange: () => change(name, { mode: mode.value }) },
    ...MODES.map(([value, text]) => el("option", { value, text })),
  );
  const model = el("select", {
    "aria-label": "Model",
    title: "The ControlNet, T2I-Adapter or IP-Adapter that follows it",
    onchange: () => change(name, { model: model.value }),
  });
  const area = maskOf(name);
  const cost = el("span", { class: "mq-cost" });
  const depends = el(
    "span",
    { class: "mq-depends" },
    el("span", { class: "mq-when" }, "from ", start.range, start.said, " until ", end.range, end.said, " of the steps"),
    mode,
    model,
    area.node,
    cost,
  );
  const title = el("button", { type: "button", class: "mq-row-name", text: caption, onclick: () => M.emit("open", unit.kind) });
  const line = el("span", { class: "mq-line" }, range, number, more);
  const node = el("li", { "data-unit": name }, grip, el("label", { class: "mq-follow" }, box, thumb), title, line, solo, remove, depends);
  remove.hidden = !unit.map;
  grip.addEventListener("pointerdown", (e) => begin(e, name, node));
  grip.addEventListener("keydown", (e) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[e.key];
    if (!by || !e.altKey) return;
    e.preventDefault();
    shift(name, by);
    grip.focus();
  });
  return { node, box, thumb, range, number, solo, more, start, end, mode, model, area, cost, depends, line, picture: tab?.[4] === "picture" };
}
// Its map as a picture to paint over, in the shape of the canvas.
const LONG = 768;
function pictureOf(unit) {
  if (unit.map) return `./api/v1/assets/${unit.map}`;
  const board = document.querySelector(`#${about(M.tool())?.[2]} canvas`),
    ratio = board ? board.width / board.height : 1;
  const sheet = el("canvas", { width: Math.round(LONG * Math.min(1, ratio)), height: Math.round(LONG * Math.min(1, 1 / ratio)) }),
    pen = sheet.getContext("2d");
  pen.fillRect(0, 0, sheet.width, sheet.height);
  M.thumbs.get(unit.kind)?.(pen, sheet.width, sheet.height);
  return sheet.toDataURL();
}
// Where it counts: everywhere, where it is painted, or where a picture is white.
function maskOf(name) {
  const keep = async (file) => {
    const kept = await M.call("POST", "assets", file);
    change(name, { mask: kept.id });
  };
  const paint = () => {
    const unit = find(name);
    window.maquetteMask.open({
      picture: pictureOf(unit),
      mask: unit.mask ? `./api/v1/assets/${unit.mask}` : "",
      title: `Where ${about(unit.kind)?.[1] ?? unit.kind} counts`,
      hint: "Paint over the part that shall follow it. Without paint, it counts everywhere.",
      host: root,
      save: (png) => (png ? keep(png) : change(name, { mask: "" })),
    });
  };
  const input = window.maquettePad.chooser(window.maquettePad.PICTURES, (file) => file && window.maquettePad.busy(root, () => keep(file)));
  const link = (text, title, onclick) => el("button", { type: "button", class: "mq-link", text, title, onclick });
  const choose = el(
    "span",
    {},
    link("Only in a part\u2026", "Paint where it counts", paint),
    " or ",
    link("from a picture\u2026", "A picture that is white where it counts", () => input.click()),
  );
  const image = el("img", { class: "mq-map", alt: "Counts where this is white" }),
    shown = el("button", { type: "button", class: "mq-link", "aria-label": "Paint where it counts", onclick: paint }, image),
    remove = button("x", "Count everywhere again", () => change(name, { mask: "" }));
  return { node: el("span", { class: "mq-area" }, choose, shown, remove, input), choose, shown, image, remove };
}
// The models that fit, asked for when the row is opened; "" lets the studio choose.
const WORDS = { controlnet: "ControlNet", t2i_adapter: "T2I-Adapter", ip_adapter: "IP-Adapter" };
async function offer(name, part) {
  const unit = find(name),
    checkpoint = document.querySelector("#checkpoint [data-name]")?.dataset.name ?? "",
    asked = `controls?kind=${encodeURIComponent(unit.kind)}&checkpoint=${encodeURIComponent(checkpoint)}`;
  if (part.asked === asked) return;
  part.asked = asked;
  const found = await M.call("GET", asked).catch(() => []);
  const names = found.map((model) => model.name);
  const missing = unit.model && !names.includes(unit.model) ? [el("option", { value: unit.model, text: unit.model })] : [];
  part.model.replaceChildren(
    el("option", { value: "", text: names.length ? `By itself: ${names[0]}` : "No model is here" }),
    ...found.map((model) => el("option", { value: model.name, text: `${model.name} (${WORDS[model.technique]})` })),
    ...missing,
  );
  part.model.value = find(name)?.model ?? "";
}

// ---- order: a row is dragged past its neighbours
const seen = () => units().map(nameOf).filter((name) => !rows.get(name)?.node.hidden);
function shift(name, by) {
  const shown = seen(),
    other = shown[shown.indexOf(name) + by];
  if (!other) return;
  const order = units().map(nameOf).filter((n) => n !== name);
  order.splice(order.indexOf(other) + (by > 0 ? 1 : 0), 0, name);
  put({ units: order.map(find) }, "order");
}
// The row leaves the page for a moment when it moves, so the window listens.
function begin(e, name, node) {
  e.preventDefault();
  let from = e.clientY;
  node.dataset.dragged = "";
  const listening = new AbortController(),
    on = (event, handler) => addEventListener(event, handler, { signal: listening.signal });
  on("pointermove", (m) => {
    const off = m.clientY - from,
      step = node.offsetHeight + 4,
      before = seen().join();
    if (Math.abs(off) < step / 2) return;
    shift(name, Math.sign(off));
    if (seen().join() !== before) from += Math.sign(off) * step;
  });
  const done = () => {
    delete node.dataset.dragged;
    listening.abort();
  };
  on("pointerup", done);
  on("pointercancel", done);
}

// ---- what is seen
function paintMap(name) {
  const unit = find(name),
    part = rows.get(name);
  if (!unit || !part) return;
  const on = part.thumb.getContext("2d");
  on.clearRect(0, 0, 80, 80);
  if (unit.map) {
    const picture = new Image();
    picture.addEventListener("load", () => on.drawImage(picture, 0, 0, 80, 80));
    picture.src = `./api/v1/assets/${unit.map}`;
    filled.set(name, true);
  } else {
    on.save();
    filled.set(name, Boolean(M.thumbs.get(unit.kind)?.(on, 80, 80)));
    on.restore();
  }
  part.node.toggleAttribute("data-filled", filled.get(name));
}
function show() {
  const solo = props.value?.solo ?? "";
  for (const [name, part] of rows) {
    if (!find(name)) {
      part.node.remove();
      rows.delete(name);
    }
  }
  units().forEach((unit) => {
    const name = nameOf(unit);
    if (!rows.has(name)) {
      rows.set(name, row(name));
      paintMap(name);
    }
    fill(name, unit, rows.get(name), solo);
  });
  const nodes = units().map((unit) => rows.get(nameOf(unit)).node);
  if (nodes.some((node, i) => list.children[i] !== node)) list.replaceChildren(...nodes);
  M.emit("used", units().filter((unit) => filled.get(nameOf(unit)) && heard(unit, solo)).map((unit) => unit.kind));
}
const heard = (unit, solo) => (solo ? nameOf(unit) === solo : unit.on);
function fill(name, unit, part, solo) {
  const front = !unit.map && M.tool() === unit.kind;
  part.node.hidden = !front && !filled.get(name);
  part.node.toggleAttribute("data-front", front);
  part.node.toggleAttribute("data-off", !heard(unit, solo));
  part.box.checked = unit.on;
  part.range.value = part.number.value = unit.conditioning_scale;
  part.solo.setAttribute("aria-pressed", solo === name);
  part.solo.hidden = solo !== name && units().filter((u) => filled.get(nameOf(u))).length < 2;
  part.line.hidden = part.picture;
  part.more.setAttribute("aria-expanded", opened === name);
  part.depends.hidden = part.picture || opened !== name;
  for (const side of ["start", "end"]) {
    const share = unit[`control_guidance_${side}`];
    part[side].range.value = share;
    part[side].said.textContent = `${Math.round(share * 100)} %`;
  }
  part.mode.hidden = part.model.hidden = PLAIN.includes(unit.kind);
  part.mode.value = unit.mode;
  part.model.value = unit.model ?? "";
  if (!part.depends.hidden && !part.model.hidden) offer(name, part);
  part.area.choose.hidden = Boolean(unit.mask);
  part.area.shown.hidden = part.area.remove.hidden = !unit.mask;
  if (unit.mask) part.area.image.src = `./api/v1/assets/${unit.mask}`;
  const cost = M.state.costs?.[unit.kind];
  part.cost.textContent = cost ? `It took ${cost < 0.0995 ? Math.round(cost * 1000) + " ms" : cost.toFixed(1) + " s"} a step.` : "";
}
let frame = 0;
const changed = new Set();
M.on(element, "drawn", (kind) => {
  changed.add(kind);
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => {
    for (const unit of units()) if (!unit.map && changed.has(unit.kind)) paintMap(unit.kind);
    changed.clear();
    show();
  });
});
// What a person begins to draw counts, also when the row was off while it was empty.
M.on(element, "hand", (kind) => {
  const unit = units().find((u) => !u.map && u.kind === kind);
  if (!unit || filled.get(kind)) return;
  paintMap(kind);
  if (filled.get(kind) && !unit.on) change(kind, { on: true });
  else show();
});
// What was trained is tried by itself: no drawing that lies on the canvas bends it, but for what a control model that was
// trained follows; "untry" brings the drawings back. control: {kind, model}.
let untried = null;
M.on(element, "try", ({ control }) => {
  untried = props.value;
  const tried = (unit) => (!unit.map && unit.kind === control?.kind ? { ...unit, on: true, model: control.model } : { ...unit, on: false });
  put({ solo: "", units: units().map(tried) }, "on");
});
M.on(element, "untry", () => untried && put(untried, "undo"));
M.on(element, "tool", show);
M.on(element, "costs", show);
watch("value", show);
requestAnimationFrame(show);
