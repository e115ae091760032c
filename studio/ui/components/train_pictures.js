// The pictures to learn from: dropped or chosen, each with its caption under it and what the doctor says of it.
const M = window.maquette,
  T = window.maquetteTrain,
  F = window.maquetteTrainFiles,
  { el, button } = M;
const root = element.querySelector(".mq-train-pictures");
const ACCEPT = "image/*,.zip,.txt";
const DO = [
  ["prefix", "Put before each", "a photo of"],
  ["suffix", "Put after each", "on a table"],
  ["replace", "Replace", "the words to replace"],
  ["remove", "Take out", "the words to take out"],
  ["fill", "Fill in where empty", "a photo of {trigger} {class}"],
];
// what spoils a result; the rest is good to know
const GRAVE = ["corrupt", "identical", "duplicates", "near-duplicates", "blurred", "tiny"];
const url = (what, file) => `./api/v1/datasets/${T.at(T.state.draft.dataset)}/${what}/${T.at(file)}`;
const path = (...parts) => `datasets/${T.at(T.state.draft.dataset, ...parts)}`;
let stamp = Date.now(), // new masks have new thumbs
  cards = new Map(),
  shownSet = "";

// ---- the parts
const file = (attrs) =>
  el("input", {
    type: "file",
    multiple: true,
    hidden: true,
    onchange: (e) => {
      const { files, name } = F.chosen([...e.target.files]);
      take(files, name);
      e.target.value = "";
    },
    ...attrs,
  });
const files = file({ accept: ACCEPT, id: "train-files" }),
  folder = file({ webkitdirectory: true, id: "train-folder" });
const sets = el("select", { class: "mq-select", id: "train-sets", "aria-label": "Set of pictures", onchange: () => T.choose(sets.value) });
const count = el("span", { class: "mq-sr", role: "status" }); // the list of sets shows it, too
const forget = button("trash", "Delete this set of pictures", removeSet, { id: "train-set-delete" });
const add = button("plus", "Add pictures, a zip or captions (.txt)", () => files.click(), { caption: "Add" }),
  addFolder = button("upload", "Add a whole folder", () => folder.click(), { caption: "Folder" });
const head = el("header", { class: "mq-train-head" }, el("h2", { text: "Pictures" }), sets, count, el("span", { class: "mq-train-hands" }, add, addFolder, forget));
const doing = el("span", { role: "status" }),
  halt = el("button", { type: "button", class: "mq-link", id: "train-caption-stop", text: "Stop", hidden: true, onclick: stopCaptions }),
  busy = el("p", { class: "mq-hint mq-train-busy", hidden: true }, doing, halt);
const reading = el("p", { class: "mq-hint", role: "status", text: "Looking through the pictures…", hidden: true });
const notice = el("div", { class: "mq-notice", role: "alert", hidden: true });
const empty = el(
  "div",
  { class: "mq-train-drop" },
  M.icon("photo"),
  el("strong", { text: "Drop pictures here" }),
  el("span", { text: "Five of the same thing, from different sides and places, are a good start. A folder or a zip will do, too." }),
  el(
    "span",
    { class: "mq-train-choose" },
    el("button", { type: "button", class: "mq-strong", id: "train-choose", text: "Choose pictures", onclick: () => files.click() }),
    el("button", { type: "button", class: "mq-plain", text: "Choose a folder", onclick: () => folder.click() }),
  ),
);
const remarks = el("ul", { class: "mq-train-remarks", "aria-label": "What the doctor says" });
const grid = el("div", { class: "mq-train-grid", role: "list", "aria-label": "Pictures to learn from" });

