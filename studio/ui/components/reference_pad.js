// Pictures that the result should be like. value = {pictures: [{id, weight}], method}; the method is what is taken of them,
// or "itself", where the checkpoint itself looks at them. One "edited" for each thing a person does.
const M = window.maquette,
  P = window.maquettePad,
  { el, button } = M;
const root = element.querySelector(".mq-reference-pad"),
  MOST = 8,
  FRESH = 0.5; // the weight that leaves the words their say: bench --suite control
const METHODS = [
  ["full", "Everything", "Content and style, through an IP-Adapter"],
  ["style", "Style", "Colours and strokes: the layers that decide the style hear of it"],
  ["composition", "Composition", "What lies where: the layers that decide the composition hear of it"],
  ["itself", "Without an adapter", "The checkpoint itself looks at it (reference-only), which costs a second pass"],
];
const address = (id) => `./api/v1/assets/${id}`;
const list = el("div", { class: "mq-references" });
const input = P.chooser(P.PICTURES, (file) => take(file));
const methods = METHODS.map(([name, caption, title]) =>
  el("button", {
    type: "button",
    role: "radio",
    title,
    text: caption,
    onclick: () => desk.commit({ ...desk.now, method: name }, "method"),
  }),
);
const tools = {
  add: button("plus", "Add a picture", () => input.click(), { caption: "Picture" }),
  undo: button("undo", "Undo (Ctrl+Z)", () => desk.undo()),
  redo: button("redo", "Redo (Ctrl+Shift+Z)", () => desk.redo()),
};
const hint = el(
  "button",
  { type: "button", class: "mq-reference-hint", onclick: () => input.click() },
  el("strong", { text: "Drop a picture here" }),
  el("span", { text: "The result becomes like it: in what it shows, its style or its composition" }),
);
root.append(
  el(
    "div",
    { class: "mq-toolbar", role: "toolbar", "aria-label": "Reference tools" },
    el("span", { class: "mq-group" }, tools.add, input),
    el("span", { class: "mq-group" }, tools.undo, tools.redo),
    el("span", { class: "mq-segments mq-right", role: "radiogroup", "aria-label": "What is taken of them" }, ...methods),
  ),
  hint,
  list,
);

function read(value) {
  const given = value && Array.isArray(value.pictures) ? value : { pictures: [] };
  return { pictures: given.pictures, method: given.method || "full" };
}
const desk = P.desk({
  ...{ element, props, trigger, watch, kind: "reference", name: "reference", id: "reference-pad", read },
  written: (drawing) => ({ ...drawing }),
  onto: (drawing) => drawing,
  holds: (drawing) => drawing.pictures.length > 0,
  show: () => show(),
});
async function take(file) {
  if (!file) return;
  const kept = await P.busy(root, () => M.call("POST", "assets", file));
  if (kept) add(kept.id);
}
function add(id) {
  const { pictures } = desk.now;
  if (pictures.some((picture) => picture.id === id)) return M.say("This picture is here already.");
  if (pictures.length >= MOST) return M.say(`At most ${MOST} pictures are looked at: remove one first.`);
  return desk.commit({ ...desk.now, pictures: [...pictures, { id, weight: FRESH }] }, "add");
}
function card({ id, weight }, i) {
  const others = (change) => desk.now.pictures.flatMap((picture, at) => (at === i ? change(picture) : [picture]));
  const number = el("output", { text: weight.toFixed(2) });
  const range = el("input", {
    type: "range",
    min: 0,
    max: 2,
    step: 0.05,
    value: weight,
    "aria-label": `Weight of picture ${i + 1}`,
    oninput: () => (number.textContent = (+range.value).toFixed(2)),
    onchange: () => desk.commit({ ...desk.now, pictures: others((p) => [{ ...p, weight: +range.value }]) }, "weight"),
  });
  const remove = button("x", `Remove picture ${i + 1}`, () => {
    desk.commit({ ...desk.now, pictures: others(() => []) }, "remove");
    M.say("The picture is removed.", () => desk.undo());
  });
  const image = el("img", { src: address(id), alt: `Reference ${i + 1}`, draggable: "false" });
  image.addEventListener("load", () => M.emit("drawn", "reference"));
  return el("figure", { class: "mq-reference" }, image, remove, el("figcaption", {}, range, number));
}
let cards = "";
function show() {
  const { pictures, method } = desk.now,
    now = JSON.stringify(pictures);
  if (now !== cards) list.replaceChildren(...pictures.map(card));
  cards = now;
  hint.hidden = pictures.length > 0;
  methods.forEach((node, i) => {
    node.setAttribute("aria-checked", METHODS[i][0] === method);
    node.tabIndex = METHODS[i][0] === method ? 0 : -1;
  });
  tools.undo.disabled = !desk.canUndo;
  tools.redo.disabled = !desk.canRedo;
  element.dataset.pictures = pictures.length;
}
methods[0].parentNode.addEventListener("keydown", (e) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (!by) return;
  e.preventDefault();
  const next = methods[(METHODS.findIndex(([name]) => name === desk.now.method) + by + METHODS.length) % METHODS.length];
  next.click();
  next.focus();
});
M.thumb("reference", (on, w, h) => {
  const seen = [...list.querySelectorAll("img")].filter((image) => image.complete && image.naturalWidth);
  const side = Math.ceil(Math.sqrt(seen.length || 1));
  seen.forEach((image, i) => {
    const short = Math.min(image.naturalWidth, image.naturalHeight),
      from = [(image.naturalWidth - short) / 2, (image.naturalHeight - short) / 2, short, short];
    on.drawImage(image, ...from, ((i % side) * w) / side, (Math.floor(i / side) * h) / side, w / side, h / side);
  });
  return desk.now.pictures.length > 0;
});
M.on(element, "canvas", ({ tool, what }) => {
  if (tool === "reference" && ["undo", "redo"].includes(what)) desk[what]();
});
M.on(element, "trace", async (url) => {
  if (M.tool() !== "reference") return;
  const picture = await P.busy(root, async () => (await fetch(url)).blob());
  if (picture) take(picture);
});
P.receiving(root, root, { picture: take });
desk.start();
