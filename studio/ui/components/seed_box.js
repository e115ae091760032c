// The seed: empty throws a new one for each picture, a number keeps it. value = {seed: number | null}
const M = window.maquette,
  { el, button } = M;
const root = element.querySelector(".mq-seed-box");
const input = el("input", {
  type: "text",
  inputmode: "numeric",
  id: "seed-input",
  placeholder: "random",
  autocomplete: "off",
  title: "Equal seed and settings give the equal picture. Empty: a new one each time.",
});
const dice = button("dice", "A new seed for each picture", () => put(null)),
  lock = button("lock", "Keep the seed of the picture shown", () =>
    put(input.value ? null : (M.seed ?? Math.floor(Math.random() * 2 ** 32))),
  );
root.append(el("label", { for: "seed-input", text: "Seed" }), el("div", { class: "mq-seed-row" }, input, dice, lock));
function show(seed) {
  input.value = seed ?? "";
  mark();
}
function mark() {
  dice.setAttribute("aria-pressed", !input.value);
  lock.setAttribute("aria-pressed", Boolean(input.value));
}
function put(seed) {
  show(seed);
  props.value = { seed };
  trigger("edited", {});
}
input.addEventListener("input", () => {
  input.value = input.value.replace(/[^0-9]/g, "").slice(0, 15);
  mark();
});
input.addEventListener("change", () => put(input.value ? +input.value : null));
watch("value", () => show(props.value?.seed));
show(props.value?.seed);
element.dataset.ready = "1";
