// A dialog to paint what counts of a picture, in training and for a row of the stack. A mask is a PNG, white on black, of
// the picture's size.
window.maquetteMask ??= (() => {
  const M = window.maquette,
    { el, button } = M;
  const MOST = 2048; // pixels of the longer side that are painted on
  let dialog = null,
    order = null, // who opened it
    image = null,
    strokes = [],
    undone = [],
    base = null, // the mask that was there
    tool = "brush",
    width = 0.12; // of the longer side

  const canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": "Paint over what counts, with mouse, pen or finger" });
  const ring = el("div", { class: "mq-ring" });
  const shown = el("img", { alt: "", draggable: "false" });
  const stage = el("div", { class: "mq-mask-stage" }, shown, canvas, ring);
  const notice = el("div", { class: "mq-notice", role: "alert", hidden: true });
  const title = el("h2", {}),
    hint = el("p", { class: "mq-hint" });
  const size = el("input", { type: "range", min: 0.01, max: 0.4, step: 0.005, "aria-label": "Brush size", title: "Brush size ([ and ])", oninput: () => (width = +size.value) });
  const tools = {
    brush: button("brush", "Paint what counts (B)", () => choose("brush")),
    eraser: button("eraser", "Eraser (E)", () => choose("eraser")),
    undo: button("undo", "Undo (Ctrl+Z)", undo),
    redo: button("redo", "Redo (Ctrl+Shift+Z)", redo),
    clear: button("trash", "Take all paint off", () => push({ clear: true })),
  };
  function choose(name) {
    tool = name;
    for (const one of ["brush", "eraser"]) tools[one].setAttribute("aria-pressed", one === tool);
  }
  function push(stroke) {
    strokes.push(stroke);
    undone = [];
    draw();
  }
  function undo() {
    if (strokes.length) undone.push(strokes.pop());
    draw();
  }
  function redo() {
    if (undone.length) strokes.push(undone.pop());
    draw();
  }

  // ---- painting
  function lay(pen, color) {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (base) pen.drawImage(base, 0, 0, canvas.width, canvas.height);
    for (const stroke of strokes) along(pen, stroke);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = color;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = "source-over";
  }
  function along(pen, stroke) {
    if (stroke.clear) return pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    pen.lineCap = pen.lineJoin = "round";
    pen.strokeStyle = pen.fillStyle = "#fff";
    pen.lineWidth = stroke.width;
    pen.beginPath();
    const [x, y, ...rest] = stroke.p;
    pen.arc(x, y, stroke.width / 2, 0, 7);
    pen.fill();
    pen.beginPath();
    pen.moveTo(x, y);
    for (let i = 0; i < rest.length; i += 2) pen.lineTo(rest[i], rest[i + 1]);
    pen.stroke();
    pen.globalCompositeOperation = "source-over";
  }
  // what does not count is dark, as soon as something is painted
  function draw() {
    const pen = canvas.getContext("2d");
    lay(pen, "#14110f");
    if (base || strokes.length) {
      pen.globalCompositeOperation = "source-out";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.globalCompositeOperation = "source-over";
    }
    tools.undo.disabled = !strokes.length;
    tools.redo.disabled = !undone.length;
    canvas.dataset.strokes = strokes.length;
  }

  // ---- the hand
  let stroke = null;
  const place = (e) => {
    const box = canvas.getBoundingClientRect();
    return [((e.clientX - box.left) / box.width) * canvas.width, ((e.clientY - box.top) / box.height) * canvas.height];
  };
  const long = () => Math.max(canvas.width, canvas.height);
  canvas.addEventListener("pointerdown", (e) => {
    if (e.button > 0 || !e.isPrimary) return;
    e.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(e.pointerId);
    stroke = { p: place(e), width: width * long(), erase: tool === "eraser" };
    push(stroke);
  });
  canvas.addEventListener("pointermove", (e) => {
    const box = stage.getBoundingClientRect(),
      seen = width * Math.max(canvas.clientWidth, canvas.clientHeight);
    ring.style.cssText = `display:block;left:${e.clientX - box.left}px;top:${e.clientY - box.top}px;width:${seen}px;height:${seen}px`;
    if (!stroke) return;
    stroke.p.push(...place(e));
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (stroke = null));
  canvas.addEventListener("pointerleave", () => (ring.style.display = "none"));

  // ---- what comes out: white where it counts; null when nothing is painted, which means that all counts
  function png() {
    const made = el("canvas", { width: canvas.width, height: canvas.height }),
      pen = made.getContext("2d");
    lay(pen, "#fff");
    const data = pen.getImageData(0, 0, made.width, made.height).data;
    let some = false;
    for (let i = 3; i < data.length && !some; i += 4) some = data[i] > 0;
    if (!some) return null;
    pen.globalCompositeOperation = "destination-over";
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, made.width, made.height);
    return new Promise((done) => made.toBlob(done, "image/png"));
  }
  async function save() {
    notice.hidden = true;
    try {
      await order.save(await png());
      dialog.close();
    } catch (error) {
      notice.textContent = error.message;
      notice.hidden = false;
    }
  }

  function build() {
    dialog = el(
      "dialog",
      { class: "mq-dialog mq-mask", "aria-label": "Paint what counts" },
      title,
      hint,
      el("div", { class: "mq-toolbar", role: "toolbar", "aria-label": "Tools of the mask" }, ...Object.values(tools).slice(0, 2), size, ...Object.values(tools).slice(2)),
      stage,
      notice,
      el(
        "div",
        { class: "mq-mask-foot" },
        el("button", { type: "button", class: "mq-plain", text: "Cancel", onclick: () => dialog.close() }),
        el("button", { type: "button", class: "mq-strong", id: "mask-save", text: "Keep the mask", onclick: save }),
      ),
    );
    dialog.addEventListener("keydown", (e) => {
      const key = e.key.toLowerCase();
      if ((e.ctrlKey || e.metaKey) && key === "z") (e.shiftKey ? redo : undo)();
      else if (key === "b") choose("brush");
      else if (key === "e") choose("eraser");
      else if (key === "[" || key === "]") size.value = width = Math.min(0.4, Math.max(0.01, width * (key === "[" ? 0.85 : 1.18)));
      else return;
      e.preventDefault();
      e.stopPropagation();
    });
  }
  const loaded = (src) =>
    new Promise((done, fail) => {
      const one = new Image();
      one.onload = () => done(one);
      one.onerror = fail;
      one.src = src;
    });
  // the mask's light as paint
  function paintOf(mask) {
    const made = el("canvas", { width: canvas.width, height: canvas.height }),
      pen = made.getContext("2d");
    pen.drawImage(mask, 0, 0, made.width, made.height);
    const seen = pen.getImageData(0, 0, made.width, made.height);
    for (let i = 0; i < seen.data.length; i += 4) {
      seen.data[i + 3] = seen.data[i];
      seen.data[i] = seen.data[i + 1] = seen.data[i + 2] = 255;
    }
    pen.putImageData(seen, 0, 0);
    return made;
  }
  // {picture, mask: addresses; title, hint: texts; host: the element it belongs to; save(png blob or null)}
  async function open(wanted) {
    if (!dialog) build();
    order = wanted;
    [strokes, undone, base] = [[], [], null];
    title.textContent = wanted.title;
    hint.textContent = wanted.hint;
    notice.hidden = true;
    size.value = width;
    choose("brush");
    try {
      image = await loaded(wanted.picture);
      const scale = Math.min(1, MOST / Math.max(image.naturalWidth, image.naturalHeight));
      canvas.width = Math.round(image.naturalWidth * scale);
      canvas.height = Math.round(image.naturalHeight * scale);
      shown.src = wanted.picture;
      stage.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
      stage.style.setProperty("--shape", canvas.width / canvas.height);
      if (wanted.mask) base = paintOf(await loaded(wanted.mask));
    } catch {
      if (!image) return M.say("The picture cannot be shown.");
      M.say("The mask that was there cannot be shown; a new one can be painted.");
    }
    wanted.host.append(dialog);
    dialog.showModal();
    draw();
    dialog.dataset.ready = "1";
  }
  return { open };
})();
