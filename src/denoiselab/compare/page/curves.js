// Learning curves: the mean over an arm's seeds and its 95 % interval, at the x that all of the seeds recorded.

const recorded = [...new Set(DATA.arms.flatMap((arm) => arm.runs.flatMap((run) => Object.keys(run.curves))))];
const curve = {
  metric: DATA.budget?.curve ?? (recorded.includes(DATA.metric) ? DATA.metric : recorded.includes("val/loss") ? "val/loss" : recorded[0]),
  x: DATA.budget?.x ?? "step", logX: false, logY: false, each: false, cursor: null,
};
const TITLES = { step: "steps", samples: "samples", tokens: "tokens", multiply_adds: "multiply-adds (2 FLOPs each)", seconds: "seconds of training" };
const GRID = 160; // points of a band
const NEAR = 24; // pixels from the pointer to the line that it means

function series(arm, metric, x) {
  return arm.runs.filter((run) => run.curves[metric] && x in run.curves[metric][1]).map((run) => {
    const [y, xs] = run.curves[metric];
    return { run, x: DATA.columns[xs[x]], y: DATA.columns[y] };
  }).filter((one) => one.x.length && one.x[0] !== null);
}

function interpolate(one, at) {
  let low = 0, high = one.x.length - 1;
  if (at < one.x[0] || at > one.x[high]) return null;
  while (high - low > 1) { const middle = (low + high) >> 1; if (one.x[middle] <= at) low = middle; else high = middle; }
  if (one.x[low] === at || high === low) return one.y[low];
  if (one.x[high] === at) return one.y[high];
  if (one.y[low] === null || one.y[high] === null) return null;
  return one.y[low] + (one.y[high] - one.y[low]) * (at - one.x[low]) / (one.x[high] - one.x[low]);
}

// The ends of the percentile bootstrap's interval of a mean; the same draws at every x, by a generator with a fixed seed.
const DRAWS = 1000, drawsOf = new Map();
function resampled(ys) {
  const n = ys.length;
  if (!drawsOf.has(n)) {
    let state = 1;
    drawsOf.set(n, Array.from({ length: DRAWS }, () => Array.from({ length: n }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor(state / 2 ** 32 * n);
    })));
  }
  const means = drawsOf.get(n).map((draw) => draw.reduce((sum, i) => sum + ys[i], 0) / n).sort((a, b) => a - b);
  const at = (share) => means[Math.round(share * (DRAWS - 1))];
  return [at(0.025), at(0.975)];
}

// Points [x, mean, low, high, n].
function band(all) {
  if (!all.length) return [];
  let grid = all[0].x;
  if (all.some((one) => one.x !== grid)) { // seeds that recorded elsewhere: where all of them are, lines between
    const from = Math.max(...all.map((one) => one.x[0])), to = Math.min(...all.map((one) => one.x[one.x.length - 1]));
    grid = [...new Set(all.flatMap((one) => one.x))].filter((at) => at >= from && at <= to).sort((a, b) => a - b);
    const each = Math.max(1, Math.ceil(grid.length / GRID));
    grid = grid.filter((_, index) => index % each === 0 || index === grid.length - 1);
  }
  return grid.map((at, index) => {
    const ys = all.map((one) => (one.x === grid ? one.y[index] : interpolate(one, at)));
    if (ys.some((y) => y === null)) return null;
    const n = ys.length, middle = ys.reduce((sum, y) => sum + y, 0) / n;
    if (n < 2) return [at, middle, null, null, n];
    const std = Math.sqrt(ys.reduce((sum, y) => sum + (y - middle) ** 2, 0) / (n - 1));
    if (DATA.interval === "bootstrap") return [at, middle, ...resampled(ys), n];
    const half = (DATA.student[n - 2] ?? 1.96) * std / Math.sqrt(n);
    return [at, middle, middle - half, middle + half, n];
  }).filter(Boolean);
}

function drawCurves() {
  if (!recorded.length) { put("curves", make("p", { class: "note" }, "No run has a metrics.jsonl.")); return; }
  const again = (change) => { Object.assign(curve, change); drawCurves(); };
  const known = DATA.x.filter((x) => DATA.arms.some((arm) => series(arm, curve.metric, x).length));
  if (!known.includes(curve.x)) curve.x = known[0];
  const controls = make("div", { class: "controls" },
    select("Curve", recorded, curve.metric, (metric) => again({ metric })),
    select("against", known, curve.x, (x) => again({ x }), (x) => TITLES[x]),
    check("log x", curve.logX, (logX) => again({ logX })), check("log y", curve.logY, (logY) => again({ logY })),
    check("each seed", curve.each, (each) => again({ each })));
  const drawn = drawnArms();
  const arms = drawn.map((arm) => ({ arm, all: series(arm, curve.metric, curve.x) })).filter(({ all }) => all.length);
  const bands = arms.map(({ arm, all }) => ({ arm, all, points: band(all) }));
  const svg = drawn.length ? plot(bands) : noArm();
  const legend = make("div", { class: "legend" }, ...bands.map(({ arm, points }) => make("span",
    { tip: arm.label, onpointerenter: () => emphasize(svg, arm.index), onpointerleave: () => emphasize(svg, null) },
    swatch(arm), make("span", { class: "name" }, arm.short), make("span", { class: "soft" }, ` n ${points.length ? points[0][4] : 0}`))));
  const seeds = repeated ? `Mean over the seeds of each arm, with ${interval} where there are two or more; seeds that recorded elsewhere are joined by lines. ` : "";
  const said = `${DATA.arms.length > 1 ? "The arms that are ticked in the table. " : ""}${seeds}${DATA.thinned ? "Long curves are thinned, evenly, to 160 points. " : ""}Arrow keys move the cursor.`;
  put("curves", controls, make("p", { class: "note" }, said), svg, legend);
}

