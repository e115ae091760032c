// The keys of the page, and the list of them.
(() => {
  const M = window.maquette,
    { el } = M;
  const CTRL = navigator.platform.startsWith("Mac") ? "\u2318" : "Ctrl";
  const KEYS = [
    [`${CTRL} + Enter`, "Generate"],
    ["Esc", "Cancel the running picture"],
    ["1 to 8", "The tabs of the canvas, from the left"],
    ["B", "Brush"],
    ["E", "Eraser"],
    ["[  and  ]", "Thinner, thicker"],
    [`${CTRL} + Z`, "Undo on the canvas"],
    [`${CTRL} + Shift + Z`, "Redo on the canvas"],
    ["V", "Choose balls and boxes, on the Depth tab"],
    ["Arrows", "Move the chosen joint, ball or box; with Shift, ten steps"],
    [",  and  .", "Choose the joint before, the next joint"],
    ["Delete", "Leave the joint out, or remove the person, ball or box"],
    ["+  and  -", "Scale the chosen person"],
    ["?", "This list"],
  ];
  const showKeys = () => {
    const dialog = el(
      "dialog",
      { class: "mq-dialog", "aria-label": "Shortcuts" },
      el("h2", { text: "Shortcuts" }),
      el("dl", {}, ...KEYS.flatMap(([key, what]) => [el("dt", { text: key }), el("dd", { text: what })])),
      el("button", { type: "button", class: "mq-plain", text: "Close", onclick: () => dialog.close() }),
    );
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  };
  const visible = (node) => node && node.offsetParent !== null;
  document.addEventListener("keydown", (e) => {
    const key = e.key.toLowerCase(),
      command = e.ctrlKey || e.metaKey;
    if (command && key === "enter") {
      e.preventDefault();
      document.activeElement?.blur?.(); // so that what was typed last counts, and Esc cancels
      document.getElementById("generate")?.click();
      return;
    }
    if (e.defaultPrevented || M.typing(e.target) || document.querySelector("dialog[open]")) return;
    if (key === "escape") {
      const stop = document.getElementById("cancel");
      if (visible(stop)) stop.click();
      return;
    }
    if (key === "?") {
      e.preventDefault();
      showKeys();
      return;
    }
    if (!visible(document.getElementById("canvas-pane"))) return;
    if (!command && !e.altKey && /^[1-8]$/.test(key)) {
      e.preventDefault();
      M.emit("tab", key - 1);
      return;
    }
    const wanted = command
      ? { z: e.shiftKey ? "redo" : "undo", y: "redo" }[key]
      : !e.altKey && { b: "brush", e: "eraser", "[": "thinner", "]": "thicker" }[key];
    if (wanted) {
      e.preventDefault();
      M.emit("canvas", { tool: M.tool(), what: wanted });
    }
  });
  M.showKeys = showKeys;
})();
