// A list that is drawn anew while a hand is on it: a button that is replaced between press and release gets no click,
// and one that is replaced while it has the focus loses it. So what is under a press waits until it is let go.
Object.assign(
  window.maquette,
  window.maquette.redraw
    ? {}
    : (() => {
        let pressed = null;
        const waiting = new Map(); // list -> what to do with it when it is let go
        const words = (node) => node.id || node.getAttribute("aria-label") || node.textContent;
        const within = (list) => (list.contains(document.activeElement) ? words(document.activeElement) : null);
        function waits(list, again) {
          if (pressed && list.contains(pressed)) waiting.set(list, again);
          else waiting.delete(list);
          return waiting.has(list); // then `again` will be called
        }
        function redraw(list, make) {
          if (waits(list, () => redraw(list, make))) return;
          const held = within(list);
          list.replaceChildren(...make().filter((node) => node !== null && node !== undefined));
          if (held !== null) [...list.querySelectorAll("button, a, input, summary")].find((node) => words(node) === held)?.focus();
        }
        function release() {
          pressed = null;
          const all = [...waiting.values()];
          waiting.clear();
          for (const again of all) again();
        }
        addEventListener("pointerdown", (e) => (pressed = e.target), true);
        for (const name of ["pointerup", "pointercancel", "dragend"]) addEventListener(name, () => setTimeout(release), true); // the click comes first
        addEventListener("pointermove", (e) => pressed && !e.buttons && release(), true); // it was let go where nobody saw
        return { redraw, waits };
      })(),
);
