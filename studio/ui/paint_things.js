// Things of a depth painting that stay things: balls, boxes, the floor, the backdrop. Where their handles are, what
// lies under the pointer, and what dragging does. Places are in pixels of the sheet.
window.maquetteThings ??= (() => {
  const { clamp } = window.maquettePaint;
  const far = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
  const hundredth = (v) => Math.round(v * 100) / 100;
  const GROUNDS = ["gradient", "floor"]; // under everything, in this order, one of each

  const HANDLES = {
    ball: ({ x, y, r }) => ({ size: [x + r * Math.SQRT1_2, y + r * Math.SQRT1_2] }),
    box: ({ x, y, rx, ry }) => ({ size: [x + rx, y + ry] }),
    floor: ({ y }, w) => ({ move: [w / 2, y] }),
    gradient: ({ p: [x0, y0, x1, y1] }) => ({ far: [x0, y0], near: [x1, y1] }),
  };
  const BODY = {
    ball: (op, point) => far(point, [op.x, op.y]) <= op.r,
    box: (op, [x, y]) => Math.abs(x - op.x) <= op.rx && Math.abs(y - op.y) <= op.ry,
    floor: (op, [, y], reach) => Math.abs(y - op.y) <= reach,
    gradient: () => false,
  };
  const isThing = (op) => op.kind in HANDLES;
  const handles = (op, w, h) =>
    Object.entries(HANDLES[op.kind](op, w)).map(([how, [x, y]]) => [how, [clamp(x, 0, w), clamp(y, 0, h)]]);

  // What of this thing lies under the point: "move", "size", an end of a gradient, or undefined.
  function grip(op, point, reach, w, h) {
    const near = handles(op, w, h).find(([, place]) => far(point, place) <= reach);
    return near?.[0] ?? (BODY[op.kind](op, point, reach) ? "move" : undefined);
  }
  // The thing under the point, the last one painted first: [index, how], or undefined.
  function under(ops, point, reach, w, h) {
    for (let i = ops.length - 1; i >= 0; i--) {
      const how = isThing(ops[i]) && grip(ops[i], point, reach, w, h);
      if (how) return [i, how];
    }
    return undefined;
  }
  function dragged(op, how, [sx, sy], [x, y], h) {
    const [dx, dy] = [x - sx, y - sy];
    if (op.kind === "floor") return { ...op, y: hundredth(clamp(op.y + dy, -h / 2, h - 8)) };
    if (op.kind === "gradient") {
      const moved = op.p.map((v, i) => ((how === "far") === i < 2 ? hundredth(v + (i % 2 ? dy : dx)) : v));
      return { ...op, p: moved };
    }
    if (how === "move") return { ...op, x: hundredth(op.x + dx), y: hundredth(op.y + dy) };
    if (op.kind === "ball") {
      const by = far([x, y], [op.x, op.y]) - far([sx, sy], [op.x, op.y]);
      return { ...op, r: hundredth(clamp(op.r + by, 3, 1000)) };
    }
    return { ...op, rx: hundredth(clamp(op.rx + dx, 3, 1000)), ry: hundredth(clamp(op.ry + dy, 3, 1000)) };
  }
  // A new thing, dragged from one point to the other; a mere click gives one of a usual size. v: how near it is.
  function placed(kind, a, b, v, w, h) {
    const drawn = far(a, b) > 5,
      usual = Math.min(w, h) / 7;
    if (kind === "floor") return { kind, y: hundredth(clamp(b[1], 0, h - 8)), v: [0, 255] };
    const line = drawn ? [...a, ...b] : [w / 2, 0, w / 2, h];
    if (kind === "gradient") return { kind, p: line.map(hundredth), v: [0, 255] };
    if (kind === "ball") return { kind, x: a[0], y: a[1], r: hundredth(drawn ? clamp(far(a, b), 3, 1000) : usual), v };
    const corner = drawn ? a : [a[0] - usual, a[1] - usual],
      other = drawn ? b : [a[0] + usual, a[1] + usual],
      half = (i) => hundredth(clamp(Math.abs(other[i] - corner[i]) / 2, 3, 1000)),
      middle = (i) => hundredth((corner[i] + other[i]) / 2);
    return { kind, x: middle(0), y: middle(1), rx: half(0), ry: half(1), turn: 30, v };
  }
  // With one more thing; [ops, its index]. Backdrop and floor go under everything, in place of the one before.
  function added(ops, op) {
    if (!GROUNDS.includes(op.kind)) return [[...ops, op], ops.length];
    const bare = ops.findIndex((other) => !GROUNDS.includes(other.kind)),
      grounds = (bare < 0 ? ops : ops.slice(0, bare)).filter((other) => other.kind !== op.kind),
      next = [...grounds, op].sort((a, b) => GROUNDS.indexOf(a.kind) - GROUNDS.indexOf(b.kind));
    return [[...next, ...(bare < 0 ? [] : ops.slice(bare))], next.indexOf(op)];
  }
  const light = (op) => (Array.isArray(op.v) ? op.v[1] : op.v);
  const withLight = (op, v) => ({ ...op, v: Array.isArray(op.v) ? [op.v[0], v] : v });

  // Any op on a sheet that is `by` times as large, moved by the shift.
  function scaled(op, by, shift) {
    const length = (v) => hundredth(clamp(v * by, 0.1, 1024)),
      place = (v, i) => hundredth(v * by + shift[i]),
      next = { ...op };
    for (const name of ["s", "r", "rx", "ry"]) if (name in op) next[name] = length(op[name]);
    for (const [i, name] of ["x", "y"].entries()) if (name in op) next[name] = place(op[name], i);
    const turn = op.kind === "brush" || op.kind === "erase" ? 3 : 2;
    if (op.p) next.p = op.p.map((v, i) => (i % turn < 2 ? place(v, i % turn) : v));
    return next;
  }
  return { isThing, handles, grip, under, dragged, placed, added, light, withLight, scaled, hundredth };
})();
