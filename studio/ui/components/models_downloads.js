// Fetching models from the Hub or from a link: a small form, and how far each is. For the owner of the studio.
// Pausing keeps the part that is here; going on asks for the same once more, and the server goes on where it was.
const M = window.maquette,
  { el, button, shared } = M;
const root = element.querySelector(".mq-models-downloads");
const ASKED = "maquette-downloads"; // what was asked for by id, so that it can be asked for again after a reload
const KINDS = {
  "": "Tell from the file",
  checkpoint: "Checkpoint",
  vae: "VAE",
  controlnet: "ControlNet",
  t2i_adapter: "T2I-Adapter",
  ip_adapter: "IP-Adapter",
  image_encoder: "Image encoder",
  lora: "LoRA",
  embedding: "Embedding",
  hypernetwork: "Hypernetwork",
  upscaler: "Upscaler",
};
const SAYS = { queued: "waiting", running: "", done: "done", failed: "failed", cancelled: "paused" };
const AGAIN =
  "To go on, give its link once more: a link with a question mark may hold a key, so it is not written down.";
const input = (name, placeholder, attrs = {}) =>
  el("input", {
    type: "text",
    class: "mq-input",
    id: `download-${name}`,
    placeholder,
    autocomplete: "off",
    spellcheck: "false",
    ...attrs,
  });
const source = input("source", "owner/name on the Hub, or https://…", { oninput: shape }),
  file = input("file", "empty: the model in it"),
  checksum = input("sha256", "64 letters and digits, if you have it"),
  kind = el(
    "select",
    { class: "mq-select", id: "download-kind" },
    ...Object.entries(KINDS).map(([value, text]) => el("option", { value, text })),
  );
const field = (label, node) => el("label", { class: "mq-field" }, el("span", { text: label }), node);
const fileField = field("File in that repository", file);
const refusal = el("div", { class: "mq-notice", role: "alert", hidden: true });
const form = el(
  "form",
  { class: "mq-download-form", onsubmit: submit },
  field("From", source),
  fileField,
  field("Kind", kind),
  field("Checksum (sha256)", checksum),
  el("button", { type: "submit", class: "mq-strong", id: "download-start", text: "Download" }),
);
const rows = el("ul", { class: "mq-downloads", "aria-label": "Downloads" });
const count = el("span", { class: "mq-mono" });
const fold = el(
  "details",
  { class: "mq-get", id: "models-get" },
  el("summary", {}, el("span", { text: "Get a model" }), count),
  form,
  refusal,
  rows,
  el("p", { class: "mq-hint", text: "Nothing is fetched unless you ask for it here. Files go into data/models." }),
);
root.append(fold);

const asked = () => JSON.parse(localStorage.getItem(ASKED) ?? "{}");
function remember(id, what) {
  const all = Object.entries(asked()).filter(([known]) => shared.downloads.has(known));
  localStorage.setItem(ASKED, JSON.stringify(Object.fromEntries([...all, [id, what]])));
}
const isLink = () => /^https?:/i.test(source.value.trim());
function shape() {
  fileField.hidden = isLink();
}
function refuse(text) {
  refusal.hidden = !text;
  refusal.textContent = text;
}
async function submit(e) {
  e.preventDefault();
  const from = source.value.trim();
  if (!from) return refuse("Say where the model is: owner/name on the Hub, or a link.");
  const what = isLink() ? { url: from } : { repo: from };
  if (!isLink() && file.value.trim()) what.file = file.value.trim();
  if (kind.value) what.kind = kind.value;
  if (checksum.value.trim()) what.sha256 = checksum.value.trim();
  if (await ask(what)) [source, file, checksum].forEach((box) => (box.value = ""));
}
async function ask(what) {
  refuse("");
  try {
    const { id } = await M.call("POST", "downloads", what);
    remember(id, what);
    await refresh();
    return true;
  } catch (error) {
    refuse(error.message);
    return false;
  }
}
async function order(path) {
  try {
    await M.call("DELETE", path);
    await refresh();
  } catch (error) {
    refuse(error.message);
  }
}
let heard = 0; // events: an answer that left the studio before the last of them is old
async function refresh() {
  if (!M.owner()) return;
  try {
    let found, before;
    do {
      before = heard;
      found = M.list(await M.call("GET", "downloads"));
    } while (heard !== before);
    shared.downloads.clear();
    found.forEach((row) => shared.downloads.set(row.id, row));
  } catch {
    return; // the next event tells
  }
  show();
}
function line(row) {
  const going = ["queued", "running"].includes(row.state),
    what = row.request ?? asked()[row.id];
  const size = row.total ? `${M.size(row.bytes)} of ${M.size(row.total)}` : M.size(row.bytes);
  return el(
    "li",
    { class: "mq-download", "data-state": row.state },
    M.glyph(row.kind),
    el(
      "div",
      { class: "mq-download-text" },
      el("span", { class: "mq-model-name", text: row.name, title: row.name }),
      el("small", {
        class: "mq-mono",
        text: [SAYS[row.state] ?? row.state, row.state === "done" ? M.size(row.total || row.bytes) : size]
          .filter(Boolean)
          .join(" · "),
      }),
      going || row.state === "cancelled"
        ? el(
            "div",
            {
              class: "mq-bar",
              role: "progressbar",
              "aria-label": row.name,
              "aria-valuenow": row.total ? Math.round((100 * row.bytes) / row.total) : undefined,
            },
            el("div", { class: "mq-bar-fill", style: `width:${row.total ? (100 * row.bytes) / row.total : 0}%` }),
          )
        : null,
      row.error
        ? el("small", { class: "mq-download-error", text: [row.error, row.hint].filter(Boolean).join(" ") })
        : null,
      !going && row.state !== "done" && !what ? el("small", { text: AGAIN }) : null,
    ),
    going ? button("x", `Pause ${row.name}`, () => order(`downloads/${row.id}`), { caption: "Pause" }) : null,
    row.model
      ? button("right", `Show ${row.model.name}`, () => M.emit("model-open", row.model), { caption: "Show" })
      : null,
    !going && row.state !== "done" && what
      ? button("repeat", `Go on with ${row.name}`, () => ask(what), { caption: "Go on" })
      : null,
    going ? null : button("x", `Take ${row.name} off this list`, () => order(`downloads/${row.id}?forget=true`)),
  );
}
function show() {
  root.hidden = !M.owner();
  const all = [...shared.downloads.values()],
    going = all.filter((row) => ["queued", "running"].includes(row.state));
  count.textContent = going.length ? `${going.length} running` : "";
  rows.hidden = !all.length;
  M.redraw(rows, () => all.reverse().map(line));
}
M.on(element, "downloads", () => {
  heard++;
  show();
});
M.on(element, "user", refresh);
shape();
show();
refresh();
element.dataset.ready = "1";
