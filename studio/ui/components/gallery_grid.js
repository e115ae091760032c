// All pictures: pages are fetched as the person scrolls, and rows far outside the view are taken out of the DOM again.
// Event "act" {what: "vary" | "settings" | "restore", item | found}: Python knows the settings that made the item.
const M = window.maquette,
  { el, button } = M,
  PAGE = 60;
const root = element.querySelector(".mq-gallery-grid");
let items = [],
  done = false,
  loading = false,
  turn = 0,
  columns = 1,
  shown = [0, 0],
  open = null;

const search = el("input", {
  type: "search",
  id: "gallery-search",
  placeholder: "Search prompts",
  "aria-label": "Search prompts",
  oninput: () => {
    clearTimeout(search.wait);
    search.wait = setTimeout(reload, 200);
  },
});
const stars = button(
  "star",
  "Show only starred pictures",
  () => {
    stars.setAttribute("aria-pressed", stars.getAttribute("aria-pressed") !== "true");
    reload();
  },
  { caption: "Starred", id: "gallery-starred", "aria-pressed": "false" },
);
const size = el("input", {
  type: "range",
  min: 96,
  max: 280,
  value: 168,
  "aria-label": "Size of the pictures",
  title: "Size of the pictures",
  oninput: () => layout(),
});
const file = el("input", {
  type: "file",
  accept: "image/png,image/jpeg,image/webp",
  hidden: true,
  onchange: () => {
    restore(file.files[0]);
    file.value = "";
  },
});
const read = button("sliders", "Open the settings of a picture file; it can be dropped here, too", () => file.click(), {
  caption: "Open a PNG",
  class: "mq-button mq-read",
});
const grid = el("div", { class: "mq-grid", role: "list" }),
  foot = el("div", { class: "mq-foot" }),
  none = el("div", { class: "mq-none", hidden: true });
const large = el("dialog", { class: "mq-large", "aria-label": "Picture" });
root.append(
  el(
    "div",
    { class: "mq-gallery-bar" },
    el("label", { class: "mq-search" }, M.icon("search"), search),
    stars,
    el("label", { class: "mq-gallery-size" }, size),
    read,
    file,
  ),
  none,
  grid,
  foot,
  large,
);

// ---- fetching: keyset pages, newest first
async function more() {
  if (loading || done) return;
  loading = true;
  const mine = turn,
    last = items[items.length - 1];
  const query = new URLSearchParams({
    limit: PAGE,
    query: search.value,
    starred: stars.getAttribute("aria-pressed") === "true",
  });
  if (last) query.set("before", last.id);
  try {
    const found = M.list(await M.call("GET", "gallery?" + query));
    if (mine !== turn) return;
    items.push(...found);
    done = found.length < PAGE;
  } catch (error) {
    if (mine === turn) {
      done = true;
      foot.replaceChildren(
        el("span", { text: error.message + " " }),
        el("button", {
          type: "button",
          class: "mq-plain",
          text: "Try again",
          onclick: () => {
            done = false;
            foot.replaceChildren();
            more();
          },
        }),
      );
    }
  } finally {
    if (mine === turn) {
      loading = false;
      layout();
    }
  }
}
function reload() {
  if (M.waits(grid, reload)) return;
  turn++;
  items = [];
  done = loading = false;
  foot.replaceChildren();
  shown = [0, 0];
  grid.replaceChildren();
  more();
}

