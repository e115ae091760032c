// The result: the picture or the live preview of it, how far it is, what can be done with it, and recent ones.
// Everything comes from the event stream, so that a reload, a second tab and a restart find the same.
// Event "act" {what: "vary" | "seed" | "settings", item}: Python knows the settings that made the item.
const M = window.maquette,
  { el, button, state } = M;
const root = element.querySelector(".mq-result-view");
const picture = el("img", { class: "mq-picture", alt: "", hidden: true, draggable: "true" });
const how = el("span", { text: "Press Generate, or drop a picture here to open its settings." });
const empty = el("div", { class: "mq-empty" }, el("strong", { text: "Your picture appears here" }), how);
const frame = el("div", { class: "mq-frame" }, empty, picture);
const bar = el("div", { class: "mq-bar-fill" }),
  track = el("div", { class: "mq-bar", "aria-hidden": "true" }, bar);
const phase = el("span", { class: "mq-phase" });
const stop = button(
  "x",
  "Cancel (Esc)",
  () => {
    const job = shownJob();
    if (job) order(`jobs/${job.id}/cancel`);
  },
  { id: "cancel", caption: "Cancel" },
);
const progress = el("div", { class: "mq-progress" }, track, el("div", { class: "mq-progress-line" }, phase, stop));
const notice = el("div", { class: "mq-notice", role: "alert", hidden: true });
const live = el("div", { class: "mq-sr", "aria-live": "polite" });
const act = (what) => () => {
  const item = shownItem();
  if (item) trigger("act", { what, item: item.id });
};
const save = el(
  "a",
  { class: "mq-button", download: "", title: "Save the PNG with its settings in it", "aria-label": "Save the picture" },
  M.icon("download"),
  el("span", { text: "Save" }),
);
const actions = el(
  "div",
  { class: "mq-actions", hidden: true },
  button("vary", "Once more with a new seed", act("vary"), { caption: "Vary" }),
  button("lock", "Keep this seed for the next picture", act("seed"), { caption: "Same seed" }),
  button(
    "send",
    "Trace this picture on the canvas",
    () => {
      const item = shownItem();
      if (item) {
        M.emit("trace", "./" + item.url);
        M.say("The picture lies under the canvas now.");
      }
    },
    { caption: "To canvas" },
  ),
  save,
  button("sliders", "Open the settings that made this", act("settings"), { caption: "Settings" }),
);
const facts = el("p", { class: "mq-facts" });
const spent = el("details", { class: "mq-spent" }, el("summary", { text: "Where the time went" }), el("div"));
const strip = el("div", { class: "mq-strip", role: "list", "aria-label": "Recent pictures" });
root.append(frame, progress, notice, actions, facts, spent, strip, live);

const PHASES = {
  loading: "Loading the model",
  encoding: "Reading the prompt",
  denoising: "",
  decoding: "Finishing the picture",
};
const SPENT = {
  load: "loading the model",
  swap: "changing the model",
  encode: "reading the prompt",
  denoise: "drawing",
  decode: "finishing",
  save: "saving",
};
let at = 0,
  failed = new Set();

const shownJob = () => (state.picked ? null : (M.running() ?? M.waiting()[0] ?? newest()));
const newest = () => {
  const job = M.latest();
  return job && (job.state !== "cancelled" || state.previews.has(job.id))
    ? job
    : ([...state.jobs.values()].filter((j) => j.state === "done").sort((a, b) => b.finished - a.finished)[0] ?? job);
};
const shownItem = () => {
  if (state.picked) return state.picked;
  const job = shownJob();
  if (job) return job.state === "done" ? (job.results ?? [])[Math.min(at, job.results.length - 1)] : null;
  return state.recent[0] ?? null;
};
async function order(path) {
  try {
    await M.call("POST", path);
  } catch (error) {
    M.say(error.message);
  }
}

