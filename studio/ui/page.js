// What every component of the page shares: the jobs as one event stream tells them, small DOM helpers, theme and keys.
// Untrusted text (prompts, names, errors) reaches the DOM through textContent alone.
window.maquette ??= (() => {
  const PATHS = {
    brush:
      "M9.5 14.5 19 5a2.1 2.1 0 0 0-3-3L6.5 11.5M9.5 14.5l-3-3M9.5 14.5c0 3-1.6 5.5-6.5 5.5 1.6-1.2 1-2.6 1.4-4.2.3-1.6 1-3 2.1-4.3",
    eraser: "m7 20-4-4a2 2 0 0 1 0-2.8L13 3.2a2 2 0 0 1 2.8 0L21 8.4a2 2 0 0 1 0 2.8L12 20M7 20h14M8 8.2l7.8 7.8",
    undo: "M8 5 4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
    redo: "m16 5 4 4-4 4M20 9H10a6 6 0 0 0 0 12h3",
    trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
    image: "M4 4h16v16H4zM4 16l5-5 5 5 2-2 4 4M15.5 9h.01",
    x: "M6 6l12 12M18 6 6 18",
    dice: "M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
    lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
    star: "m12 3.5 2.6 5.5 6 .8-4.400 4.200 1.100 6-5.300-2.900-5.300 2.900 1.100-6L3.400 9.800l6-.8z",
    sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.400 1.400M17.600 17.600 19 19M5 19l1.400-1.400M17.600 6.400 19 5",
    moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500z",
    up: "m6 14 6-6 6 6",
    down: "m6 10 6 6 6-6",
    download: "M12 4v11M7 11l5 5 5-5M4 20h16",
    vary: "M4 7h4l8 10h4M4 17h4l2.500-3M13.500 10 16 7h4M17 4l3 3-3 3M17 14l3 3-3 3",
    repeat: "M4 12a8 8 0 0 1 14-5.300L20 9M20 4v5h-5M20 12a8 8 0 0 1-14 5.300L4 15M4 20v-5h5",
    send: "M4 4h7v7M4 11l8-7M13 20h7V9M9 20H4v-5",
    sliders: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
    search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
    help: "M8 8.500a4 4 0 1 1 5.800 3.600c-1.100.6-1.800 1.400-1.800 2.900M12 19.500h.01",
    queue: "M4 6h16M4 12h16M4 18h10",
    left: "m14 6-6 6 6 6",
    right: "m10 6 6 6-6 6",
    plus: "M12 5v14M5 12h14",
    mirror: "M12 3v18M9 7 3 17h6zM15 7l6 10h-6z",
    upload: "M12 15V4M7 9l5-5 5 5M4 20h16",
    copy: "M9 9h11v11H9zM5 15H4V4h11v1",
    photo: "M4 8h3l2-3h6l2 3h3v11H4zM12 10a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7z",
    grip: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
    eye: "M2.500 12C5 7.500 8.300 5.500 12 5.500s7 2 9.500 6.500c-2.500 4.500-5.800 6.500-9.500 6.500S5 16.500 2.500 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
    check: "m5 12 5 5 9-10",
    pointer: "M5 3l14 8-6.500 1.500L9 19z",
    gradient: "M4 4h16v16H4zM4 9h16M4 13h16M4 16h16M4 18h16",
    floor: "M3 8h18M9 8 4 20M15 8l5 12M12 8v12M6 15h12",
    ball: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM8 9.500c.6-1.500 1.700-2.500 3.200-3",
    box: "M12 3 4 7.500v9l8 4.500 8-4.500v-9zM4 7.500l8 4.500 8-4.500M12 12v9",
    fill: "M10 4 4 11a2 2 0 0 0 0 2.600L9.500 19a2 2 0 0 0 2.700 0L19 12zM7 3l5 5M4 12h14M21 16v4",
    lasso: "M12 4c5 0 9 2.500 9 6s-4 6-9 6-9-2.500-9-6 4-6 9-6zM7 15c-1 1-1.500 2-1 3s2 1 2.500 3",
    rect: "M4 6h16v12H4z",
    blur: "M12 3c4 5 6 7.500 6 11a6 6 0 0 1-12 0c0-3.500 2-6 6-11z",
    invert: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 3v18M12 8h7.500M12 12h9M12 16h7.500",
  };
  const icon = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"),
      path = document.createElementNS(svg.namespaceURI, "path");
    for (const [k, v] of Object.entries({ viewBox: "0 0 24 24", class: "mq-icon", "aria-hidden": "true" }))
      svg.setAttribute(k, v);
    path.setAttribute("d", PATHS[name]);
    svg.append(path);
    return svg;
  };
  const el = (tag, attrs = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [k, v] of Object.entries(attrs)) {
      if (v === undefined || v === null || (v === false && !k.startsWith("aria-"))) continue;
      if (k.startsWith("on")) node.addEventListener(k.slice(2), v);
      else if (k === "text") node.textContent = v;
      else node.setAttribute(k, v === true && !k.startsWith("aria-") ? "" : v);
    }
    node.append(...children.filter((c) => c !== null && c !== undefined));
    return node;
  };
  const button = (name, label, onclick, { caption, ...attrs } = {}) =>
    el(
      "button",
      { type: "button", class: "mq-button", title: attrs.title ?? label, "aria-label": label, onclick, ...attrs },
      icon(name),
      ...(caption ? [el("span", { text: caption })] : []),
    );

  const NO_PICTURE = "That is no picture: drop a PNG, JPEG or WebP file.";

  // ---- the bus: listeners live as long as the element that they belong to
  const listeners = [];
  const on = (owner, name, handler) => listeners.push({ owner, name, handler });
  const emit = (name, detail) => {
    for (const l of [...listeners]) {
      if (!l.owner.isConnected) {
        if (l.seen) listeners.splice(listeners.indexOf(l), 1);
        continue;
      }
      l.seen = true;
      if (l.name === name) l.handler(detail);
    }
  };

  // lay out again when the page is scrolled or the box gets another size, once a frame, as long as the owner is there
  const whileSeen = (owner, box, layout) => {
    let frame = 0;
    const later = () => {
      if (!owner.isConnected) {
        removeEventListener("scroll", later, true);
        return;
      }
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(layout);
    };
    addEventListener("scroll", later, { capture: true, passive: true });
    new ResizeObserver(later).observe(box);
  };

  // ---- requests to our own routes; a refusal becomes an Error with the server's sentence and field
  const sentence = (body) => {
    const said = body?.message ?? body?.error ?? body?.detail ?? "";
    const text =
      typeof said === "string"
        ? said
        : (said?.message ?? (Array.isArray(said) ? said.map((d) => d.msg).join("; ") : ""));
    const hint = body?.hint ?? said?.hint ?? "";
    return [text, hint].filter(Boolean).join(" ");
  };
  async function call(method, path, body, options = {}) {
    const raw = body instanceof Blob;
    let answer;
    try {
      answer = await fetch("./api/v1/" + path, {
        method,
        body: raw ? body : body === undefined ? undefined : JSON.stringify(body),
        headers:
          body === undefined
            ? {}
            : { "Content-Type": raw ? body.type || "application/octet-stream" : "application/json" },
        ...options,
      });
    } catch {
      throw new Error("The studio does not answer. Is it still running?");
    }
    const data = await answer.json().catch(() => null);
    if (!answer.ok) {
      const refused = new Error(sentence(data) || `The studio refused this (${answer.status}).`);
      throw Object.assign(refused, { field: data?.field ?? "" });
    }
    return data;
  }

  // ---- jobs, as the event stream tells them
  const state = {
    jobs: new Map(),
    progress: new Map(),
    previews: new Map(),
    worker: { state: "starting" },
    costs: {}, // kind of a control -> seconds that it took in a step, of the last picture that followed it
    connected: false,
    greeted: false,
    picked: null,
    recent: [],
  };
  const list = (data) => (Array.isArray(data) ? data : (data?.jobs ?? data?.items ?? []));
  const merge = (job) => state.jobs.set(job.id, { ...state.jobs.get(job.id), ...job });
  const byOrder = (a, b) => a.position - b.position;
  const running = () => [...state.jobs.values()].find((j) => j.state === "running");
  const waiting = () => [...state.jobs.values()].filter((j) => j.state === "queued").sort(byOrder);
  const latest = () =>
    [...state.jobs.values()]
      .filter((j) => ["done", "failed", "cancelled"].includes(j.state))
      .sort((a, b) => (b.finished ?? b.created) - (a.finished ?? a.created))[0];
  let looks = 0;
  const refreshRecent = async () => {
    const mine = ++looks,
      found = list(await call("GET", "gallery?limit=24").catch(() => []));
    if (mine !== looks) return; // a later look saw more
    state.recent = found;
    emit("recent");
  };
  let asking = null,
    told = new Set(); // jobs that events told of since the list was asked for: it may be older than they are
  const refreshJobs = () => {
    clearTimeout(asking);
    asking = setTimeout(async () => {
      const since = (told = new Set());
      const found = list(await call("GET", "jobs").catch(() => []));
      if (since !== told) return; // asked for once more
      found.forEach((job) => since.has(job.id) || merge(job));
      emit("jobs");
    }, 60);
  };
  const receive = (e) => {
    if (e.type === "hello") {
      state.jobs.clear();
      (e.jobs ?? []).forEach(merge);
      state.worker = { ...state.worker, ...e.worker };
      state.greeted = true;
      (e.previews ?? []).forEach((p) => state.previews.set(p.job_id, p));
      refreshRecent();
      emit("worker");
    } else if (e.type === "job") {
      const before = state.jobs.get(e.job.id)?.state;
      merge(e.job);
      told.add(e.job.id);
      if (e.job.state !== "running") {
        state.progress.delete(e.job.id);
        if (e.job.state !== "cancelled") state.previews.delete(e.job.id);
      }
      if (e.job.state === "running" && before !== "running") {
        state.previews.delete(e.job.id);
        state.picked = null;
      }
      if (e.job.state === "done" && before !== "done") refreshRecent();
    } else if (e.type === "progress") state.progress.set(e.job_id, e);
    else if (e.type === "preview") state.previews.set(e.job_id, e);
    else if (e.type === "worker") {
      state.worker = { ...state.worker, ...e };
      emit("worker");
    } else if (e.type === "queue") refreshJobs();
    else if (e.type === "costs") {
      state.costs = { ...state.costs, ...e.costs };
      emit("costs");
    }
    else if (e.type === "warning") say(e.message);
    emit("jobs", e);
  };
  const connect = () => {
    const source = new EventSource("./api/v1/events");
    source.onmessage = (e) => receive(JSON.parse(e.data));
    source.onopen = () => {
      state.connected = true;
      emit("worker");
    };
    source.onerror = () => {
      state.connected = false;
      emit("worker");
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000); // refused for good: the browser no longer tries
    };
  };

  // ---- small things of the whole page
  const say = (message, undo) => {
    document.querySelector(".mq-toast")?.remove();
    const toast = el("div", { class: "mq-toast", role: "status" }, el("span", { text: message }));
    if (undo)
      toast.append(
        el("button", {
          type: "button",
          text: "Undo",
          onclick: () => {
            toast.remove();
            undo();
          },
        }),
      );
    toast.append(button("x", "Close", () => toast.remove()));
    document.body.append(toast);
    setTimeout(() => toast.remove(), undo ? 12000 : 8000);
  };
  const dark = () => document.body.classList.contains("dark");
  const setTheme = (isDark) => {
    document.body.classList.toggle("dark", isDark);
    localStorage.setItem("maquette-theme", isDark ? "dark" : "light");
    emit("theme");
  };
  const remembered = localStorage.getItem("maquette-theme");
  if (remembered) document.body?.classList.toggle("dark", remembered === "dark");
  const browser = () => {
    let id = localStorage.getItem("maquette-browser");
    if (!id)
      localStorage.setItem(
        "maquette-browser",
        (id = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("")),
      );
    return id;
  };
  const write = (box, text) => {
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const insertWord = (word) => {
    const box = document.querySelector("#prompt textarea"),
      gap = box.value && !/\s$/.test(box.value) ? " " : "";
    write(box, box.value + gap + word);
    box.focus();
  };

  // ---- what the server may not have heard yet: typed before the draft came, or shortly before the page is left
  // (gradio reloads the page by itself when a server that was away is back). The tab keeps it over the reload.
  const LEFT = "maquette-left",
    TEXTS = { prompt: "#prompt textarea", negative_prompt: "#negative-prompt textarea" },
    early = new Map();
  const drawings = new Map(); // name of a canvas -> what reads it
  document.addEventListener(
    "input",
    (e) => {
      if (!drawings.has("sketch") && e.isTrusted && e.target.matches(Object.values(TEXTS).join())) early.set(e.target, e.target.value);
    },
    true,
  );
  const loaded = (name, read) => {
    drawings.set(name, read);
    if (name !== "sketch") return;
    setTimeout(() => {
      early.forEach((text, box) => box.isConnected && box.value !== text && write(box, text));
      early.clear();
    });
  };
  const left = () => {
    const text = sessionStorage.getItem(LEFT) ?? "";
    sessionStorage.removeItem(LEFT);
    return text;
  };
  addEventListener("pagehide", () => {
    if (!drawings.size) return;
    const texts = Object.entries(TEXTS).map(([name, where]) => [name, document.querySelector(where)?.value]);
    try {
      const drawn = [...drawings].map(([name, read]) => [name, read()]);
      sessionStorage.setItem(LEFT, JSON.stringify(Object.fromEntries([...texts, ...drawn])));
    } catch {
      sessionStorage.removeItem(LEFT);
    } // too large: the server's draft is used
  });

  const typing = (target) =>
    target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable], dialog");
  const tool = () => document.getElementById("canvas-pane")?.dataset.tool ?? "scribble"; // the tab of the canvas

  // ---- order: a row is dragged past its neighbours; it leaves the page for a moment when it moves, so the window listens
  const dragOrder = (e, node, shift) => {
    e.preventDefault();
    let from = e.clientY;
    node.dataset.dragged = "";
    const listening = new AbortController(),
      on = (event, handler) => addEventListener(event, handler, { signal: listening.signal });
    on("pointermove", (m) => {
      const off = m.clientY - from,
        other = off < 0 ? node.previousElementSibling : node.nextElementSibling,
        step = (other?.offsetHeight ?? 0) + 4;
      if (other && Math.abs(off) >= step / 2 && shift(Math.sign(off))) from += Math.sign(off) * step;
    });
    const done = () => {
      delete node.dataset.dragged;
      listening.abort();
    };
    on("pointerup", done);
    on("pointercancel", done);
  };

  // ---- the maps of the canvas as small pictures: whoever edits one says how it is drawn, and "drawn" after each change
  const thumbs = new Map(); // kind of the control -> (context, w, h) => whether there is anything
  const thumb = (kind, draw) => thumbs.set(kind, draw);

  for (const name of ["dragover", "drop"]) document.addEventListener(name, (e) => e.preventDefault()); // a missed drop must not leave the page
  // on a phone the result lies under the form: go there once the picture was taken on, unless the hand does something else
  let pressed = false;
  document.addEventListener("pointerdown", () => (pressed = false), true);
  document.addEventListener("click", (e) => {
    if (e.target.closest?.("#generate")) pressed = matchMedia("(max-width: 900px)").matches;
  });
  on(document.documentElement, "refused", () => (pressed = false));
  on(document.documentElement, "jobs", (e) => {
    if (!pressed || e?.type !== "job") return;
    pressed = false;
    const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    // a frame later the result has taken its height: before, the page may be too short to go all the way
    requestAnimationFrame(() => document.getElementById("result")?.scrollIntoView({ behavior, block: "start" }));
  });
  connect();
  return {
    NO_PICTURE,
    icon,
    el,
    button,
    on,
    emit,
    whileSeen,
    call,
    state,
    list,
    running,
    waiting,
    latest,
    say,
    dark,
    setTheme,
    browser,
    left,
    loaded,
    write,
    dragOrder,
    insertWord,
    thumb,
    thumbs,
    typing,
    tool,
    refreshRecent,
    refreshJobs,
  };
})();
