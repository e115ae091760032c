// What the parts of the Train section share: the draft of this browser (kept on the server), the set of pictures, what the
// advisor says of it, and the runs as the event stream tells them. M.emit("train", what) after each change of
// "draft", "sets", "set", "advice", "runs" or "run"; listeners redraw what they show of it.
window.maquetteTrain ??= (() => {
  const M = window.maquette;
  const BLANK = { dataset: "", name: "", subject: "", class_word: "", trigger: "", method: "", settings: {}, yields: true, open: "" };
  const GOING = ["queued", "preparing", "running", "paused"];
  const state = {
    ready: false, // the draft is there
    draft: { ...BLANK },
    sets: [], // every set of pictures
    set: null, // the one that is shown: {name, pictures, doctor}
    advice: null,
    asking: false,
    refusal: null, // why the advisor, or the last press of Train, said no
    methods: [],
    runs: new Map(),
    run: null, // the one that is shown, with its log
  };
  const tell = (what) => M.emit("train", what);
  const at = (...parts) => parts.map(encodeURIComponent).join("/");

  // ---- the draft
  const place = () => `drafts/${M.browser()}.train`;
  let saving = 0;
  function save() {
    clearTimeout(saving);
    saving = 0;
    M.call("PUT", place(), state.draft, { keepalive: true }).catch((error) => M.say(error.message));
  }
  // silent: nothing that the advisor would answer otherwise
  function change(fields, { silent = false } = {}) {
    const before = seen();
    Object.assign(state.draft, fields);
    if (state.draft.dataset && seen() !== before) examine();
    clearTimeout(saving);
    saving = setTimeout(save, 400);
    tell("draft");
    if (!silent) ask();
  }
  addEventListener("pagehide", () => {
    if (saving) save();
  });
  function set(name, value) {
    const { [name]: _, ...rest } = state.draft.settings;
    change({ settings: value === undefined ? rest : { ...rest, [name]: value } });
  }

  // ---- numbers as they are typed: what cannot be read as one is kept as text, and said beside its field
  let fields = [];
  function know(all) {
    fields = all.filter((field) => ["whole", "number", "numbers"].includes(field.kind));
    ask();
  }
  const readable = (kind, value) => (kind === "numbers" ? Array.isArray(value) : kind === "whole" ? Number.isInteger(value) : Number.isFinite(value));
  // undefined for an empty field: what is advised counts then
  function read(field, text) {
    if (!text.trim()) return undefined;
    if (field.kind !== "numbers") return readable(field.kind, Number(text)) ? Number(text) : text;
    const values = text.split(/[,;\s]+/).filter(Boolean).map(Number);
    return values.every(Number.isFinite) ? values : text;
  }
  const unread = () =>
    fields
      .filter(({ name, kind }) => name in state.draft.settings && !readable(kind, state.draft.settings[name]))
      .map(({ name, kind, label, default: usual }) => {
        const wanted = { whole: "a whole number", number: "a number", numbers: "a row of numbers" }[kind],
          found = state.draft.settings[name];
        return { field: name, message: `${label}: “${found}” is not ${wanted}. Write one such as ${usual}, or empty the field for what is advised.` };
      });

  // ---- the pictures
  async function readSets() {
    state.sets = M.list(await M.call("GET", "datasets"));
    tell("sets");
  }
  // what the doctor goes by, where it is typed
  const seen = () => {
    const { trigger, settings } = state.draft,
      known = { trigger: trigger.trim(), resolution: Number.isInteger(settings.resolution) ? settings.resolution : 0 };
    return new URLSearchParams(Object.entries(known).filter(([, value]) => value)).toString();
  };
  let turn = 0,
    examining = 0;
  function examine() {
    clearTimeout(examining);
    examining = setTimeout(readSet, 800);
  }
  async function readSet() {
    const mine = ++turn,
      name = state.draft.dataset;
    let found = null;
    if (name)
      try {
        found = await M.call("GET", `datasets/${at(name)}?${seen()}`);
      } catch (error) {
        if (mine === turn && state.ready) M.say(error.message);
        if (mine === turn) change({ dataset: "" }, { silent: true });
      }
    if (mine !== turn) return;
    state.set = found;
    tell("set");
    ask();
  }
  async function choose(name) {
    change({ dataset: name }, { silent: true });
    await readSet();
  }
  const both = () => Promise.all([readSet(), readSets()]);

  // ---- what is missing, and what the advisor says
  const pictures = () => (state.set?.name === state.draft.dataset ? state.set.pictures : []);
  const sound = () => pictures().filter((row) => !row.trouble.some((one) => one.kind === "corrupt"));
  const needs = () => {
    const { draft } = state,
      count = sound().length;
    return [
      [count > 0, count ? `${count} ${count === 1 ? "picture" : "pictures"}` : "Pictures of it: five are a good start"],
      [Boolean(draft.name.trim()), draft.name.trim() || "A name"],
      [Boolean(draft.subject), { person: "A person", animal: "An animal", object: "An object", style: "A style" }[draft.subject] ?? "What it is: a person, an animal, an object or a style"],
    ];
  };
  const missing = () => {
    if (!M.shared.checkpoint) return "There is no checkpoint to teach yet: put one into data/models/checkpoints.";
    const words = ["add pictures", "give it a name", "say what it is"].filter((_, i) => !needs()[i][0]);
    if (!words.length) return "";
    const all = words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words[0];
    return `${M.capital(all)} first.`;
  };
  function order() {
    const { dataset, name, subject, method, settings, class_word, trigger } = state.draft;
    const body = { dataset, name: name.trim(), subject, checkpoint: M.shared.checkpoint, settings, yield_to_pictures: state.draft.yields };
    if (method) body.method = method;
    if (class_word.trim()) body.class_word = class_word.trim();
    if (trigger.trim()) body.trigger = trigger.trim();
    return body;
  }
  // names are used once: what is said as long as the one that is typed was used, or null
  const used = (name, method) => runs().some((run) => (run.name === name && going(run)) || (run.method === method && run.results.some((one) => one.name === name)));
  function free(name, method) {
    const stem = name.replace(/-\d+$/, "");
    for (let i = 2; ; i++) if (!used(`${stem}-${i}`, method)) return `${stem}-${i}`;
  }
  const taken = ({ name, method }) =>
    used(name, method) ? { field: "name", message: `There is one called ${name} already. Call this one ${free(name, method)}, for instance.` } : null;
  let waiting = 0,
    question = 0;
  function ask() {
    clearTimeout(waiting);
    const mine = ++question;
    if (!state.ready) return;
    if (missing()) {
      Object.assign(state, { advice: null, refusal: null, asking: false });
      return tell("advice");
    }
    const [wrong] = unread();
    if (wrong) {
      Object.assign(state, { refusal: wrong, asking: false });
      return tell("advice");
    }
    state.asking = true;
    tell("advice");
    waiting = setTimeout(async () => {
      let advice = state.advice,
        refusal = null;
      try {
        advice = await M.call("POST", "training/advice", order());
        refusal = taken(advice.params);
      } catch (error) {
        refusal = error;
      }
      if (mine !== question) return;
      Object.assign(state, { advice, refusal, asking: false });
      tell("advice");
    }, 250);
  }

  // ---- the runs
  const keep = (run) => state.runs.set(run.id, { ...state.runs.get(run.id), ...run });
  const runs = () => [...state.runs.values()];
  let heard = 0; // an answer that left the studio before the last event is old
  async function readRuns() {
    let found, before;
    do {
      before = heard;
      found = M.list(await M.call("GET", "training/runs"));
    } while (heard !== before);
    state.runs = new Map(found.map((run) => [run.id, run]));
    tell("runs");
  }
  let reading = 0,
    meanwhile = []; // what was told of the open run while it was read
  async function readRun() {
    const mine = ++reading,
      id = state.draft.open;
    let found = null;
    meanwhile = [];
    if (id)
      try {
        found = await M.call("GET", `training/runs/${at(id)}`);
      } catch (error) {
        M.say(error.message);
        return show("");
      }
    if (mine !== reading) return;
    const later = meanwhile.map((one) => one.event).filter((event) => event && !known(found.log, event));
    state.run = found && { ...found, ...meanwhile.at(-1)?.run, log: [...found.log, ...later] };
    tell("run");
  }
  const known = (log, event) => {
    const text = JSON.stringify(event);
    return log.slice(-200).some((one) => JSON.stringify(one) === text);
  };
  function show(id) {
    if (id !== state.draft.open) state.run = null;
    change({ open: id }, { silent: true });
    return readRun();
  }
  async function start() {
    if (unread().length) return ask();
    state.refusal = null;
    try {
      const run = await M.call("POST", "training/runs", order());
      if (!state.runs.has(run.id)) keep(run);
      tell("runs");
      change({ name: free(run.name, run.method) }); // for the next one
      await show(run.id);
      document.getElementById("train-section")?.scrollIntoView({ block: "start" });
      requestAnimationFrame(() => document.querySelector("#train-run h2")?.focus({ preventScroll: true }));
    } catch (error) {
      state.refusal = error;
      tell("advice");
    }
  }
  // Tell a run something. What comes of it is told by events; a refusal is said.
  async function act(id, what, body) {
    try {
      await M.call("POST", `training/runs/${at(id)}/${what}`, body ?? {});
    } catch (error) {
      M.say(error.message);
    }
  }
  // A run goes to the trash at once, and comes back from there.
  async function remove(run) {
    let undo;
    try {
      ({ undo } = await M.call("DELETE", `training/runs/${at(run.id)}`));
    } catch (error) {
      return M.say(error.message);
    }
    heard++;
    state.runs.delete(run.id);
    if (state.draft.open === run.id) show("");
    tell("runs");
    M.say(`The training of ${run.name} is deleted. What it put on the shelf stays.`, () => restore(undo));
  }
  async function restore(undo) {
    try {
      keep(await M.call("POST", "training/runs/restore", { undo }));
      tell("runs");
    } catch (error) {
      M.say(error.message);
    }
  }
  function hear(e) {
    if (e?.type === "hello") return state.ready && M.owner() && refresh();
    if (e?.type !== "training") return;
    const { run, event } = e;
    heard++;
    keep(run);
    if (run.id === state.draft.open) {
      meanwhile.push({ run, event });
      if (state.run) state.run = { ...state.run, ...run, log: event ? [...state.run.log, event] : state.run.log };
      tell("run");
    }
    tell("runs");
  }
  M.on(document.documentElement, "jobs", hear);
  M.on(document.documentElement, "checkpoint", () => state.ready && ask());

  // ---- the beginning
  const refresh = () => Promise.all([readSets(), readRuns(), readRun()]).catch((error) => M.say(error.message));
  let begun = null;
  async function load() {
    const kept = await M.call("GET", place()).catch(() => ({}));
    for (const [name, value] of Object.entries(BLANK))
      if (typeof kept[name] === typeof value) state.draft[name] = kept[name];
    state.ready = true;
    tell("draft");
    if (!M.owner()) return;
    await Promise.all([
      refresh(),
      readSet(),
      M.call("GET", "training/methods")
        .then((found) => (state.methods = M.list(found)))
        .catch((error) => M.say(error.message)),
    ]);
    tell("advice");
  }
  // Called by each part when it is on the page; guests have no such section.
  function begin() {
    if (M.shared.user) return (begun ??= load());
    M.on(document.documentElement, "user", () => (begun ??= load()));
  }
  const methodWord = (name) => state.methods.find((row) => row.name === name)?.label ?? M.capital(name ?? "");
  const going = (run) => GOING.includes(run.state);
  const seconds = (n) =>
    n === null || n === undefined ? "" : n < 1 ? "less than 1 s" : n < 90 ? `${Math.round(n)} s` : n < 5400 ? `${Math.round(n / 60)} min` : `${(n / 3600).toFixed(1)} h`;
  return { state, change, set, know, read, unread, choose, readSet, both, pictures, needs, missing, order, ask, runs, used, free, show, start, act, remove, begin, methodWord, going, seconds, at, tell };
})();
