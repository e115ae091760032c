// Files into a set of pictures: dropped, chosen, a folder, a zip; sent a few at a time so that it is seen how far it is.
window.maquetteTrainFiles ??= (() => {
  const M = window.maquette,
    T = window.maquetteTrain;
  const AT_ONCE = 8,
    MOST = 16 * 2 ** 20; // files and bytes in one request

  const places = new WeakMap(); // file -> its path in the set
  // where a file shall lie: folders are kept, but not the one that all of it lies in
  function settle(files, paths) {
    const tops = new Set(paths.map((path) => path.split("/")[0])),
      inside = tops.size === 1 && paths.every((path) => path.includes("/"));
    files.forEach((file, i) => places.set(file, inside ? paths[i].slice(paths[i].indexOf("/") + 1) : paths[i]));
    return inside ? [...tops][0] : "";
  }
  // files of an input, and what the folder is called
  const chosen = (files) => ({ files, name: settle(files, files.map((file) => file.webkitRelativePath || file.name)) });
  // every file of what was dropped, those in folders too, and what the folder is called
  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return { files: [...transfer.files], name: "" };
    const files = [],
      paths = [];
    for (const entry of entries) await walk(entry, files, paths);
    const folder = settle(files, paths) || entries.find((entry) => entry.isDirectory)?.name;
    return { files: files.length ? files : [...transfer.files], name: folder ?? "" };
  }
  async function walk(entry, files, paths) {
    if (entry.name.startsWith(".") || entry.name === "__MACOSX") return;
    if (entry.isFile) {
      files.push(await new Promise((done, fail) => entry.file(done, fail)));
      return void paths.push(entry.fullPath.replace(/^[/]/, ""));
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) return;
      for (const inner of some) await walk(inner, files, paths);
    }
  }

  // a name for a new set: of the folder or zip, else "Pictures" with a number
  const plain = (text) => text.replace(/\.[^.]+$/, "").replace(/[^\p{L}\p{N} ._()+-]+/gu, " ").trim().slice(0, 60);
  function nameFor(files, folder) {
    const zip = files.find((file) => /\.zip$/i.test(file.name));
    const wanted = plain(folder || zip?.name || T.state.draft.name) || "Pictures",
      taken = new Set(T.state.sets.map((row) => row.name.toLowerCase()));
    for (let i = 1; ; i++) {
      const name = i === 1 ? wanted : `${wanted} ${i}`;
      if (!taken.has(name.toLowerCase())) return name;
    }
  }
  function* parts(files) {
    // words beside pictures come last: by then their pictures are there
    const ordered = [...files].sort((a, b) => /\.txt$/i.test(a.name) - /\.txt$/i.test(b.name));
    let part = [],
      bytes = 0;
    for (const file of ordered) {
      if (part.length && (part.length >= AT_ONCE || bytes + file.size > MOST)) {
        yield part;
        [part, bytes] = [[], 0];
      }
      part.push(file);
      bytes += file.size;
    }
    if (part.length) yield part;
  }

  // Send them into the set that is shown, or into a new one. told(text): how far it is. Gives back what was left out.
  async function send(files, folder, told) {
    const set = T.state.draft.dataset || (await make(files, folder)),
      sent = { done: 0, added: 0, skipped: [], isNew: set !== T.state.draft.dataset };
    if (sent.isNew) T.change({ dataset: set }, { silent: true });
    try {
      for (const part of parts(files)) await sendPart(set, part, files.length, sent, told);
    } finally {
      if (sent.isNew && !sent.added) await unmake(set);
    }
    return sent.skipped;
  }
  async function sendPart(set, part, all, sent, told) {
    const zip = part.find((file) => /\.zip$/i.test(file.name));
    told(zip ? `Unpacking ${zip.name} (${M.size(zip.size)})` : `Adding ${M.number(sent.done + 1)} of ${M.number(all)}`);
    const form = new FormData();
    for (const file of part) form.append("files", file, places.get(file) ?? file.name);
    const { added, skipped } = await M.call("POST", `datasets/${T.at(set)}/files`, undefined, { body: form });
    sent.skipped.push(...skipped);
    sent.added += added.length;
    sent.done += part.length;
  }
  async function make(files, folder) {
    T.state.sets = await M.call("GET", "datasets");
    const name = nameFor(files, folder);
    await M.call("POST", "datasets", { name });
    return name;
  }
  // a new set that nothing came into is none
  async function unmake(set) {
    T.change({ dataset: "" }, { silent: true });
    await M.call("DELETE", `datasets/${T.at(set)}`);
  }
  return { dropped, chosen, send };
})();
