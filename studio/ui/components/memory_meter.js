// How full the memory is that models lie in: a thin meter; a click shows what is loaded, and frees it. For the owner.
const M = window.maquette,
  { el, state, shared } = M;
const root = element.querySelector(".mq-memory-meter");
const fill = el("span", { class: "mq-meter-fill" }),
  rest = el("span", { class: "mq-meter-rest" }),
  words = el("span", { class: "mq-mono mq-meter-words" });
const face = el(
  "button",
  {
    type: "button",
    class: "mq-button mq-meter",
    id: "memory-meter",
    "aria-haspopup": "dialog",
    "aria-expanded": "false",
    onclick: () => toggle(),
  },
  el("span", { class: "mq-meter-bar", "aria-hidden": "true" }, fill, rest),
  words,
);
const popover = el("div", {
  class: "mq-popover mq-memory",
  id: "memory-list",
  role: "dialog",
  "aria-label": "Memory",
  hidden: true,
});
root.append(el("div", { class: "mq-anchor" }, face, popover));
let wait = null;
const held = () => shared.resident ?? { models: [], memory: {} };

// ---- the figures: which memory counts here, who fills it
function measured() {
  const { memory: m, models } = held(),
    own = models.reduce((sum, model) => sum + (model.bytes ?? 0), 0);
  if (m.device_total)
    return { name: "Graphics memory", used: m.device_used, total: m.device_total, own: Math.min(own, m.device_used) };
  const total = m.host_total ?? 0,
    process = m.process ?? 0;
  return { name: "Memory", used: total ? total - m.host_available : process, total, own: process };
}
const share = (part, whole) => `${whole ? Math.min(100, Math.max(0, (100 * part) / whole)) : 0}%`;
async function ask() {
  if (!M.owner() || document.hidden) return;
  try {
    const found = await M.call("GET", "residency");
    if (found.memory.process !== undefined) shared.resident = found; // a worker that just starts has said nothing yet
  } catch {
    return; // the light beside it says that the studio is away
  }
  show();
}
function later(seconds) {
  clearTimeout(wait);
  wait = setTimeout(async () => {
    if (!element.isConnected) return;
    await ask();
    later(popover.hidden ? 30 : 4);
  }, seconds * 1000);
}

// ---- showing
function show() {
  root.hidden = !M.owner() || !shared.resident;
  if (root.hidden) return;
  const { name, used, total, own } = measured();
  const whole = total || used;
  fill.style.width = share(own, whole);
  rest.style.width = share(used - own, whole);
  words.textContent = total ? `${M.size(used)} / ${M.size(total)}` : M.size(used);
  face.title = `${name}: ${words.textContent.replace("/", "of")} in use`;
  face.setAttribute("aria-label", `${face.title}. Show what is loaded.`);
  element.dataset.models = held().models.length;
  if (!popover.hidden) showList();
}
function figure(text, bytes, kind) {
  return el(
    "div",
    { class: "mq-figure" },
    el("i", { class: kind }),
    el("span", { text }),
    el("span", { class: "mq-mono", text: M.size(bytes) }),
  );
}
function showList() {
  const { name, used, total, own } = measured(),
    { models } = held(),
    busy = state.worker.state === "busy";
  const largest = Math.max(1, ...models.map((model) => model.bytes ?? 0));
  const free = el("button", {
    type: "button",
    class: "mq-plain",
    id: "free-memory",
    text: "Free memory",
    disabled: busy || !models.length,
    onclick: () => release(free),
  });
  M.redraw(popover, () => [
    el("h3", { text: name }),
    el(
      "div",
      { class: "mq-meter-bar mq-wide", "aria-hidden": "true" },
      el("span", { class: "mq-meter-fill", style: `width:${share(own, total || used)}` }),
      el("span", { class: "mq-meter-rest", style: `width:${share(used - own, total || used)}` }),
    ),
    figure("Maquette", own, "mq-part"),
    ...(total ? [figure("Everything else", used - own, "mq-other"), figure("Free", total - used, "mq-open")] : []),
    el("h3", { text: "Loaded models" }),
    models.length
      ? el(
          "ul",
          {},
          ...models.map((model) =>
            el(
              "li",
              {},
              M.glyph(model.kind),
              el("span", { class: "mq-resident-name", text: model.name, title: model.name }),
              el("span", { class: "mq-mono", text: M.size(model.bytes) }),
              el(
                "span",
                { class: "mq-resident-bar", "aria-hidden": "true" },
                el("i", { style: `width:${share(model.bytes, largest)}` }),
              ),
            ),
          ),
        )
      : el("p", { class: "mq-hint", text: "None: the next picture loads what it needs." }),
    free,
    el("p", {
      class: "mq-hint",
      text: busy
        ? "A picture is being made; free memory when it is done."
        : models.length
          ? "Loaded models make the next picture start at once. Freed ones are loaded again when they are needed."
          : "",
    }),
  ]);
}
async function release(free) {
  free.disabled = true;
  free.textContent = "Freeing";
  try {
    await M.call("POST", "free");
    await ask();
    M.say("The models are unloaded.");
  } catch (error) {
    M.say(error.message);
  }
  show();
}
const toggle = M.popover(element, face, popover, () => {
  showList();
  later(0);
});

let before = "";
M.on(element, "worker", () => {
  if (state.worker.state === before) return;
  before = state.worker.state;
  if (before === "ready") later(0.3);
  show();
});
M.on(element, "user", () => later(0));
M.on(element, "resident", show);
later(0);
show();
element.dataset.ready = "1";
