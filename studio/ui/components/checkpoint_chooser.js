// Which checkpoint makes the pictures. value = {name, base, precision, key, kind, refusal: {text, hint} | null}
// Python alone changes the value: "choose" {name} asks, and the answer is the new checkpoint or the reason why not.
// The Models section chooses through M.emit("choose", row), so that there is one way. "look" asks after a scan.
const M = window.maquette,
  { el, state, shared } = M;
const root = element.querySelector(".mq-checkpoint-chooser");
const mark = el("span", { class: "mq-chooser-mark" }),
  name = el("span", { class: "mq-chooser-name" }),
  facts = el("small", { class: "mq-mono" });
const track = el(
  "span",
  { class: "mq-bar mq-unknown mq-chooser-bar", "aria-hidden": "true", hidden: true },
  el("span", { class: "mq-bar-fill" }),
);
const face = el(
  "button",
  {
    type: "button",
    class: "mq-chooser",
    id: "checkpoint-button",
    "aria-haspopup": "dialog",
    "aria-expanded": "false",
    onclick: () => toggle(),
  },
  mark,
  el("span", { class: "mq-chooser-text" }, name, facts),
  M.icon("down"),
  track,
);
const search = el("input", {
  type: "search",
  role: "combobox",
  autocomplete: "off",
  placeholder: "Search checkpoints",
  "aria-label": "Search checkpoints",
  "aria-autocomplete": "list",
  "aria-expanded": "true",
  "aria-controls": "checkpoint-list",
  oninput: () => {
    clearTimeout(search.wait);
    search.wait = setTimeout(fetchRows, 120);
  },
});
const list = el("ul", { id: "checkpoint-list", role: "listbox", "aria-label": "Checkpoints" });
const none = el("p", { class: "mq-hint", role: "status", hidden: true });
const popover = el(
  "div",
  { class: "mq-popover mq-chooser-popover", role: "dialog", "aria-label": "Choose a checkpoint", hidden: true },
  el("label", { class: "mq-search" }, M.icon("search"), search),
  list,
  none,
  el("button", {
    type: "button",
    class: "mq-link",
    text: "All models",
    onclick: () => {
      toggle(false);
      M.section("Models");
    },
  }),
);
const refusal = el("div", { class: "mq-notice mq-refusal", role: "alert", hidden: true });
const live = el("span", { class: "mq-sr", "aria-live": "polite" });
root.append(el("div", { class: "mq-anchor" }, face, popover, refusal), live);

const SWAPS = { reading: "reading it for the first time", loading: "loading" };
let rows = [],
  at = -1,
  asked = null,
  turn = 0;

// ---- the face: what is chosen, and how far its loading is
function show() {
  const v = props.value ?? {},
    row = { ...v, kind: v.kind || "checkpoint" };
  asked = null;
  mark.replaceChildren(M.glyph(row.kind));
  name.textContent = v.name || "No checkpoint yet";
  facts.textContent = v.name ? M.factsOf(row) || "base unknown" : "put one into data/models/checkpoints";
  face.title = v.name ? `Checkpoint: ${v.name}` : "";
  face.setAttribute(
    "aria-label",
    v.name ? `Checkpoint: ${v.name}, ${facts.textContent}. Choose another.` : "Checkpoint",
  );
  refuse(v.refusal);
  const before = shared.checkpoint;
  shared.checkpoint = v.name || null;
  element.dataset.name = v.name ?? "";
  if (before !== shared.checkpoint) M.emit("checkpoint");
  showLoading();
}
function refuse(said) {
  refusal.hidden = !said?.text;
  if (refusal.hidden) return refusal.replaceChildren();
  refusal.replaceChildren(
    el("div", {}, el("strong", { text: said.text }), el("span", { text: said.hint ? " " + said.hint : "" })),
    M.button("x", "Close", () => refuse(null)),
  );
}
function showLoading() {
  const job = M.running(),
    step = job && state.progress.get(job.id),
    swap = shared.loading?.name === shared.checkpoint && SWAPS[shared.loading.state];
  const busy = asked || swap || (step?.phase === "loading" && job.params?.checkpoint === shared.checkpoint);
  track.hidden = !busy;
  face.setAttribute("aria-busy", Boolean(busy));
  if (props.value?.name) facts.textContent = swap || M.factsOf(props.value) || "base unknown";
  const words = !busy ? "" : asked ? `Choosing ${asked}` : `Loading ${shared.checkpoint}`;
  if (live.textContent !== words) live.textContent = words;
  element.dataset.loading = busy ? "1" : "";
}

