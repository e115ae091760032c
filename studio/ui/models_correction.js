// A small form to correct what was guessed of a model.
Object.assign(
  window.maquette,
  (() => {
    const M = window.maquette,
      { el } = M;
    const PREDICTIONS = {
      epsilon: "noise (epsilon)",
      v_prediction: "velocity (v-prediction)",
      sample: "picture (sample)",
    };
    const BASES = ["sd1", "sd2", "sdxl", "sdxl-refiner", "unknown"],
      CONTROLLED = ["controlnet", "t2i_adapter"];
    const predictionWord = (name) => PREDICTIONS[name] ?? name;
    const named = (list, word) => Object.fromEntries([...new Set(list)].map((value) => [value, word(value)]));

    /** `send` gets what was changed, by the names of the row's fields; null takes a correction back. */
    const correction = (row, controlKinds, send) => {
      const values = { kind: row.kind, base: row.base };
      for (const name of ["prediction_type", "control_kind"]) values[name] = row[name] ?? "";
      const field = (name, label, options) => {
        const select = el(
          "select",
          { class: "mq-select", id: `correct-${name}` },
          ...Object.entries(options).map(([value, text]) => el("option", { value, text })),
        );
        select.value = values[name];
        select.addEventListener("change", () => {
          values[name] = select.value;
          if (name === "kind") fill();
        });
        return el("label", { class: "mq-field" }, el("span", { text: label }), select);
      };
      const fields = el("div", { class: "mq-fields" });
      const fill = () => {
        const held = fields.contains(document.activeElement);
        const kinds = [...M.kinds.filter((kind) => kind !== "diffusers"), row.kind];
        fields.replaceChildren(
          field(
            "kind",
            "Kind",
            named(kinds, (kind) => M.capital(M.kindWord(kind))),
          ),
          field("base", "Base model", named([...BASES, row.base], M.baseWord)),
        );
        if (M.isCheckpoint(values))
          fields.append(
            field(
              "prediction_type",
              "Predicts",
              named([...Object.keys(PREDICTIONS), values.prediction_type], predictionWord),
            ),
          );
        if (CONTROLLED.includes(values.kind))
          fields.append(
            field(
              "control_kind",
              "Follows",
              named(["", ...controlKinds, values.control_kind], (kind) => kind || "not known"),
            ),
          );
        if (held) fields.querySelector("#correct-kind").focus();
      };
      fill();
      const changed = () =>
        Object.fromEntries(Object.entries(values).filter(([name, value]) => value !== (row[name] ?? "")));
      const corrected = row.corrected ?? [];
      return el(
        "details",
        { class: "mq-correct" },
        el("summary", {
          id: "model-correct",
          text: row.kind === "unknown" ? "Say what this is" : "Correct what was found",
        }),
        fields,
        el(
          "div",
          { class: "mq-details-actions" },
          el("button", {
            type: "button",
            class: "mq-plain",
            id: "correct-save",
            text: "Correct it",
            onclick: () => Object.keys(changed()).length && send(changed()),
          }),
          corrected.length
            ? el("button", {
                type: "button",
                class: "mq-plain",
                id: "correct-undo",
                text: "Back to what was found",
                onclick: () => send(Object.fromEntries(corrected.map((name) => [name, null]))),
              })
            : null,
        ),
      );
    };
    return { predictionWord, correction };
  })(),
);
