// A list that is drawn anew while a hand is on it: a button that is replaced between press and release gets no click,
// and one that is replaced while it has the focus loses it. So what is under a press waits until it is let go.
window.maquette.redraw ??= (() => {
  let pressed = null;
  const waiting = new Map(); // list -> what makes its nodes
  const words = (node) => node.id || node.getAttribute("aria-label") || node.textContent;
  const within = (list) => (list.contains(document.activeElement) ? words(document.activeElement) : null);
  function redraw(list, make) {
    if (pressed && list.contains(pressed)) return waiting.set(list, make);
    waiting.delete(list);
    const held = within(list);
    list.replaceChildren(...make().filter((node) => node !== null && node !== undefined));
    if (held !== null) [...list.querySelectorAll("button, a, input, summary")].find((node) => words(node) === held)?.focus();
  }
  function release() {
    pressed = null;
    for (const [list, make] of [...waiting]) redraw(list, make);
  }
  addEventListener("pointerdown", (e) => (pressed = e.target), true);
  for (const name of ["pointerup", "pointercancel", "dragend"]) addEventListener(name, () => setTimeout(release), true); // the click comes first
  return redraw;
})();
