// The right end of the top bar: what the worker does, the queue with its list, shortcuts, light or dark.
const M = window.maquette,
  { el, button, state } = M;
const root = element.querySelector(".mq-status-bar");
const light = el("span", { class: "mq-light" }),
  words = el("span", { class: "mq-worker-words" });
const worker = el("span", { class: "mq-worker", role: "status" }, light, words);
const count = el("span", { class: "mq-count", text: "0" });
const badge = el(
  "button",
  {
    type: "button",
    class: "mq-button",
    id: "queue-badge",
    "aria-haspopup": "true",
    "aria-expanded": "false",
    onclick: () => toggle(),
  },
  M.icon("queue"),
  count,
);
const list = el("div", { class: "mq-queue", id: "queue-list", hidden: true, role: "dialog", "aria-label": "Queue" });
const theme = button("moon", "Dark", () => M.setTheme(!M.dark()), { id: "theme-toggle" });
root.append(
  worker,
  el("span", { class: "mq-anchor" }, badge, list),
  button("help", "Shortcuts (?)", M.showKeys),
  theme,
);

const WORDS = {
  off: "not started",
  starting: "starting",
  ready: "ready",
  busy: "working",
  restarting: "starting again",
  failed: "cannot start",
};
function showWorker() {
  const w = state.worker,
    name = state.connected ? (w.state ?? "starting") : "gone";
  light.dataset.state = name;
  words.textContent = state.connected
    ? [WORDS[name] ?? name, w.device, w.precision].filter(Boolean).join(" · ")
    : state.greeted
      ? "no connection"
      : "connecting";
  worker.title = [w.device_name, w.kernel && `attention: ${w.kernel}`, w.reason].filter(Boolean).join("\n");
  element.dataset.worker = name;
}
function toggle(open = list.hidden) {
  list.hidden = !open;
  badge.setAttribute("aria-expanded", open);
  if (open) {
    M.refreshJobs();
    showQueue();
  }
}
async function order(path, body) {
  try {
    await M.call("POST", path, body);
    M.refreshJobs();
  } catch (error) {
    M.say(error.message);
  }
}

function row(job, index, waiting) {
  const step = state.progress.get(job.id),
    going = job.state === "running";
  return el(
    "li",
    { class: "mq-queue-row" },
    el(
      "span",
      { class: "mq-queue-text" },
      el("span", { text: job.params?.prompt || "(no prompt)" }),
      el("small", {
        text: going ? (step?.steps ? `step ${step.step}/${step.steps}` : "starting") : `${index + 1}. in the queue`,
      }),
    ),
    ...(going
      ? []
      : [
          button("up", "Earlier", () => order(`jobs/${job.id}/move`, { before: waiting[index - 1].id }), {
            disabled: index === 0,
          }),
          button("down", "Later", () => order(`jobs/${job.id}/move`, { before: waiting[index + 2]?.id ?? null }), {
            disabled: index === waiting.length - 1,
          }),
        ]),
    button("x", "Cancel", () => order(`jobs/${job.id}/cancel`)),
  );
}
function showQueue() {
  const waiting = M.waiting(),
    going = M.running();
  count.textContent = waiting.length;
  badge.classList.toggle("mq-some", waiting.length > 0);
  badge.title = waiting.length === 1 ? "1 picture waits" : `${waiting.length} pictures wait`;
  badge.setAttribute("aria-label", `Queue: ${badge.title}`);
  if (list.hidden) return;
  M.redraw(list, () => [
    el("h3", { text: "Queue" }),
    waiting.length || going
      ? el("ol", {}, ...(going ? [row(going, -1, waiting)] : []), ...waiting.map((job, i) => row(job, i, waiting)))
      : el("p", { text: "Nothing waits. Press Generate as often as you like." }),
  ]);
}
function showTheme() {
  theme.replaceChildren(M.icon(M.dark() ? "sun" : "moon"));
  theme.title = M.dark() ? "Light" : "Dark";
  theme.setAttribute("aria-label", theme.title);
}
element.addEventListener("keydown", (e) => {
  if (e.key === "Escape" && !list.hidden) {
    e.preventDefault();
    toggle(false);
    badge.focus();
  }
});
element.addEventListener("focusout", (e) => {
  if (!list.hidden && e.relatedTarget && !element.contains(e.relatedTarget)) toggle(false);
});
M.on(element, "jobs", showQueue);
M.on(element, "worker", showWorker);
M.on(element, "theme", showTheme);
const remembered = localStorage.getItem("maquette-theme");
if (remembered) document.body.classList.toggle("dark", remembered === "dark");
showWorker();
showQueue();
showTheme();
element.dataset.ready = "1";
