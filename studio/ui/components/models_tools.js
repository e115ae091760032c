// Model files made of model files: what to do, the fields of that tool alone, what would come out, and how far each is.
// value = {tools: [...]}: the table that the server checks requests by. For the owner of the studio.
const M = window.maquette,
  { el, button } = M;
const root = element.querySelector(".mq-models-tools");
const TOOLS = props.value.tools;
const KEPT = "maquette-tools"; // what was chosen and typed, by tool: it stays over a reload
const SAYS = { queued: "waiting", done: "done", failed: "failed", cancelled: "stopped" };
const state = { tool: TOOLS[0].name, said: {}, ...remembered() };
let runs = new Map(),
  latest = "", // the run that was started last, whose refusal belongs beside the form
  heard = 0,
  turn = 0;

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}
const tool = () => TOOLS.find((one) => one.name === state.tool) ?? TOOLS[0];
const said = () => (state.said[tool().name] ??= {});
const rowsOf = (field) => {
  const rows = (said()[field.name] ??= []);
  while (rows.length < field.slots.length) rows.push({ name: "", base: "" });
  return rows;
};
const modelsField = () => tool().fields.find((field) => field.kind === "models");
const chosen = () => rowsOf(modelsField()).filter((row) => row.name);

// ---- the form
const summary = el("span", { class: "mq-mono", role: "status" });
const chips = el("div", { class: "mq-kinds", role: "group", "aria-label": "What to do" });
const about = el("p", { class: "mq-hint" });
const fields = el("div", { class: "mq-tool-fields" });
const plan = el("p", { class: "mq-tool-plan", role: "status" });
const refusal = el("div", { class: "mq-notice", role: "alert", hidden: true });
const go = el("button", { type: "submit", class: "mq-strong", id: "tool-start" });
const form = el(
  "form",
  { class: "mq-tool-form", novalidate: true, onsubmit: start },
  fields,
  refusal,
  el("div", { class: "mq-tool-go" }, go, plan),
);
const list = el("ul", { class: "mq-downloads", "aria-label": "What is being made" });
root.append(
  el(
    "details",
    { class: "mq-get", id: "models-tools" },
    el("summary", {}, el("span", { text: "Tools" }), summary),
    chips,
    about,
    form,
    list,
  ),
);

function build() {
  chips.replaceChildren(
    ...TOOLS.map((one) =>
      el("button", {
        type: "button",
        class: "mq-kind",
        "data-tool": one.name,
        "aria-pressed": one === tool(),
        text: one.label,
        onclick: () => {
          state.tool = one.name;
          build();
          chips.querySelector(`[data-tool="${one.name}"]`).focus();
        },
      }),
    ),
  );
  about.textContent = tool().about;
  go.textContent = tool().label;
  const usual = tool().fields.filter((field) => !field.folded),
    folded = tool().fields.filter((field) => field.folded);
  const given = folded.some((field) => ![undefined, null, "", field.default].includes(said()[field.name]));
  const more = el("details", { class: "mq-tool-more", open: given }, el("summary", { text: "More" }));
  more.append(el("div", { class: "mq-tool-fields" }, ...folded.map(shown)));
  fields.replaceChildren(...usual.map(shown), ...(folded.length ? [more] : []));
  changed();
}
const WIDE = ["models", "check"];
function shown(field) {
  const wide = WIDE.includes(field.kind);
  return el(
    wide ? "div" : "label",
    { class: `mq-field${wide ? " mq-wide" : ""}`, "data-field": field.name },
    field.kind === "check" ? null : el("span", { text: field.label }),
    CONTROLS[field.kind](field),
    field.hint ? el("small", { text: field.hint }) : null,
    el("small", { class: "mq-tool-error", role: "alert", hidden: true }),
  );
}
const typedBox = (field, attrs) =>
  el("input", {
    class: "mq-input",
    id: `tool-${field.name}`,
    autocomplete: "off",
    spellcheck: "false",
    value: said()[field.name] ?? field.default ?? "",
    oninput: (e) => set(field, e.target.value),
    ...attrs,
  });
const numberBox = (field) =>
  typedBox(field, {
    type: "number",
    min: field.low,
    max: field.high,
    step: field.kind === "whole" ? 1 : "any",
    // a number that means "nothing is said" is shown as nothing
    value: said()[field.name] ?? (field.default === field.low ? "" : (field.default ?? "")),
  });
