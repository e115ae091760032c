// What is painted with, beside a sheet of regions: chips with names, or rows in which a person writes what is there.
// Either gives {node, show, colors, named, said}: colors() maps names to 0xRRGGBB as the sheet shows them, named(color)
// is what a person calls the region of that colour, said() what is painted with.
window.maquetteRegions ??= (() => {
  const M = window.maquette,
    { el, button } = M;
  const css = (color) => "#" + color.toString(16).padStart(6, "0");
  const swatch = (color) => el("span", { class: "mq-swatch", style: `background:${css(color)}` });

  // palette: name -> 0xRRGGBB; state.region: the chosen one; choose(name).
  function chips({ palette, state, choose }) {
    const all = [...palette].map(([id, color]) =>
      el(
        "button",
        { type: "button", class: "mq-region", "aria-pressed": false, "data-region": id, onclick: () => choose(id) },
        swatch(color),
        el("span", { text: id }),
      ),
    );
    const names = new Map([...palette].map(([id, color]) => [color, id]));
    return {
      node: el("div", { class: "mq-regions", role: "group", "aria-label": "Regions" }, ...all),
      show: () => all.forEach((chip) => chip.setAttribute("aria-pressed", chip.dataset.region === state.region)),
      colors: () => palette,
      named: (color) => (color ? (names.get(color) ?? "another region") : ""),
      said: () => `You paint: ${state.region}.`,
    };
  }

  const SOFT = 0.02;
  const quiet = (color) => ((color >> 2) & 0x3f3f3f) + 0x141210; // of a region that is left out, still apart from others
  const fresh = (region) => ({ region, words: "", on: true });
  const first = (palette) => [...palette.keys()].slice(0, 2).map(fresh);
  const short = (text) => (text.length > 26 ? text.slice(0, 25).trimEnd() + "\u2026" : text);

  // Where the words of each region stand on the sheet: in the middle of its widest row near the middle of its area.
  function anchors({ w, h, shown }, colors) {
    const found = new Map([...colors.values()].map((color) => [color, { n: 0, y: 0 }]));
    for (let k = 0; k < w * h; k++) {
      const one = found.get(shown[k]);
      if (one) [one.n, one.y] = [one.n + 1, one.y + Math.floor(k / w)];
    }
    const places = new Map();
    for (const [name, color] of colors) {
      const { n, y } = found.get(color);
      if (n) places.set(name, widest(shown, w, h, color, Math.round(y / n)));
    }
    return places;
  }
  function widest(shown, w, h, color, middle) {
    let best = { length: 0, x: 0, y: middle };
    for (let y = Math.max(0, middle - 24); y < Math.min(h, middle + 25); y += 4) {
      for (let x = 0, start = 0; x <= w; x++) {
        if (x < w && shown[y * w + x] === color) continue;
        if (x - start > best.length) best = { length: x - start, x: (start + x) / 2, y };
        start = x + 1;
      }
    }
    return best;
  }

  // desk(): the editor's; state, choose: as above; the painting has regions [{region, words, on}] and softness.
  function rows({ palette, state, choose, desk }) {
    const list = el("ol", { "aria-label": "What is said where" }),
      nodes = new Map();
    const all = () => desk().now.regions,
      row = (name) => all().find((one) => one.region === name);
    const commit = (more, what, again) => desk().commit({ ...desk().now, ...more }, what, again);
    const change = (name, fields, what, again) =>
      commit({ regions: all().map((one) => (one.region === name ? { ...one, ...fields } : one)) }, what, again);
    const painted = () => new Set(desk().now.ops.map((op) => op.region));

    function made(name) {
      const pick = el("button", { type: "button", class: "mq-pick", title: `Paint with ${name}`, "aria-label": `Paint the ${name} region`, onclick: () => choose(name) }, swatch(palette.get(name)));
      const words = el("input", {
        type: "text",
        maxlength: 2000,
        placeholder: "What is here?",
        "aria-label": `What is in the ${name} region`,
        onfocus: () => state.region !== name && choose(name),
        oninput: () => change(name, { words: words.value }, `words of ${name}`, { again: true }),
      });
      const eye = button("eye", `Leave the ${name} region out`, () => change(name, { on: !row(name).on }, "eye"));
      const gone = button("trash", `Remove the ${name} region`, () => remove(name));
      const node = el("li", { "data-region": name }, pick, words, eye, gone);
      return { node, pick, words, eye };
    }
    function remove(name) {
      const left = all().filter((one) => one.region !== name),
        ops = desk().now.ops;
      commit(
        { regions: left.length ? left : [fresh(name)], ops: painted().has(name) ? [...ops, { kind: "clear", region: name }] : ops },
        "remove region",
      );
      M.say("The region is removed.", () => desk().undo());
    }
    const add = button("plus", "One more region", () => {
      const name = [...palette.keys()].find((one) => !row(one));
      commit({ regions: [...all(), fresh(name)] }, "add region");
      choose(name);
      nodes.get(name).words.focus();
    }, { caption: "Region" });
    const softness = el("input", {
      type: "range",
      min: 0,
      max: 0.1,
      step: 0.01,
      "aria-label": "How softly regions go over into what is around them",
      onchange: () => commit({ softness: +softness.value }, "softness"),
    });
    const soft = el("label", { class: "mq-group mq-slide mq-right" }, el("span", { text: "Soft borders" }), softness);

    function show() {
      if (!row(state.region)) state.region = all()[0].region;
      for (const [name, { node }] of nodes)
        if (!row(name)) {
          node.remove();
          nodes.delete(name);
        }
      for (const { region: name, words, on } of all()) {
        if (!nodes.has(name)) nodes.set(name, made(name));
        const part = nodes.get(name);
        if (part.words.value !== words) part.words.value = words;
        part.node.toggleAttribute("data-off", !on);
        part.eye.setAttribute("aria-pressed", !on);
        part.pick.setAttribute("aria-pressed", name === state.region);
      }
      const order = all().map((one) => nodes.get(one.region).node);
      if (order.some((node, i) => list.children[i] !== node)) list.replaceChildren(...order);
      add.disabled = all().length >= palette.size;
      softness.value = desk().now.softness ?? SOFT;
    }
    const colors = () => new Map([...palette].map(([name, color]) => [name, row(name)?.on === false ? quiet(color) : color]));
    const called = (name) => row(name)?.words.trim() || `the ${name} region`;
    return {
      node: el("div", { class: "mq-said-regions" }, list, el("div", { class: "mq-toolbar" }, add, soft)),
      show,
      colors,
      named: (color) => called([...colors()].find(([, one]) => one === color)?.[0] ?? ""),
      said: () => `You paint: ${short(called(state.region))}.`,
      labels: (sheet) =>
        [...anchors(sheet, colors())]
          .map(([name, place]) => ({ ...place, text: short(row(name)?.words.trim() ?? "") }))
          .filter(({ text }) => text),
    };
  }
  return { chips, rows, first };
})();
