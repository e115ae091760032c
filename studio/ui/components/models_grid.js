// Every model: searched, filtered, sorted and paged by the server. Only the rows near the view are in the DOM, and only
// the pages that are looked at are fetched, so that ten thousand models scroll like ten.
// M.emit("model-open", row) shows one in models_details.js, which says "model-changed" when it changed something.
const M = window.maquette,
  { el, button, shared } = M;
const root = element.querySelector(".mq-models-grid");
const PAGE = 60,
  TEXT = 68, // height of a card's lines under its tile
  GAP = 12;
const filters = { kind: "", base: "", sort: "name", usable: false, favourite: false };
let pages = new Map(),
  total = 0,
  known = false,
  turn = 0,
  columns = 1,
  at = 0,
  open = "",
  failure = "";

// ---- what may be asked for
const search = el("input", {
  type: "search",
  id: "models-search",
  placeholder: "Search models, tags and words",
  "aria-label": "Search models",
  oninput: () => {
    clearTimeout(search.wait);
    search.wait = setTimeout(reload, 150);
  },
});
const SORTS = { name: "By name", used: "Last used", added: "Newest", size: "Largest" };
const choice = (id, label, name) =>
  el("select", {
    id,
    class: "mq-select",
    "aria-label": label,
    onchange: (e) => {
      filters[name] = e.target.value;
      reload();
    },
  });
const base = choice("models-base", "Base model", "base"),
  sort = choice("models-sort", "Order", "sort");
sort.append(...Object.entries(SORTS).map(([value, text]) => el("option", { value, text })));
const toggle = (name, icon, label, caption) =>
  button(
    icon,
    label,
    (e) => {
      filters[name] = !filters[name];
      e.currentTarget.setAttribute("aria-pressed", filters[name]);
      reload();
    },
    { caption, id: `models-${name}`, "aria-pressed": "false" },
  );
const again = button("repeat", "Look through the folders again", look, {
  caption: "Look again",
  id: "models-scan",
  hidden: true,
});
const kinds = el("div", { class: "mq-kinds", role: "group", "aria-label": "Kind" });
const scanWords = el("span"),
  scanFill = el("div", { class: "mq-bar-fill" });
const scan = el(
  "div",
  { class: "mq-scan", role: "status", hidden: true },
  scanWords,
  el("div", { class: "mq-bar", "aria-hidden": "true" }, scanFill),
);
const found = el("p", { class: "mq-sr", role: "status" });
const grid = el("div", { class: "mq-models", role: "list", "aria-label": "Models" }),
  none = el("div", { class: "mq-none", hidden: true });
root.append(
  el(
    "div",
    { class: "mq-models-bar" },
    el("label", { class: "mq-search" }, M.icon("search"), search),
    base,
    sort,
    toggle("usable", "check", "Only models that can be used", "Usable"),
    toggle("favourite", "star", "Only models with a star", "Starred"),
    again,
  ),
  kinds,
  scan,
  found,
  none,
  grid,
);

// ---- fetching: pages by number, each once; an answer to an older question is thrown away
async function fetchPage(number) {
  const mine = turn;
  if (!pages.get(number)) pages.set(number, null);
  const query = new URLSearchParams({ q: search.value.trim(), sort: filters.sort, offset: number * PAGE, limit: PAGE });
  for (const name of ["kind", "base"]) if (filters[name]) query.set(name, filters[name]);
  for (const name of ["usable", "favourite"]) if (filters[name]) query.set(name, "true");
  if (shared.checkpoint) query.set("checkpoint", shared.checkpoint); // rows say whether they fit it
  try {
    const answer = await M.call("GET", "models?" + query);
    if (mine !== turn) return;
    failure = "";
    pages.set(number, answer.models);
    total = answer.total;
    known = true;
    if (number === 0) showCounts(answer.counts);
  } catch (error) {
    if (mine !== turn) return;
    pages.delete(number);
    failure = error.message;
  }
  layout();
}
function reload() {
  turn++;
  pages = new Map();
  known = false;
  failure = "";
  at = 0;
  grid.dataset.stale = "1"; // what was there stays until the answer comes: no flicker while typing
  fetchPage(0);
}
function renew() {
  turn++; // the same rows, which another checkpoint may suit or not
  for (const number of pages.keys()) fetchPage(number);
}
const rowAt = (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE];
function eachRow(change) {
  for (const [number, rows] of pages) if (rows) pages.set(number, rows.map(change));
}

