// Up to three fields of the form against each other. Event "grid" {axes: [{field, text}]}.
const M = window.maquette,
  { el } = M;
const root = element.querySelector(".mq-grid-maker");
const FIELDS = [
  ["", "Nothing", ""],
  ["guidance_scale", "Guidance", "3, 5, 7"],
  ["num_inference_steps", "Steps", "10, 20, 30"],
  ["seed", "Seed", "1, 2, 3"],
  ["words", "Words", "red, blue, green: the first is replaced by each"],
  ["scheduler", "Scheduler", "euler, ddim, dpmpp_2m"],
  ["checkpoint", "Checkpoint", "names, with commas between them"],
  ["vae", "Autoencoder (VAE)", "names, with commas between them"],
  ["conditioning_scale", "How closely to follow", "0, 0.5, 1"],
  ["strength", "Strength", "0.4, 0.6, 0.8"],
  ["clip_skip", "Clip skip", "0, 1, 2"],
  ["sigmas", "Sigmas", "default, karras"],
  ["width", "Width", "384, 512"],
  ["height", "Height", "384, 512"],
];
const SIDES = ["To the right", "Down", "In blocks"];
const rows = SIDES.map((label, side) => {
  const field = el("select", { class: "mq-select", "aria-label": `${label}: what changes`, onchange: () => show() });
  const text = el("input", { type: "text", class: "mq-input", "aria-label": `${label}: values`, oninput: () => show() });
  const node = el("div", { class: "mq-grid-axis" }, el("span", { text: label }), field, text);
  return { field, text, node, side };
});
const make = el("button", { type: "button", class: "mq-plain", id: "grid-make", text: "Make the grid", onclick: start });
const count = el("span", { class: "mq-grid-count" });
root.append(...rows.map((row) => row.node), el("div", { class: "mq-grid-go" }, make, count));

const choices = () => [...FIELDS, ...(M.shared.adapters ?? []).map((name) => [`adapters.${name}`, `Weight of ${name}`, "0, 0.5, 1"])];
const values = (row) => row.text.value.split(",").filter((value) => value.trim()).length;
const used = () => rows.filter((row) => row.field.value);
function offer() {
  for (const row of rows) {
    const chosen = row.field.value;
    row.field.replaceChildren(...choices().map(([value, text]) => el("option", { value, text })));
    row.field.value = choices().some(([value]) => value === chosen) ? chosen : "";
  }
  show();
}
function show() {
  for (const row of rows) {
    row.text.placeholder = choices().find(([value]) => value === row.field.value)?.[2] ?? "";
    row.text.hidden = !row.field.value;
    row.node.hidden = row.side > 0 && !rows[row.side - 1].field.value && !row.field.value;
  }
  const chosen = used(),
    total = chosen.reduce((product, row) => product * values(row), 1);
  make.disabled = !chosen.length || !total;
  count.textContent = !chosen.length ? "Choose what changes first." : total ? `${total} ${total === 1 ? "picture" : "pictures"}` : "Say which values.";
}
function start() {
  trigger("grid", { axes: used().map((row) => ({ field: row.field.value, text: row.text.value })) });
}
M.on(element, "stacked", offer);
offer();