// ---- showing: only the rows near the view are in the DOM
function layout() {
  if (M.waits(grid, layout)) return;
  const width = grid.clientWidth,
    wanted = +size.value;
  if (!width) return;
  columns = Math.max(2, Math.floor((width + 8) / (wanted + 8)));
  const side = (width - 8 * (columns - 1)) / columns + 8,
    rows = Math.ceil(items.length / columns);
  const top = -grid.getBoundingClientRect().top,
    first = Math.max(0, Math.floor(top / side) - 3),
    last = Math.min(rows, Math.ceil((top + innerHeight) / side) + 3);
  grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  grid.style.paddingTop = first * side + "px";
  grid.style.paddingBottom = Math.max(0, rows - last) * side + "px";
  const slice = items.slice(first * columns, last * columns),
    kept = new Map([...grid.children].map((n) => [n.dataset.key, n]));
  grid.replaceChildren(...slice.map((item) => kept.get(key(item)) ?? tile(item)));
  none.hidden = items.length > 0 || !done;
  none.replaceChildren(
    el("strong", {
      text: search.value || stars.getAttribute("aria-pressed") === "true" ? "Nothing found" : "No pictures yet",
    }),
    el("span", {
      text: search.value
        ? "Try a shorter word."
        : "Every picture you make is kept here, with the settings that made it.",
    }),
  );
  element.dataset.count = items.length;
  element.dataset.tiles = slice.length;
  if (!done && !loading && top + innerHeight * 2 > rows * side) more();
}
const key = (item) => `${item.id}${item.starred ? "s" : ""}`;
function tile(item) {
  return el(
    "div",
    { class: "mq-tile", role: "listitem", "data-key": key(item), "data-id": item.id },
    el(
      "button",
      {
        type: "button",
        class: "mq-tile-open",
        title: item.prompt,
        "aria-label": `Open: ${item.prompt || "picture " + item.id}`,
        onclick: () => show(item),
      },
      el("img", { src: "./" + item.thumbnail_url, alt: "", loading: "lazy", draggable: "false" }),
    ),
    button("star", item.starred ? "Take the star off" : "Star", () => star(item), {
      class: "mq-button mq-tile-star",
      "aria-pressed": item.starred,
    }),
    button("trash", "Delete", () => remove(item), { class: "mq-button mq-tile-delete" }),
  );
}

// ---- doing
const replace = (item, change) => {
  items = items.map((i) => (i.id === item.id ? { ...i, ...change } : i));
  layout();
};
async function star(item) {
  try {
    await M.call("POST", `gallery/${item.id}/star`, { starred: !item.starred });
    replace(item, { starred: !item.starred });
    if (open?.id === item.id) show({ ...item, starred: !item.starred });
  } catch (error) {
    M.say(error.message);
  }
}
async function remove(item) {
  try {
    await M.call("DELETE", `gallery/${item.id}`);
  } catch (error) {
    M.say(error.message);
    return;
  }
  const place = items.findIndex((i) => i.id === item.id);
  items = items.filter((i) => i.id !== item.id);
  layout();
  M.refreshRecent();
  if (open) large.close();
  M.say("Deleted.", async () => {
    try {
      await M.call("POST", `gallery/${item.id}/restore`);
      items.splice(Math.max(0, place), 0, item);
      layout();
      M.refreshRecent();
    } catch (error) {
      M.say(error.message);
    }
  });
}
function tell(what, data) {
  large.close();
  trigger("act", { what, ...data });
}