// ---- counts, as buttons and choices
function showCounts(counts) {
  if (M.waits(kinds, () => showCounts(counts))) return;
  const order = Object.entries(counts.kind ?? {}).sort((a, b) => M.kinds.indexOf(a[0]) - M.kinds.indexOf(b[0]));
  const kindButton = (kind, text, count) =>
    el(
      "button",
      {
        type: "button",
        class: "mq-kind",
        "aria-pressed": filters.kind === kind,
        "data-kind": kind,
        onclick: () => {
          filters.kind = kind;
          reload();
          [...kinds.children].forEach((b) => b.setAttribute("aria-pressed", b.dataset.kind === kind));
        },
      },
      kind ? M.glyph(kind) : null,
      el("span", { text }),
      el("span", { class: "mq-mono", text: count === null ? "" : M.number(count) }),
    );
  if (filters.kind && !order.some(([kind]) => kind === filters.kind)) order.push([filters.kind, 0]);
  const held = kinds.contains(document.activeElement) ? document.activeElement.dataset.kind : null;
  const all = order.reduce((sum, [, count]) => sum + count, 0);
  kinds.replaceChildren(
    kindButton("", "All", all),
    ...order.map(([kind, count]) => kindButton(kind, M.kindsWord(kind), count)),
  );
  if (held !== null) [...kinds.children].find((b) => b.dataset.kind === held)?.focus();
  const bases = Object.entries(counts.base ?? {}).sort((a, b) => b[1] - a[1]);
  if (filters.base && !bases.some(([name]) => name === filters.base)) bases.push([filters.base, 0]);
  base.replaceChildren(
    el("option", { value: "", text: "Every base model" }),
    ...bases.map(([name, count]) => el("option", { value: name, text: `${M.baseWord(name)} (${M.number(count)})` })),
  );
  base.value = filters.base;
}

// ---- showing: only the rows near the view are in the DOM
function layout() {
  if (M.waits(grid, layout)) return;
  const width = grid.clientWidth;
  if (!width) return;
  columns = Math.max(2, Math.floor((width + GAP) / (176 + GAP)));
  const side = (width - GAP * (columns - 1)) / columns,
    pitch = side + TEXT + GAP,
    rows = Math.ceil(total / columns),
    top = -grid.getBoundingClientRect().top,
    first = Math.max(0, Math.floor(top / pitch) - 2),
    last = Math.min(rows, Math.ceil((top + innerHeight) / pitch) + 2);
  if (known) {
    const kept = new Map([...grid.children].map((node) => [node.dataset.state, node])),
      wanted = [];
    for (let index = first * columns; index < Math.min(total, last * columns); index++) wanted.push(card(index, kept));
    delete grid.dataset.stale;
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    grid.style.paddingTop = first * pitch + "px";
    grid.style.paddingBottom = Math.max(0, rows - last) * pitch + "px";
    const focused = grid.contains(document.activeElement)
      ? document.activeElement.closest(".mq-model")?.dataset.index
      : null;
    grid.replaceChildren(...wanted);
    if (focused && !grid.contains(document.activeElement)) cardAt(focused)?.focus({ preventScroll: true });
    element.dataset.count = total;
    element.dataset.cards = wanted.length;
    const words = `${M.number(total)} ${total === 1 ? "model" : "models"}`;
    if (found.textContent !== words) found.textContent = words;
    clearTimeout(layout.wait);
    layout.wait = setTimeout(() => ask(first * columns, last * columns), 60); // not for what is only flown over
  }
  showNone();
}
function ask(from, to) {
  for (let number = Math.floor(from / PAGE); number * PAGE < Math.min(to, total); number++)
    if (!pages.has(number)) fetchPage(number);
}
function showNone() {
  none.hidden = !failure && (total > 0 || !known);
  if (none.hidden) return;
  const narrowed = search.value.trim() || Object.entries(filters).some(([name, value]) => name !== "sort" && value);
  none.replaceChildren(
    el("strong", { text: failure ? "The models cannot be listed" : narrowed ? "Nothing found" : "No models yet" }),
    el("span", {
      text: failure
        ? failure
        : narrowed
          ? "Try a shorter word, or fewer filters."
          : "Put model files into data/models, or start with --models-from and the folder where yours lie.",
    }),
    failure || narrowed
      ? el("button", {
          type: "button",
          class: "mq-plain",
          text: failure ? "Try again" : "Show all",
          onclick: failure ? reload : showAll,
        })
      : null,
  );
}
function showAll() {
  search.value = "";
  Object.assign(filters, { kind: "", base: "", usable: false, favourite: false });
  for (const name of ["usable", "favourite"])
    root.querySelector(`#models-${name}`).setAttribute("aria-pressed", "false");
  reload();
}
function card(index, kept) {
  const row = rowAt(index);
  const key = row
    ? [
        index,
        row.key,
        row.favourite,
        row.usable,
        row.fits,
        row.kind,
        row.base,
        row.old,
        row.name === shared.checkpoint,
        row.key === open,
      ].join()
    : `${index} empty`;
  const node =
    kept.get(key) ?? (row ? made(row, index) : el("div", { class: "mq-model mq-waiting", "aria-hidden": "true" }));
  node.dataset.state = key;
  node.dataset.index = index;
  node.querySelector(".mq-model-open")?.setAttribute("tabindex", index === at ? 0 : -1);
  return node;
}
function made(row, index) {
  const chosen = M.isCheckpoint(row) && row.name === shared.checkpoint;
  const madeFor = M.baseOf(row) ? `made for ${M.baseOf(row)}, which ${shared.checkpoint} is not` : `not made for ${shared.checkpoint}`;
  const chosenBase = row.fits === false ? madeFor : "";
  const cannot = !row.usable && (/ yet\b/.test(row.reason) ? "Not used yet" : "Cannot be used");
  const said = [M.kindWord(row.kind), M.factsOf(row), cannot && cannot.toLowerCase(), chosenBase];
  return el(
    "div",
    {
      class: `mq-model${row.usable ? "" : " mq-unusable"}`,
      role: "listitem",
      "data-key": row.key,
      "aria-setsize": total,
      "aria-posinset": index + 1,
    },
    el(
      "button",
      {
        type: "button",
        class: "mq-model-open",
        title: [row.name, row.usable ? M.capital(chosenBase) : row.reason].filter(Boolean).join("\n"),
        "aria-label": [row.name, ...said].filter(Boolean).join(", "),
        "aria-current": row.key === open ? "true" : undefined,
        onclick: () => show(row, index),
      },
      el(
        "span",
        { class: "mq-model-picture" },
        M.preview(row),
        row.has_preview ? M.glyph(row.kind, { class: "mq-icon mq-model-kind" }) : null,
        chosen ? el("span", { class: "mq-model-badge", text: "In use" }) : null,
        cannot ? el("span", { class: "mq-model-badge mq-cannot", text: cannot }) : null,
        chosenBase ? el("span", { class: "mq-model-badge mq-cannot mq-misfit", text: "Does not fit" }) : null,
      ),
      el("span", { class: "mq-model-name", text: row.name }),
      el("span", {
        class: "mq-model-facts",
        text: [row.kind === "unknown" ? "Not recognised" : M.capital(M.kindWord(row.kind)), row.has_preview && M.baseOf(row), M.size(row.bytes), row.old && "being looked at again"]
          .filter(Boolean)
          .join(" · "),
      }),
    ),
    M.owner()
      ? button("star", row.favourite ? "Take the star off" : "Star", () => star(row), {
          class: "mq-button mq-tile-star",
          tabindex: -1,
          "aria-pressed": Boolean(row.favourite),
        })
      : null,
  );
}

