// One model in full: what it is and how we know, what to do with it, notes and tags that save themselves.
// value = {control_kinds: [...]}. Event "act" {what: "folder", key}: only the server can open a folder.
// On a wide page it stands beside the grid, on a narrow one it covers the page.
const M = window.maquette,
  { el, button, shared } = M;
const root = element.querySelector(".mq-models-details");
const panel = el("section", { class: "mq-details", "aria-label": "Model" });
const cover = el("dialog", { class: "mq-details-cover", "aria-label": "Model" });
root.append(cover);
const narrow = matchMedia("(max-width: 900px)");
const SINGLE = /\.(safetensors|ckpt|pt|pth|bin)$/i; // a folder has no hash of its own
let row = null,
  correcting = false,
  body = null;

// ---- opening and closing
const renew = () => row && show();
async function open(chosen) {
  if (row?.key !== chosen.key) correcting = false;
  await save();
  row = chosen;
  place();
  show();
  M.emit("model-shown", row.key);
  try {
    const query = shared.checkpoint ? "?" + new URLSearchParams({ checkpoint: shared.checkpoint }) : "";
    const full = await M.call("GET", `models/${chosen.key}${query}`);
    if (row?.key !== chosen.key) return;
    row = { ...row, misfit: "", ...full, full: true };
    if (!M.waits(panel, renew)) renew();
  } catch (error) {
    if (row?.key === chosen.key) body?.append(el("p", { class: "mq-notice", role: "alert", text: error.message }));
  }
}
function place() {
  element.dataset.open = "1";
  document.getElementById("models-pane")?.classList.toggle("mq-with-details", !narrow.matches);
  if (narrow.matches) {
    cover.append(panel);
    if (!cover.open) cover.showModal();
  } else {
    if (cover.open) cover.close("moved");
    root.append(panel);
  }
}
async function close() {
  await save();
  row = null;
  if (cover.open) cover.close("moved");
  panel.remove();
  delete element.dataset.open;
  document.getElementById("models-pane")?.classList.remove("mq-with-details");
  M.emit("model-shown", "");
  M.emit("model-focus");
}
cover.addEventListener("cancel", (e) => {
  e.preventDefault();
  close();
});
panel.addEventListener("keydown", (e) => {
  if (e.key !== "Escape" || cover.open) return;
  e.preventDefault();
  close();
});
narrow.addEventListener("change", () => row && element.isConnected && place());

// ---- what it is, in words
function sentence() {
  const base = M.baseOf(row) && ` for ${M.baseOf(row)}`;
  const variant = { inpaint: "inpainting ", depth: "depth ", edit: "editing " }[row.variant] ?? "";
  const control = row.control_kind ? `${row.control_kind} ` : "";
  return `${M.capital(`${variant}${control}${M.kindWord(row.kind)}${base}.`)}`;
}
const day = (seconds) =>
  seconds ? new Date(seconds * 1000).toLocaleDateString(undefined, { dateStyle: "medium" }) : "";
function facts() {
  const hash = row.sha256
    ? el(
        "span",
        { class: "mq-with-button" },
        el("span", { class: "mq-hash", text: row.sha256, title: row.sha256 }),
        button("copy", "Copy the hash", () => M.copy(row.sha256)),
      )
    : SINGLE.test(row.path ?? "") && "not known yet: the file is read when it is first used";
  const rows = [
    [
      "How we know",
      row.corrected?.length
        ? `You corrected the ${row.corrected.map((name) => name.replace("_", " ")).join(" and the ")}. ${row.evidence}`
        : row.evidence,
      "mq-plain-text",
    ],
    ["Architecture", row.kind === "upscaler" && row.family],
    ["Enlarges", row.scale > 0 && (row.scale === 1 ? "not: it repairs" : `${row.scale} times`)],
    ["Channels", row.channels?.length === 2 && `${row.channels[0]} in, ${row.channels[1]} out`],
    ["Precision", row.precision !== "unknown" && row.precision],
    ["Predicts", M.isCheckpoint(row) && M.predictionWord(row.prediction_type)],
    ["Stored as", row.format],
    ["Size", row.bytes && `${M.size(row.bytes)}${row.tensors ? `, ${M.number(row.tensors)} tensors` : ""}`],
    ["Last used", row.last_used !== undefined && (day(row.last_used) || "not yet")],
    ["Hash", hash],
    ["Short hash", row.short_hash],
    ["Lies in", row.path, "mq-path"],
  ];
  return el(
    "dl",
    { class: "mq-large-facts" },
    ...rows
      .filter(([, value]) => value)
      .flatMap(([name, value, look]) => [el("dt", { text: name }), el("dd", { class: look ?? "" }, value)]),
  );
}

