// Maps painted by hand, pixel by pixel: the same rule as studio/painting, so that the canvas shows what the model sees.
// A sheet of w by h pixels holds `shown`, and `under`, which the eraser brings back: light from 0 to 255 for depth,
// colours as 0xRRGGBB for segments. The middle of the pixel in row i and column j lies at (j + 0.5, i + 0.5).
window.maquettePaint ??= (() => {
  const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
  const SAMPLES = 4,
    QUICK = 1 / 255;

  // The pixels that may touch the box left, top, right, bottom.
  const windowOf = ([left, top, right, bottom], w, h) => ({
    x0: Math.max(0, Math.floor(left - 1)),
    y0: Math.max(0, Math.floor(top - 1)),
    x1: clamp(Math.ceil(right + 1), 0, w),
    y1: clamp(Math.ceil(bottom + 1), 0, h),
  });
  const whole = (w, h) => ({ x0: 0, y0: 0, x1: w, y1: h });
  const each = ({ x0, y0, x1, y1 }, w, visit) => {
    for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) visit(y * w + x, x + 0.5, y + 0.5);
  };

  // ---- strokes
  const ends = (op, i) => [op.p[3 * i], op.p[3 * i + 1], (op.s / 2) * op.p[3 * i + 2]];
  const segmentsOf = (op) => Math.max(1, op.p.length / 3 - 1);
  // Raise `cover`, a sheet of Float32, to that of one segment; the window of what may have changed.
  function raise(cover, op, i, w, h) {
    const [x0, y0, r0] = ends(op, i),
      [x1, y1, r1] = op.p.length > 3 ? ends(op, i + 1) : [x0, y0, r0],
      soft = op.soft ?? 0,
      reach = Math.max(r0, r1),
      dx = x1 - x0,
      dy = y1 - y0,
      length = dx * dx + dy * dy;
    const at = windowOf(
      [Math.min(x0, x1) - reach, Math.min(y0, y1) - reach, Math.max(x0, x1) + reach, Math.max(y0, y1) + reach],
      w,
      h,
    );
    each(at, w, (k, x, y) => {
      const along = length ? clamp(((x - x0) * dx + (y - y0) * dy) / length, 0, 1) : 0,
        away = Math.hypot(x - x0 - along * dx, y - y0 - along * dy),
        radius = r0 + along * (r1 - r0),
        share = clamp((radius + 0.5 - away) / Math.max(1, soft * radius), 0, 1),
        here = share * share * (3 - 2 * share);
      if (here > cover[k]) cover[k] = here;
    });
    return at;
  }
  const kept = new WeakMap(); // what each stroke covers, in steps of 1/255, for one size of sheet
  function brushed(op, w, h) {
    const known = kept.get(op);
    if (known?.w === w && known.h === h) return known;
    const cover = new Float32Array(w * h),
      radius = (op.s / 2) * op.p.reduce((most, v, i) => (i % 3 === 2 ? Math.max(most, v) : most), 0);
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < op.p.length; i += 3) {
      [left, right] = [Math.min(left, op.p[i]), Math.max(right, op.p[i])];
      [top, bottom] = [Math.min(top, op.p[i + 1]), Math.max(bottom, op.p[i + 1])];
    }
    for (let i = 0; i < segmentsOf(op); i++) raise(cover, op, i, w, h);
    const at = windowOf([left - radius, top - radius, right + radius, bottom + radius], w, h),
      steps = new Uint8Array(Math.max(0, at.x1 - at.x0) * Math.max(0, at.y1 - at.y0));
    let n = 0;
    each(at, w, (k) => (steps[n++] = Math.floor(cover[k] * 255 + 0.5)));
    const made = { w, h, at, steps };
    kept.set(op, made);
    return made;
  }

  // ---- solids: what they cover of a pixel, and how far their front is before their middle
  function ball(op, w, h) {
    const { x: cx, y: cy, r } = op;
    return {
      at: windowOf([cx - r, cy - r, cx + r, cy + r], w, h),
      seen(x, y) {
        const square = (x - cx) ** 2 + (y - cy) ** 2;
        return [clamp(r + 0.5 - Math.sqrt(square), 0, 1), Math.sqrt(Math.max(0, r * r - square))];
      },
    };
  }
  function box({ x: cx, y: cy, rx, ry, turn }, w, h) {
    const angle = ((((turn % 90) + 90) % 90) * Math.PI) / 180,
      [cos, sin] = [Math.cos(angle), Math.sin(angle)],
      side = rx / (cos + sin),
      edge = side * (cos - sin),
      front = side * (cos + sin);
    return {
      at: windowOf([cx - rx, cy - ry, cx + rx, cy + ry], w, h),
      seen(x, y) {
        const past = x - cx - edge,
          falls = past < 0 ? sin / cos : sin > 1e-9 ? -cos / sin : 0,
          cover = clamp(rx + 0.5 - Math.abs(x - cx), 0, 1) * clamp(ry + 0.5 - Math.abs(y - cy), 0, 1);
        return [cover, front + past * falls];
      },
    };
  }

  // ---- smoothing, areas, fills
  function averaged(from, w, h, reach, across) {
    const to = new Float32Array(w * h),
      [lines, count, next, step] = across ? [h, w, w, 1] : [w, h, 1, w];
    for (let line = 0; line < lines; line++) {
      const at = (i) => from[line * next + clamp(i, 0, count - 1) * step];
      let sum = 0;
      for (let i = -reach; i <= reach; i++) sum += at(i);
      for (let i = 0; i < count; i++) {
        to[line * next + i * step] = sum / (2 * reach + 1);
        sum += at(i + reach + 1) - at(i - reach);
      }
    }
    return to;
  }
  function blurred(sheet, w, h, reach) {
    const across = Math.floor(reach + 0.5);
    for (let i = 0; i < 3; i++) sheet = averaged(averaged(sheet, w, h, across, false), w, h, across, true);
    return sheet;
  }
  // Calls paint(pixel) for each whose middle lies within the ring, even-odd.
  function inside(p, w, h, paint) {
    const corners = p.length / 2;
    for (let y = 0; y < h; y++) {
      const crossings = [];
      for (let i = 0; i < corners; i++) {
        const j = (i + 1) % corners,
          [x0, y0, x1, y1] = [p[2 * i], p[2 * i + 1], p[2 * j], p[2 * j + 1]];
        if (y0 <= y + 0.5 !== y1 <= y + 0.5) crossings.push(x0 + (y + 0.5 - y0) * ((x1 - x0) / (y1 - y0)));
      }
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        const last = clamp(Math.ceil(crossings[i + 1] - 0.5), 0, w);
        for (let x = clamp(Math.ceil(crossings[i] - 0.5), 0, w); x < last; x++) paint(y * w + x);
      }
    }
  }
  function fill(sheet, w, h, { x, y }, color) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column < 0 || row < 0 || column >= w || row >= h) return;
    const before = sheet[row * w + column],
      open = [row * w + column];
    if (before === color) return;
    while (open.length) {
      const k = open.pop();
      if (sheet[k] !== before) continue;
      sheet[k] = color;
      if (k % w > 0) open.push(k - 1);
      if (k % w < w - 1) open.push(k + 1);
      if (k >= w) open.push(k - w);
      if (k < w * (h - 1)) open.push(k + w);
    }
  }

  // ---- the map under what is painted. picture: {w, h, data}, four bytes a pixel; place: {box: [x, y, width, height]}
  function laidLight(picture, [left, top, width, height], w, h) {
    const { data, w: pw, h: ph } = picture,
      light = (x, y) => {
        const k = 4 * (y * pw + x);
        return (data[k] * 299 + data[k + 1] * 587 + data[k + 2] * 114) / 1000;
      },
      samples = clamp(Math.ceil(Math.max(pw / width, ph / height)), 1, SAMPLES),
      sheet = new Float32Array(w * h);
    const near = (place, count) => {
      const at = clamp(place - 0.5, 0, count - 1),
        before = Math.floor(at);
      return [before, Math.min(before + 1, count - 1), at - before];
    };
    each(whole(w, h), w, (k, x, y) => {
      if (x < left || y < top || x >= left + width || y >= top + height) return;
      for (let i = 0; i < samples * samples; i++) {
        const right = ((i % samples) + 0.5) / samples - 0.5,
          down = (Math.floor(i / samples) + 0.5) / samples - 0.5,
          [xa, xb, u] = near(((x + right - left) * pw) / width, pw),
          [ya, yb, v] = near(((y + down - top) * ph) / height, ph);
        const upper = light(xa, ya) * (1 - u) + light(xb, ya) * u;
        sheet[k] += upper * (1 - v) + (light(xa, yb) * (1 - u) + light(xb, yb) * u) * v;
      }
      sheet[k] /= samples * samples;
    });
    return sheet;
  }
  function laidColors({ data, w: pw, h: ph }, [left, top, width, height], w, h) {
    const sheet = new Int32Array(w * h);
    each(whole(w, h), w, (k, x, y) => {
      const [column, row] = [Math.floor(((x - left) * pw) / width), Math.floor(((y - top) * ph) / height)];
      if (column < 0 || row < 0 || column >= pw || row >= ph) return;
      const from = 4 * (row * pw + column);
      sheet[k] = (data[from] << 16) | (data[from + 1] << 8) | data[from + 2];
    });
    return sheet;
  }

  // ---- sheets. `blend` lays a cover over the pixels of a window: it serves whole strokes and those under the hand.
  function depthSheet(w, h, laid) {
    const self = { w, h, under: laid ?? new Float32Array(w * h) };
    self.shown = self.under.slice();
    const both = (change) => ([self.under, self.shown] = [change(self.under), change(self.shown)]);
    const solid = ({ at, seen }, v) =>
      each(at, w, (k, x, y) => {
        const [cover, front] = seen(x, y),
          light = Math.min(255, v + (front * 255) / Math.max(w, h));
        if (cover && light > self.shown[k]) self.shown[k] += cover * (light - self.shown[k]);
      });
    self.blend = (op, k, cover, before = self.shown[k]) => {
      self.shown[k] = before + cover * ((op.kind === "erase" ? self.under[k] : op.v) - before);
    };
    self.ops = {
      ball: (op) => solid(ball(op, w, h), op.v),
      box: (op) => solid(box(op, w, h), op.v),
      smooth: ({ s }) => both((sheet) => blurred(sheet, w, h, s)),
      invert: () => both((sheet) => sheet.map((light) => 255 - light)),
      gradient({ p: [x0, y0, x1, y1], v: [far, near] }) {
        const length = Math.max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9);
        each(whole(w, h), w, (k, x, y) => {
          const along = clamp(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1);
          self.under[k] = self.shown[k] = far + along * (near - far);
        });
      },
      floor({ y: horizon, v: [far, near] }) {
        each(whole(w, h), w, (k, _, y) => {
          if (y > horizon)
            self.under[k] = self.shown[k] = far + ((y - horizon) / Math.max(h - horizon, 1e-9)) * (near - far);
        });
      },
    };
    self.color = (k) => {
      const light = Math.floor(clamp(self.shown[k], 0, 255) + 0.5);
      return (light << 16) | (light << 8) | light;
    };
    return self;
  }
  function segmentSheet(w, h, laid, colors) {
    const self = { w, h, under: laid ?? new Int32Array(w * h) };
    self.shown = self.under.slice();
    const area = (p, color) => inside(p, w, h, (k) => (self.shown[k] = color));
    self.blend = (op, k, cover, before = self.shown[k]) => {
      self.shown[k] = cover < 0.5 ? before : op.kind === "erase" ? self.under[k] : colors.get(op.region);
    };
    self.ops = {
      area: ({ p, region }) => area(p, colors.get(region)),
      rect: ({ p: [x0, y0, x1, y1], region }) => area([x0, y0, x1, y0, x1, y1, x0, y1], colors.get(region)),
      fill: (op) => fill(self.shown, w, h, op, colors.get(op.region)),
      clear({ region }) {
        const color = colors.get(region);
        self.shown.forEach((shown, k) => shown === color && (self.shown[k] = 0));
      },
    };
    self.color = (k) => self.shown[k];
    return self;
  }
  function apply(sheet, op) {
    if (sheet.ops[op.kind]) return sheet.ops[op.kind](op);
    const { at, steps } = brushed(op, sheet.w, sheet.h);
    let n = 0;
    each(at, sheet.w, (k) => {
      const step = steps[n++];
      if (step) sheet.blend(op, k, step * QUICK);
    });
  }

  // The sheet of a painting. kind: "depth", "segments" or "regions"; picture: that of its base, or null; colors: name -> 0xRRGGBB.
  function render(kind, { w, h, ops, base }, picture, colors) {
    const [lay, make] = kind === "depth" ? [laidLight, depthSheet] : [laidColors, segmentSheet];
    const laid = () => {
      const where = [...base.box, w, h].join();
      if (picture.laid?.where !== where) picture.laid = { where, sheet: lay(picture, base.box, w, h) };
      return picture.laid.sheet.slice();
    };
    const sheet = make(w, h, base && picture ? laid() : null, colors);
    for (const op of ops) apply(sheet, op);
    return sheet;
  }
  // A stroke under the hand: grow(op) lays what was added to it over the sheet, and gives the window that changed.
  function stroke(sheet) {
    const cover = new Float32Array(sheet.w * sheet.h),
      before = sheet.shown.slice();
    return (op) => {
      const at = raise(cover, op, segmentsOf(op) - 1, sheet.w, sheet.h);
      each(at, sheet.w, (k) => sheet.blend(op, k, Math.floor(cover[k] * 255 + 0.5) * QUICK, before[k]));
      return at;
    };
  }
  // Show a window of the sheet, or all of it, on a canvas of its size.
  function put(sheet, pen, at = whole(sheet.w, sheet.h)) {
    const [w, h] = [at.x1 - at.x0, at.y1 - at.y0];
    if (w <= 0 || h <= 0) return;
    const image = pen.createImageData(w, h);
    let n = 0;
    each(at, sheet.w, (k) => {
      const color = sheet.color(k);
      image.data[n++] = color >> 16;
      image.data[n++] = (color >> 8) & 255;
      image.data[n++] = color & 255;
      image.data[n++] = 255;
    });
    pen.putImageData(image, at.x0, at.y0);
  }
  // The pixels of an asset, as {w, h, data}.
  async function load(id) {
    const image = new Image();
    image.src = `./api/v1/assets/${id}`;
    await image.decode();
    const [w, h] = [image.naturalWidth, image.naturalHeight],
      sheet = Object.assign(document.createElement("canvas"), { width: w, height: h }),
      pen = sheet.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    return { w, h, data: pen.getImageData(0, 0, w, h).data };
  }
  return { clamp, render, stroke, put, load };
})();
