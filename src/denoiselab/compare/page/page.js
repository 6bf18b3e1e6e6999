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
  arm.short = DATA.axes.map((axis) => arm.cell[axis]).join(" · ") || (arm.runs.length > 1 ? "all runs" : "the run");
});

const repeated = DATA.arms.some((arm) => arm.runs.length > 1); // is there an arm of several runs?
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

// A word of the filter: AXIS=SETTING where there is this setting, KEY<NUMBER or KEY>NUMBER of an axis or a metric, else
// text that the arm's label holds. Quotes hold a word with spaces together.
function asked(word) {
  const axis = DATA.axes.find((name) => word.startsWith(`${name}=`) && levels(name).includes(word.slice(name.length + 1)));
  if (axis) return (arm) => `${axis}=${arm.cell[axis]}` === word;
  const compared = /^(.+?)(<|>)(-?[\d.]+(?:e[+-]?\d+)?)$/i.exec(word);
  if (!compared) return (arm) => arm.label.toLowerCase().includes(word.toLowerCase());
  const [, key, sign, limit] = compared;
  const metric = Object.keys(DATA.metrics).find((name) => name === key || name.split("/").pop() === key);
  return (arm) => {
    const found = key in arm.cell ? asNumber(arm.cell[key]) : metric ? value(arm, metric) : null;
    return found !== null && (sign === "<" ? found < Number(limit) : found > Number(limit));
  };
}

const filterWords = () => chosen.filter.match(/"[^"]*"|\S+/g) ?? [];
const fitting = () => {
  const all = filterWords().map((word) => asked(word.replace(/^"(.*)"$/, "$1")));
  return DATA.arms.filter((arm) => all.every((fits) => fits(arm)));
};

function filterBy(words) {
  chosen.filter = words.join(" ");
  byId("filter").value = chosen.filter;
  refresh();
}

function only(axis, level) {
  const word = /\s/.test(level) ? `"${axis}=${level}"` : `${axis}=${level}`, words = filterWords();
  filterBy(words.includes(word) ? words.filter((other) => other !== word) : [...words, word]);
}

// What a part of the page says in place of arms where it has none.
const noArm = () => make("p", { class: "note" }, fitting().length ? "No arm is drawn: tick some in the table." : "No arm fits the filter.");

const best = (arms) => arms.filter((arm) => value(arm) !== null)
  .sort((a, b) => (lower() ? 1 : -1) * (value(a) - value(b)));
const drawnArms = () => {
  const arms = fitting();
  return chosen.drawn ? arms.filter((arm) => chosen.drawn.has(arm.index)) : best(arms).slice(0, BEST);
};

function mark(arm, drawn) {
  chosen.drawn = new Set(drawnArms().map((other) => other.index));
  if (drawn) chosen.drawn.add(arm.index); else chosen.drawn.delete(arm.index);
  refresh();
}

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

// -- where numbers come from -----------------------------------------------------------------------------------------

// A metric with its unit, where its name does not say it.
const measured = (metric) => (/(^|\/)psnr(_input)?$/.test(metric) ? `${metric} (dB)` : metric);

const origin = (metric) => {
  const { n, split, extractor } = DATA.metrics[metric];
  return [`${measured(metric)} over ${n} samples`, split && `split ${split}`, extractor && `extractor ${extractor}`].filter(Boolean).join(", ");
};

const interval = DATA.interval === "student" ? "Student's 95 % interval" : "95 % bootstrap interval";

function ofMean(arm, metric) {
  const [middle, low, high, std, n] = mean(arm, metric);
  const runs = arm.runs.filter((run) => metric in run.values);
  return [
    DATA.axes.length ? arm.label : null,
    `mean of ${count(n, "run")}: ${middle ?? "not finite"}`,
    low === null ? null : `${interval}: ${low} to ${high}`, std === null ? null : `standard deviation: ${std}`,
    origin(metric), `${runs.length === 1 ? "seed" : "seeds"} ${runs.map((run) => run.seed).join(", ")}`,
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

// The parts of a section below its heading, replaced; what is scrolled in it stays so.
function put(id, ...nodes) {
  const section = byId(id), { scrollLeft = 0, scrollTop = 0 } = section.querySelector(".scroll") ?? {};
  section.replaceChildren(section.querySelector("h2"), ...nodes.filter(Boolean));
  section.querySelector(".scroll")?.scrollTo(scrollLeft, scrollTop);
}

// The width that a drawing in a section has, in pixels.
const inside = (id) => byId(id).clientWidth - 34;

// A name that may be broken behind its dots and slashes, and between its words.
const breakable = (name) => name.split(/(?<=[./ ])|(?<=[a-z0-9]_)(?=[a-z])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
