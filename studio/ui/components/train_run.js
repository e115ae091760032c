// One training: how far it is, how well it learns, and what came of it. All of it is read from the run and its log.
// value = {settings: names of the fields that are settings}.
const M = window.maquette,
  T = window.maquetteTrain,
  { el, button } = M;
const root = element.querySelector(".mq-train-run");
const SETTINGS = props.value.settings; // fields that "All settings" has
const PHASES = {
  loading: "Loading the model",
  caching: "Reading the pictures",
  class_pictures: "Making pictures of its kind",
  estimating: "Measuring time and memory",
  training: "Learning",
  sampling: "Making sample pictures",
  saving: "Saving",
  scoring: "Scoring what it learned so far",
};
const STATES = {
  queued: "Waiting for its turn",
  preparing: "Getting ready",
  running: "Learning",
  paused: "Paused: memory is free for other things",
  done: "Done",
  failed: "It failed",
  stopped: "Stopped and saved",
  interrupted: "Interrupted: the studio was closed. Nothing up to the last save is lost.",
};
const OBEDIENCE = {
  prompt: "How well the rest of the prompt is followed (a cosine of CLIP, 0.3 is much)",
  map: "How well pictures follow maps that it never learned (a correlation of maps, 1 is exact)",
  reference: "How alike pictures are to those that it is shown and never learned, without any words (a cosine of its image encoder, 1 is the same)",
};
const SCORES = [
  ["similarity", "Likeness", () => "How alike pictures of it in new scenes are to yours (a cosine of CLIP, 1 is the same)"],
  ["obedience", "Obedience", (follows) => OBEDIENCE[follows]],
  ["drift", "Other things changed", () => "How far other things of its kind moved; less is better"],
];
const CONTROLS = ["controlnet", "t2i_adapter", "ip_adapter"]; // methods, and the kinds of what comes of them
// what its pictures obey: the rest of the prompt, a map, or a picture
const follows = ({ method }) => (method === "ip_adapter" ? "reference" : CONTROLS.includes(method) ? "map" : "prompt");
const title = el("h2", { tabindex: -1 });
const facts = el("p", { class: "mq-hint" });
const hands = el("div", { class: "mq-run-hands" });
const fill = el("div", { class: "mq-bar-fill" }),
  bar = el("div", { class: "mq-bar", role: "progressbar", "aria-label": "How far it is", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
const phase = el("p", { class: "mq-run-phase mq-mono" });
const live = el("p", { class: "mq-sr", "aria-live": "polite" });
const verdict = el("p", { class: "mq-verdict", role: "status", hidden: true });
const notice = el("div", { class: "mq-notice", role: "alert", hidden: true });
const warnings = el("ul", { class: "mq-train-remarks" });
const loss = window.maquetteChart({ title: "Error at fixed noise", lines: [{ name: "train_loss", label: "your pictures", kind: "soft" }, { name: "held_loss", label: "held out", kind: "loud" }] });
const likeness = window.maquetteChart({ title: "Likeness to your pictures", lines: [{ name: "similarity", label: "likeness", kind: "loud" }, { name: "obedience", label: "obedience", kind: "soft" }] });
const obeys = window.maquetteChart({ title: "How well pictures follow what it never learned", lines: [{ name: "obedience", label: "obedience", kind: "loud" }] });
const charts = el("div", { class: "mq-charts" }, loss.node, likeness.node, obeys.node);
const strip = window.maquetteFilm(),
  soon = el("p", { class: "mq-hint mq-film-soon" });
const film = el("section", { class: "mq-run-part", "aria-label": "Sample pictures" }, el("h3", { text: "The same seeds, step by step" }), strip.node, soon);
const saves = el("div", { class: "mq-saves", role: "list", "aria-label": "What was saved" });
const after = el("section", { class: "mq-run-part", "aria-label": "What was saved" }, el("h3", { text: "What was saved" }), saves);
const header = el("div", { class: "mq-run-header" });
const spelling = el("select", { class: "mq-select", "aria-label": "Layout" });
const layout = el(
  "form",
  { class: "mq-run-layout", id: "train-layout", onsubmit: respell },
  el("span", { text: "The result as a file for" }),
  spelling,
  el("button", { type: "submit", class: "mq-plain", text: "Write it, too" }),
  el("span", { class: "mq-hint", role: "status" }),
);
const publish = el("details", { class: "mq-get", id: "train-header", ontoggle: () => publish.open && readHeader() }, el("summary", {}, el("span", { text: "What would be published with the file" })), header);
root.append(
  el("div", { class: "mq-run-card" }, el("header", { class: "mq-train-head" }, title, hands), facts, bar, phase, live, verdict, notice, warnings),
  charts,
  film,
  after,
  layout,
  publish,
);

// ---- what a run has said so far
const of = (run, name) => run.log.filter((e) => e.event === name);
const last = (run, name) => of(run, name).at(-1);
const file = (run, name) => `./api/v1/training/runs/${T.at(run.id)}/files/${(name.includes("/") ? name : `samples/${name}`).split("/").map(encodeURIComponent).join("/")}`;
const base = (name) => /(^|\/)base-/.test(name);
const given = (name) => /(^|\/)given-/.test(name); // what samples of a control model follow
const framed = (run, e, step) => ({ step, prompts: e.prompts ?? [], files: e.files.map((name) => file(run, name)) });
function frames(run) {
  const found = new Map();
  for (const e of of(run, "samples").filter((one) => !one.files.some(given))) {
    const step = e.files.some(base) ? null : e.step;
    found.set(step, framed(run, e, step));
  }
  return [...found.values()].sort((a, b) => (a.step ?? -1) - (b.step ?? -1));
}
function followed(run) {
  const told = of(run, "samples").findLast((one) => one.files.some(given));
  return told ? { ...framed(run, told, null), name: follows(run) === "map" ? "the map" : "the picture" } : null;
}
// the verdict's, in its words too; a control model has none, and its result is the best of what was saved
const best = (run) => run.verdict?.best_step ?? last(run, "done")?.best_step ?? null;
function saved(run) {
  const told = of(run, "saved").map((e) => [e.step, e.scores]),
    scores = { ...Object.fromEntries(told), ...run.scores },
    steps = new Set([...(run.saves).map((one) => one.step), ...Object.keys(scores).map(Number)]);
  return [...steps].sort((a, b) => a - b).map((step) => ({ step, ...(scores[step] ?? {}) }));
}

// ---- what can be done with it
const act = (what, body) => async (e) => {
  const pressed = e.currentTarget;
  pressed.disabled = true;
  await T.act(T.state.run.id, what, body);
  pressed.disabled = false;
};
const plain = (text, onclick, attrs = {}) => el("button", { type: "button", class: "mq-plain", text, onclick, ...attrs });
function offered(run) {
  const stop = plain("Stop and save", act("stop"), { id: "train-stop" }),
    sample = plain("Sample now", act("sample"), { id: "train-sample" });
  if (run.state === "running") return [plain("Pause", act("pause"), { id: "train-pause" }), sample, stop];
  if (run.state === "paused") {
    const go = el("button", { type: "button", class: "mq-strong", id: "train-go", text: "Go on", onclick: act("go") });
    return [run.phase === "pictures" ? plain("Keep it paused", act("pause")) : go, stop];
  }
  if (["queued", "preparing"].includes(run.state)) return [plain("Stop", act("stop"), { id: "train-stop" })];
  return [
    run.results.length ? el("button", { type: "button", class: "mq-strong", id: "train-try", text: "Try it", onclick: () => tryIt(run) }) : null,
    run.resumable ? plain("Go on", act("resume"), { id: "train-resume" }) : null,
    plain("Use these settings again", () => reuse(run)),
    button("trash", "Delete this training", () => T.remove(run)),
  ].filter(Boolean);
}
// The form as it was: of the settings those that the advisor would choose otherwise.
async function reuse(run) {
  const { params } = run,
    { name, dataset, subject, method, class_word, trigger, checkpoint } = params;
  const wish = { name, dataset, subject, method, class_word, trigger };
  let advised = {};
  try {
    advised = (await M.call("POST", "training/advice", { ...wish, checkpoint })).params;
  } catch (error) {
    M.say(error.message); // its pictures or its checkpoint are gone: the form says so, too
  }
  const settings = Object.fromEntries(SETTINGS.filter((key) => JSON.stringify(advised[key]) !== JSON.stringify(params[key])).map((key) => [key, params[key]]));
  const { dataset: _, ...fields } = wish;
  if (T.used(name, method)) fields.name = T.free(name, method);
  T.change({ ...fields, settings }, { silent: true });
  T.show("");
  T.choose(dataset);
}
// Create, with the words that call it in the prompt, its files in use, and nothing on the canvas that would bend it; of a
// control model with the tab that it follows in front, and the words as they were
function tryIt(run) {
  const { params, results } = run,
    control = results.find((one) => CONTROLS.includes(one.kind)),
    kind = follows(run) === "reference" ? "reference" : params.control_kind,
    template = params.sample_prompts?.[0] || (control ? "" : params.prompt_template || "{trigger} {class}");
  if (control && !document.getElementById(`tab-${kind}`)) {
    M.say(`No tab draws ${kind} maps: ${control.name} follows them by the command generate --control ${kind}=MAP.`);
    return;
  }
  const words = template.replaceAll("{trigger}", params.trigger).replaceAll("{class}", params.class_word).replace(/\s+/g, " ").trim();
  const checkpoint = results.find((one) => M.isCheckpoint(one))?.name ?? params.checkpoint,
    earlier = M.shared.checkpoint;
  M.section("Create");
  const box = document.querySelector("#prompt textarea"),
    before = box.value;
  if (words) M.write(box, words);
  if (checkpoint && checkpoint !== earlier) M.emit("choose", { name: checkpoint });
  M.emit("try", { adapters: results.filter((one) => ["lora", "hypernetwork"].includes(one.kind)), control: control && { kind, model: control.name } });
  if (control) M.emit("open", kind);
  M.say(control ? `${control.name} is in use: give it something to follow, and press Generate.` : `${run.name} is in use: press Generate.`, () => {
    M.write(box, before);
    M.emit("untry");
    if (checkpoint && checkpoint !== earlier) M.emit("choose", { name: earlier });
  });
  document.querySelector("#generate")?.focus();
}

// ---- what is seen
function line(run) {
  const [done, total] = run.progress,
    named = run.phase === "scoring" && !run.step ? "Scoring the model as it is, to compare with" : PHASES[run.phase],
    doing = `${named ?? STATES.preparing}${total > 1 ? ` ${done}/${total}` : ""}`;
  if (run.state === "preparing") return doing;
  if (run.state === "running" && run.phase && run.phase !== "training") return `${doing}${run.step ? ` · step ${run.step}/${run.steps}` : ""}`;
  const aside = run.state === "paused" && run.phase === "pictures" ? "It makes way for the pictures that you asked for" : STATES[run.state];
  const parts = [run.state === "running" ? null : aside];
  if (run.steps && run.state !== "queued") parts.push(`step ${M.number(run.step ?? 0)}/${M.number(run.steps)}`);
  if (run.state === "running" && Number.isFinite(run.left)) parts.push(`${T.seconds(run.left)} left`);
  if (!T.going(run) && run.seconds) parts.push(`learned for ${T.seconds(run.seconds)}`);
  const { measure = 0, sample = 0, save = 0, late_save = 0 } = run.pace?.spent ?? {},
    rest = measure + sample + save + late_save;
  if (!T.going(run) && rest >= 1) parts.push(`pictures, scores and saves took ${T.seconds(rest)}`);
  return parts.filter(Boolean).join(" · ");
}
const share = (run) => (run.state === "done" ? 100 : run.steps ? Math.round((100 * (run.step ?? 0)) / run.steps) : 0);
let announced = "",
  spoken = 0;
function announce(run, words) {
  const mark = `${run.id} ${run.state} ${run.phase} ${Math.floor(share(run) / 10)}`;
  if (mark === announced || (Date.now() - spoken < 5000 && run.state === "running" && announced)) return;
  [announced, spoken] = [mark, Date.now()];
  live.textContent = `${run.name}: ${words}`;
}
let buttons = "";
function show() {
  const run = T.state.run;
  root.hidden = !run;
  if (!run) return;
  const { params } = run,
    words = line(run);
  element.dataset.state = run.state;
  title.textContent = run.name;
  facts.textContent = [T.methodWord(run.method), params.checkpoint && `on ${params.checkpoint}`, params.dataset && `from ${params.dataset}`, params.trigger && `called by “${params.trigger}”`].filter(Boolean).join(" · ");
  phase.textContent = words;
  fill.style.width = `${share(run)}%`;
  bar.setAttribute("aria-valuenow", share(run));
  bar.classList.toggle("mq-unknown", ["preparing"].includes(run.state) || (run.state === "running" && !run.step));
  announce(run, words);
  const wanted = `${run.id} ${run.state} ${run.phase === "pictures"} ${run.results.length}`;
  if (buttons !== wanted) M.redraw(hands, () => offered(run));
  buttons = wanted;
  const said = run.verdict;
  verdict.hidden = !said;
  if (said) {
    verdict.dataset.verdict = said.verdict;
    verdict.textContent = said.text || { learning: "Still learning.", best: "About best here.", memorising: "It begins to copy your pictures." }[said.verdict];
  }
  notice.hidden = !run.error;
  notice.textContent = [run.error, run.hint].filter(Boolean).join(" ");
  const warned = run.warnings;
  warnings.hidden = !warned.length;
  warnings.replaceChildren(...warned.map((text) => el("li", {}, el("span", { text }))));
  const points = of(run, "measured"),
    steps = run.steps || params.steps || 1;
  charts.hidden = !points.length;
  loss.draw({ points, steps, best: best(run) });
  const aside = follows(run) !== "prompt";
  likeness.draw({ points: aside ? [] : points, steps, best: best(run) });
  obeys.draw({ points: aside ? points : [], steps, best: best(run) });
  const pictures = frames(run);
  film.hidden = !pictures.length;
  strip.draw(pictures, best(run), followed(run));
  const every = Math.min(params.sample_every || steps, steps);
  soon.hidden = !T.going(run) || pictures.some((frame) => frame.step !== null);
  soon.textContent = `Before it learns. The first ones of what it learned come at step ${M.number(every)}.`;
  grid(run, pictures);
  const others = [...new Set(run.results.flatMap((one) => one.others))];
  layout.hidden = T.going(run) || !others.length;
  if (layout.dataset.run !== `${run.id} ${run.kept} ${others}`) {
    layout.dataset.run = `${run.id} ${run.kept} ${others}`;
    layout.lastChild.textContent = "";
    spelling.replaceChildren(...others.map((value) => el("option", { value, text: LAYOUTS[value] })));
  }
  publish.hidden = T.going(run) || !saved(run).length;
}

// ---- the saves
let drawn = "";
function grid(run, pictures) {
  const all = saved(run);
  after.hidden = !all.length;
  const text = JSON.stringify([all, run.results, run.kept, run.state, pictures.length]);
  if (text === drawn) return;
  drawn = text;
  M.redraw(saves, () => all.map((row) => save(run, row, all, pictures)));
}
function save(run, row, all, pictures) {
  const near = pictures.filter((frame) => frame.step !== null && frame.step <= row.step).at(-1) ?? pictures.find((frame) => frame.step !== null);
  const kept = run.kept === row.step,
    isBest = best(run) === row.step;
  return el(
    "div",
    { class: "mq-save", role: "listitem", "data-step": row.step, "data-kept": kept ? "" : undefined },
    el("div", { class: "mq-save-picture" }, near?.files[0] ? el("img", { src: near.files[0], alt: "", loading: "lazy" }) : "", isBest ? el("span", { class: "mq-train-badge", text: "best" }) : ""),
    el("b", { class: "mq-mono", text: `step ${row.step}` }),
    ...SCORES.filter(([name]) => Number.isFinite(row[name])).map(([name, words, hint]) => score(words, row[name], Math.max(...all.map((one) => one[name] ?? 0)), hint(follows(run)))),
    kept
      ? el("span", { class: "mq-in-use" }, M.icon("check"), el("span", { text: "This one is kept" }))
      : T.going(run)
        ? null
        : plain("Keep this one", act("keep", { step: row.step }), { "aria-label": `Keep the one of step ${row.step}` }),
  );
}
// a bar is a share of the highest of the run: cosines of a CLIP say little by themselves
const score = (words, value, most, hint) =>
  el(
    "span",
    { class: "mq-score", title: hint },
    el("span", { text: words }),
    el("b", { class: "mq-mono", text: value.toFixed(2) }),
    el("span", { class: "mq-score-bar" }, el("i", { style: `width:${Math.round(100 * Math.min(1, Math.max(0, value / (most || 1))))}%` })),
  );
// the result in another program's layout, beside it
const LAYOUTS = { kohya: "kohya, A1111 and ComfyUI", peft: "diffusers and PEFT", diffusers: "diffusers", a1111: "A1111, as .pt" };
async function respell(e) {
  e.preventDefault();
  const run = T.state.run,
    said = layout.lastChild,
    press = layout.querySelector("button");
  press.disabled = true;
  said.textContent = "It is being written…";
  try {
    const made = await M.call("POST", `training/runs/${T.at(run.id)}/export`, { layout: spelling.value });
    said.textContent = `${made.map((one) => `${one.file} is written, with ${M.number(one.tensors)} ${one.tensors === 1 ? "tensor" : "tensors"}`).join("; ")}.`;
  } catch (error) {
    said.textContent = error.message;
  }
  press.disabled = false;
}
async function readHeader() {
  const run = T.state.run;
  try {
    const said = await M.call("GET", `training/runs/${T.at(run.id)}/header`);
    const rows = Object.entries(said.header ?? said.metadata ?? said);
    header.replaceChildren(
      el("p", { class: "mq-hint", text: "These lines are written into the file, for everyone who gets it. Captions, sample prompts and the names of your folders are left out." }),
      el("dl", { class: "mq-large-facts" }, ...rows.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: typeof value === "string" ? value : JSON.stringify(value) })])),
    );
  } catch (error) {
    header.replaceChildren(el("p", { class: "mq-hint", text: error.message }));
  }
}
let frame = 0;
M.on(element, "train", (what) => {
  if (what !== "run") return;
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(show);
});
show();
T.begin();
element.dataset.ready = "1";
