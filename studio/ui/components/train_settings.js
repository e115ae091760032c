// Every setting: what it is now, why, and a dot that takes a changed one back. value = {groups: [{label, fields}]}.
const M = window.maquette,
  T = window.maquetteTrain,
  { el } = M;
const root = element.querySelector(".mq-train-settings");
const GROUPS = props.value.groups;
const parts = new Map();
let all = false; // whether those are shown that do not count for the method

const count = el("span", { class: "mq-mono" });
const back = el("button", { type: "button", class: "mq-link", text: "Take all changes back", onclick: () => T.change({ settings: {} }) });
const more = el("button", {
  type: "button",
  class: "mq-link",
  onclick: () => {
    all = !all;
    show();
  },
});
function made(field) {
  const control = CONTROLS[field.kind](field);
  control.id = `setting-${field.name}`;
  const dot = el("button", { type: "button", class: "mq-dot", title: "Changed: take it back", "aria-label": `Take ${field.label} back`, onclick: () => T.set(field.name, undefined) });
  const reason = el("small", { class: "mq-train-reason" }),
    hint = el("small", { text: field.hint, hidden: !field.hint }),
    trouble = el("small", { class: "mq-tool-error", role: "alert", hidden: true });
  const label = el("label", { for: control.id, text: field.label, title: field.name });
  const node = el("div", { class: "mq-field mq-train-setting", "data-setting": field.name, "data-kind": field.kind }, el("span", { class: "mq-train-label" }, label, dot), control, hint, reason, trouble);
  parts.set(field.name, { node, control, dot, reason, trouble, field });
  return parts.get(field.name);
}
// a field of text: one for numbers drops letters, and what nobody can read any more could not be kept
const number = (field, mode) =>
  el("input", {
    type: "text",
    inputmode: mode,
    class: "mq-input",
    autocomplete: "off",
    spellcheck: "false",
    oninput: (e) => T.set(field.name, T.read(field, e.target.value)),
  });
const lines = (field, split, join) => {
  const box = el("textarea", { class: "mq-input", rows: field.kind === "lines" ? 3 : 1, spellcheck: "false", oninput: () => T.set(field.name, box.value.trim() ? split(box.value) : undefined) });
  box.read = join;
  return box;
};
const CONTROLS = {
  whole: (field) => number(field, "numeric"),
  number: (field) => number(field, "decimal"),
  text: (field) => el("input", { type: "text", class: "mq-input", autocomplete: "off", spellcheck: "false", oninput: (e) => T.set(field.name, e.target.value || undefined) }),
  choice: (field) => el("select", { class: "mq-select", onchange: (e) => T.set(field.name, e.target.value) }, ...field.choices.map((value) => el("option", { value, text: value }))),
  check: (field) => el("input", { type: "checkbox", onchange: (e) => T.set(field.name, e.target.checked) }),
  lines: (field) => lines(field, (text) => text.split("\n").map((one) => one.trim()).filter(Boolean), (value) => value.join("\n")),
  numbers: (field) => lines(field, (text) => T.read(field, text), (value) => (Array.isArray(value) ? value.join(", ") : value)),
};
const groups = GROUPS.map((group) => {
  const body = el("div", { class: "mq-train-fields" }, ...group.fields.map((field) => made(field).node));
  return { node: el("fieldset", { class: "mq-train-group" }, el("legend", { text: group.label }), body), fields: group.fields };
});
root.append(
  el("details", { class: "mq-get", id: "train-all-settings" }, el("summary", {}, el("span", { text: "All settings" }), count), ...groups.map((g) => g.node), el("p", { class: "mq-train-settings-foot" }, more, back)),
);

function put(control, value) {
  if (document.activeElement === control) return;
  if (control.type === "checkbox") control.checked = Boolean(value);
  else if (control.read) control.value = control.read(value ?? []);
  else control.value = value ?? "";
}
function show() {
  const { draft, advice, refusal } = T.state,
    params = advice?.params ?? {},
    method = draft.method || params.method || "lora";
  const reasons = new Map((advice?.reasons ?? []).map((one) => [one.field, one]));
  let unused = 0;
  for (const [name, part] of parts) {
    const changed = name in draft.settings,
      counts = !part.field.methods.length || part.field.methods.includes(method),
      offered = (M.state.worker.gpus ?? 0) >= part.field.gpus || changed;
    unused += !counts && offered;
    put(part.control, changed ? draft.settings[name] : (params[name] ?? part.field.default));
    part.dot.hidden = !changed;
    part.node.hidden = !offered || (!counts && !all && !changed);
    part.node.toggleAttribute("data-unused", !counts);
    const said = reasons.get(name);
    part.reason.textContent = said?.text ?? (changed ? "You chose this." : "");
    part.reason.title = said?.source ?? "";
    part.reason.hidden = !part.reason.textContent;
    const wrong = T.unread().find((one) => one.field === name) ?? (refusal?.field === name ? refusal : null);
    part.trouble.hidden = !wrong;
    part.trouble.textContent = wrong?.message ?? "";
    part.control.setAttribute("aria-invalid", Boolean(wrong));
    if (!part.trouble.hidden) root.querySelector("details").open = true;
  }
  for (const group of groups) group.node.hidden = group.fields.every((field) => parts.get(field.name).node.hidden);
  const changes = Object.keys(draft.settings).length;
  count.textContent = changes ? `${changes} changed` : "";
  back.hidden = !changes;
  more.hidden = !unused;
  more.textContent = all ? "Only those that count for this method" : `Show ${unused} that do not count for ${T.methodWord(method)}`;
}
M.on(element, "train", (what) => (what === "draft" || what === "advice") && show());
M.on(element, "worker", show);
T.know(GROUPS.flatMap((group) => group.fields));
show();
T.begin();
element.dataset.ready = "1";
