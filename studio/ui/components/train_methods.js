// The methods side by side: what each is good at and what it costs, and which one is used.
const M = window.maquette,
  T = window.maquetteTrain,
  { el } = M;
const root = element.querySelector(".mq-train-methods");
const table = el("div", { class: "mq-train-table" });
const fold = el("details", { class: "mq-get", id: "train-methods" }, el("summary", {}, el("span", { text: "Compare the methods" })), table);
root.append(fold);
function show() {
  const { methods: all, advice, draft } = T.state,
    chosen = draft.method || advice?.params?.method,
    said = Object.fromEntries((advice?.methods ?? []).map((row) => [row.name, row.text])),
    columns = [...new Set(all.flatMap((row) => Object.keys(row.trade_offs ?? {})))];
  fold.hidden = !all.length;
  const line = (row) =>
    el(
      "tr",
      { "data-method": row.name, "data-chosen": row.name === chosen ? "" : undefined, "data-misfit": row.fits.includes(draft.subject || "object") ? undefined : "" },
      el("th", { scope: "row" }, el("b", { text: row.label }), el("small", { text: said[row.name] ?? row.text })),
      ...columns.map((name) => el("td", { "data-label": M.capital(name.replaceAll("_", " ")), text: row.trade_offs?.[name] ?? "" })),
      el(
        "td",
        {},
        el("button", {
          type: "button",
          class: "mq-kind",
          "aria-pressed": row.name === chosen,
          "aria-label": `Use ${row.label}`,
          text: row.name === chosen ? (draft.method ? "Chosen" : "Advised") : "Use",
          onclick: () => T.change({ method: draft.method === row.name ? "" : row.name }),
        }),
      ),
    );
  const held = table.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  table.replaceChildren(
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "Method" }), ...columns.map((name) => el("th", { scope: "col", text: M.capital(name.replaceAll("_", " ")) })), el("th", { scope: "col" }, el("span", { class: "mq-sr", text: "Choose" })))),
      el("tbody", {}, ...all.map(line)),
    ),
    draft.method ? el("button", { type: "button", class: "mq-link", text: "Let the studio choose again", onclick: () => T.change({ method: "" }) }) : "",
  );
  if (held) [...table.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === held)?.focus();
}
M.on(element, "train", (what) => (what === "draft" || what === "advice") && show());
show();
T.begin();
element.dataset.ready = "1";
