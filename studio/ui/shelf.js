// The shelf: a dialog with every adapter that fits the checkpoint, searched and paged by the server. Whoever opens it
// says what is picked and what to do with a pick. Names and words reach the DOM through textContent alone.
window.maquetteShelf = (() => {
  const M = window.maquette,
    { el, button } = M;
  const PAGE = 60,
    KINDS = [
      ["", "All"],
      ["lora", "LoRAs"],
      ["embedding", "Embeddings"],
      ["hypernetwork", "Hypernetworks"],
    ];
  const checkpoint = () => M.shared.checkpoint ?? "";
  let dialog = null,
    user = null, // who opened it: {has(row), pick(row)}
    kind = "",
    misfits = false,
    turn = 0,
    loaded = 0,
    total = 0;
  let search, chips, grid, none, rest, restToggle, found, sentinel;

  // ---- words into the prompt
  const has = (text, words) => text.toLowerCase().includes(words.toLowerCase());
  function say(words, where = "#prompt textarea") {
    const box = document.querySelector(where);
    if (!box || has(box.value, words)) return;
    const before = box.value.replace(/[\s,]+$/, "");
    M.write(box, before ? `${before}, ${words}` : words);
  }
  const word = (text) =>
    el("button", {
      type: "button",
      class: "mq-trigger",
      text,
      title: "Put these words into the prompt",
      onclick: (e) => {
        say(text);
        e.currentTarget.dataset.said = "";
      },
      ...(has(document.querySelector("#prompt textarea")?.value ?? "", text) ? { "data-said": "" } : {}),
    });
  const words = (row, most) =>
    row.trigger_words.filter((text) => row.kind !== "embedding" || text !== row.name).slice(0, most).map(word);

  // ---- one card
  function card(row) {
    const facts = [M.capital(M.kindWord(row.kind)), M.baseOf(row) || "Base unknown"].join(" · ");
    const open = el(
      "button",
      {
        type: "button",
        class: "mq-card-open",
        "aria-label": `${row.name}, ${facts}`,
        title: row.notes || row.name,
        disabled: !row.fits,
        onclick: () => {
          user.pick(row);
          mark(node, row);
        },
      },
      el(
        "span",
        { class: "mq-model-picture" },
        M.preview(row),
        el("span", { class: "mq-card-add" }, M.icon("plus"), M.icon("check")),
      ),
      el("span", { class: "mq-card-name", text: row.name }),
      el("span", { class: "mq-card-facts", text: facts }),
    );
    const below = row.fits
      ? el("div", { class: "mq-card-words" }, ...words(row, 4))
      : el("p", { class: "mq-card-why", text: row.why });
    const node = el("div", { class: "mq-card", role: "listitem", "data-name": row.name }, open, below);
    node.toggleAttribute("data-misfit", !row.fits);
    if (row.notes && row.fits) node.append(el("p", { class: "mq-card-notes", text: row.notes }));
    mark(node, row);
    return node;
  }
  function mark(node, row) {
    const picked = user.has(row);
    node.toggleAttribute("data-picked", picked);
    node.querySelector(".mq-card-open").setAttribute("aria-pressed", picked);
  }

  // ---- pages
  async function more() {
    const mine = turn,
      query = new URLSearchParams({ q: search.value.trim(), kind, checkpoint: checkpoint(), offset: loaded, limit: PAGE });
    if (misfits) query.set("fitting", "false");
    sentinel.dataset.busy = "";
    try {
      const page = await M.call("GET", `adapters?${query}`);
      await new Promise((go) => M.waits(grid, go) || go());
      if (mine !== turn) return;
      if (!loaded) grid.replaceChildren();
      grid.append(...page.adapters.map(card));
      loaded += page.adapters.length;
      total = page.total;
      tell(page);
    } catch (error) {
      if (mine === turn) tell({ total: 0, misfits: 0, trouble: error.message });
    } finally {
      if (mine === turn) delete sentinel.dataset.busy;
    }
    if (mine === turn && loaded < total && near()) more();
  }
  const near = () => sentinel.getBoundingClientRect().top < dialog.getBoundingClientRect().bottom + 400;
  function reload() {
    turn++;
    loaded = total = 0;
    grid.parentElement.scrollTop = 0;
    more();
  }
  function tell(page) {
    const asked = search.value.trim();
    found.textContent = page.total === 1 ? "1 adapter" : `${M.number(page.total)} adapters`;
    none.hidden = page.total > 0;
    none.textContent =
      page.trouble ??
      (asked
        ? "Nothing found. Other words may find it."
        : "Nothing here yet. Put LoRAs into data/models/loras, embeddings into data/models/embeddings.");
    rest.hidden = !page.misfits && !misfits;
    restToggle.textContent = misfits
      ? "Show only what fits"
      : `${M.number(page.misfits)} more ${page.misfits === 1 ? "does" : "do"} not fit this checkpoint: see why`;
  }

  // ---- the dialog, built when it is first opened
  function build() {
    let waiting = 0;
    search = el("input", {
      type: "search",
      id: "shelf-search",
      placeholder: "Search names, tags and trigger words",
      "aria-label": "Search adapters",
      oninput: () => {
        clearTimeout(waiting);
        waiting = setTimeout(reload, 120);
      },
    });
    chips = el(
      "div",
      { class: "mq-shelf-kinds", role: "group", "aria-label": "Kind" },
      ...KINDS.map(([value, text]) =>
        el("button", {
          type: "button",
          class: "mq-kind",
          text,
          "aria-pressed": value === kind,
          onclick: (e) => {
            kind = value;
            for (const chip of chips.children) chip.setAttribute("aria-pressed", chip === e.currentTarget);
            reload();
          },
        }),
      ),
    );
    grid = el("div", { class: "mq-shelf-grid", role: "list", "aria-label": "Adapters" });
    none = el("p", { class: "mq-shelf-none", hidden: true });
    sentinel = el("div", { class: "mq-shelf-more", "aria-hidden": "true" });
    restToggle = el("button", {
      type: "button",
      class: "mq-link",
      onclick: () => {
        misfits = !misfits;
        reload();
      },
    });
    rest = el("p", { class: "mq-shelf-rest", hidden: true }, restToggle);
    found = el("span", { class: "mq-shelf-found", role: "status" });
    const scroll = el("div", { class: "mq-shelf-scroll" }, grid, none, sentinel, rest);
    scroll.addEventListener("scroll", () => loaded < total && !("busy" in sentinel.dataset) && near() && more(), { passive: true });
    dialog = el(
      "dialog",
      { class: "mq-dialog mq-shelf", "aria-label": "Shelf of adapters" },
      el(
        "header",
        { class: "mq-shelf-bar" },
        el("label", { class: "mq-search" }, M.icon("search"), search),
        chips,
        found,
        el("button", { type: "button", class: "mq-strong mq-shelf-done", text: "Done", onclick: () => dialog.close() }),
      ),
      scroll,
    );
    dialog.addEventListener("click", (e) => e.target === dialog && dialog.close());
  }
  // who: {has(row): whether it is picked, pick(row): pick it, or put it back}; host: the element that it belongs to.
  function open(who, host) {
    if (!dialog) build();
    user = who;
    host.append(dialog);
    dialog.showModal();
    search.focus();
    reload();
  }
  const one = (unit) =>
    M.call("GET", `adapters/one?${new URLSearchParams({ name: unit.name, kind: unit.kind, checkpoint: checkpoint() })}`);
  return { open, one, words, say, checkpoint };
})();
