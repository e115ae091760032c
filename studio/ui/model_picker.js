// A box to choose a model by its name: what is typed narrows a list that the server searches.
window.maquette.modelPicker = (() => {
  const M = window.maquette,
    { el } = M;
  const MOST = 40;

  /** of: kind of the models; name: what is chosen; base(): the base model to choose from, "" for any; pick(name, base) */
  return ({ id, label, of, name, base, pick, placeholder = "Choose…" }) => {
    let rows = [],
      at = -1,
      turn = 0,
      typed = false;
    const list = el("ul", {
      id: `${id}-list`,
      role: "listbox",
      class: "mq-popover mq-picker-list",
      "aria-label": label,
      onclick: (e) => e.preventDefault(), // inside of a label it would be a click on the box, too, and open the list again
    });
    const box = el("input", {
      type: "text",
      role: "combobox",
      class: "mq-input",
      id,
      value: name,
      placeholder,
      autocomplete: "off",
      spellcheck: "false",
      "aria-label": label,
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": `${id}-list`,
      onfocus: look,
      onclick: look,
      oninput: () => {
        typed = true;
        pick(box.value.trim(), "");
        look();
      },
      onblur: close,
      onkeydown: key,
    });
    list.hidden = true;

    async function look() {
      const mine = ++turn,
        only = base();
      const query = new URLSearchParams({ kind: of, q: typed ? box.value.trim() : "", limit: MOST, usable: "true" });
      if (only) query.set("base", only);
      let said = "";
      try {
        const answer = await M.call("GET", "models?" + query);
        if (mine !== turn || document.activeElement !== box) return;
        rows = answer.models;
        const rest = answer.total - rows.length;
        said = rest > 0 ? `${M.number(rest)} more: type a part of the name` : rows.length ? "" : "None found";
        if (only) said = [said, `for ${M.baseWord(only)}, as what is chosen already`].filter(Boolean).join(", ");
      } catch (error) {
        if (mine !== turn) return;
        [rows, said] = [[], error.message];
      }
      show(said);
    }
    function show(said) {
      if (M.waits(list, () => show(said))) return;
      at = -1;
      box.removeAttribute("aria-activedescendant");
      list.replaceChildren(
        ...rows.map((row, index) =>
          el(
            "li",
            {
              id: `${id}-${index}`,
              role: "option",
              "aria-selected": row.name === box.value,
              "data-name": row.name,
              onpointerdown: (e) => e.preventDefault(), // the box keeps the focus
              onclick: () => take(row),
            },
            M.glyph(row.kind),
            el("span", { text: row.name, title: row.name }),
            el("small", { text: [M.baseOf(row), M.size(row.bytes)].filter(Boolean).join(" · ") }),
          ),
        ),
        ...(said ? [el("li", { role: "presentation", class: "mq-picker-said", text: M.capital(said) })] : []),
      );
      list.hidden = false;
      box.setAttribute("aria-expanded", "true");
    }
    function take(row) {
      box.value = row.name;
      typed = false;
      pick(row.name, row.base === "unknown" ? "" : row.base);
      close();
    }
    function close() {
      turn++;
      list.hidden = true;
      box.setAttribute("aria-expanded", "false");
      const same = typed && rows.find((row) => row.name === box.value.trim());
      if (same) take(same);
    }
    function move(by) {
      if (!rows.length) return;
      at = (at + by + rows.length + (at < 0 && by < 0 ? 1 : 0)) % rows.length;
      [...list.children].forEach((node, index) => node.classList.toggle("mq-at", index === at));
      box.setAttribute("aria-activedescendant", `${id}-${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
    function key(e) {
      const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
      if (by && list.hidden) look();
      else if (by) move(by);
      else if (e.key === "Enter" && !e.ctrlKey && !e.metaKey && at >= 0) take(rows[at]);
      else if (e.key === "Escape" && !list.hidden) close();
      else return;
      e.preventDefault();
      e.stopPropagation();
    }
    return el("div", { class: "mq-picker" }, box, list);
  };
})();