function plot(bands) {
  const width = Math.max(260, inside("curves")), height = 340;
  const ok = (x, y) => (!curve.logX || x > 0) && (!curve.logY || y > 0);
  const lines = bands.flatMap(({ all, points }) => [...points.map((p) => [p[0], p[1]]), ...points.flatMap((p) => (p[2] === null ? [] : [[p[0], p[2]], [p[0], p[3]]])),
    ...(curve.each ? all.flatMap((one) => one.x.map((x, i) => [x, one.y[i]])) : [])]).filter(([x, y]) => y !== null && ok(x, y));
  if (!lines.length) return make("p", { class: "note" }, "None of the arms that are drawn has this curve.");
  const [xs, ys] = [lines.map((p) => p[0]), lines.map((p) => p[1])];
  const range = (all) => [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
  let [left, right] = range(xs), [low, high] = range(ys);
  if (low === high) { low -= Math.abs(low) * 0.05 + 1e-9; high += Math.abs(high) * 0.05 + 1e-9; }
  const { nodes, toX, toY, edge, floor } = frame(width, height, ruler(left, right, curve.logX), ruler(low, high, curve.logY), [TITLES[curve.x], measured(curve.metric)]);
  const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${toX(x).toFixed(1)} ${toY(y).toFixed(1)}`).join("");
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
    "aria-label": `${curve.metric} against ${TITLES[curve.x]}, ${count(bands.length, "arm")}` });
  svg.append(...nodes);
  for (const { arm, all, points } of bands) {
    const { color, dash } = look(arm), fine = points.filter((p) => ok(p[0], p[1]));
    const wide = fine.filter((p) => p[2] !== null);
    if (wide.length > 1) svg.append(draw("path", { class: "band", fill: color, "data-arm": arm.index,
      d: `${path(wide.map((p) => [p[0], p[3]]))}L${path(wide.map((p) => [p[0], p[2]]).reverse()).slice(1)}Z` }));
    if (curve.each) for (const one of all) svg.append(draw("path", { class: "seed", stroke: color, "data-arm": arm.index,
      d: path(one.x.map((x, i) => [x, one.y[i]]).filter(([x, y]) => y !== null && ok(x, y))) }));
    svg.append(draw("path", { class: "arm", stroke: color, "stroke-dasharray": dash, "data-arm": arm.index, d: path(fine) }));
    if (fine.length < 12) for (const p of fine) svg.append(draw("circle", { cx: toX(p[0]), cy: toY(p[1]), r: 3, fill: color, "data-arm": arm.index }));
  }
  const cursor = draw("line", { class: "cursor", y1: edge.top, y2: floor, visibility: "hidden" });
  svg.append(cursor);
  const grid = [...new Set(bands.flatMap(({ points }) => points.map((p) => p[0])))].sort((a, b) => a - b);
  let at = grid.length - 1;
  const move = (index) => {
    at = Math.max(0, Math.min(grid.length - 1, index));
    fill(cursor, { x1: toX(grid[at]), x2: toX(grid[at]), visibility: "visible" }, []);
  };
  // The arm whose line is near the pointer at the cursor, or null.
  const atCursor = (points) => points.reduce((found, one) => (one[0] <= grid[at] ? one : found), null);
  const near = (event) => {
    const box = svg.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    move(grid.reduce((found, v, i) => (Math.abs(toX(v) - x) < Math.abs(toX(grid[found]) - x) ? i : found), 0));
    const [closest] = bands.map(({ arm, points }) => [arm.index, atCursor(points)]).filter(([, p]) => p)
      .map(([index, p]) => [Math.abs(toY(p[1]) - y), index]).sort((a, b) => a[0] - b[0]);
    emphasize(svg, closest && closest[0] < NEAR ? closest[1] : null);
  };
  const words = () => [`${brief(grid[at], 6)} ${TITLES[curve.x]}`, ...bands.map(({ arm, points }) => [arm, atCursor(points)]).filter(([, p]) => p)
    .sort((a, b) => a[1][1] - b[1][1])
    .map(([arm, p]) => `${svg.dataset.over === String(arm.index) ? "▸ " : ""}${arm.short}: ${brief(p[1])}${p[2] === null ? "" : ` (${brief(p[2])} to ${brief(p[3])})`}`)].join("\n");
  hints.set(svg, words);
  svg.addEventListener("pointermove", near);
  svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); emphasize(svg, null); });
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    move(at + by);
    const box = svg.getBoundingClientRect();
    hint(svg, { left: box.left + toX(grid[at]) + 10, top: box.top, bottom: box.top + 20 });
  });
  return svg;
}