// ---- the parts
function show() {
  for (const [name, value] of typed) row[name] = value; // what was typed since stays
  const title = el("h2", { text: row.name, tabindex: -1 });
  body = el(
    "div",
    { class: "mq-details-body" },
    title,
    el("p", { class: "mq-details-what", text: sentence() }),
    unusable(),
    undrawn(),
    actions(),
    row.description ? el("p", { class: "mq-details-about", text: row.description }) : null,
    words(),
    facts(),
    twins(),
    ...(M.owner() && row.full ? [correct(), own()] : []), // before that, what is written there is not known
  );
  const held = panel.contains(document.activeElement) ? document.activeElement.id || "close" : null;
  panel.replaceChildren(
    el(
      "div",
      { class: "mq-details-top" },
      button("left", "The one before", () => M.emit("model-step", -1)),
      button("right", "The next one", () => M.emit("model-step", 1)),
      M.owner()
        ? button("star", row.favourite ? "Take the star off" : "Star", () => change({ favourite: !row.favourite }), {
            id: "model-star",
            "aria-pressed": Boolean(row.favourite),
          })
        : null,
      button("x", "Close", close, { id: "model-close" }),
    ),
    el("div", { class: "mq-details-picture" }, M.preview(row, true)),
    body,
  );
  const focus = held && held !== "close" ? document.getElementById(held) : panel.querySelector("#model-close");
  if (held || cover.open) focus?.focus({ preventScroll: true });
  element.dataset.key = row.key;
  element.dataset.full = row.full ? "1" : "";
}
function unusable() {
  if (row.usable) return row.misfit ? misfit() : null;
  return el(
    "div",
    { class: "mq-notice mq-why", role: "note" },
    el(
      "div",
      {},
      el("strong", { text: "Why can't I use this?" }),
      el("p", { text: row.reason }),
      row.misfit ? el("p", { id: "model-misfit", text: row.misfit }) : null,
      row.way_out ? el("p", { text: row.way_out }) : null,
    ),
  );
}
function undrawn() {
  const kinds = props.value?.control_kinds ?? [];
  if (row.kind !== "controlnet" || !row.usable || kinds.includes(row.control_kind)) return null;
  const way = "python launch.py generate --control scribble=MAP.png,model=" + row.name;
  return el(
    "p",
    { class: "mq-hint", id: "model-undrawn" },
    "The canvas draws no maps for it yet. A finished map works from the command line: ",
    el("code", { text: way }),
  );
}
function misfit() {
  return el(
    "div",
    { class: "mq-notice mq-why", role: "note", id: "model-misfit" },
    el(
      "div",
      {},
      el("strong", { text: `Not with ${shared.checkpoint}` }),
      el("p", { text: row.misfit }),
    ),
  );
}
function actions() {
  const chosen = M.isCheckpoint(row) && row.name === shared.checkpoint;
  const parts = [];
  if (M.isCheckpoint(row) && row.usable)
    parts.push(
      chosen
        ? el("button", {
            type: "button",
            class: "mq-plain",
            id: "model-use",
            text: "Make a picture with it",
            onclick: create,
          })
        : el("button", {
            type: "button",
            class: "mq-strong",
            id: "model-use",
            text: "Use this checkpoint",
            onclick: () => M.emit("choose", row),
          }),
    );
  if (chosen) parts.push(el("span", { class: "mq-in-use" }, M.icon("check"), el("span", { text: "In use" })));
  if (row.path && M.owner())
    parts.push(
      button("send", "Show the file in its folder", () => trigger("act", { what: "folder", key: row.key }), {
        caption: "Open folder",
        id: "model-folder",
      }),
    );
  return parts.length ? el("div", { class: "mq-details-actions" }, ...parts) : null;
}
function create() {
  const wait = cover.open ? close() : Promise.resolve();
  wait.then(() => M.section("Create"));
}
function words() {
  if (!row.trigger_words?.length) return null;
  return el(
    "div",
    {},
    el("h3", { text: "Trigger words" }),
    el(
      "p",
      { class: "mq-chips" },
      ...row.trigger_words.map((word) =>
        el("button", {
          type: "button",
          text: word,
          title: "Put into the prompt",
          onclick: () => {
            M.insertWord(word);
            M.say(`"${word}" stands in the prompt now.`);
          },
        }),
      ),
      button("copy", "Copy the trigger words", () => M.copy(row.trigger_words.join(", "))),
    ),
  );
}
function twins() {
  if (!row.duplicates?.length) return null;
  return el(
    "div",
    {},
    el("h3", { text: row.duplicates.length === 1 ? "The same file lies here, too" : "The same file lies here, too:" }),
    el("ul", { class: "mq-twins" }, ...row.duplicates.map((twin) => el("li", { class: "mq-path", text: twin }))),
  );
}