// ---- captions of all at once
const how = el("select", { class: "mq-select", "aria-label": "What to do with all captions", onchange: shape }, ...DO.map(([value, text]) => el("option", { value, text })));
const what = el("input", { type: "text", class: "mq-input", id: "train-bulk-text", "aria-label": "Words" });
const by = el("input", { type: "text", class: "mq-input", id: "train-bulk-with", "aria-label": "By", placeholder: "the words instead" });
const bulk = el(
  "details",
  { class: "mq-get mq-train-bulk" },
  el("summary", {}, el("span", { text: "All captions at once" })),
  el(
    "form",
    { class: "mq-train-bulk-line", onsubmit: applyBulk },
    how,
    what,
    by,
    el("button", { type: "submit", class: "mq-plain", text: "Apply" }),
    button("eye", "Let the annotator write a caption for each picture that has none", caption, { caption: "Write them for me", id: "train-caption", "data-caption": "" }),
  ),
);
function shape() {
  what.placeholder = DO.find(([value]) => value === how.value)[2];
  by.hidden = how.value !== "replace";
}
root.append(head, busy, reading, notice, empty, remarks, bulk, grid, files, folder);
shape();

// ---- files come in
async function take(list, name) {
  const wanted = list.filter((one) => one.size);
  if (!wanted.length) return refuse("There is no picture in that: drop PNG, JPEG or WebP files, a folder or a zip.");
  refuse("");
  busy.hidden = false;
  root.setAttribute("aria-busy", "true");
  try {
    const skipped = await F.send(wanted, name, (text) => (doing.textContent = text));
    if (skipped.length) refuse(left(skipped, "is left out"), true);
  } catch (error) {
    refuse(error.message);
  }
  busy.hidden = true;
  root.removeAttribute("aria-busy");
  await T.both();
}
const left = (skipped, words) =>
  skipped
    .slice(0, 4)
    .map((one) => `${one.name} ${words}: ${one.reason}`)
    .concat(skipped.length > 4 ? [`${skipped.length - 4} others, too.`] : [])
    .join(" ");
function refuse(text, quiet = false) {
  notice.hidden = !text;
  notice.textContent = text;
  notice.classList.toggle("mq-quiet", quiet);
}
let over = 0;
const lift = (by) => {
  over = Math.max(0, by ? over + by : 0);
  root.classList.toggle("mq-over", over > 0);
};
root.addEventListener("dragenter", () => lift(1));
root.addEventListener("dragleave", () => lift(-1));
root.addEventListener("dragover", (e) => e.preventDefault());
root.addEventListener("drop", async (e) => {
  e.preventDefault();
  lift(0);
  const { files: found, name } = await F.dropped(e.dataTransfer);
  take(found, name);
});
root.addEventListener("paste", (e) => {
  const found = [...e.clipboardData.files];
  if (found.length) take(found, "");
});

// ---- one picture
function card(row) {
  const image = el("img", { src: `./${row.thumb}?${stamp}`, alt: row.file, loading: "lazy", draggable: "false" });
  const text = el("textarea", {
    class: "mq-input",
    rows: 2,
    spellcheck: "true",
    maxlength: 2000,
    placeholder: "No caption",
    "aria-label": `Caption of ${row.file}`,
    oninput: () => later(row.file, text.value),
    onblur: () => write(),
  });
  const mask = button("brush", `Paint what counts in ${row.file}`, () => paint(row.file)),
    off = button("x", `Take ${row.file} out`, () => remove(row.file));
  const badge = el("span", { class: "mq-train-badge", text: "masked" });
  const trouble = el("ul", { class: "mq-train-trouble" });
  const node = el(
    "div",
    { class: "mq-train-card", role: "listitem", "data-file": row.file },
    el("div", { class: "mq-train-picture" }, image, badge, el("span", { class: "mq-train-over" }, mask, off)),
    text,
    trouble,
  );
  return { node, text, image, badge, trouble };
}
function fill(part, row) {
  if (document.activeElement !== part.text && !unsaved.has(row.file) && part.text.value !== (row.caption ?? "")) part.text.value = row.caption ?? "";
  part.badge.hidden = !row.mask;
  part.image.title = `${row.file} · ${row.width} × ${row.height}`;
  const said = row.trouble.filter((one) => one.kind !== "unlabelled"), // its empty caption says that
    grave = (one) => GRAVE.includes(one.kind);
  part.trouble.replaceChildren(...said.map((one) => el("li", { "data-grave": grave(one) ? "" : undefined, text: one.text })));
  part.node.toggleAttribute("data-trouble", said.some(grave));
}