function line(job, step) {
  if (!state.connected && state.greeted) return "Waiting for the studio";
  if (job.state === "queued") {
    const before = M.waiting().findIndex((j) => j.id === job.id),
      busy = M.running() ? 1 : 0;
    if (before + busy > 0) return `Waiting: ${before + busy} before this one`;
    return (
      { starting: "The generation process is starting", restarting: "The generation process is starting again" }[
        state.worker.state
      ] ?? "About to start"
    );
  }
  if (!step) return "Starting";
  const words = step.phase === "denoising" ? `Step ${step.step}/${step.steps}` : (PHASES[step.phase] ?? step.phase);
  const left = step.seconds_left;
  return (
    words +
    (left === null || left === undefined
      ? ""
      : ` · ${left < 1 ? "less than 1 s" : left < 90 ? Math.round(left) + " s" : Math.round(left / 60) + " min"} left`)
  );
}

function showPicture(job, item) {
  const preview = job && state.previews.get(job.id);
  if (item) {
    const url = "./" + item.url;
    if (picture.dataset.item === String(item.id) || failed.has(url)) return;
    picture.dataset.wanted = item.id;
    const ready = new Image();
    ready.onload = () => {
      if (picture.dataset.wanted !== String(item.id)) return; // something newer is shown meanwhile
      picture.src = url;
      picture.dataset.item = item.id;
      picture.dataset.job = item.job_id ?? "";
      picture.alt = item.prompt || "Result";
      picture.hidden = false;
      empty.hidden = true;
      frame.classList.remove("mq-working");
      frame.style.aspectRatio = `${item.width} / ${item.height}`;
    };
    ready.onerror = () => {
      failed.add(url);
      tell(
        "The picture's file cannot be read.",
        "Look into the outputs folder; the other pictures are not touched.",
        null,
      );
    };
    ready.src = url;
  } else {
    for (const name of ["job", "item", "wanted"]) delete picture.dataset[name];
    const going = job && ["queued", "running"].includes(job.state);
    if (preview) {
      picture.src = preview.url;
      picture.alt = "Live preview";
    }
    picture.hidden = !preview && !(going && picture.getAttribute("src"));
    empty.hidden = !picture.hidden;
    how.hidden = Boolean(going);
    const p = job?.params;
    if (p?.width) frame.style.aspectRatio = `${p.width} / ${p.height}`;
    frame.classList.toggle("mq-working", Boolean(going));
    frame.classList.toggle("mq-stale", Boolean(going && !preview));
  }
}

function tell(what, hint, again, note) {
  notice.hidden = !what;
  notice.classList.toggle("mq-quiet", Boolean(note));
  notice.replaceChildren();
  if (what)
    notice.append(
      el("div", {}, el("strong", { text: what }), hint ? el("span", { text: " " + hint }) : null),
      ...(again ? [button("repeat", "Try again", again, { caption: "Try again" })] : []),
    );
}

function draw() {
  const job = shownJob(),
    item = shownItem(),
    step = job && state.progress.get(job.id),
    going = job && ["queued", "running"].includes(job.state);
  showPicture(job, item);
  progress.hidden = !going;
  actions.hidden = !item;
  if (going) {
    phase.textContent = line(job, step);
    bar.style.width = step?.steps ? `${100 * (step.phase === "decoding" ? 1 : step.step / step.steps)}%` : "0";
    track.classList.toggle("mq-unknown", job.state === "running" && !step?.step);
  }
  if (job?.state === "failed") tell(job.error || "This picture failed.", job.hint, () => order(`jobs/${job.id}/retry`));
  else if (job?.state === "cancelled") tell("Cancelled.", "", () => order(`jobs/${job.id}/retry`), true);
  else if (!state.connected && state.greeted)
    tell("The studio does not answer.", "The page goes on by itself when it is back; nothing is lost.", null);
  else if (job?.note) tell(job.note, "", null, true);
  else if (job?.state === "done" && job.warnings?.length) tell(job.warnings.join(" "), "", null, true);
  else tell("");
  facts.textContent = item
    ? [`${item.width} × ${item.height}`, `seed ${item.seed}`, item.prompt].filter(Boolean).join(" · ")
    : "";
  facts.hidden = !item;
  facts.title = facts.textContent;
  if (item) {
    save.href = "./" + item.url;
    save.download = `maquette-${item.id}-${item.seed}.png`;
    window.maquette.seed = item.seed;
  }
  times(job);
  announce(job, step);
  pieces(job, item);
  element.dataset.state = job?.state ?? (item ? "done" : "empty");
}

