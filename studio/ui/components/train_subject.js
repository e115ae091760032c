// What is learned: its name, what kind of thing it is, and the words that call it.
const M = window.maquette,
  T = window.maquetteTrain,
  { el } = M;
const root = element.querySelector(".mq-train-subject");
// small pictures of 64 by 64: [shape in the quiet tone, shape in the tone of the accent]
const KINDS = [
  ["person", "Person", "M12 60c0-13 8-21 20-21s20 8 20 21z", "M32 10a12 12 0 1 0 0 24 12 12 0 0 0 0-24z"],
  ["animal", "Animal", "M16 10l9 11h14l9-11 3 24c0 13-9 20-19 20S13 47 13 34z", "M28 43h8l-4 4zM23 32a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5zM41 32a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5z"],
  ["object", "Object", "M14 20h30v28a8 8 0 0 1-8 8H22a8 8 0 0 1-8-8zM44 27h4a8 8 0 0 1 0 18h-4v-5h3a4 4 0 0 0 0-8h-3z", "M22 7c4 3-3 5 0 9h3c-3-4 4-6 0-9zM32 7c4 3-3 5 0 9h3c-3-4 4-6 0-9z"],
  ["style", "Style", "M8 50c10-2 8-16 20-16s8 10 20 8l8-3v13a4 4 0 0 1-4 4H12a4 4 0 0 1-4-4z", "M8 26c0-10 10-16 20-14s10 10 20 6l8-4v13c-8 8-18 2-24 0s-14 4-18 10l-6 4z"],
];
const name = el("input", { type: "text", class: "mq-input", id: "train-name", maxlength: 80, autocomplete: "off", spellcheck: "false", placeholder: "Such as Moki, or blue teapot", oninput: () => T.change({ name: name.value }) });
const trouble = (field) => el("small", { class: "mq-tool-error", role: "alert", hidden: true, "data-trouble": field });
const kinds = KINDS.map(([value, label, quiet, loud]) =>
  el(
    "button",
    { type: "button", role: "radio", class: "mq-train-kind", "data-subject": value, onclick: () => T.change({ subject: value }) },
    drawing(quiet, loud),
    el("span", { text: label }),
  ),
);
function drawing(quiet, loud) {
  const svg = (tag, attrs, ...inner) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attrs)) node.setAttribute(key, value);
    node.append(...inner);
    return node;
  };
  return svg("svg", { viewBox: "0 0 64 64", "aria-hidden": "true" }, svg("path", { d: quiet, class: "mq-quiet-shape" }), svg("path", { d: loud, class: "mq-loud-shape" }));
}
const group = el("div", { class: "mq-train-kinds", role: "radiogroup", "aria-label": "What it is", id: "train-subject-kinds" }, ...kinds);
group.addEventListener("keydown", (e) => {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
  if (!by) return;
  e.preventDefault();
  const at = Math.max(0, kinds.indexOf(document.activeElement)),
    next = kinds[(at + by + kinds.length) % kinds.length];
  next.focus();
  next.click();
});
const word = (id, key, label, hint) => {
  const input = el("input", { type: "text", class: "mq-input", id, maxlength: 60, autocomplete: "off", spellcheck: "false", title: hint, oninput: () => T.change({ [key]: input.value }) });
  return { input, node: el("label", { class: "mq-field", title: hint }, el("span", { text: label }), input, trouble(key)), key };
};
const kindWord = word("train-class", "class_word", "Kind of thing, in a word", "What it is one of, such as cup or dog (class_word): the model goes on from what it knows of those"),
  callWord = word("train-trigger", "trigger", "The word that calls it", "Write it into a prompt to get the result (trigger). A word that means nothing yet is best");
root.append(
  el("h2", { text: "What is it?" }),
  el("label", { class: "mq-field" }, el("span", { text: "Name" }), name, trouble("name")),
  group,
  el("div", { class: "mq-train-words" }, kindWord.node, callWord.node),
);
function show() {
  const { draft, advice } = T.state;
  if (document.activeElement !== name) name.value = draft.name;
  for (const { input, key } of [kindWord, callWord]) {
    if (document.activeElement !== input) input.value = draft[key];
    input.placeholder = advice?.params?.[key] || (key === "trigger" ? "chosen for you" : "such as cup, or dog");
  }
  for (const node of root.querySelectorAll("[data-trouble]")) {
    node.hidden = T.state.refusal?.field !== node.dataset.trouble;
    node.textContent = node.hidden ? "" : T.state.refusal.message;
  }
  kinds.forEach((button, i) => {
    const chosen = button.dataset.subject === draft.subject;
    button.setAttribute("aria-checked", chosen);
    button.tabIndex = chosen || (!draft.subject && i === 0) ? 0 : -1;
  });
}
M.on(element, "train", (what) => (what === "draft" || what === "advice") && show());
show();
T.begin();
element.dataset.ready = "1";