// ---- captions
const unsaved = new Map();
let writing = 0;
function later(name, text) {
  unsaved.set(name, text);
  clearTimeout(writing);
  writing = setTimeout(write, 700);
}
async function write() {
  clearTimeout(writing);
  if (!unsaved.size) return;
  const now = new Map(unsaved);
  try {
    await M.call("PUT", path("captions"), Object.fromEntries(now), { keepalive: true });
    for (const [name, text] of now) if (unsaved.get(name) === text) unsaved.delete(name);
    for (const row of T.pictures()) if (now.has(row.file)) row.caption = now.get(row.file);
    if (!unsaved.size) await T.readSet();
  } catch (error) {
    refuse(error.message);
  }
}
addEventListener("pagehide", write);
// work(): answers with what the captions were before
async function changed(work, told) {
  await write();
  const put = (before) => M.call("PUT", path("captions"), before);
  refuse("");
  try {
    const { previous } = await work();
    await T.readSet();
    const count = Object.keys(previous).length;
    if (!count) return M.say("No caption is another by that.");
    M.say(told(count), () => put(previous).then(T.readSet, (error) => refuse(error.message)));
  } catch (error) {
    refuse(error.message);
  }
}
const many = (count) => (count === 1 ? "One caption is" : `${M.number(count)} captions are`);
function applyBulk(e) {
  e.preventDefault();
  if (!what.value) return what.focus();
  changed(
    () => M.call("POST", path("captions", "bulk"), { do: how.value, text: what.value, with: by.value }),
    (count) => `${many(count)} changed.`,
  );
}
async function caption() {
  captioning("Looking at the pictures to describe them");
  await changed(
    async () => {
      const { captions, skipped } = await M.call("POST", path("caption"));
      if (skipped.length) refuse(left(skipped, "no caption was found"), true);
      return { previous: Object.fromEntries(Object.keys(captions).map((name) => [name, ""])) };
    },
    (count) => `${many(count)} written. Look them over: they decide what is learned.`,
  );
  captioning("");
}
function captioning(text) {
  busy.hidden = halt.hidden = !text;
  doing.textContent = text;
  for (const ask of root.querySelectorAll("[data-caption]")) ask.disabled = Boolean(text);
}
async function stopCaptions() {
  halt.hidden = true;
  try {
    await M.call("DELETE", path("caption"));
  } catch (error) {
    refuse(error.message);
  }
}
// captions as they are made, also those that were asked for before a reload
M.on(element, "jobs", (e) => {
  if (e?.type !== "dataset" || e.name !== T.state.draft.dataset) return;
  if (e.state === "done") {
    captioning("");
    T.readSet();
  }
  if (e.state !== "captioning") return;
  captioning(`Describing the pictures: ${e.done} of ${e.total}`);
  const row = T.pictures().find((one) => one.file === e.file);
  if (!row || !e.caption) return;
  row.caption = e.caption;
  fill(cards.get(e.file), row);
});

