// What the editors of the canvas share: the thing that is edited with its undo, a picture to trace, files, readiness.
window.maquettePad ??= (() => {
  const M = window.maquette,
    { el, button } = M;
  const PICTURES = "image/png,image/jpeg,image/webp";

  // The drawing of an editor, `now`: what it was goes to the past, the new value to Python. Options: the component's
  // element, props, trigger, watch; kind of the control; name of the draft; id of its element in the page; read(value) and
  // written(drawing), which turn values into drawings and back; onto(drawing, w, h), the drawing on another sheet;
  // holds(drawing), whether it would hurt to lose; show(); before(drawing), one edit less of what an earlier visit drew;
  // replaced(), after Python gave another drawing.
  function desk({ element, props, trigger, watch, kind, name, id, read, written, onto, holds, show, before = () => null, replaced = () => {} }) {
    let now = read(props.value),
      past = [],
      future = [],
      unfitted = null,
      last = null; // the edit before, when it may take the next one in
    function put(next, what) {
      now = next;
      show();
      props.value = written(now);
      trigger("edited", { what });
      M.emit("drawn", kind);
    }
    // On a sheet of another aspect. While nothing is changed meanwhile, every aspect starts from the drawing as it was made,
    // so that it is no smaller when the first aspect is back.
    function refit(w, h) {
      const whole = unfitted?.shown === now ? unfitted.drawing : now;
      now = onto(whole, w, h);
      unfitted = { drawing: whole, shown: now };
      props.value = written(now);
    }
    function usable() {
      element.dataset.ready = "1";
      element.closest("#" + id)?.setAttribute("data-ready", "1");
      element.firstElementChild.classList.add("mq-usable");
      M.loaded(name, () => written(now));
      return true;
    }
    const self = {
      get now() {
        return now;
      },
      get canUndo() {
        return past.length > 0 || before(now) !== null;
      },
      get canRedo() {
        return future.length > 0;
      },
      // again: edits of one name within a second are undone as one
      commit(next, what, { again = false } = {}) {
        const joins = again && last?.what === what && Date.now() - last.at < 1000;
        if (!joins) past.push(now);
        if (past.length > 200) past.shift();
        last = again ? { what, at: Date.now() } : null;
        future = [];
        put(next, what);
        M.emit("hand", kind);
      },
      undo() {
        const was = past.length ? past.pop() : before(now);
        if (was === null) return;
        last = null;
        future.push(now);
        put(onto(was, now.w, now.h), "undo");
      },
      redo() {
        if (!future.length) return;
        past.push(now);
        put(onto(future.pop(), now.w, now.h), "redo");
      },
      // The first value is the draft of this browser: to draw before it is there would be to draw on another sheet.
      start() {
        watch("value", () => {
          const next = read(props.value),
            first = !element.dataset.ready && usable();
          if (JSON.stringify(next) === JSON.stringify(now)) return;
          if (props.value?.refit) refit(next.w, next.h);
          else {
            if (!first && holds(now)) {
              past.push(now);
              future = [];
            } // what Python replaces can be undone too
            now = next;
            replaced();
          }
          show();
          M.emit("drawn", kind);
        });
        show();
        if (props.value) usable();
      },
    };
    return self;
  }

  const chooser = (accept, take) => {
    const input = el("input", { type: "file", accept, hidden: true });
    input.addEventListener("change", () => {
      take(input.files[0]);
      input.value = "";
    });
    return input;
  };

  // Wait with the editor marked as busy; a refusal is said.
  async function busy(root, work) {
    root.dataset.busy = "1";
    try {
      return await work();
    } catch (error) {
      M.say(error.message);
      return null;
    } finally {
      delete root.dataset.busy;
    }
  }

  // A picture under the drawing, to trace: `image` for the stage, `tools` for the toolbar. desk(): the editor's desk.
  function tracing({ root, desk, opacity: usual = 0.45 }) {
    const set = (background) => desk().commit({ ...desk().now, background }, "background");
    const opacity = el("input", {
      type: "range",
      min: 0.1,
      max: 1,
      step: 0.05,
      "aria-label": "Strength of the picture to trace",
      title: "How strongly the picture to trace is shown",
      oninput: () => (image.style.opacity = opacity.value),
      onchange: () => set({ ...desk().now.background, opacity: +opacity.value }),
    });
    const controls = el("span", { class: "mq-traced" }, opacity, button("x", "Remove the picture to trace", () => set(null)));
    const image = el("img", { class: "mq-trace", alt: "", draggable: "false" });
    image.addEventListener("error", () => {
      if (!desk().now.background) return;
      M.say("The picture to trace is not there any more.");
      set(null);
    });
    const url = (address) => set({ url: address, opacity: usual });
    async function take(picture) {
      if (!picture) return;
      const kept = await busy(root, () => M.call("POST", "assets", picture));
      if (kept) url(`./api/v1/assets/${kept.id}`);
    }
    const input = chooser(PICTURES, take);
    function show() {
      const back = desk().now.background?.url;
      if (back && image.getAttribute("src") !== back) image.src = back;
      if (!back) image.removeAttribute("src");
      image.hidden = controls.hidden = !back;
      image.style.opacity = opacity.value = desk().now.background?.opacity ?? usual;
    }
    const tools = [controls, button("image", "Picture to trace", () => input.click(), { caption: "Trace" }), input];
    return { image, tools, take, url, show };
  }

  // The size of the picture that is to be made, so that a photo's map is as sharp as that; nothing where it is no size.
  function wanted(resize_mode) {
    const size = (M.pictureSize ?? []).map(Math.round);
    return size.length && size.every((side) => side >= 64 && side <= 2048) ? { size, resize_mode } : {};
  }

  // "From a photo": the map that the kind's annotator makes of a picture, as {map, source, annotator, options, ...}.
  // fit: how a photo of another aspect lies on the sheet, "crop" or "fill".
  function fromPhoto({ root, kind, title, then, fit = "crop" }) {
    async function take(picture) {
      if (!picture) return;
      const made = await busy(root, async () => {
        const { id } = await M.call("POST", "assets", picture);
        return { ...(await M.call("POST", "annotate", { asset: id, annotator: kind, page: M.browser(), ...wanted(fit) })), source: id };
      });
      if (made) then(made);
    }
    const input = chooser(PICTURES, take);
    return { tools: [button("photo", title, () => input.click(), { caption: "From photo" }), input], take };
  }

  // Files that are dropped on the editor or pasted into it.
  function receiving(root, stage, { picture, other }) {
    root.addEventListener("dragover", (e) => {
      e.preventDefault();
      stage.classList.add("mq-over");
    });
    root.addEventListener("dragleave", () => stage.classList.remove("mq-over"));
    root.addEventListener("drop", (e) => {
      e.preventDefault();
      stage.classList.remove("mq-over");
      const files = [...e.dataTransfer.files],
        found = files.find((f) => f.type.startsWith("image/"));
      if (found) picture(found);
      else if (other && files.length) other(files[0]);
      else if (!other) M.say(M.NO_PICTURE);
    });
    root.addEventListener("paste", (e) => {
      const item = [...e.clipboardData.items].find((i) => i.type.startsWith("image/"));
      if (item) picture(item.getAsFile());
    });
  }

  const tenth = (x) => Math.round(x * 10) / 10;
  const pressure = (e) => (e.pointerType === "pen" && e.pressure ? tenth(0.4 + e.pressure * 1.2) : 1);

  // A brush in a hand: strokes {p: [x, y, pressure, ...]} as they are drawn, and a ring around the pointer. at(e): the place on
  // the sheet; least(): how far the next point must be; width(): of the ring on the screen; begin(e): a stroke without
  // points, or null; drawn(stroke, i): its point i is there; done(stroke). Gives back the stroke that is being drawn.
  function brushing(canvas, ring, { at, least, width, begin, drawn, done }) {
    let stroke = null;
    canvas.addEventListener("pointerdown", (e) => {
      if ((e.button > 0 && e.buttons !== 32) || !e.isPrimary || stroke) return;
      e.preventDefault();
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(e.pointerId);
      stroke = { ...begin(e.buttons === 32), p: [...at(e), pressure(e)] };
      drawn(stroke, 0);
    });
    canvas.addEventListener("pointermove", (e) => {
      const box = ring.parentNode.getBoundingClientRect(),
        wide = width();
      ring.style.cssText = `display:block;left:${e.clientX - box.left}px;top:${e.clientY - box.top}px;width:${wide}px;height:${wide}px`;
      if (!stroke || !e.isPrimary) return;
      const every = e.getCoalescedEvents?.() ?? [],
        p = stroke.p;
      for (const c of every.length ? every : [e]) {
        const [x, y] = at(c);
        if (Math.hypot(x - p[p.length - 3], y - p[p.length - 2]) < least()) continue;
        p.push(x, y, pressure(c));
        drawn(stroke, p.length / 3 - 1);
      }
    });
    const lift = () => {
      if (!stroke) return;
      const finished = stroke;
      stroke = null;
      done(finished);
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("pointerleave", () => (ring.style.display = "none"));
    return () => stroke;
  }

  // How large the stage may get, so that canvas and prompt are seen together.
  const stageWidth = (w, h, below = 420) =>
    matchMedia("(max-width: 900px)").matches ? "none" : `min(100%, calc(max(320px, 100vh - ${below}px) * ${w} / ${h}))`;

  return { PICTURES, desk, chooser, busy, tracing, fromPhoto, receiving, tenth, brushing, stageWidth };
})();
