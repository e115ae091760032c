// People as skeletons: arrays of x, y, on (1 or 0) in turn for OpenPose's 18 joints. Pure functions; the editor draws.
window.maquettePose ??= (() => {
  const JOINTS =
    "nose,neck,right shoulder,right elbow,right wrist,left shoulder,left elbow,left wrist,right hip,right knee,right ankle,left hip,left knee,left ankle,right eye,left eye,right ear,left ear".split(
      ",",
    );
  const LIMBS =
    "1-2,1-5,2-3,3-4,5-6,6-7,1-8,8-9,9-10,1-11,11-12,12-13,1-0,0-14,14-16,0-15,15-17"
      .split(",")
      .map((pair) => pair.split("-").map(Number));
  const TWINS = [2, 3, 4, 8, 9, 10, 14, 16].map((right) => [right, right < 14 ? right + 3 : right + 1]);
  const ALL = JOINTS.map((_, i) => i);
  const color = (i) => `hsl(${i * 20} 100% 50%)`,
    dim = (i) => `hsl(${i * 20} 100% 30%)`; // 60 % of the light, as on the map
  const round = (x) => Math.round(x * 100) / 100;

  // ---- ready poses: in heights of a standing person, x from the middle, y up from the ground
  const ARM = [0.13, 0.11],
    LEG = [0.205, 0.205];
  const reach = ([x, y], side, angles, lengths) =>
    angles.map((angle, i) => {
      x += side * lengths[i] * Math.sin(angle);
      y -= lengths[i] * Math.cos(angle);
      return [x, y];
    });
  function figure({ right, left, legs = [[0.22, 0.22], [0.22, 0.22]], wide = 1, look = 0, low = 0 }) {
    const shoulder = (side) => [side * 0.1 * wide, 0.75 - low],
      hip = (side) => [side * 0.06 * wide, 0.45 - low],
      arm = (side, angles) => [shoulder(side), ...reach(shoulder(side), side, angles, ARM)],
      leg = (side, angles) => [hip(side), ...reach(hip(side), side, angles, LEG)];
    const at = (x, y) => [x * (look ? 0.8 : 1) + look, y - low];
    return [
      at(0, 0.88),
      [0, 0.78 - low],
      ...arm(-1, right),
      ...arm(1, left),
      ...leg(-1, legs[0]),
      ...leg(1, legs[1]),
      at(-0.03, 0.89),
      at(0.03, 0.89),
      at(-0.078, 0.88),
      at(0.078, 0.88),
    ];
  }
  const HANGING = [0.28, 0.16];
  const PRESETS = [
    ["Standing", figure({ right: HANGING, left: HANGING })],
    ["Waving", figure({ right: [2.3, 2.9], left: HANGING })],
    ["Arms up", figure({ right: [2.55, 2.85], left: [2.55, 2.85] })],
    ["Arms out", figure({ right: [1.52, 1.56], left: [1.52, 1.56] })],
    [
      "Walking",
      figure({ right: [0.5, 0.1], left: [0.45, 0.9], legs: [[0.3, 0.75], [0.42, 0.12]], wide: 0.6, look: 0.02 }),
    ],
    [
      "Sitting",
      figure({ right: [-0.3, -1.15], left: [0.3, 1.0], legs: [[-1.45, -0.05], [1.35, 0.05]], wide: 0.55, look: 0.02, low: 0.2 }),
    ],
  ];

  // ---- one person
  const on = (k) => ALL.filter((i) => k[3 * i + 2] > 0);
  const mapped = (k, to) =>
    ALL.flatMap((i) => {
      const [x, y] = to(k[3 * i], k[3 * i + 1]);
      return [round(x), round(y), k[3 * i + 2]];
    });
  function bounds(k) {
    const seen = on(k).length ? on(k) : ALL,
      xs = seen.map((i) => k[3 * i]),
      ys = seen.map((i) => k[3 * i + 1]);
    return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  }
  const centre = (k) => {
    const b = bounds(k);
    return [(b.left + b.right) / 2, (b.top + b.bottom) / 2];
  };
  const moved = (k, dx, dy) => mapped(k, (x, y) => [x + dx, y + dy]);
  const scaled = (k, [cx, cy], by) => mapped(k, (x, y) => [cx + (x - cx) * by, cy + (y - cy) * by]);
  const turned = (k, [cx, cy], angle) => {
    const sin = Math.sin(angle),
      cos = Math.cos(angle);
    return mapped(k, (x, y) => [cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos]);
  };
  function mirrored(k) {
    const { left, right } = bounds(k),
      out = mapped(k, (x, y) => [left + right - x, y]);
    for (const [a, b] of TWINS)
      for (let d = 0; d < 3; d++) [out[3 * a + d], out[3 * b + d]] = [out[3 * b + d], out[3 * a + d]];
    return out;
  }
  const withJoint = (k, i, x, y, seen = 1) => [...k.slice(0, 3 * i), round(x), round(y), seen, ...k.slice(3 * i + 3)];
  // a ready pose with the middle at x, the ground at `ground`
  const placed = (joints, x, ground, height) => joints.flatMap(([u, v]) => [round(x + u * height), round(ground - v * height), 1]);
  // a ready pose in the place and size of somebody who is there: the neck stays, and the length of the trunk
  function posed(k, joints) {
    const standing = fill(k),
      trunk = (p) => Math.hypot(p[3] - (p[24] + p[33]) / 2, p[4] - (p[25] + p[34]) / 2),
      raw = placed(joints, 0, 0, 1000),
      height = Math.max(20, (1000 * trunk(standing)) / trunk(raw));
    const there = placed(joints, 0, 0, height);
    return moved(there, standing[3] - there[3], standing[4] - there[4]);
  }
  // joints that a file left out, where a standing person of that size would have them
  function fill(k) {
    const known = on(k),
      lost = ALL.filter((i) => !k[3 * i + 2] && !k[3 * i] && !k[3 * i + 1]);
    if (!lost.length || !known.length) return k;
    const model = placed(PRESETS[0][1], 0, 0, 1000),
      part = ALL.flatMap((i) => [model[3 * i], model[3 * i + 1], known.includes(i) ? 1 : 0]),
      size = (b) => Math.max(1, b.bottom - b.top, b.right - b.left),
      by = known.length > 1 ? size(bounds(k)) / size(bounds(part)) : 0.3,
      [x, y] = centre(k),
      [mx, my] = centre(part);
    return lost.reduce((p, i) => withJoint(p, i, x + (model[3 * i] - mx) * by, y + (model[3 * i + 1] - my) * by, 0), k);
  }
  // all of a pose on a canvas of w by h: as large as fits, in the middle, nothing bent
  function onto(pose, w, h) {
    if (pose.w === w && pose.h === h) return pose;
    const by = Math.min(w / pose.w, h / pose.h),
      dx = (w - pose.w * by) / 2,
      dy = (h - pose.h * by) / 2;
    return { ...pose, w, h, people: pose.people.map((k) => mapped(k, (x, y) => [x * by + dx, y * by + dy])) };
  }

  // ---- drawn, and under the pointer
  const NS = "http://www.w3.org/2000/svg";
  const svg = (tag, attrs, ...children) => {
    const node = document.createElementNS(NS, tag);
    for (const [k, v] of Object.entries(attrs)) node.setAttribute(k, v);
    node.append(...children);
    return node;
  };
  function pictogram(figure) {
    const k = placed(figure, 30, 60, 60),
      box = bounds(k);
    const drawn = svg("svg", { viewBox: `0 ${box.top - 6} 60 ${box.bottom - box.top + 12}`, "aria-hidden": "true" });
    for (const [a, b] of LIMBS.slice(0, 13))
      drawn.append(svg("line", { x1: k[3 * a], y1: k[3 * a + 1], x2: k[3 * b], y2: k[3 * b + 1] }));
    drawn.append(svg("circle", { cx: k[0], cy: k[1], r: 4.5 }));
    return drawn;
  }
  function skeleton(k, chosen, thick) {
    const group = svg("g", { class: chosen ? "mq-chosen" : "" });
    LIMBS.forEach(([a, b], i) => {
      if (k[3 * a + 2] && k[3 * b + 2])
        group.append(
          svg("line", {
            x1: k[3 * a],
            y1: k[3 * a + 1],
            x2: k[3 * b],
            y2: k[3 * b + 1],
            stroke: dim(i),
            "stroke-width": thick,
          }),
        );
    });
    for (const i of ALL) {
      const place = { cx: k[3 * i], cy: k[3 * i + 1], "data-joint": i };
      if (k[3 * i + 2]) group.append(svg("circle", { ...place, r: thick, fill: color(i) }));
      else if (chosen) group.append(svg("circle", { ...place, r: thick * 0.8, class: "mq-missing" }));
    }
    return group;
  }
  const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  function off([x, y], [ax, ay], [bx, by]) {
    const length = (bx - ax) ** 2 + (by - ay) ** 2,
      t = length ? Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length)) : 0;
    return far([x, y], [ax + t * (bx - ax), ay + t * (by - ay)]);
  }
  const place = (k, i) => [k[3 * i], k[3 * i + 1]];
  function nearest(found, distance, reach) {
    const best = found.reduce((a, b) => (distance(b) < distance(a) ? b : a), found[0]);
    return best !== undefined && distance(best) <= reach ? best : undefined;
  }
  // The people as on the map, into a canvas of w by h; false when nobody is there.
  function paint(on, pose, w, h) {
    if (!pose.people.length) return false;
    const unit = Math.sqrt(pose.w * pose.h);
    on.fillStyle = "#000";
    on.fillRect(0, 0, w, h);
    on.save();
    on.scale(w / pose.w, h / pose.h);
    on.lineCap = "round";
    on.lineWidth = unit / 32;
    for (const k of pose.people) {
      LIMBS.forEach(([a, b], i) => {
        if (!k[3 * a + 2] || !k[3 * b + 2]) return;
        on.strokeStyle = dim(i);
        on.beginPath();
        on.moveTo(...place(k, a));
        on.lineTo(...place(k, b));
        on.stroke();
      });
    }
    on.restore();
    return true;
  }
  return {
    JOINTS,
    LIMBS,
    PRESETS,
    ALL,
    on,
    bounds,
    centre,
    moved,
    scaled,
    turned,
    mirrored,
    withJoint,
    placed,
    posed,
    fill,
    onto,
    svg,
    pictogram,
    skeleton,
    paint,
    far,
    off,
    place,
    nearest,
  };
})();
