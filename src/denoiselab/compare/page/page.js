// What all parts of the page share: the data, what is chosen, and how elements, numbers and hints are made.
// Text from the data becomes text nodes, never markup.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const BEST = 6; // arms drawn, unless others are chosen
const byId = (id) => document.getElementById(id);

const chosen = {
  metric: DATA.metric,
  filter: "",
  sort: { key: "metric", up: true },
  open: new Set(), // arms, by index
  drawn: null, // a set of arms, or null: the best of the table
};

function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "tip") hints.set(node, value);
    else if (key === "style") Object.assign(node.style, value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// -- arms ------------------------------------------------------------------------------------------------------------

DATA.arms.forEach((arm, index) => {
  arm.index = index;
  arm.label = DATA.axes.map((axis) => `${axis}=${arm.cell[axis]}`).join(" ") || "all";
  arm.short = DATA.axes.map((axis) => arm.cell[axis]).join(" · ") || "all";
});

const mean = (arm, metric = chosen.metric) => arm.means[metric]; // [mean, low, high, std, n, as shown], or null
const value = (arm, metric = chosen.metric) => (mean(arm, metric) ? mean(arm, metric)[0] : null);
const lower = (metric = chosen.metric) => DATA.metrics[metric].lower;
const asNumber = (text) => (String(text).trim() === "" ? NaN : Number(text));

function levels(axis) {
  const found = [...new Set(DATA.arms.map((arm) => arm.cell[axis]))];
  const numeric = found.every((level) => Number.isFinite(asNumber(level)));
  return found.sort(numeric ? (a, b) => a - b : (a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

// The levels of an axis for a table: of many numbers, equally filled ranges; of many words, the first.
const FEW = 12, RANGES = 8, WORDS = 40;
function continuous(axis) {
  const all = levels(axis);
  return all.length > FEW && all.every((level) => Number.isFinite(asNumber(level)));
}

function binned(axis) {
  if (!continuous(axis)) return levels(axis).slice(0, WORDS).map((level) => ({ label: level, has: (other) => other === level }));
  const numbers = DATA.arms.map((arm) => asNumber(arm.cell[axis])).sort((a, b) => a - b);
  const edges = [...new Set(Array.from({ length: RANGES + 1 }, (_, i) => numbers[Math.round(i * (numbers.length - 1) / RANGES)]))];
  return edges.slice(1).map((high, i) => ({ label: `${brief(edges[i], 3)} to ${brief(high, 3)}`,
    has: (other) => (i ? asNumber(other) > edges[i] : asNumber(other) >= edges[i]) && asNumber(other) <= high }));
}

// Words of the filter: text that the arm's label holds, or KEY<NUMBER and KEY>NUMBER of an axis or a metric.
function fits(arm, words) {
  return words.every((word) => {
    const asked = /^(.+?)(<|>)(-?[\d.]+(?:e[+-]?\d+)?)$/i.exec(word);
    if (!asked) return arm.label.toLowerCase().includes(word.toLowerCase());
    const [, key, sign, limit] = asked;
    const metric = Object.keys(DATA.metrics).find((name) => name === key || name.split("/").pop() === key);
    const found = key in arm.cell ? asNumber(arm.cell[key]) : metric ? value(arm, metric) : null;
    return found !== null && (sign === "<" ? found < Number(limit) : found > Number(limit));
  });
}

const fitting = () => {
  const words = chosen.filter.split(/\s+/).filter(Boolean);
  return DATA.arms.filter((arm) => fits(arm, words));
};

function only(axis, level) {
  const word = `${axis}=${level}`, words = chosen.filter.split(/\s+/).filter(Boolean);
  chosen.filter = (words.includes(word) ? words.filter((other) => other !== word) : [...words, word]).join(" ");
  byId("filter").value = chosen.filter;
  refresh();
}

const best = (arms) => arms.filter((arm) => value(arm) !== null)
  .sort((a, b) => (lower() ? 1 : -1) * (value(a) - value(b)));
const drawnArms = () => {
  const arms = fitting();
  return chosen.drawn ? arms.filter((arm) => chosen.drawn.has(arm.index)) : best(arms).slice(0, BEST);
};

// An arm keeps its color as long as it is drawn; after eight, dashes tell apart.
const places = new Map();
function look(arm) {
  const shown = new Set(drawnArms().map((other) => other.index));
  for (const index of [...places.keys()]) if (!shown.has(index)) places.delete(index);
  for (const index of shown) {
    if (places.has(index)) continue;
    const taken = new Set(places.values());
    let place = 0;
    while (taken.has(place)) place += 1;
    places.set(index, place);
  }
  const place = places.get(arm.index) ?? 0;
  return { color: `var(--c${place % 8})`, dash: ["", "7 4", "2 3", "10 3 2 3"][Math.floor(place / 8) % 4] };
}

const swatch = (arm) => {
  const { color, dash } = look(arm);
  return draw("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" },
    draw("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke: color, "stroke-width": 3, "stroke-dasharray": dash }));
};

// -- numbers ---------------------------------------------------------------------------------------------------------

function brief(number, digits = 4) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const size = Math.abs(number);
  if (size >= 1e5 || (size > 0 && size < 1e-3)) {
    const unit = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([by]) => size >= by);
    return unit ? `${Number((number / unit[0]).toPrecision(3))}${unit[1]}` : number.toExponential(1);
  }
  return String(Number(number.toPrecision(digits)));
}

// Where a number lies between the least and the greatest, from 0 to 1; by its logarithm where they are far apart.
function scale(numbers, pad = 0) {
  const known = numbers.filter((number) => Number.isFinite(number) && number !== null);
  let low = Math.min(...known), high = Math.max(...known);
  const log = low > 0 && high / low > 8;
  const by = log ? Math.log : (number) => number;
  [low, high] = [by(low), by(high)];
  const span = high - low || 1;
  return { log, at: (number) => Math.min(1, Math.max(0, pad + (1 - 2 * pad) * (high > low ? (by(number) - low) / span : 0.5))) };
}

function ticks(low, high, log, count = 5) {
  if (log) {
    const found = [];
    const decades = Math.log10(high / low);
    const steps = decades > 3 ? [1] : decades > 1 ? [1, 2, 5] : [1, 2, 3, 5, 7];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1)
      for (const step of steps) found.push(step * 10 ** power);
    return found.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  }
  const rough = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((by) => by * power >= rough) ?? 10);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) found.push(n * step);
  return found;
}