// ---- masks, and what goes
function paint(name) {
  const row = T.pictures().find((one) => one.file === name);
  window.maquetteMask.open({
    picture: url("files", name),
    mask: row.mask ? `${url("masks", name)}?${Date.now()}` : "",
    title: name,
    hint: "Paint over what is to be learned. The rest counts less or not at all; without paint, all counts.",
    host: element,
    save: async (png) => {
      await M.call(png ? "PUT" : "DELETE", path("masks", name), png ?? undefined);
      stamp = Date.now();
      cards.get(name)?.image.setAttribute("src", `./${row.thumb}?${stamp}`);
      await T.readSet();
    },
  });
}
async function remove(name) {
  await write();
  const set = T.state.draft.dataset;
  try {
    const gone = await M.call("DELETE", path("files", name));
    await T.both();
    M.say(`${name} is out.`, () => back(gone.undo, set));
  } catch (error) {
    refuse(error.message);
  }
}
async function removeSet() {
  await write();
  const set = T.state.draft.dataset;
  try {
    const gone = await M.call("DELETE", path());
    await T.choose("");
    await T.both();
    M.say(`${set} is in the trash.`, () => back(gone.undo, set));
  } catch (error) {
    refuse(error.message);
  }
}
async function back(undo, set) {
  try {
    await M.call("POST", "datasets/restore", { undo });
    await T.choose(set);
    await T.both();
  } catch (error) {
    refuse(error.message);
  }
}

// ---- what is seen
function show() {
  const { set, draft } = T.state,
    rows = T.pictures();
  if (shownSet !== draft.dataset) {
    cards = new Map();
    unsaved.clear();
    shownSet = draft.dataset;
    grid.replaceChildren();
    if (!root.hasAttribute("aria-busy")) captioning("");
    refuse("");
  }
  for (const name of cards.keys())
    if (!rows.some((row) => row.file === name)) {
      cards.get(name).node.remove();
      cards.delete(name);
    }
  for (const row of rows) {
    if (!cards.has(row.file)) cards.set(row.file, card(row));
    fill(cards.get(row.file), row);
  }
  const nodes = rows.map((row) => cards.get(row.file).node);
  nodes.forEach((node, i) => grid.children[i] !== node && grid.insertBefore(node, grid.children[i] ?? null));
  const some = rows.length > 0;
  reading.hidden = !draft.dataset || set?.name === draft.dataset || !busy.hidden;
  empty.hidden = some || !reading.hidden;
  bulk.hidden = grid.hidden = add.hidden = addFolder.hidden = !some;
  forget.hidden = !set;
  count.textContent = some ? `${M.number(rows.length)} ${rows.length === 1 ? "picture" : "pictures"}` : "";
  doctor((some && set.doctor) || []);
}
// remarks on the whole set; what concerns some pictures is a button that leads to the first of them
function doctor(said) {
  remarks.hidden = !said.length;
  M.redraw(remarks, () =>
    said.map((one) =>
      el(
        "li",
        { "data-kind": one.kind },
        one.files?.length && one.files.length < T.pictures().length
          ? el("button", { type: "button", class: "mq-train-remark", text: one.text, title: "Show the pictures concerned", onclick: () => point(one.files) })
          : el("span", { text: one.text }),
        one.kind === "unlabelled" ? el("button", { type: "button", class: "mq-link", "data-caption": "", disabled: !halt.hidden, text: "Write them for me", onclick: caption }) : "",
      ),
    ),
  );
}
function point(names) {
  for (const [name, part] of cards) part.node.toggleAttribute("data-pointed", names.includes(name));
  cards.get(names[0])?.node.scrollIntoView({ block: "center", behavior: "smooth" });
  setTimeout(() => cards.forEach((part) => part.node.removeAttribute("data-pointed")), 4000);
}
function offer() {
  const { draft } = T.state,
    all = T.state.sets;
  sets.replaceChildren(
    el("option", { value: "", text: "A new set" }),
    ...all.map((row) => el("option", { value: row.name, text: `${row.name} (${row.pictures})` })),
    draft.dataset && !all.some((row) => row.name === draft.dataset) ? el("option", { value: draft.dataset, text: draft.dataset }) : "",
  );
  sets.value = draft.dataset;
  sets.hidden = !all.length && !draft.dataset;
}
M.on(element, "train", (what) => {
  if (what === "set" || what === "draft") show();
  if (what === "sets" || what === "draft") offer();
});
show();
offer();
T.begin();
element.dataset.ready = "1";
