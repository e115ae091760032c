// The stack of adapters under the prompt: what is on it, how much each counts, in which order, on, off or alone.
// value = {solo, rows: [{name, kind, on, weight, text_weight, blocks, start, end, curve, rank}]}, as studio/ui/adapters.py has
// it; what else is known of a row is asked from the server. Events: "edited"; "grid" {axes}, for an adapter at five weights.
const M = window.maquette,
  S = window.maquetteShelf,
  { el, button } = M;
const root = element.querySelector(".mq-adapter-stack");
const BLOCKS = [
  ["unet.down_blocks", "Outline and layout", "Weight in the UNet's down blocks"],
  ["unet.mid_block", "Subject", "Weight in the UNet's middle block"],
  ["unet.up_blocks", "Style and detail", "Weight in the UNet's up blocks"],
];
const STRIP = [0, 0.4, 0.7, 1, 1.3]; // the weights that "Try it" shows
const CURVES = [
  ["constant", "evenly"],
  ["rise", "more and more"],
  ["fall", "less and less"],
];
const nameOf = (unit) => `${unit.kind}:${unit.name}`;
const stack = () => props.value ?? { solo: "", rows: [] };
const find = (name) => stack().rows.find((unit) => nameOf(unit) === name);
const parts = new Map(), // name -> the row's parts
  known = new Map(); // name and checkpoint -> what the server says of it
let opened = "";

function put(next, what) {
  props.value = { ...stack(), ...next };
  show();
  trigger("edited", { what });
}
const change = (name, fields) =>
  put({ rows: stack().rows.map((unit) => (nameOf(unit) === name ? { ...unit, ...fields } : unit)) }, Object.keys(fields)[0]);
function remove(name) {
  const before = stack();
  put({ rows: before.rows.filter((u) => nameOf(u) !== name), solo: before.solo === name ? "" : before.solo }, "remove");
  M.say(`${name.slice(name.indexOf(":") + 1)} is taken off the stack.`, () => put(before, "undo"));
}
const fresh = (row) => ({ name: row.name, kind: row.kind, on: true, weight: 1, text_weight: null, blocks: [], start: 0, end: 1, curve: "constant", rank: null });

// ---- the shelf
const has = (row) =>
  row.kind === "embedding"
    ? (document.querySelector("#prompt textarea")?.value ?? "").toLowerCase().includes(row.name.toLowerCase())
    : Boolean(find(nameOf(row)));
function pick(row) {
  if (row.kind === "embedding") return S.say(row.name);
  if (find(nameOf(row))) return remove(nameOf(row));
  known.set(`${nameOf(row)} ${S.checkpoint()}`, row);
  put({ rows: [...stack().rows, fresh(row)] }, "add");
}
const add = button("plus", "Add LoRAs, embeddings and hypernetworks", () => S.open({ has, pick }, root), {
  caption: "Add adapter",
  id: "adapter-add",
});

// ---- stacks that were kept
const menu = el("div", { class: "mq-popover mq-stacks", role: "group", "aria-label": "Kept stacks", hidden: true });
const stacks = button("queue", "Stacks that were kept", () => (menu.hidden ? listStacks() : hideStacks()), {
  caption: "Stacks",
  id: "adapter-stacks",
  "aria-expanded": "false",
});
const hideStacks = () => {
  menu.hidden = true;
  stacks.setAttribute("aria-expanded", "false");
};
async function listStacks() {
  let all;
  try {
    all = await M.call("GET", "stacks");
  } catch (error) {
    return M.say(error.message);
  }
  const label = el("input", { type: "text", class: "mq-input", maxlength: 60, placeholder: "Name of this stack", "aria-label": "Name of this stack" });
  const keep = async (e) => {
    e.preventDefault();
    try {
      const kept = await M.call("PUT", `stacks/${encodeURIComponent(label.value.trim())}`, { adapters: plain() });
      M.say(`The stack is kept as ${kept.name}.`);
      listStacks();
    } catch (error) {
      M.say(error.message);
    }
  };
  menu.replaceChildren(
    ...all.map((kept) =>
      el(
        "div",
        { class: "mq-stack-line" },
        el(
          "button",
          { type: "button", class: "mq-stack-use", onclick: () => use(kept) },
          el("span", { text: kept.name }),
          el("small", { text: kept.adapters.map((a) => a.name).join(", ") }),
        ),
        M.owner() ? button("trash", `Forget ${kept.name}`, () => forget(kept)) : null,
      ),
    ),
    all.length ? "" : el("p", { class: "mq-stacks-none", text: "A stack with its weights can be kept under a name." }),
    M.owner() && stack().rows.length
      ? el("form", { class: "mq-stack-keep", onsubmit: keep }, label, el("button", { class: "mq-plain", text: "Keep" }))
      : "",
  );
  menu.hidden = false;
  stacks.setAttribute("aria-expanded", "true");
}
const plain = () => stack().rows.map(({ on, ...unit }) => unit);
function use(kept) {
  const before = stack();
  hideStacks();
  put({ solo: "", rows: kept.adapters.map((ref) => ({ ...fresh(ref), ...ref })) }, "stack");
  M.say(`${kept.name} is on the stack.`, () => put(before, "undo"));
}
async function forget(kept) {
  try {
    await M.call("DELETE", `stacks/${encodeURIComponent(kept.name)}`);
    M.say(`${kept.name} is forgotten.`, async () => {
      await M.call("PUT", `stacks/${encodeURIComponent(kept.name)}`, { adapters: kept.adapters });
    });
    listStacks();
  } catch (error) {
    M.say(error.message);
  }
}

