// Which canvas is worked on. value = the kind of control of its tab. Keys 1 to 8 choose, too.
const M = window.maquette,
  { el } = M;
const root = element.querySelector(".mq-control-tabs");
const TABS = JSON.parse(root.dataset.tabs); // [kind, caption, id of the editor]
const tabs = TABS.map(([kind, name, panel], i) =>
  el("button", {
    type: "button",
    role: "tab",
    id: `tab-${kind}`,
    "aria-controls": panel,
    title: `${name} (${i + 1})`,
    text: name,
    onclick: () => choose(kind),
  }),
);
const list = el("div", { role: "tablist", "aria-label": "What the picture follows" }, ...tabs);
root.append(list);

const chosen = () => TABS.findIndex(([kind]) => kind === props.value);
function show() {
  const now = Math.max(0, chosen());
  tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", i === now);
    tab.tabIndex = i === now ? 0 : -1;
    const panel = document.getElementById(TABS[i][2]);
    panel?.setAttribute("role", "tabpanel");
    panel?.setAttribute("aria-labelledby", tab.id);
  });
  element.closest("#canvas-pane")?.setAttribute("data-tool", TABS[now][0]);
  M.emit("tool", TABS[now][0]);
}
function choose(kind) {
  if (props.value === kind) return;
  props.value = kind;
  show();
  trigger("chosen", { kind });
}
// Which tabs have something that the picture will follow: a dot beside their name.
function mark(kinds) {
  tabs.forEach((tab, i) => tab.toggleAttribute("data-used", kinds.includes(TABS[i][0])));
}
list.addEventListener("keydown", (e) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (!by) return;
  e.preventDefault();
  const next = (Math.max(0, chosen()) + by + TABS.length) % TABS.length;
  choose(TABS[next][0]);
  tabs[next].focus();
});
M.on(element, "tab", (i) => TABS[i] && choose(TABS[i][0]));
M.on(element, "open", (kind) => TABS.some(([k]) => k === kind) && choose(kind));
M.on(element, "used", mark);
watch("value", show);
requestAnimationFrame(show); // once it is on the page