const CONTROLS = {
  models,
  model: (field) =>
    picker(field, `tool-${field.name}`, field.label, { name: said()[field.name] ?? "", alone: true }, (name, base) => {
      said()[`${field.name}.base`] = base;
      set(field, name);
    }),
  whole: numberBox,
  number: numberBox,
  text: (field) => typedBox(field, { type: "text" }),
  blocks: (field) => typedBox(field, { type: "text" }),
  choice: (field) => {
    const select = el(
      "select",
      { class: "mq-select", id: `tool-${field.name}`, onchange: (e) => set(field, e.target.value) },
      ...field.choices.map(([value, text]) => el("option", { value, text })),
    );
    select.value = said()[field.name] ?? field.default;
    return select;
  },
  check: (field) =>
    el(
      "label",
      { class: "mq-check" },
      el("input", {
        type: "checkbox",
        id: `tool-${field.name}`,
        checked: said()[field.name] ?? field.default,
        onchange: (e) => set(field, e.target.checked),
      }),
      el("span", { text: field.label }),
    ),
};
function set(field, value) {
  said()[field.name] = value;
  changed();
}
const picker = (field, id, label, row, pick, needed = field.least > 0) =>
  M.modelPicker({
    id,
    label,
    of: field.of,
    name: row.name,
    base: () => basesBut(row),
    pick,
    placeholder: !needed ? "None" : field.of === "lora" ? "Choose a LoRA" : "Choose a checkpoint",
  });
// the base model of what is chosen elsewhere in the form: nothing else goes with it
function basesBut(row) {
  const others = rowsOf(modelsField()).filter((other) => other !== row && other.name);
  const place = tool().fields.find((field) => field.kind === "model");
  const target = place && !row.alone && said()[place.name] ? said()[`${place.name}.base`] : "";
  return [target, ...others.map((other) => other.base)].find(Boolean) ?? "";
}
function models(field) {
  const rows = rowsOf(field);
  const weight = (row, name, label, placeholder) =>
    el("input", {
      type: "number",
      step: 0.05,
      class: "mq-input",
      "aria-label": label,
      title: label,
      placeholder,
      value: row[name] ?? "",
      oninput: (e) => {
        row[name] = e.target.value;
        changed();
      },
    });
  const line = (row, index) => {
    const label = field.slots[index] ?? `LoRA ${index + 1}`;
    const take = (name, base) => {
      Object.assign(row, { name, base });
      changed();
    };
    return el(
      "div",
      { class: `mq-tool-model${field.weighted ? " mq-weighted" : ""}` },
      el("span", { text: label, hidden: field.slots.length < 2 && !field.many }),
      picker(field, `tool-files-${index}`, label, row, take, index < field.least || field.many),
      ...(field.weighted
        ? [
            weight(row, "weight", `Weight of ${label}`, "weight 1"),
            weight(row, "text_weight", `Weight of ${label} for words`, "words: same"),
          ]
        : []),
      field.many
        ? button("x", `Take ${label} out`, () => remove(rows, index), { hidden: rows.length <= field.slots.length })
        : null,
    );
  };
  const add = () => {
    rows.push({ name: "", base: "" });
    build();
    document.getElementById(`tool-files-${rows.length - 1}`).focus();
  };
  return el(
    "div",
    { class: "mq-tool-models" },
    ...rows.map(line),
    field.many ? button("plus", "Add another", add, { caption: "Add another", id: "tool-add" }) : null,
  );
}
function remove(rows, index) {
  const [row] = rows.splice(index, 1);
  build();
  if (row.name)
    M.say(`${row.name} is out.`, () => {
      rows.splice(index, 0, row);
      build();
    });
}

// ---- what would come out
const number = (text) => (text === "" || text === undefined || text === null ? null : Number(text));
const suggested = () => {
  const names = chosen().map((row) => row.name.replace(/[^\p{L}\p{N}_.-]+/gu, "_").slice(0, 30));
  return names.length ? `${names.slice(0, 3).join("-")}-${tool().ending}` : "";
};
function request() {
  const body = { tool: tool().name };
  for (const field of tool().fields) {
    const value = said()[field.name];
    if (field.kind === "models")
      body[field.name] = chosen().map((row) =>
        field.weighted
          ? { name: row.name, weight: number(row.weight) ?? 1, text_weight: number(row.text_weight) }
          : row.name,
      );
    else if (["whole", "number"].includes(field.kind)) body[field.name] = number(value);
    else if (field.name === "name") body.name = value?.trim() || suggested();
    else body[field.name] = value ?? field.default;
  }
  return body;
}
function missing() {
  for (const field of tool().fields) {
    const count = field.kind === "models" ? chosen().length : said()[field.name] ? 1 : 0;
    if (!["models", "model"].includes(field.kind) || count >= field.least) continue;
    const word = field.of === "lora" ? "LoRA" : "checkpoint";
    return field.least > 1 ? `Choose ${field.least} ${word}s first.` : `Choose a ${word} first.`;
  }
  return "";
}
function changed() {
  localStorage.setItem(KEPT, JSON.stringify(state));
  const name = fields.querySelector("#tool-name");
  if (name) name.placeholder = suggested();
  refuse(null);
  const reason = missing();
  go.disabled = Boolean(reason);
  plan.textContent = reason;
  clearTimeout(changed.wait);
  turn++;
  if (!reason) changed.wait = setTimeout(foresee, 250);
}
async function foresee() {
  const mine = turn;
  try {
    const { text } = await M.call("POST", "tools/plan", request());
    if (mine === turn) plan.textContent = text;
  } catch (error) {
    if (mine === turn) refuse(error);
  }
}
// beside the field that is to blame, else above the button; null takes it away
function refuse(error) {
  for (const node of fields.querySelectorAll(".mq-tool-error")) node.hidden = true;
  const place = error?.field ? fields.querySelector(`[data-field="${CSS.escape(error.field)}"] .mq-tool-error`) : null;
  const node = place ?? refusal;
  refusal.hidden = true;
  if (!error) return;
  node.textContent = error.message;
  node.hidden = false;
  const fold = node.closest(".mq-tool-more");
  if (fold) fold.open = true;
}
async function start(e) {
  e.preventDefault();
  if (go.disabled) return;
  clearTimeout(changed.wait);
  turn++;
  refuse(null);
  go.disabled = true;
  try {
    const run = await M.call("POST", "tools/runs", request());
    latest = run.id;
    plan.textContent = "";
    await refresh();
  } catch (error) {
    refuse(error);
  }
  go.disabled = false;
}