// ---- one row
const bounded = (value, low, high) => Math.min(high, Math.max(low, +value || 0));
function slider(label, low, high, title, onchange) {
  const range = el("input", { type: "range", min: low, max: high, step: 0.05, "aria-label": label, title, onchange: () => onchange(+range.value) }),
    said = el("output");
  range.addEventListener("input", () => (said.textContent = (+range.value).toFixed(2)));
  return { range, said, set: (value) => ((range.value = value), (said.textContent = (+value).toFixed(2))) };
}
function row(name) {
  const unit = find(name);
  const box = el("input", { type: "checkbox", "aria-label": `Use ${unit.name}`, onchange: () => change(name, { on: box.checked }) });
  const thumb = el("span", { class: "mq-adapter-thumb" });
  const range = el("input", {
    type: "range",
    min: -1,
    max: 2,
    step: 0.05,
    class: "mq-scale",
    "aria-label": "How strongly",
    title: "How strongly it counts (weight): 1 is as trained, 0 is off, below 0 is away from it",
    oninput: () => {
      number.value = range.value;
    },
    onchange: () => change(name, { weight: +range.value }),
  });
  const number = el("input", {
    type: "number",
    min: -4,
    max: 4,
    step: 0.05,
    "aria-label": "How strongly, as a number",
    onchange: () => change(name, { weight: bounded(number.value, -4, 4) }),
  });
  const more = button("sliders", "Words, where and when it counts", () => {
    opened = opened === name ? "" : name;
    show();
  });
  const solo = button("eye", `Only ${unit.name}: leave out all others`, () => put({ solo: stack().solo === name ? "" : name }, "solo"));
  const off = button("x", `Take ${unit.name} off the stack`, () => remove(name));
  const grip = el("button", { type: "button", class: "mq-grip", title: "Drag to order (or Alt with the arrows)", "aria-label": `Order ${unit.name}` }, M.icon("grip"));
  const about = el("span", { class: "mq-adapter-about" });
  const words = el("span", { class: "mq-card-words" }),
    why = el("p", { class: "mq-card-why", role: "note", hidden: true });
  const settings = settingsOf(name, unit);
  const title = el("span", { class: "mq-adapter-name" }, el("b", { text: unit.name, title: unit.name }), about);
  const line = el("span", { class: "mq-line" }, range, number);
  const node = el("li", { "data-adapter": name }, grip, el("label", { class: "mq-follow" }, box, thumb), title, line, more, solo, off, words, why, settings.node);
  grip.addEventListener("pointerdown", (e) => M.dragOrder(e, node, (by) => shift(name, by)));
  grip.addEventListener("keydown", (e) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[e.key];
    if (!by || !e.altKey) return;
    e.preventDefault();
    shift(name, by);
    grip.focus();
  });
  return { node, box, thumb, range, number, more, solo, about, words, why, settings };
}

// ---- what few people need: the text's weight, parts of the model, part of the steps
function settingsOf(name, unit) {
  const text = slider("Weight for words", -1, 2, "Weight in the text encoder (text_weight)", (value) => change(name, { text_weight: value }));
  const same = el("input", {
    type: "checkbox",
    onchange: () => change(name, { text_weight: same.checked ? null : find(name).weight }),
  });
  const blocks = BLOCKS.map(([prefix, label, title]) => {
    const one = slider(label, 0, 2, title, (value) => {
      const kept = find(name).blocks.filter(([p]) => p !== prefix);
      change(name, { blocks: value === 1 ? kept : [...kept, [prefix, value]] });
    });
    return { prefix, ...one, node: el("label", { class: "mq-share" }, el("span", { text: label }), one.range, one.said) };
  });
  const when = (which, label) =>
    slider(label, 0, 1, `${label} this share of the steps`, (value) => {
      const { start, end } = find(name);
      change(name, which === "start" ? { start: Math.min(value, +(end - 0.05).toFixed(2)) } : { end: Math.max(value, +(start + 0.05).toFixed(2)) });
    });
  const start = when("start", "Counts from"),
    end = when("end", "Counts until");
  const curve = el(
    "select",
    { "aria-label": "How it counts over the steps", onchange: () => change(name, { curve: curve.value }) },
    ...CURVES.map(([value, label]) => el("option", { value, text: label })),
  );
  const notes = el("p", { class: "mq-card-notes" });
  const tryIt = button("gradient", `One picture at each of the weights ${STRIP.join(", ")}, from one seed`, () => trigger("grid", { axes: [{ field: `adapters.${unit.name}`, values: STRIP }] }), {
    caption: "Try five weights",
    class: "mq-button mq-try",
  });
  const isLora = unit.kind === "lora";
  const node = el(
    "div",
    { class: "mq-adapter-more", hidden: true },
    notes,
    isLora
      ? el(
          "div",
          { class: "mq-shares" },
          el("label", { class: "mq-check" }, same, " Words as strongly as the picture"),
          el("label", { class: "mq-share" }, el("span", { text: "Words" }), text.range, text.said),
          ...blocks.map((block) => block.node),
        )
      : null,
    el("span", { class: "mq-when" }, "from ", start.range, start.said, " until ", end.range, end.said, " of the steps, ", curve),
    tryIt,
  );
  return { node, text, same, blocks, start, end, curve, notes };
}

