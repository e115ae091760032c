// Which canvas is worked on, and so which control is sent. value = the kind of control. Keys 1 to 6 choose, too.
const M = window.maquette,
  { el } = M;
const root = element.querySelector(".mq-control-tabs");
const TABS = [
  ["scribble", "Sketch", "sketch-pad"],
  ["pose", "Pose", "pose-editor"],
];
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
}
function choose(kind) {
  if (props.value === kind) return;
  props.value = kind;
  show();
  trigger("chosen", { kind });
}
list.addEventListener("keydown", (e) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (!by) return;
  e.preventDefault();
  const next = (chosen() + by + TABS.length) % TABS.length;
  choose(TABS[next][0]);
  tabs[next].focus();
});
M.on(element, "tab", (i) => TABS[i] && choose(TABS[i][0]));
watch("value", show);
requestAnimationFrame(show); // once it is on the page