function correct() {
  const details = M.correction(row, props.value?.control_kinds ?? [], (changes) => {
    correcting = false;
    change(changes, "Corrected.");
  });
  details.open = correcting;
  details.addEventListener("toggle", () => (correcting = details.open));
  return details;
}

// ---- tags, words and notes: saved a moment after the last key, and before anything else is shown
const typed = new Map();
const COMMAS = (text) => [
  ...new Set(
    text
      .split(",")
      .map((part) => part.trim())
      .filter(Boolean),
  ),
];
function own() {
  const said = el("small", { class: "mq-hint", role: "status", id: "model-saved" });
  const keep = (name, read) => (e) => {
    typed.set(name, read(e.target.value));
    said.textContent = "";
    clearTimeout(own.wait);
    own.wait = setTimeout(save, 700);
  };
  const line = (name, label, placeholder) =>
    el(
      "label",
      { class: "mq-field" },
      el("span", { text: label }),
      el("input", {
        type: "text",
        class: "mq-input",
        id: `model-${name}`,
        placeholder,
        value: (row[name] ?? []).join(", "),
        oninput: keep(name, COMMAS),
        onchange: save,
      }),
    );
  const notes = el("textarea", {
    class: "mq-input",
    id: "model-notes",
    rows: 3,
    placeholder: "What it is good for, which weight suits it",
    oninput: keep("notes", (text) => text),
    onchange: save,
  });
  notes.value = row.notes ?? "";
  return el(
    "div",
    { class: "mq-own" },
    line("tags", "Tags", "portrait, ink"),
    line("trigger_words", "Trigger words", "words that wake it"),
    el("label", { class: "mq-field" }, el("span", { text: "Notes" }), notes),
    said,
  );
}
async function save() {
  clearTimeout(own.wait);
  if (!row || !typed.size) return;
  const key = row.key,
    changes = Object.fromEntries(typed);
  typed.clear();
  try {
    const changed = await M.call("PATCH", `models/${key}`, changes);
    if (row?.key === key) Object.assign(row, changed, changes);
    M.emit("model-changed", changed);
    if (!typed.size) tell("Saved.");
  } catch (error) {
    if (row?.key === key)
      for (const [name, value] of Object.entries(changes)) if (!typed.has(name)) typed.set(name, value);
    tell(error.message);
    M.say(`Not saved: ${error.message}`);
  }
}
const tell = (text) => {
  const said = panel.querySelector("#model-saved");
  if (said) said.textContent = text;
};
async function change(changes, said) {
  const key = row.key;
  await save();
  try {
    M.emit("model-changed", await M.call("PATCH", `models/${key}`, changes));
    if (row?.key === key) open(row);
    if (said) M.say(said);
  } catch (error) {
    M.say(error.message);
  }
}

M.on(element, "model-open", open);
M.on(element, "model-changed", (changed) => {
  if (row?.key !== changed.key) return;
  row = { ...row, ...changed };
  const star = panel.querySelector("#model-star");
  star?.setAttribute("aria-pressed", Boolean(row.favourite));
});
M.on(element, "model-described", (key) => row?.key === key && open(row));
M.on(element, "checkpoint", () => row && open(row));
element.dataset.ready = "1";
