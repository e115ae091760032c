// A sentence beside the thing that it is about. value = {kind: "error" | "quiet", text, hint} | null
const { el, emit, say } = window.maquette;
const root = element.querySelector(".mq-notice-line");
function show() {
  const v = props.value;
  root.hidden = !v?.text;
  root.className = `mq-notice-line ${v?.kind === "error" ? "mq-notice" : "mq-hint"}`;
  root.setAttribute("role", v?.kind === "error" ? "alert" : "status");
  root.replaceChildren(
    ...(v?.text
      ? [el(v.kind === "error" ? "strong" : "span", { text: v.text }), el("span", { text: v.hint ? " " + v.hint : "" })]
      : []),
  );
}
watch("value", () => {
  show();
  if (props.value?.kind !== "error") return;
  say([props.value.text, props.value.hint].filter(Boolean).join(" "));
  emit("refused");
});
show();
