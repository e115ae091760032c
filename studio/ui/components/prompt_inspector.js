// How the prompt is read: its tokens with their weights, window by window, and which words count at which steps.
// value = what studio.inspector gives, with a label as weighting | {trouble} | null. Event: "look", while the fold is open.
const M = window.maquette,
  { el } = M;
const root = element.querySelector(".mq-prompt-inspector");
const PAUSE = 350; // ms without a key before the prompt is read anew
let timer = 0;
const number = (value) => String(Math.round(value * 100) / 100);

const body = el("div", { class: "mq-inspect-body", "aria-live": "polite" }),
  count = el("span", { class: "mq-inspect-count mq-mono" });
const fold = el(
  "details",
  { class: "mq-inspect", ontoggle: () => ask(0) },
  el("summary", { title: "Prompt inspector: tokens, weights, windows and steps" }, el("span", { text: "How it is read" }), count),
  body,
);
root.append(fold);

function ask(pause) {
  clearTimeout(timer);
  if (fold.open) timer = setTimeout(() => trigger("look"), pause);
}
function follow(e) {
  if (!element.isConnected) return removeEventListener("input", follow);
  if (e.target.closest?.("#create") && !e.target.closest(".mq-prompt-inspector")) ask(PAUSE);
}
addEventListener("input", follow);
function chosen(e) {
  if (!element.isConnected) return removeEventListener("focusout", chosen);
  if (e.target.closest?.("#prompt-weighting")) ask(PAUSE);
}
addEventListener("focusout", chosen);

// ---- tokens
function chip(token) {
  const weight = token.weight,
    heavy = Math.min(1, Math.abs(Math.log2(Math.max(0.01, Math.abs(weight)))));
  const title = `${token.text} counts ${number(weight)} times${token.embedding ? `; an embedding of ${token.vectors} vectors` : ""}`;
  return el(
    "span",
    {
      class: "mq-token",
      title,
      style: `--heavy:${Math.round(heavy * 70)}%`,
      ...(weight > 1 ? { "data-more": "" } : weight < 1 ? { "data-less": "" } : {}),
      ...(token.embedding ? { "data-embedding": token.embedding } : {}),
    },
    el("span", { text: token.text }),
    token.embedding ? el("small", { text: `${token.vectors} vectors` }) : null,
    weight === 1 ? null : el("small", { class: "mq-mono", text: number(weight) }),
  );
}
function windows(span, size) {
  const many = span.windows.length > 1,
    shown = span.windows.reduce((sum, window) => sum + window.length, 0);
  const rows = span.windows.map((window, i) =>
    el(
      "div",
      { class: "mq-window", "data-window": i + 1 },
      many ? el("span", { class: "mq-window-name mq-hint", title: `The text encoder reads ${size} tokens at once`, text: `Window ${i + 1}` }) : null,
      ...(window.length ? window.map(chip) : [el("span", { class: "mq-hint", text: "no words" })]),
    ),
  );
  const tokens = span.windows.flat().reduce((sum, token) => sum + (token.vectors ?? 1), 0);
  return tokens < span.tokens && shown ? [...rows, el("p", { class: "mq-hint", text: `and ${span.tokens - tokens} more tokens` })] : rows;
}
function steps(span, of) {
  const left = ((span.first - 1) / of) * 100,
    width = ((span.last - span.first + 1) / of) * 100,
    words = span.first === span.last ? `Step ${span.last}` : `Steps ${span.first} to ${span.last}`;
  return el(
    "div",
    { class: "mq-span-steps" },
    el("span", { class: "mq-hint", text: words }),
    el("span", { class: "mq-span-bar", "aria-hidden": "true" }, el("span", { style: `margin-left:${left}%;width:${width}%` })),
  );
}
const swatch = (color) => el("span", { class: "mq-swatch", style: `background:${color}` });
function line(part, view, place) {
  const weight = part.weight === 1 ? "" : `, counting ${number(part.weight)} times`,
    name = part.color ? `Region${weight}` : part.negative ? "Left out" : place ? `Prompt ${place}${weight}` : "";
  const spans = part.spans.map((span) =>
    el("div", { class: "mq-span" }, part.spans.length > 1 ? steps(span, view.steps) : null, ...windows(span, view.window)),
  );
  return el(
    "section",
    { class: "mq-line-read", ...(part.negative ? { "data-negative": "" } : {}), ...(part.color ? { "data-region": part.color } : {}) },
    name ? el("h4", {}, part.color ? swatch(part.color) : null, name) : null,
    ...spans,
    part.more ? el("p", { class: "mq-hint", text: `and ${part.more} more changes` }) : null,
  );
}

// ---- all of it
function network(tag) {
  const weights = tag.text_weight === null ? number(tag.weight) : `${number(tag.weight)}, words ${number(tag.text_weight)}`;
  return el(
    "p",
    { class: "mq-network", ...(tag.why ? { "data-missing": "" } : {}) },
    el("b", { text: tag.name }),
    el("span", { class: "mq-mono", text: weights }),
    tag.why ? el("span", { text: tag.why }) : el("span", { class: "mq-hint", text: M.kindWord(tag.kind) }),
  );
}
function weighting(view) {
  const parts = [...view.lines, ...view.regions],
    weighed = parts.some((part) => part.spans.some((span) => span.windows.flat().some((token) => token.weight !== 1)));
  const [first, ...more] = view.weighting; // a label of the form: As A1111
  return weighed ? el("p", { class: "mq-hint mq-read-weighting", text: `Weights count ${first.toLowerCase()}${more.join("")}.` }) : null;
}
function read(view) {
  const told = view.lines.filter((part) => !part.negative),
    shown = view.lines.filter((part) => !part.negative || part.spans.some((span) => span.tokens));
  const tokens = Math.max(...told.flatMap((part) => part.spans.map((span) => span.tokens))),
    most = Math.max(...told.flatMap((part) => part.spans.map((span) => span.windows.length)));
  count.textContent = `${tokens} of ${most * view.window} tokens`;
  const typed = document.querySelector("#prompt textarea")?.value ?? "";
  const drawn = /\{[^}]*\||__|<style:/.test(typed) && view.prompt !== typed;
  return [
    ...view.warnings.map((text) => el("p", { class: "mq-read-warning", text })),
    drawn ? el("p", { class: "mq-drawn" }, el("span", { class: "mq-hint", text: "Drawn, for example: " }), view.prompt) : null,
    ...view.networks.map(network),
    ...shown.map((part, i) => line(part, view, told.length > 1 ? i + 1 : 0)),
    ...view.regions.map((part) => line(part, view, 0)),
    weighting(view),
  ];
}
function show() {
  const view = props.value;
  if (!view) return;
  if (view.trouble) count.textContent = "";
  const parts = view.trouble ? [el("p", { class: "mq-read-warning", text: view.trouble })] : read(view);
  body.replaceChildren(...parts.filter(Boolean));
}
watch("value", show);
show();
element.dataset.ready = "1";
