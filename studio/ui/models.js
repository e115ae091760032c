// What the Models section and the top bar share: plain words for kinds and bases, sizes, tiles, and what events say.
Object.assign(
  window.maquette,
  (() => {
    const M = window.maquette;
    const KINDS = {
      checkpoint: ["Checkpoints", "checkpoint", "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.500 8-4.500M12 12v9"],
      diffusers: ["Checkpoints", "checkpoint", "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.500 8-4.500M12 12v9"],
      lora: ["LoRAs", "LoRA", "M12 4l9 5-9 5-9-5zM3 13l9 5 9-5M3 17l9 5 9-5"],
      controlnet: [
        "ControlNets",
        "ControlNet",
        "M6 15.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5zM18 3.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5zM8.500 18H14a4 4 0 0 0 0-8h-4a4 4 0 0 1 0-4h5.500",
      ],
      t2i_adapter: ["T2I-Adapters", "T2I-Adapter", "M9 3v5M15 3v5M6 8h12v4a6 6 0 0 1-12 0zM12 18v3"],
      ip_adapter: ["IP-Adapters", "IP-Adapter", "M4 5h16v14H4zM4 16l5-5 5 5 2-2 4 4M15.500 9h.01"],
      image_encoder: [
        "Image encoders",
        "image encoder",
        "M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
      ],
      vae: ["VAEs", "VAE", "M4 5h16l-6 7 6 7H4l6-7z"],
      taesd: ["Preview decoders", "preview decoder", "M6 7h12l-4.500 5 4.500 5H6l4.500-5z"],
      embedding: ["Embeddings", "embedding", "M5 8V5h14v3M12 5v14M9 19h6"],
      hypernetwork: ["Hypernetworks", "hypernetwork", "M12 4v5M5 20v-5M19 20v-5M5 15c0-4 7-2 7-6 0 4 7 2 7 6"],
      upscaler: ["Upscalers", "upscaler", "M4 10V4h6M20 14v6h-6M4 4l7 7M20 20l-7-7"],
      unknown: [
        "Not recognised",
        "file that was not recognised",
        "M9 9a3 3 0 1 1 4.400 2.700c-.9.5-1.400 1.200-1.400 2.300M12 17.500h.01",
      ],
    };
    const BASES = { sd1: "SD 1.5", sd2: "SD 2", sdxl: "SDXL", "sdxl-refiner": "SDXL refiner", unknown: "Base unknown" };
    const kindsWord = (kind) => KINDS[kind]?.[0] ?? kind;
    const kindWord = (kind) => KINDS[kind]?.[1] ?? kind;
    const baseWord = (base) => BASES[base] ?? (base?.startsWith("starter") ? "Starter" : (base ?? ""));
    const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
    const isCheckpoint = (row) => ["checkpoint", "diffusers"].includes(row.kind);
    const number = (n) => Number(n ?? 0).toLocaleString("en");
    const size = (bytes) => {
      const steps = ["B", "KB", "MB", "GB", "TB"];
      let n = Number(bytes ?? 0),
        at = 0;
      for (; n >= 1000 && at < 4; at++) n /= 1000;
      return `${at > 1 && n < 10 ? n.toFixed(1) : Math.round(n)} ${steps[at]}`;
    };
    const baseOf = (row) => (row.base && row.base !== "unknown" ? baseWord(row.base) : "");
    const factsOf = (row) => [baseOf(row), row.precision].filter((word) => word && word !== "unknown").join(" · ");

    // a quiet tile for a model without a preview: the glyph of its kind before hills that its name shapes
    const svg = (tag, attrs, ...children) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attrs)) node.setAttribute(name, value);
      node.append(...children);
      return node;
    };
    const seedOf = (text) => [...String(text)].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) >>> 0, 7);
    const glyph = (kind, attrs = {}) =>
      svg(
        "svg",
        { viewBox: "0 0 24 24", class: "mq-icon", "aria-hidden": "true", ...attrs },
        svg("path", { d: (KINDS[kind] ?? KINDS.unknown)[2] }),
      );
    const tile = (row, wide = false) => {
      const seed = seedOf(row.key ?? row.name),
        a = seed % 97,
        b = (seed >>> 7) % 89;
      const hill = (x, y, r, name) => svg("circle", { cx: x, cy: y, r, class: name });
      return svg(
        "svg",
        {
          viewBox: wide ? "-80 26 320 120" : "0 0 160 160",
          class: "mq-model-tile",
          preserveAspectRatio: "xMidYMid slice",
          "aria-hidden": "true",
        },
        hill(20 + a * 1.2, 175 - (b % 30), 70 + (a % 30), "mq-hill"),
        hill(150 - b * 1.1, 190 - (a % 26), 84 + (b % 24), "mq-hill"),
        glyph(row.kind, { x: 56, y: 44, width: 48, height: 48, class: "mq-glyph" }),
        Object.assign(svg("text", { x: 80, y: 124, "text-anchor": "middle" }), {
          textContent: baseOf(row),
        }),
      );
    };
    const preview = (row, wide = false) => {
      if (!row.has_preview) return tile(row, wide);
      const image = M.el("img", {
        src: `./api/v1/models/${row.key}/preview`,
        alt: "",
        loading: "lazy",
        draggable: "false",
      });
      image.addEventListener("error", () => image.replaceWith(tile(row, wide)));
      return image;
    };

    // ---- what many components need to know
    const shared = { user: null, checkpoint: null, loading: null, resident: null, scan: null, downloads: new Map() };
    const owner = () => shared.user?.role === "local";
    M.on(document.documentElement, "jobs", (e) => {
      if (e?.type === "hello" && e.user) {
        shared.user = e.user;
        M.emit("user");
      } else if (e?.type === "scan") {
        shared.scan = e;
        M.emit("scan", e);
      } else if (e?.type === "loading" || e?.type === "resident") {
        shared[e.type] = e;
        if (e.type === "resident" && e.models.some((m) => m.name === shared.loading?.name))
          shared.loading = null; // a picture that came first has loaded it
        M.emit(e.type, e);
      } else if (e?.type === "model") {
        M.emit("model-described", e.key);
      } else if (e?.type === "download") {
        shared.downloads.set(e.id, { ...shared.downloads.get(e.id), ...e });
        M.emit("downloads", e);
      }
    });
    const copy = async (text) => {
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        const box = M.el("textarea", { class: "mq-sr" }); // a page without https has no clipboard of its own
        box.value = text;
        document.body.append(box);
        box.select();
        document.execCommand("copy");
        box.remove();
      }
      M.say("Copied.");
    };
    // a box that a button opens: Escape, a click beside it or leaving it with Tab close it again
    const popover = (element, face, box, opened) => {
      const toggle = (open = box.hidden) => {
        const inside = box.contains(document.activeElement);
        box.hidden = !open;
        face.setAttribute("aria-expanded", open);
        if (open) opened();
        else if (inside) face.focus();
      };
      element.addEventListener("keydown", (e) => {
        if (e.key !== "Escape" || box.hidden) return;
        e.preventDefault();
        toggle(false);
        face.focus();
      });
      element.addEventListener("focusout", (e) => {
        if (!box.hidden && e.relatedTarget && !element.contains(e.relatedTarget)) toggle(false);
      });
      document.addEventListener("pointerdown", function away(e) {
        if (!element.isConnected) document.removeEventListener("pointerdown", away);
        else if (!box.hidden && !element.contains(e.target)) toggle(false);
      });
      return toggle;
    };
    const section = (name) =>
      [...document.querySelectorAll("#sections [role=tab]")].find((tab) => tab.textContent.trim() === name)?.click();
    return {
      shared,
      owner,
      kinds: Object.keys(KINDS),
      kindsWord,
      kindWord,
      capital,
      baseWord,
      isCheckpoint,
      number,
      size,
      baseOf,
      factsOf,
      glyph,
      tile,
      preview,
      copy,
      popover,
      section,
    };
  })(),
);
