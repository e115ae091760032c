// A small line chart over the steps of a run, drawn as SVG: lines, the step that is best, and the values under the pointer.
window.maquetteChart ??= (() => {
  const { el } = window.maquette;
  const HIGH = 168,
    PAD = { left: 46, right: 12, top: 10, bottom: 22 };
  const svg = (tag, attrs = {}, ...inner) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attrs)) if (value !== undefined && value !== null) node.setAttribute(name, value);
    node.append(...inner);
    return node;
  };
  const label = (text, attrs) => Object.assign(svg("text", attrs), { textContent: text });
  const short = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : String(+value.toPrecision(3)));
  // round numbers from low to high, about four
  function ticks(low, high, about = 4) {
    const raw = (high - low) / about || 1,
      power = 10 ** Math.floor(Math.log10(raw)),
      step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw),
      found = [];
    for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + 1e-9 * step; at += step) found.push(at);
    return found;
  }

  // title: what is measured; lines: [{name, label, kind: "loud" | "soft" | "dotted"}]. draw({points: [{step, name: value}], steps, best}).
  function chart({ title, lines, floor = null, ceiling = null }) {
    const legend = el("div", { class: "mq-chart-legend" });
    const drawing = svg("svg", { class: "mq-chart", role: "img", "aria-label": title, height: HIGH });
    const node = el("figure", { class: "mq-chart-box" }, el("figcaption", {}, el("span", { text: title }), legend), drawing);
    let last = { points: [], steps: 1, best: null },
      pointed = null;
    const values = (points) => points.flatMap((point) => lines.map((line) => point[line.name])).filter(Number.isFinite);
    function draw(data = last) {
      last = data;
      const { points, steps, best } = data,
        wide = drawing.clientWidth || 480,
        found = values(points);
      node.hidden = !found.length;
      if (!found.length) return;
      const least = Math.min(...found),
        most = Math.max(...found),
        room = (most - least || Math.abs(most) || 1) * 0.12;
      const low = floor ?? least - room,
        high = ceiling ?? most + room;
      const x = (step) => PAD.left + ((wide - PAD.left - PAD.right) * step) / Math.max(1, steps),
        y = (value) => HIGH - PAD.bottom - ((HIGH - PAD.top - PAD.bottom) * (value - low)) / (high - low || 1);
      drawing.setAttribute("viewBox", `0 0 ${wide} ${HIGH}`);
      drawing.replaceChildren(...grid(x, y, low, high, steps, wide), ...(best ? marked(x, best, best > 0.8 * steps) : []), ...lines.flatMap((line) => drawn(line, points, x, y)), ...under(points, x, y));
      tell(points);
    }
    function grid(x, y, low, high, steps, wide) {
      const across = ticks(low, high).flatMap((value) => [
        svg("line", { class: "mq-chart-grid", x1: PAD.left, x2: wide - PAD.right, y1: y(value), y2: y(value) }),
        label(short(value), { x: PAD.left - 8, y: y(value) + 4, "text-anchor": "end" }),
      ]);
      const down = ticks(0, steps, Math.min(5, wide / 90)).map((step) => label(String(Math.round(step)), { x: x(step), y: HIGH - 4, "text-anchor": step ? "middle" : "start" }));
      return [...across, ...down];
    }
    const marked = (x, best, late) => [
      svg("line", { class: "mq-chart-best", "data-step": best, x1: x(best), x2: x(best), y1: PAD.top, y2: HIGH - PAD.bottom }),
      label("best", { class: "mq-chart-best-word", x: x(best) + (late ? -5 : 5), y: PAD.top + 9, "text-anchor": late ? "end" : "start" }),
    ];
    function drawn(line, points, x, y) {
      const own = points.filter((point) => Number.isFinite(point[line.name]));
      if (!own.length) return [];
      const way = own.map((point, i) => `${i ? "L" : "M"}${x(point.step).toFixed(1)} ${y(point[line.name]).toFixed(1)}`).join("");
      const end = own.at(-1);
      return [svg("path", { class: `mq-chart-line mq-${line.kind}`, d: way }), svg("circle", { class: `mq-chart-dot mq-${line.kind}`, cx: x(end.step), cy: y(end[line.name]), r: 3.5 })];
    }
    function under(points, x, y) {
      const point = near(points);
      if (!point) return [];
      return [
        svg("line", { class: "mq-chart-at", x1: x(point.step), x2: x(point.step), y1: PAD.top, y2: HIGH - PAD.bottom }),
        ...lines.filter((line) => Number.isFinite(point[line.name])).map((line) => svg("circle", { class: `mq-chart-dot mq-${line.kind}`, cx: x(point.step), cy: y(point[line.name]), r: 4 })),
      ];
    }
    const near = (points) => (pointed === null || !points.length ? null : points.reduce((a, b) => (Math.abs(b.step - pointed) < Math.abs(a.step - pointed) ? b : a)));
    function tell(points) {
      const point = near(points);
      legend.replaceChildren(
        ...(point ? [el("span", { class: "mq-mono", text: `step ${point.step}` })] : []),
        ...lines.map((line) => {
          const own = point ?? points.filter((one) => Number.isFinite(one[line.name])).at(-1),
            value = own?.[line.name];
          return el("span", { class: `mq-chart-name mq-${line.kind}` }, el("i", {}), el("span", { text: line.label }), el("b", { class: "mq-mono", text: Number.isFinite(value) ? short(value) : "" }));
        }),
      );
    }
    drawing.addEventListener("pointermove", (e) => {
      const box = drawing.getBoundingClientRect();
      pointed = ((e.clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right)) * last.steps;
      draw();
    });
    drawing.addEventListener("pointerleave", () => {
      pointed = null;
      draw();
    });
    new ResizeObserver(() => draw()).observe(drawing);
    return { node, draw };
  }
  return chart;
})();
