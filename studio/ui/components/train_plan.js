// What will be done and why, and the button. value = {groups}: the settings by their words.
const M = window.maquette,
  T = window.maquetteTrain,
  { el } = M;
const root = element.querySelector(".mq-train-plan");
const LABELS = Object.fromEntries(props.value.groups.flatMap((group) => group.fields.map((field) => [field.name, field.label])));
Object.assign(LABELS, { method: "Method", trigger: "Word", class_word: "Kind", checkpoint: "Checkpoint" });
const FIRST = ["method", "steps", "learning_rate", "rank", "vectors", "prior_preservation", "resolution", "masked"];
const MOST = 5; // reasons beside the button; each setting has its own below

const needs = el("ul", { class: "mq-train-needs", "aria-label": "What is needed" });
const sum = el("p", { class: "mq-train-sum" });
const reasons = el("dl", { class: "mq-train-reasons" });
const warnings = el("ul", { class: "mq-train-remarks" });
const refusal = el("div", { class: "mq-notice", role: "alert", hidden: true });
const start = el("button", { type: "button", class: "mq-strong mq-train-start", id: "train-start", text: "Train", onclick: press });
const why = el("p", { class: "mq-train-why", id: "train-why", role: "status" });
// the folds lie below, where they have the whole width
const fold = (id, text) =>
  el("button", {
    type: "button",
    class: "mq-link",
    text,
    onclick: () => {
      const found = document.getElementById(id);
      found.open = true;
      found.scrollIntoView({ block: "nearest", behavior: "smooth" });
      found.querySelector("summary").focus({ preventScroll: true });
    },
  });
const folds = el("p", { class: "mq-train-folds" }, fold("train-methods", "Compare the methods"), fold("train-all-settings", "All settings"));
const yields = el("input", { type: "checkbox", id: "train-yields", onchange: () => T.change({ yields: yields.checked }, { silent: true }) });
const lending = el("label", { class: "mq-check mq-train-yields" }, yields, el("span", { text: "Make way for pictures that I ask for meanwhile" }));
root.append(el("h2", { text: "What will be done" }), needs, sum, warnings, refusal, el("div", { class: "mq-train-go" }, start, why, lending), reasons, folds);

let busy = false;
async function press() {
  busy = true;
  show();
  await T.start();
  busy = false;
  show();
}
const text = (value) =>
  value === true ? "yes" : value === false ? "no" : Array.isArray(value) ? value.join(", ") : typeof value === "number" ? +value.toPrecision(6) + "" : String(value ?? "");
const estimated = (estimate) =>
  !estimate ? "" : [estimate.seconds && `about ${T.seconds(estimate.seconds)}`, estimate.bytes && `${M.size(estimate.bytes)} of memory`].filter(Boolean).join(", ");

// ---- where a reason comes from: a link where it is one, and always there to read
const WEB = /^https?:[/]{2}\S+$/;
function source(said) {
  if (!said) return null;
  if (WEB.test(said)) return el("a", { href: said, target: "_blank", rel: "noreferrer", class: "mq-train-source", text: "source", title: said });
  return el("span", { class: "mq-train-source", tabindex: 0, title: said, "aria-label": `Source: ${said}`, text: "source" }, el("span", { class: "mq-tip", text: said }));
}
function reason(one) {
  const value = one.field === "method" ? T.methodWord(one.value) : text(one.value);
  return [
    el("dt", {}, el("span", { text: LABELS[one.field] ?? one.field }), el("b", { text: value })),
    el("dd", {}, el("span", { text: one.text }), " ", source(one.source)),
  ];
}
function show() {
  const { draft, advice, asking } = T.state,
    lacking = T.missing();
  needs.hidden = !lacking;
  needs.replaceChildren(
    ...T.needs().map(([met, words]) => el("li", { "data-met": met ? "" : undefined }, el("span", { class: "mq-tick" }, met ? M.icon("check") : ""), el("span", { text: words }))),
  );
  const params = advice?.params;
  sum.hidden = !params;
  if (params) {
    const pictures = T.pictures().length;
    const about = estimated(advice.estimate);
    sum.title = advice.estimate?.text ?? "";
    sum.textContent = `${T.methodWord(params.method)}: ${params.checkpoint || M.shared.checkpoint} learns ${draft.name.trim()} from ${pictures} ${pictures === 1 ? "picture" : "pictures"} in ${M.number(params.steps)} steps${about ? `, ${about}` : "; time and memory are measured before it begins"}.`;
  }
  const said = [...new Map((advice?.reasons ?? []).map((one) => [one.field, one])).values()], // the last word counts
    rank = (one) => (FIRST.includes(one.field) ? FIRST.indexOf(one.field) : FIRST.length);
  reasons.hidden = folds.hidden = !params;
  reasons.replaceChildren(...said.sort((a, b) => rank(a) - rank(b)).slice(0, MOST).flatMap(reason));
  const warned = params ? (advice.warnings ?? []) : [];
  warnings.hidden = !warned.length;
  warnings.replaceChildren(...warned.map((words) => el("li", {}, el("span", { text: words }))));
  const refused = T.state.refusal;
  refusal.hidden = !refused;
  refusal.textContent = refused?.message ?? "";
  const reasonNot = lacking || (refused ? "It cannot begin as it stands: see above." : busy ? "It is being started." : "");
  start.disabled = Boolean(lacking || busy);
  const waiting = T.runs().filter(T.going).length;
  why.textContent = reasonNot || (asking ? "Looking at the pictures…" : waiting ? `It begins after ${waiting === 1 ? "the one that runs" : `the ${waiting} before it`}.` : (draft.yields ? "Go on creating meanwhile: it makes way for each picture." : "Pictures that you ask for meanwhile wait until it is done or paused."));
  yields.checked = draft.yields;
  lending.hidden = Boolean(lacking);
  root.toggleAttribute("data-asking", asking);
  element.dataset.plan = params && !asking ? params.method : "";
}

let frame = 0;
M.on(element, "train", (what) => {
  if (what === "run" || (what === "runs" && T.state.draft.open)) return; // it is not seen
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(show);
});
M.on(element, "checkpoint", show);
show();
T.begin();
element.dataset.ready = "1";