// ---- choosing
function choose(row) {
  toggle(false);
  if (row.name === shared.checkpoint) return refuse(null);
  if (!state.connected) return refuse({ text: "The studio does not answer.", hint: "Is it still running?" });
  refuse(null);
  asked = row.name;
  showLoading();
  trigger("choose", { name: row.name });
}
async function fetchRows() {
  const mine = ++turn,
    query = new URLSearchParams({ kind: "checkpoint", q: search.value, sort: "used", limit: 60 });
  try {
    const found = (await M.call("GET", "models?" + query)).models;
    if (mine !== turn) return;
    rows = [...found.filter((r) => r.usable), ...found.filter((r) => !r.usable)];
    none.textContent = rows.length
      ? ""
      : search.value
        ? "No checkpoint has that in its name."
        : "There is no checkpoint yet.";
  } catch (error) {
    if (mine !== turn) return;
    rows = [];
    none.textContent = error.message;
  }
  at = Math.max(
    0,
    rows.findIndex((row) => row.name === shared.checkpoint),
  );
  showRows();
}
function showRows() {
  if (M.waits(list, showRows)) return;
  none.hidden = !none.textContent;
  list.replaceChildren(
    ...rows.map((row, index) =>
      el(
        "li",
        {
          role: "option",
          id: `checkpoint-${index}`,
          class: row.usable ? "" : "mq-unusable",
          title: row.usable ? row.name : row.reason,
          "aria-selected": row.name === shared.checkpoint,
          onclick: () => choose(row),
        },
        M.glyph(row.kind),
        el(
          "span",
          { class: "mq-chooser-text" },
          el("span", { class: "mq-chooser-name", text: row.name }),
          el("small", {
            class: "mq-mono",
            text: row.usable ? [M.factsOf(row), M.size(row.bytes)].filter(Boolean).join(" · ") : "cannot be used",
          }),
        ),
        row.favourite ? M.icon("star") : null,
        row.name === shared.checkpoint ? M.icon("check") : null,
      ),
    ),
  );
  point();
}
function point() {
  const options = [...list.children];
  options.forEach((option, index) => option.classList.toggle("mq-at", index === at));
  if (options[at]) {
    search.setAttribute("aria-activedescendant", options[at].id);
    options[at].scrollIntoView({ block: "nearest" });
  } else search.removeAttribute("aria-activedescendant");
}
search.addEventListener("keydown", (e) => {
  const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[e.key];
  if (by) {
    e.preventDefault();
    at = Math.min(rows.length - 1, Math.max(0, at + by));
    point();
  } else if (e.key === "Enter") {
    e.preventDefault();
    if (rows[at]) choose(rows[at]);
  }
});
const toggle = M.popover(element, face, popover, () => {
  search.value = "";
  refuse(null);
  search.focus();
  fetchRows();
});

M.on(element, "choose", choose);
M.on(element, "jobs", showLoading);
M.on(element, "loading", (e) => {
  if (e.state === "failed" && e.name === shared.checkpoint)
    refuse({ text: `${e.name} could not be loaded.`, hint: e.reason });
  showLoading();
});
M.on(element, "resident", showLoading);
M.on(element, "scan", (e) => {
  if (e.state === "done") trigger("look", {});
});
watch("value", show);
show();
element.dataset.ready = "1";
