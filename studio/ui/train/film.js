// Sample pictures of a run as a filmstrip: one row a prompt, first the base model's picture, then each step's of the same
// seed. A picture opens large beside the base model's.
window.maquetteFilm ??= (() => {
  const M = window.maquette,
    { el } = M;
  let dialog = null,
    look = null;

  // frames: [{step: null for the base model | number, files: [addresses], prompts}]; best: the step to mark; given: what
  // the pictures follow, {name, step: null, files, prompts}, if they follow anything
  function film() {
    const node = el("div", { class: "mq-film", role: "group", "aria-label": "Sample pictures by step" });
    let seen = "";
    function draw(frames, best, given = null) {
      const all = given ? [given, ...frames] : frames,
        text = JSON.stringify([all, best]);
      node.hidden = frames.length === 0;
      if (text === seen) return;
      seen = text;
      const end = node.scrollLeft + node.clientWidth >= node.scrollWidth - 8;
      const rows = Math.max(0, ...all.map((frame) => frame.files.length));
      node.style.setProperty("--rows", rows);
      M.redraw(node, () => all.map((frame) => column(frame, all, best, rows)));
      if (end) node.scrollLeft = node.scrollWidth;
    }
    function column(frame, frames, best, rows) {
      const name = frame.name ?? (frame.step === null ? "before" : `step ${frame.step}`);
      return el(
        "div",
        { class: "mq-film-step", "data-step": frame.name ? "given" : (frame.step ?? "base"), "data-best": frame.step !== null && frame.step === best ? "" : undefined },
        el("span", { class: "mq-mono", text: name }),
        ...Array.from({ length: rows }, (_, row) =>
          frame.files[row]
            ? el("button", { type: "button", class: "mq-film-picture", title: frame.prompts?.[row] ?? "", "aria-label": `${name}: ${frame.prompts?.[row] ?? "sample"}`, onclick: () => open(frames, frame, row, node) }, el("img", { src: frame.files[row], alt: "", loading: "lazy" }))
            : el("span", { class: "mq-film-picture" }),
        ),
      );
    }
    return { node, draw };
  }

  function build() {
    dialog = el("dialog", { class: "mq-dialog mq-film-large", "aria-label": "Before and after" });
    dialog.addEventListener("click", (e) => e.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
      if (by) step(by);
    });
  }
  function step(by) {
    const all = look.frames.filter((frame) => frame.step !== null && frame.files[look.row]),
      next = all[all.indexOf(look.frame) + by];
    if (next) show({ ...look, frame: next });
  }
  function show(next) {
    look = next;
    const given = look.frames.find((frame) => frame.name),
      base = look.frames.find((frame) => frame.step === null && !frame.name),
      side = (words, src) => el("figure", {}, el("img", { src, alt: words }), el("figcaption", { class: "mq-mono", text: words }));
    dialog.replaceChildren(
      el("div", { class: "mq-film-pair" }, given?.files[look.row] ? side(given.name, given.files[look.row]) : "", base?.files[look.row] ? side("before", base.files[look.row]) : "", look.frame.step === null ? "" : side(`step ${look.frame.step}`, look.frame.files[look.row])),
      el("p", { text: look.frame.prompts?.[look.row] ?? base?.prompts?.[look.row] ?? "" }),
      el("div", { class: "mq-film-foot" }, M.button("left", "The step before", () => step(-1)), M.button("right", "The next step", () => step(1)), el("button", { type: "button", class: "mq-plain", text: "Close", onclick: () => dialog.close() })),
    );
  }
  function open(frames, frame, row, host) {
    if (!dialog) build();
    host.append(dialog);
    show({ frames, frame, row });
    dialog.showModal();
  }
  return film;
})();