// The stronger, the better.
function shade(numbers, metric = chosen.metric) {
  const on = scale(numbers);
  const share = (number) => (lower(metric) ? 1 - on.at(number) : on.at(number));
  return {
    log: on.log,
    color: (number) => `color-mix(in oklab, var(--high) ${Math.round(100 * share(number))}%, var(--low))`,
    line: (number) => `color-mix(in oklab, var(--high) ${Math.round(100 * share(number))}%, var(--thin))`,
    ink: (number) => (share(number) > 0.6 ? "var(--on-high)" : "var(--ink)"),
  };
}

function whisker(entry, on, width = 140) {
  const [middle, low, high] = entry, at = (number) => 6 + on.at(number) * (width - 12);
  const line = low === null ? null : draw("line", { x1: at(low), x2: at(high), y1: 8, y2: 8 });
  return draw("svg", { class: "whisker", width, height: 16, "aria-hidden": "true" }, line,
    draw("circle", { cx: at(middle), cy: 8, r: 3.5 }));
}

const ends = (entries) => entries.filter(Boolean).flatMap(([middle, low, high]) => [middle, low ?? middle, high ?? middle]);

// -- where numbers come from -----------------------------------------------------------------------------------------

const origin = (metric) => {
  const { n, split, extractor } = DATA.metrics[metric];
  return [`${metric} over ${n} samples`, split && `split ${split}`, extractor && `extractor ${extractor}`].filter(Boolean).join(", ");
};

const interval = DATA.interval === "student" ? "Student's 95 % interval" : "95 % bootstrap interval";

function ofMean(arm, metric) {
  const [middle, low, high, std, n] = mean(arm, metric);
  const runs = arm.runs.filter((run) => metric in run.values);
  return [
    `mean of ${n} ${n === 1 ? "run" : "runs"}: ${middle ?? "not finite"}`,
    low === null ? null : `${interval}: ${low} to ${high}`, std === null ? null : `standard deviation: ${std}`,
    origin(metric), `seeds ${runs.map((run) => run.seed).join(", ")}`,
    `noise seed ${[...new Set(runs.map((run) => run.drawn[metric] ?? "not recorded"))].join(", ")}`,
    `code ${[...new Set(runs.map((run) => run.code || "unknown"))].join("; ")}`,
    ...runs.slice(0, 4).map((run) => run.folder), runs.length > 4 ? `and ${runs.length - 4} more` : null,
  ].filter(Boolean).join("\n");
}

const ofRun = (run, metric) => [
  `${run.values[metric] ?? "not finite"}`, origin(metric), `seed ${run.seed}, noise seed ${run.drawn[metric] ?? "not recorded"}`,
  `code ${run.code || "unknown"}`, run.hardware, run.folder,
].filter(Boolean).join("\n");

// -- hints: at the pointer, and at what has the focus ----------------------------------------------------------------

const hints = new WeakMap();
const tip = byId("tip");

function hint(node, box) {
  const said = hints.get(node);
  tip.textContent = typeof said === "function" ? said() : said;
  tip.hidden = !tip.textContent;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - width - 8))}px`;
  tip.style.top = `${box.bottom + height + 8 > innerHeight ? Math.max(4, box.top - height - 8) : box.bottom + 8}px`;
}

const hinted = (node) => {
  let at = node instanceof Element ? node : null;
  while (at && !hints.has(at)) at = at.parentElement;
  return at;
};

function listen() {
  document.addEventListener("pointermove", (event) => {
    const node = hinted(event.target);
    if (node) hint(node, { left: event.clientX + 12, top: event.clientY - 6, bottom: event.clientY + 10 });
    else tip.hidden = true;
  });
  document.addEventListener("focusin", (event) => {
    const node = hinted(event.target);
    if (!node || !event.target.matches(":focus-visible")) { tip.hidden = true; return; }
    hint(node, node.getBoundingClientRect());
    event.target.setAttribute("aria-describedby", "tip");
  });
  document.addEventListener("focusout", (event) => { event.target.removeAttribute("aria-describedby"); tip.hidden = true; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  document.addEventListener("scroll", () => { tip.hidden = true; }, true);
}

// A select of names with words; calls with the name chosen.
function select(label, names, current, then, words = (name) => name) {
  const box = make("select", { onchange: (event) => then(event.target.value) },
    ...names.map((name) => make("option", { value: name, selected: name === current }, words(name))));
  return make("label", {}, `${label} `, box);
}

const check = (label, on, then) => make("label", {},
  make("input", { type: "checkbox", checked: on, onchange: (event) => then(event.target.checked) }), label);

// The parts of a section below its heading, replaced.
function put(id, ...nodes) {
  const section = byId(id);
  section.replaceChildren(section.querySelector("h2"), ...nodes.filter(Boolean));
}
