// What a hand does on a sheet that is painted. Where the pointer goes down, each tool answers with {move, every, done}:
// `every` gets each place that the pointer passed, `move` the last one of an event, `done` comes when it is let go.
window.maquetteHands ??= (() => {
  const R = window.maquettePaint,
    T = window.maquetteThings;

  // pad: of the editor: state {tool, size, soft, light, middle, region, chosen, preview}, its desk, and what it lends.
  function hands({ state, desk, pen, at, pressure, reach, thing, swapped, change, soon, show, drawMarks, sheet }) {
    const more = (op) => [...desk.now.ops, op];
    const ink = (kind, p) => {
      const { size, soft, light, region } = state,
        op = { kind, p, s: size };
      if (soft !== undefined) op.soft = soft;
      if (kind === "brush") Object.assign(op, region === undefined ? { v: light } : { region });
      return op;
    };
    function stroke(e, kind) {
      const op = ink(kind, [...at(e), pressure(e)]),
        grow = R.stroke(sheet());
      R.put(sheet(), pen, grow(op));
      return {
        every(e) {
          const [x, y] = at(e);
          if (Math.hypot(x - op.p.at(-3), y - op.p.at(-2)) < Math.max(desk.now.w / 400, state.size / 16)) return;
          op.p.push(x, y, pressure(e));
          R.put(sheet(), pen, grow(op));
        },
        done: () => change(more(op), "stroke"),
      };
    }
    function preview(ops) {
      state.preview = ops;
      soon();
    }
    const keep = (what) => () => state.preview && change(state.preview, what);
    function grab(e, how) {
      const [start, before] = [at(e), thing()];
      return { move: (e) => preview(swapped(T.dragged(before, how, start, at(e), desk.now.h))), done: keep("thing") };
    }
    function place(e) {
      const start = at(e),
        { w, h } = desk.now;
      const to = (end) => {
        const [ops, index] = T.added(desk.now.ops, T.placed(state.tool, start, end, state.middle, w, h));
        state.chosen = index;
        preview(ops);
      };
      to(start);
      return { move: (e) => to(at(e)), done: keep("thing") };
    }
    function outline(e) {
      const area = [...at(e)];
      return {
        area,
        every(e) {
          const [x, y] = at(e);
          if (Math.hypot(x - area.at(-2), y - area.at(-1)) < 2 || area.length > 6000) return;
          area.push(x, y);
          drawMarks();
        },
        done: () => area.length > 5 && change(more({ kind: "area", p: area, region: state.region }), "area"),
      };
    }
    function rectangle(e) {
      const start = at(e);
      return {
        move: (e) => preview(more({ kind: "rect", p: [...start, ...at(e)], region: state.region })),
        done: keep("rect"),
      };
    }
    function fill(e) {
      const [x, y] = at(e);
      return { done: () => change(more({ kind: "fill", x, y, region: state.region }), "fill") };
    }
    // The chosen thing is dragged wherever it is taken; the pointer's own tool chooses, the others place a new one.
    function things(e) {
      const { w, h } = desk.now,
        how = thing() && T.grip(thing(), at(e), reach(e), w, h);
      if (how) return grab(e, how);
      if (state.tool !== "move") return place(e);
      const found = T.under(desk.now.ops, at(e), reach(e), w, h);
      state.chosen = found ? found[0] : -1;
      show();
      return found ? grab(e, found[1]) : null;
    }
    const [brush, erase] = ["brush", "erase"].map((kind) => (e) => stroke(e, kind)),
      TOOLS = { brush, erase, fill, area: outline, rect: rectangle };
    return (e) => (e.buttons === 32 ? erase : (TOOLS[state.tool] ?? things))(e);
  }
  return { hands };
})();
