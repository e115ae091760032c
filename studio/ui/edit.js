// What the Edit tab paints with, and its settings.
window.maquetteEdit ??= (() => {
  const { el } = window.maquette;
  const TINT = "#d4663a";

  // A finished mask as paint: what is white on it is painted.
  function tinted(map) {
    const made = el("canvas", { width: map.naturalWidth, height: map.naturalHeight }),
      on = made.getContext("2d");
    on.drawImage(map, 0, 0);
    const seen = on.getImageData(0, 0, made.width, made.height);
    for (let i = 0; i < seen.data.length; i += 4) seen.data[i + 3] = seen.data[i];
    on.putImageData(seen, 0, 0);
    on.globalCompositeOperation = "source-in";
    on.fillStyle = TINT;
    on.fillRect(0, 0, made.width, made.height);
    return made;
  }

  // Paint is laid on, or taken off.
  function ink(on, takes) {
    on.lineCap = on.lineJoin = "round";
    on.globalCompositeOperation = takes ? "destination-out" : "source-over";
    on.strokeStyle = on.fillStyle = TINT;
  }
  function along(on, s, from) {
    const p = s.p;
    if (from === 0) {
      on.beginPath();
      on.arc(p[0], p[1], Math.max(0.5, (s.s * p[2]) / 2), 0, 7);
      on.fill();
    }
    for (let i = Math.max(1, from); i < p.length / 3; i++) {
      on.lineWidth = Math.max(1, s.s * p[3 * i + 2]);
      on.beginPath();
      on.moveTo(p[3 * i - 3], p[3 * i - 2]);
      on.lineTo(p[3 * i], p[3 * i + 1]);
      on.stroke();
    }
  }

  // How much changes, and how the painted part is made: `node`, and show(edit, some), where something may change alone.
  function settings(set) {
    const percent = (share) => `${Math.round(share * 100)} %`;
    const strength = el("input", {
      type: "range",
      min: 0.05,
      max: 1,
      step: 0.05,
      "aria-label": "How much to change",
      title: "How much to change (strength): a little keeps the shapes, 1 begins from nothing",
      oninput: () => (strengthSaid.textContent = percent(+strength.value)),
      onchange: () => set("strength", +strength.value),
    });
    const strengthSaid = el("output");
    const alone = el("input", { type: "checkbox", onchange: () => set("alone", alone.checked) });
    const whole = (label, title, max, name) =>
      el("input", {
        type: "number",
        min: 0,
        max,
        step: name === "padding" ? 8 : 1,
        "aria-label": label,
        title,
        onchange: (e) => set(name, Math.min(max, Math.max(0, Math.round(+e.target.value || 0)))),
      });
    const padding = whole("Pixels around the painted part", "How much of its surroundings is seen (mask_padding), in pixels", 512, "padding"),
      blur = whole("Soft border", "Pixels over which the new goes over into the old (mask_blur)", 64, "blur");
    const fill = el(
      "select",
      { "aria-label": "What the painted part begins from", title: "What the painted part begins from (masked content)", onchange: () => set("fill", fill.value) },
      ...[
        ["original", "what is there"],
        ["fill", "the colours around it"],
        ["noise", "noise"],
        ["nothing", "nothing"],
      ].map(([value, text]) => el("option", { value, text })),
    );
    const around = el("label", { class: "mq-edit-around" }, "and ", padding, " px around");
    const ofMask = el(
      "div",
      { class: "mq-edit-row" },
      el("label", { class: "mq-edit-alone" }, alone, el("span", { text: "Only the painted part" })),
      around,
      el("label", {}, "begin from ", fill),
      el("label", {}, "soft border ", blur),
    );
    const node = el(
      "div",
      { class: "mq-edit-settings" },
      el("label", { class: "mq-edit-row mq-edit-strength" }, el("span", { text: "How much to change" }), strength, strengthSaid),
      ofMask,
    );
    function show(edit, some) {
      strength.value = edit.strength;
      strengthSaid.textContent = percent(edit.strength);
      alone.checked = edit.alone;
      padding.value = edit.padding;
      blur.value = edit.blur;
      fill.value = edit.fill;
      ofMask.hidden = !some;
      around.hidden = !edit.alone;
    }
    return { node, show };
  }

  return { tinted, ink, along, settings };
})();