// ---- how far each is
async function refresh() {
  if (!M.owner()) return show();
  try {
    let found, before;
    do {
      before = heard;
      found = M.list(await M.call("GET", "tools/runs"));
    } while (heard !== before); // an answer that left the studio before the last event is old
    runs = new Map(found.map((run) => [run.id, run]));
  } catch {
    return; // the next event tells
  }
  show();
}
async function order(path) {
  try {
    await M.call("DELETE", `tools/runs/${path}`);
    await refresh();
  } catch (error) {
    refuse(error);
  }
}
function again(run) {
  const { tool: name, ...body } = run.request;
  state.tool = name;
  state.said[name] = body;
  const row = (file) => (typeof file === "string" ? { name: file, base: "" } : { base: "", ...file });
  body.files = body.files.map(row);
  build();
  element.querySelector("details").scrollIntoView({ block: "nearest" });
}
const share = (run) => (run.total ? Math.round((100 * run.done) / run.total) : 0);
const going = (run) => ["queued", "running"].includes(run.state);
function line(run) {
  const words = run.state === "running" ? (run.total ? `${share(run)} %` : "reading") : SAYS[run.state];
  return el(
    "li",
    { class: "mq-download", "data-state": run.state },
    M.glyph(run.kind),
    el(
      "div",
      { class: "mq-download-text" },
      el("span", { class: "mq-model-name", text: run.name, title: run.text }),
      el("small", { class: "mq-mono", text: `${run.label} · ${words}` }),
      going(run)
        ? el(
            "div",
            {
              class: `mq-bar${run.state === "running" && !run.total ? " mq-unknown" : ""}`,
              role: "progressbar",
              "aria-label": run.name,
              "aria-valuenow": run.total ? share(run) : undefined,
            },
            el("div", { class: "mq-bar-fill", style: `width:${share(run)}%` }),
          )
        : null,
      ...run.notes.map((text) => el("small", { text })),
      run.error
        ? el("small", { class: "mq-download-error", text: [run.error, run.hint].filter(Boolean).join(" ") })
        : null,
    ),
    going(run) ? button("x", `Stop making ${run.name}`, () => order(run.id), { caption: "Stop" }) : null,
    run.model
      ? button("right", `Show ${run.model.name}`, () => M.emit("model-open", run.model), { caption: "Show" })
      : null,
    ["failed", "cancelled"].includes(run.state)
      ? button("repeat", `Fill the form in again for ${run.name}`, () => again(run), { caption: "Fill in again" })
      : null,
    going(run) ? null : button("x", `Take ${run.name} off this list`, () => order(`${run.id}?forget=true`)),
  );
}
function show() {
  root.hidden = !M.owner();
  const all = [...runs.values()],
    at = all.filter((run) => run.state === "running"),
    waiting = all.filter((run) => run.state === "queued").length;
  summary.textContent = [...at.map((run) => `${run.name} ${share(run)} %`), waiting ? `${waiting} waiting` : ""]
    .filter(Boolean)
    .join(" · ");
  list.hidden = !all.length;
  M.redraw(list, () => all.reverse().map(line));
}
M.on(element, "jobs", (e) => {
  if (e?.type !== "tool") return;
  heard++;
  runs.set(e.id, e);
  show();
  if (e.id !== latest || e.state !== "failed") return;
  latest = "";
  refuse({ field: e.field, message: [e.error, e.hint].filter(Boolean).join(" ") });
});
M.on(element, "user", refresh);
build();
refresh();
element.dataset.ready = "1";