async function show(item) {
  open = item;
  const place = items.findIndex((i) => i.id === item.id),
    facts = el("dl", { class: "mq-large-facts" });
  const go = (by) => {
    const next = items[place + by];
    if (next) show(next);
  };
  large.onkeydown = (e) => {
    if (e.key === "ArrowLeft") go(-1);
    else if (e.key === "ArrowRight") go(1);
  };
  large.replaceChildren(
    el(
      "div",
      { class: "mq-large-picture" },
      el("img", {
        src: "./" + item.url,
        alt: item.prompt || "Picture",
        style: `aspect-ratio:${item.width}/${item.height}`,
      }),
    ),
    el(
      "div",
      { class: "mq-large-side" },
      el(
        "div",
        { class: "mq-large-top" },
        button("left", "Newer", () => go(-1), { disabled: place <= 0 }),
        button("right", "Older", () => go(1), { disabled: place >= items.length - 1 }),
        button("x", "Close", () => large.close()),
      ),
      el("p", { class: "mq-large-prompt", text: item.prompt }),
      facts,
      el(
        "div",
        { class: "mq-large-actions" },
        el("button", {
          type: "button",
          class: "mq-strong",
          text: "Open the settings that made this",
          onclick: () => {
            M.emit("show", item);
            tell("settings", { item: item.id });
          },
        }),
        button("vary", "Once more with a new seed", () => tell("vary", { item: item.id }), { caption: "Vary" }),
        button(
          "send",
          "Trace this picture on the canvas",
          () => {
            M.emit("trace", "./" + item.url);
            large.close();
            M.say("The picture lies under the canvas now.");
          },
          { caption: "To canvas" },
        ),
        el(
          "a",
          { class: "mq-button", href: "./" + item.url, download: `maquette-${item.id}-${item.seed}.png` },
          M.icon("download"),
          el("span", { text: "Save" }),
        ),
        button("star", item.starred ? "Take the star off" : "Star", () => star(item), {
          "aria-pressed": item.starred,
          caption: "Star",
        }),
        button("trash", "Delete", () => remove(item), { caption: "Delete" }),
      ),
    ),
  );
  if (!large.open) large.showModal();
  const full = await M.call("GET", `gallery/${item.id}`).catch(() => null);
  if (open?.id !== item.id) return;
  const p = full?.params ?? {},
    control = p.controls?.[0];
  const rows = [
    ["Size", `${item.width} × ${item.height}`],
    ["Seed", item.seed],
    ["Steps", p.num_inference_steps],
    ["Guidance", p.guidance_scale],
    ["Scheduler", p.scheduler && [p.scheduler, p.sigmas !== "default" && p.sigmas].filter(Boolean).join(", ")],
    ["Checkpoint", p.checkpoint],
    [
      "Sketch",
      control
        ? [control.conditioning_scale, control.control_guidance_start > 0 && `from ${control.control_guidance_start}`]
            .concat(control.control_guidance_end < 1 ? `until ${control.control_guidance_end} of the steps` : [])
            .filter(Boolean)
            .join(", ")
        : "none",
    ],
    ["Leave out", p.negative_prompt],
    ["Made", new Date(item.created * 1000).toLocaleString()],
  ];
  facts.replaceChildren(
    ...rows
      .filter(([, v]) => v !== undefined && v !== "" && v !== null)
      .flatMap(([name, v]) => [el("dt", { text: name }), el("dd", { text: v })]),
  );
}
large.addEventListener("close", () => {
  open = null;
});
large.addEventListener("click", (e) => {
  if (e.target === large) large.close();
});

root.addEventListener("dragover", (e) => {
  e.preventDefault();
  root.classList.add("mq-over");
});
root.addEventListener("dragleave", (e) => {
  if (!root.contains(e.relatedTarget)) root.classList.remove("mq-over");
});
root.addEventListener("drop", (e) => {
  e.preventDefault();
  root.classList.remove("mq-over");
  restore([...e.dataTransfer.files].find((f) => f.type.startsWith("image/")));
});
async function restore(picture) {
  if (!picture) return M.say(M.NO_PICTURE);
  try {
    tell("restore", { found: await M.call("POST", "settings-from-picture", picture) });
  } catch (error) {
    M.say(error.message);
  }
}
M.whileSeen(element, grid, layout);
// what was finished meanwhile comes in at the top
M.on(element, "recent", () => {
  if (search.value || stars.getAttribute("aria-pressed") === "true") return;
  const known = items[0]?.id ?? 0,
    fresh = M.state.recent.filter((r) => r.id > known);
  if (!fresh.length) return;
  if (fresh.length >= M.state.recent.length) {
    reload();
    return;
  }
  items.unshift(...fresh);
  layout();
});
more();
element.dataset.ready = "1";
element.closest("#gallery")?.setAttribute("data-ready", "1");
