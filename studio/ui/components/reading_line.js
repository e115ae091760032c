// Beside Generate: how far a model is that is read for the first time, since a picture with it waits until it is read.
const M = window.maquette,
  { el } = M;
const root = element.querySelector(".mq-reading-line");
const models = new Map();
function line({ name, done, total }) {
  const percent = total ? Math.floor((100 * done) / total) : 0,
    words = `Reading ${name} for the first time`;
  return el(
    "div",
    { role: "progressbar", "aria-label": words, "aria-valuenow": percent },
    el("span", { class: "mq-hint", text: `${words}: ${percent} %` }),
    el("div", { class: "mq-bar" }, el("div", { class: "mq-bar-fill", style: `width:${percent}%` })),
  );
}
function show() {
  root.hidden = !models.size;
  root.replaceChildren(...[...models.values()].map(line));
}
M.on(element, "jobs", (e) => {
  if (e?.type === "hello")
    models.clear(); // after a silence: whoever is read is told of soon
  else if (e?.type !== "reading") return;
  else if (e.done < e.total) models.set(e.name, e);
  else models.delete(e.name);
  show();
});
show();
element.dataset.ready = "1";