// ---- order
function shift(name, by) {
  const order = stack().rows.map(nameOf),
    at = order.indexOf(name),
    to = at + by;
  if (to < 0 || to >= order.length) return false;
  order.splice(to, 0, ...order.splice(at, 1));
  put({ rows: order.map(find) }, "order");
  return true;
}

// ---- what is seen
async function ask(name, part) {
  const key = `${name} ${S.checkpoint()}`;
  if (part.asked === key) return;
  part.asked = key;
  if (!known.has(key)) {
    try {
      known.set(key, await S.one(find(name)));
    } catch (error) {
      known.set(key, { missing: error.message });
    }
  }
  if (part.asked === key && find(name)) describe(part, known.get(key), find(name));
}
function describe(part, said, unit) {
  part.thumb.replaceChildren(said.missing ? M.glyph(unit.kind) : M.preview(said));
  part.about.textContent = said.missing ? "" : [M.kindWord(unit.kind), M.baseOf(said)].filter(Boolean).join(" · ");
  part.why.textContent = said.missing ?? said.why ?? "";
  part.why.hidden = !part.why.textContent;
  part.words.replaceChildren(...(said.missing ? [] : S.words(said, 6)));
  part.words.hidden = !part.words.children.length;
  part.settings.notes.textContent = said.notes ?? "";
  part.settings.notes.hidden = !said.notes;
}
const list = el("ol", { "aria-label": "Adapters of the picture, in order" });
const bar = el("div", { class: "mq-adapter-bar" }, add, stacks, menu);
root.append(list, bar);
function show() {
  const { rows, solo } = stack();
  for (const [name, part] of parts) {
    if (!find(name)) {
      part.node.remove();
      parts.delete(name);
    }
  }
  for (const unit of rows) {
    const name = nameOf(unit);
    if (!parts.has(name)) parts.set(name, row(name));
    fill(name, unit, parts.get(name), solo);
  }
  const nodes = rows.map((unit) => parts.get(nameOf(unit)).node);
  if (nodes.some((node, i) => list.children[i] !== node)) list.replaceChildren(...nodes);
  list.hidden = !nodes.length;
  M.shared.adapters = rows.map((unit) => unit.name);
  M.emit("stacked");
}
function fill(name, unit, part, solo) {
  const heard = solo ? solo === name : unit.on;
  part.node.toggleAttribute("data-off", !heard);
  part.box.checked = unit.on;
  part.range.value = unit.weight;
  part.number.value = +unit.weight.toFixed(2);
  part.solo.setAttribute("aria-pressed", solo === name);
  part.solo.hidden = solo !== name && stack().rows.length < 2;
  part.more.setAttribute("aria-expanded", opened === name);
  const { node, text, same, blocks, start, end, curve } = part.settings;
  node.hidden = opened !== name;
  same.checked = unit.text_weight === null;
  text.set(unit.text_weight ?? unit.weight);
  text.range.disabled = same.checked;
  for (const block of blocks) block.set(unit.blocks.find(([prefix]) => prefix === block.prefix)?.[1] ?? 1);
  start.set(unit.start);
  end.set(unit.end);
  curve.value = unit.curve;
  ask(name, part);
}
const outside = (e) => {
  if (!root.isConnected) return document.removeEventListener("pointerdown", outside, true);
  if (!menu.hidden && !bar.contains(e.target)) hideStacks();
};
document.addEventListener("pointerdown", outside, true);
bar.addEventListener("keydown", (e) => {
  if (e.key !== "Escape" || menu.hidden) return;
  e.stopPropagation();
  hideStacks();
  stacks.focus();
});
M.on(element, "checkpoint", show);
M.on(element, "weigh", ({ name, weight }) => {
  const unit = stack().rows.find((one) => one.name === name);
  if (unit) change(nameOf(unit), { weight, on: true });
});
M.on(element, "scan", (e) => e.state === "done" && (known.clear(), parts.forEach((part) => delete part.asked), show()));
// What was trained is tried: its files go on the stack, until "untry" takes them off again.
let untried = null;
M.on(element, "try", ({ adapters }) => {
  untried = stack();
  const others = stack().rows.filter((unit) => !adapters.some((row) => nameOf(row) === nameOf(unit)));
  put({ solo: "", rows: [...others, ...adapters.map(fresh)] }, "add");
});
M.on(element, "untry", () => untried && put(untried, "undo"));
watch("value", show);
requestAnimationFrame(show);
