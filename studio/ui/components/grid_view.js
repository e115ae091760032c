// A grid that was asked for: its pictures in rows and columns as they come, how far it is, its sheet.
// value = {id}. A click on a picture of an adapter's strip gives the adapter that weight; else it shows the picture.
const M = window.maquette,
  { el, button } = M;
const root = element.querySelector(".mq-grid-view");
let grid = null,
  asking = 0;

async function look() {
  const id = props.value?.id;
  if (!id) return close();
  try {
    const found = await M.call("GET", `grids/${id}`);
    if (props.value?.id !== id) return;
    grid = found;
    show();
  } catch (error) {
    M.say(error.message);
  }
}
function close() {
  grid = null;
  root.replaceChildren();
  root.hidden = true;
}
const adapterOf = (axis) => (axis.field.startsWith("adapters.") ? axis.field.slice(9) : "");
function picked(cell) {
  const [axis] = grid.axes,
    name = grid.axes.length === 1 && adapterOf(axis);
  if (name) {
    M.emit("weigh", { name, weight: axis.values[cell.place[0]] });
    M.say(`${name} counts ${axis.labels[cell.place[0]]} now.`);
  }
  M.state.picked = cell.picture;
  M.emit("jobs");
}
function tile(cell, said) {
  const words = { queued: "waits", running: "being made", failed: "failed", cancelled: "left out", done: "deleted" };
  if (!cell.picture)
    return el("span", {
      class: "mq-grid-cell",
      "data-state": cell.state,
      title: cell.error || words[cell.state],
      "aria-label": `${said}: ${words[cell.state]}`,
    });
  return el(
    "button",
    { type: "button", class: "mq-grid-cell", "aria-label": said, title: said, onclick: () => picked(cell) },
    el("img", { src: "./" + cell.picture.thumbnail_url, alt: "", loading: "lazy" }),
  );
}
const by = (first, rest) =>
  rest.length
    ? `${M.capital(first.label)} by ${rest.map((axis) => axis.label).join(" by ")}`
    : adapterOf(first)
      ? `${first.label} at ${first.labels.length} weights`
      : M.capital(first.label);
function show() {
  const [across, down, deep] = grid.axes,
    at = new Map(grid.cells.map((cell) => [cell.place.join(), cell])),
    busy = grid.done < grid.total;
  const blocks = (deep?.labels ?? [""]).map((block, z) =>
    el(
      "div",
      { class: "mq-grid-block" },
      deep ? el("p", { class: "mq-grid-deep", text: `${deep.label}: ${block}` }) : null,
      el(
        "div",
        { class: "mq-grid-table", style: `--columns: ${across.labels.length}`, ...(down ? { "data-rows": "" } : {}) },
        ...(down ? [el("span")] : []),
        ...across.labels.map((text) => el("span", { class: "mq-grid-head", text, title: text })),
        ...(down?.labels ?? [""]).flatMap((side, y) => [
          ...(down ? [el("span", { class: "mq-grid-side", text: side, title: side })] : []),
          ...across.labels.map((label, x) => {
            const place = [x, y, z].slice(0, grid.axes.length);
            const said = [label, side, block].slice(0, grid.axes.length).map((v, i) => `${grid.axes[i].label} ${v}`);
            return tile(at.get(place.join()), said.join(", "));
          }),
        ]),
      ),
    ),
  );
  root.hidden = false;
  root.replaceChildren(
    el(
      "div",
      { class: "mq-grid-bar" },
      el("b", { text: by(across, grid.axes.slice(1)) }),
      el("span", { class: "mq-grid-done", role: "status", text: busy ? `${grid.done} of ${grid.total}` : "" }),
      busy ? button("x", "Stop what is left of it", stop, { caption: "Stop" }) : null,
      el("a", { class: "mq-button", href: `./api/v1/grids/${grid.id}/sheet`, download: "grid.png", title: "The grid as one labelled picture" }, M.icon("download"), el("span", { text: "Sheet" })),
      busy ? null : button("x", "Close the grid", dismiss),
    ),
    el("div", { class: "mq-grid-scroll" }, ...blocks),
  );
}
async function stop() {
  try {
    grid = await M.call("POST", `grids/${grid.id}/cancel`);
    show();
  } catch (error) {
    M.say(error.message);
  }
}
function dismiss() {
  props.value = {};
  close();
}
M.on(element, "jobs", (e) => {
  if (e?.type !== "job" || !grid?.cells.some((cell) => cell.job === e.job.id)) return;
  clearTimeout(asking);
  asking = setTimeout(look, 120);
});
watch("value", look);
requestAnimationFrame(look);