function times(job) {
  const seconds = Object.entries(job?.seconds ?? {}).filter(([, s]) => s >= 0.005),
    whole = seconds.reduce((sum, [, s]) => sum + s, 0);
  spent.hidden = job?.state !== "done" || !seconds.length;
  if (spent.hidden) return;
  spent.firstChild.textContent = `Took ${whole.toFixed(1)} s`;
  spent.lastChild.replaceChildren(
    ...seconds.map(([name, s]) =>
      el(
        "div",
        { class: "mq-time" },
        el("span", { text: SPENT[name] ?? name }),
        el("span", { class: "mq-time-bar" }, el("i", { style: `width:${(100 * s) / whole}%` })),
        el("span", { class: "mq-mono", text: `${s.toFixed(2)} s` }),
      ),
    ),
  );
}

let said = "";
function announce(job, step) {
  const quarter = step?.phase === "denoising" ? Math.floor((4 * step.step) / step.steps) : 0;
  const key = job ? `${job.id} ${job.state} ${quarter}` : "";
  if (key === said) return;
  said = key;
  live.textContent = !job
    ? ""
    : {
        queued: "Waiting in the queue",
        running: quarter ? `${quarter * 25} percent` : "Started",
        done: "The picture is ready",
        failed: job.error,
        cancelled: "Cancelled",
      }[job.state];
}

let drawn = "";
function pieces(job, item) {
  const own = !state.picked && job?.state === "done" && job.results.length > 1 ? job.results : [];
  const rest = state.recent.filter((r) => !own.some((o) => o.id === r.id)),
    key = JSON.stringify([own.map((o) => o.id), rest.map((r) => r.id), item?.id]);
  if (key === drawn) return;
  drawn = key;
  const thumb = (r, choose) =>
    el(
      "button",
      {
        type: "button",
        role: "listitem",
        class: "mq-thumb",
        title: r.prompt,
        "aria-label": `Show: ${r.prompt || "picture " + r.id}`,
        "aria-current": r.id === item?.id,
        onclick: choose,
      },
      el("img", { src: "./" + r.thumbnail_url, alt: "", loading: "lazy" }),
    );
  M.redraw(strip, () => [
    ...own.map((r, i) =>
      thumb(r, () => {
        at = i;
        draw();
      }),
    ),
    ...rest.map((r) =>
      thumb(r, () => {
        state.picked = r;
        draw();
      }),
    ),
  ]);
}

root.addEventListener("dragover", (e) => {
  e.preventDefault();
  frame.classList.add("mq-over");
});
root.addEventListener("dragleave", () => frame.classList.remove("mq-over"));
root.addEventListener("drop", async (e) => {
  e.preventDefault();
  frame.classList.remove("mq-over");
  const file = [...e.dataTransfer.files].find((f) => f.type.startsWith("image/"));
  if (!file) {
    tell(M.NO_PICTURE);
    return;
  }
  tell("Reading its settings", "", null, true);
  try {
    trigger("act", { what: "restore", found: await M.call("POST", "settings-from-picture", file) });
  } catch (error) {
    tell(error.message, "", null);
  }
});
picture.addEventListener("dragstart", (e) => {
  if (!picture.dataset.item) e.preventDefault();
});
M.on(element, "jobs", (e) => {
  if (e?.type === "job" && e.job.state === "running") at = 0;
  draw();
});
M.on(element, "recent", draw);
M.on(element, "worker", draw);
M.on(element, "show", (item) => {
  state.picked = item;
  draw();
});
draw();
element.dataset.ready = "1";
element.closest("#result")?.setAttribute("data-ready", "1");