// ---- doing
function show(row, index) {
  at = index;
  M.emit("model-open", row);
}
async function star(row) {
  try {
    M.emit("model-changed", { ...row, ...(await M.call("PATCH", `models/${row.key}`, { favourite: !row.favourite })) });
  } catch (error) {
    M.say(error.message);
  }
}
async function look() {
  again.disabled = true;
  try {
    await M.call("POST", "models/scan");
  } catch (error) {
    M.say(error.message);
    again.disabled = false;
  }
}
function showScan() {
  const s = shared.scan,
    going = s?.state === "running";
  scan.hidden = !going;
  again.disabled = going;
  for (const id of ["scan", "usable", "favourite"]) root.querySelector(`#models-${id}`).hidden = !M.owner(); // guests see usable ones only
  if (!going) return;
  scanWords.textContent =
    s.total > 0
      ? `Looking through your folders: ${M.number(s.done)} of ${M.number(s.total)}`
      : "Looking through your folders";
  scanFill.parentElement.classList.toggle("mq-unknown", !(s.total > 0));
  scanFill.style.width = s.total > 0 ? `${(100 * s.done) / s.total}%` : "";
}

// ---- the keyboard: one card is reached by Tab, the arrows go on from there
const cardAt = (index) => grid.querySelector(`.mq-model[data-index="${index}"] .mq-model-open`);
grid.addEventListener("keydown", (e) => {
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -total, End: total }[e.key];
  if (!by || e.ctrlKey || e.metaKey || e.altKey) return;
  e.preventDefault();
  const jump = Math.abs(by) === columns && (at + by < 0 || at + by >= total) ? 0 : by;
  go(Math.min(total - 1, Math.max(0, at + jump)));
});
function go(index) {
  at = index;
  const pitch = (grid.clientWidth - GAP * (columns - 1)) / columns + TEXT + GAP,
    top = grid.getBoundingClientRect().top + Math.floor(index / columns) * pitch;
  if (top < 8) scrollBy(0, top - 8);
  else if (top + pitch > innerHeight) scrollBy(0, top + pitch - innerHeight);
  layout();
  cardAt(index)?.focus({ preventScroll: true });
}

// ---- what others say
M.whileSeen(element, grid, layout);
M.on(element, "checkpoint", renew);
M.on(element, "user", reload);
M.on(element, "model-changed", (row) => {
  eachRow((old) => (old.key === row.key ? { ...old, ...row } : old));
  layout();
});
M.on(element, "model-shown", (key) => {
  open = key;
  layout();
});
M.on(element, "model-step", (by) => {
  const row = rowAt(at + by);
  if (!row) return;
  go(at + by);
  M.emit("model-open", row);
});
M.on(element, "model-focus", () => cardAt(at)?.focus());
M.on(element, "scan", (e) => {
  showScan();
  if (e.state === "done") reload();
});
M.on(element, "user", showScan);
M.on(element, "downloads", (e) => e.state === "done" && reload());
showScan();
reload();
element.dataset.ready = "1";
element.closest("#models")?.setAttribute("data-ready", "1");
