// The trainings as a row of cards: a new one first, then each with its newest picture, how far it is, and what to do.
const M = window.maquette,
  T = window.maquetteTrain,
  { el, button } = M;
const root = element.querySelector(".mq-train-runs");
const SAYS = {
  queued: "waiting",
  preparing: "getting ready",
  running: "learning",
  paused: "paused",
  done: "done",
  failed: "failed",
  stopped: "stopped and saved",
  interrupted: "interrupted",
};
const list = el("div", { class: "mq-runs", role: "list", "aria-label": "Trainings" });
const guest = el("p", { class: "mq-train-guest", text: "Training is for the person whose studio this is.", hidden: true });
root.append(list, guest);
const section = () => element.closest("#train-section");
const share = (run) => (run.steps ? Math.round((100 * (run.step ?? 0)) / run.steps) : 0);
const words = (run) =>
  run.state === "running" && run.steps
    ? `${run.step || run.phase === "training" ? SAYS.running : SAYS.preparing} · ${share(run)} %`
    : (SAYS[run.state] ?? run.state);

const cards = new Map(); // id -> its parts: while a run goes on only its words and its bar change, so that it can be pressed
function card(run) {
  const mark = JSON.stringify([run.state, run.name, run.method, run.cover, T.methodWord(run.method), T.state.draft.open === run.id]);
  let part = cards.get(run.id);
  if (part?.mark !== mark) cards.set(run.id, (part = { mark, ...made(run) }));
  part.small.textContent = `${T.methodWord(run.method)} · ${words(run)}`;
  part.fill.style.width = `${share(run)}%`;
  return part.node;
}
function made(run) {
  const small = el("small", {}),
    fill = el("span", { class: "mq-bar-fill" });
  const open = el(
    "button",
    {
      type: "button",
      class: "mq-run-open",
      "aria-current": T.state.draft.open === run.id ? "true" : undefined,
      onclick: () => T.show(run.id),
    },
    picture(run),
    el(
      "span",
      { class: "mq-run-text" },
      el("b", { text: run.name, title: run.name }),
      small,
      T.going(run) ? el("span", { class: "mq-bar" }, fill) : null,
    ),
  );
  const node = el("div", { class: "mq-run", role: "listitem", "data-run": run.id, "data-state": run.state }, open, ...hands(run));
  return { node, small, fill };
}
const MADE = { dreambooth: "checkpoint", inversion: "embedding", pivotal: "lora" };
const picture = (run) =>
  run.cover
    ? el("img", { src: `./api/v1/training/runs/${T.at(run.id)}/files/${run.cover}`, alt: "" })
    : el("span", { class: "mq-run-glyph" }, M.glyph(MADE[run.method] ?? run.method));
function hands(run) {
  if (run.state === "paused") return [button("repeat", `Go on with ${run.name}`, () => T.act(run.id, "go"))];
  if (T.going(run)) return [];
  return [
    run.resumable ? button("repeat", `Go on with ${run.name} where it stopped`, () => T.act(run.id, "resume")) : null,
    button("trash", `Delete the training of ${run.name}`, () => T.remove(run)),
  ].filter(Boolean);
}
const first = el(
  "button",
  { type: "button", class: "mq-run-open", id: "train-new-open", onclick: () => T.show("") },
  el("span", { class: "mq-run-glyph" }, M.icon("plus")),
  el("span", { class: "mq-run-text" }, el("b", { text: "New training" }), el("small", { text: "Pictures, a name, Train" })),
);
const newCard = el("div", { class: "mq-run mq-run-new", role: "listitem" }, first);
function fresh() {
  if (T.state.draft.open) first.removeAttribute("aria-current");
  else first.setAttribute("aria-current", "true");
  return newCard;
}
function show() {
  const owner = M.owner() || !M.shared.user;
  guest.hidden = owner;
  list.hidden = !owner;
  section()?.setAttribute("data-view", !owner ? "guest" : T.state.draft.open ? "run" : "new");
  const all = T.runs().sort((a, b) => T.going(b) - T.going(a) || (b.created ?? 0) - (a.created ?? 0) || b.id.localeCompare(a.id));
  root.toggleAttribute("data-none", owner && !all.length);
  const nodes = [fresh(), ...all.map(card)];
  if (nodes.length === list.children.length && nodes.every((node, i) => node === list.children[i])) return;
  M.redraw(list, () => nodes);
  const open = list.querySelector("[aria-current]")?.parentElement;
  if (!open) return; // its card comes when the hand is off the list
  const from = open.offsetLeft - list.offsetLeft;
  if (from < list.scrollLeft || from + open.offsetWidth > list.scrollLeft + list.clientWidth) list.scrollLeft = from - 8;
}
let frame = 0;
M.on(element, "train", (what) => {
  if (!["runs", "draft", "advice"].includes(what)) return;
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(show);
});
M.on(element, "user", show);
show();
T.begin();
element.dataset.ready = "1";
