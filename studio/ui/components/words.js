// Which words a small checkpoint knows, and which of the prompt it does not.
// value = {name, demonstration, known: [...], unknown: [...], folder}
const M = window.maquette,
  { el } = M;
const root = element.querySelector(".mq-words");
let opened = false;
function show() {
  const v = props.value ?? {};
  root.replaceChildren();
  element.dataset.unknown = (v.unknown ?? []).join(" ");
  if (v.unknown?.length)
    root.append(
      el(
        "p",
        { class: "mq-unknown-words" },
        el("span", { text: `${v.demonstration ? "The starter" : v.name} does not know:` }),
        ...v.unknown.slice(0, 30).map((word) => el("mark", { text: word })),
      ),
    );
  if (!v.demonstration && !v.known?.length) return;
  const details = el(
    "details",
    {
      class: "mq-known",
      ontoggle: (e) => {
        opened = e.target.open;
      },
    },
    el("summary", {
      text: v.demonstration
        ? `A small demonstration model that knows ${v.known.length} words`
        : `${v.name} knows ${v.known.length} words`,
    }),
    el("p", {
      text: `It draws simple scenes, to try everything out. Your own checkpoints go into ${v.folder}. Click a word to use it:`,
    }),
    el(
      "p",
      { class: "mq-chips" },
      ...v.known.map((word) => el("button", { type: "button", text: word, onclick: () => M.insertWord(word) })),
    ),
  );
  details.open = opened;
  root.append(details);
}
watch("value", show);
show();
element.dataset.ready = "1";
