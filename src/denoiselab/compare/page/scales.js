// Numbers as text, scales, ticks and the frame of a plot. Labels are left out where they would touch.

function brief(number, digits = 4) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const size = Math.abs(number);
  if (size >= 1e5 || (size > 0 && size < 1e-3)) {
    const unit = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([by]) => size >= by);
    if (unit) return `${Number((number / unit[0]).toPrecision(Math.max(3, digits - 1)))}${unit[1]}`;
    return number.toExponential(Math.max(1, digits - 3)).replace(/\.?0+e/, "e");
  }
  return String(Number(number.toPrecision(digits)));
}

const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

// Numbers with as many digits as tell them apart.
function apart(numbers) {
  for (let digits = 4; ; digits += 1) {
    const texts = numbers.map((number) => brief(number, digits));
    if (digits > 14 || new Set(texts).size === texts.length) return texts;
  }
}

// From `low` to `high` as 0 to 1; what lies beyond is put at the end.
function ruler(low, high, log, pad = 0) {
  const by = log ? Math.log : (number) => number;
  const [from, span] = [by(low), by(high) - by(low)];
  const share = (number) => (span > 0 ? (by(Math.min(high, Math.max(low, number))) - from) / span : 0.5);
  return { low, high, log, at: (number) => pad + (1 - 2 * pad) * share(number) };
}

// Numbers from the least to the greatest: by their logarithms where they are far apart and the middle one of them then
// lies nearer the middle. So of 0.0001, 0.001 and 0.01, but not of a choice of two, nor of what is spread evenly.
function scale(numbers, pad = 0) {
  const known = numbers.filter(Number.isFinite).sort((a, b) => a - b);
  const low = known[0], high = known[known.length - 1], middle = known[known.length >> 1];
  const off = (log) => Math.abs(ruler(low, high, log).at(middle) - 0.5);
  return ruler(low, high, low > 0 && high / low > 8 && off(true) < off(false), pad);
}

// At most about `most` round numbers.
function ticks({ low, high, log }, most = 5) {
  const within = (tick) => tick >= low - 1e-9 * Math.abs(low) && tick <= high + 1e-9 * Math.abs(high);
  if (log) {
    const powers = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) powers.push(power);
    const tried = [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map((steps) => powers.flatMap((power) => steps.map((step) => Number(`${step}e${power}`))));
    for (const each of [2, 3, 5, 10]) tried.push(powers.filter((power) => power % each === 0).map((power) => Number(`1e${power}`)));
    const found = tried.map((all) => all.filter(within)).find((all) => all.length <= most);
    if (found?.length > (high / low > 10 ? 0 : 1)) return found;
  }
  const rough = (high - low || Math.abs(high) || 1) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5].find((by) => by * power >= rough) ?? 10);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) found.push(Number((n * step).toPrecision(12)));
  return found;
}

// -- labels ----------------------------------------------------------------------------------------------------------

const pen = document.createElement("canvas").getContext("2d");
function wide(text, weight = 400) { // in pixels, as the style has the texts of drawings
  pen.font = `${weight} 12px system-ui, sans-serif`;
  return pen.measureText(text).width;
}

// A text that fits; where it does not, without its middle: names often differ at their ends.
function cut(text, room, weight = 400) {
  const without = (kept) => `${text.slice(0, Math.ceil(kept / 2))}…${text.slice(text.length - Math.floor(kept / 2))}`;
  if (wide(text, weight) <= room) return text;
  let kept = text.length - 1;
  while (kept > 1 && wide(without(kept), weight) > room) kept -= 1;
  return without(kept);
}

// Of [place, ...] in order those that are at least `room(one)` pixels behind the last that was kept.
function spaced(all, room) {
  let last = null;
  return all.filter((one) => {
    if (last && Math.abs(one[0] - last[0]) < (room(one) + room(last)) / 2) return false;
    last = one;
    return true;
  });
}

// The axes of a plot: what is drawn, and where a point lies. `titles` are of x and of y.
function frame(width, height, x, y, titles) {
  const up = ticks(y, Math.floor(height / 48)), upward = apart(up);
  const edge = { left: 34 + Math.max(10, ...upward.map((text) => wide(text))), right: 18, top: 10, bottom: 42 };
  const floor = height - edge.bottom, [across, rise] = [width - edge.left - edge.right, floor - edge.top];
  const toX = (number) => edge.left + x.at(number) * across, toY = (number) => floor - y.at(number) * rise;
  const along = ticks(x, Math.max(2, Math.min(8, Math.floor(across / 60)))), texts = apart(along);
  const labels = spaced(along.map((tick, i) => [toX(tick), texts[i]]), ([, text]) => wide(text) + 10);
  const nodes = [
    ...up.flatMap((tick, i) => [draw("line", { class: "axis", x1: edge.left, x2: width - edge.right, y1: toY(tick), y2: toY(tick) }),
      draw("text", { class: "tick", x: edge.left - 8, y: toY(tick) + 4, "text-anchor": "end" }, upward[i])]),
    ...labels.flatMap(([at, text]) => [draw("line", { class: "axis", x1: at, x2: at, y1: floor, y2: floor + 5 }),
      draw("text", { class: "tick", x: at, y: floor + 18, "text-anchor": "middle" }, text)]),
    draw("text", { class: "title", x: edge.left + across / 2, y: height - 6, "text-anchor": "middle" }, cut(`${titles[0]}${x.log ? " (log)" : ""}`, across)),
    draw("text", { class: "title", transform: `translate(14 ${edge.top + rise / 2}) rotate(-90)`, "text-anchor": "middle" }, cut(`${titles[1]}${y.log ? " (log)" : ""}`, rise)),
  ];
  return { nodes, toX, toY, edge, floor };
}

// -- marks -----------------------------------------------------------------------------------------------------------

// The stronger, the better.
function shade(numbers, metric = chosen.metric) {
  const on = scale(numbers);
  const share = (number) => (lower(metric) ? 1 - on.at(number) : on.at(number));
  const mixed = (number, weakest) => `color-mix(in oklab, var(--high) ${Math.round(100 * share(number))}%, var(${weakest}))`;
  return {
    log: on.log,
    color: (number) => mixed(number, "--low"),
    line: (number) => mixed(number, "--thin"),
    ink: (number) => (share(number) > 0.6 ? "var(--on-high)" : "var(--ink)"),
  };
}

function whisker(entry, on, width = 96) {
  const [middle, low, high] = entry, at = (number) => 6 + on.at(number) * (width - 12);
  const line = low === null ? null : draw("line", { x1: at(low), x2: at(high), y1: 8, y2: 8 });
  return draw("svg", { class: "whisker", width, height: 16, "aria-hidden": "true" }, line,
    draw("circle", { cx: at(middle), cy: 8, r: 3.5 }));
}

const ends = (entries) => entries.filter(Boolean).flatMap(([middle, low, high]) => [middle, low ?? middle, high ?? middle]);

// One arm's marks in a drawing, the others dimmed; all as they are without an arm.
function emphasize(svg, index) {
  const now = index === null ? "" : String(index);
  if (svg.dataset.over === now) return;
  svg.dataset.over = now;
  for (const node of svg.querySelectorAll("[data-arm]")) node.classList.toggle("over", node.dataset.arm === now);
}
