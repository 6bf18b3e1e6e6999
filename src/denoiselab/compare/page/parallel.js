// All axes at once: parallel coordinates. A line is an arm.

const MANY = 60; // lines, of which the worse ones are drawn fainter
const STOP = 100; // pixels between axes at least; where there is no room, the drawing scrolls
const LABEL = 15; // pixels from one label down to the next

// How far down between two stops a line is, where it is `share` of the way across: a Bezier curve that leaves and
// arrives level, its handles half-way.
function bend(share) {
  let low = 0, high = 1;
  for (let i = 0; i < 20; i += 1) {
    const t = (low + high) / 2;
    if (1.5 * t - 1.5 * t * t + t ** 3 < share) low = t; else high = t;
  }
  return 3 * low * low - 2 * low ** 3;
}

// Where the settings of an axis lie between `top` and `bottom`, and its labels [y, words, setting or null].
function placing(axis, top, bottom) {
  const of = levels(axis);
  if (continuous(axis)) {
    const on = scale(DATA.arms.map((arm) => asNumber(arm.cell[axis]))), y = (level) => bottom - on.at(asNumber(level)) * (bottom - top);
    const marks = ticks(on, 6), texts = apart(marks);
    return { y, room: 0, log: on.log, labels: marks.map((tick, i) => [y(tick), texts[i], null]) };
  }
  if (of.every((level) => Number.isFinite(asNumber(level)))) of.reverse(); // as on a scale: the greatest on top
  const room = (bottom - top) / of.length, y = (level) => top + room * (of.indexOf(level) + 0.5);
  return { y, room, log: false, labels: spaced(of.map((level) => [y(level), level, level]), () => LABEL) };
}

function drawParallel() {
  byId("parallel").hidden = !DATA.axes.length || DATA.arms.length < 2;
  if (byId("parallel").hidden) return;
  const ranked = best(DATA.arms), places = new Map(ranked.map((arm, i) => [arm.index, i / Math.max(1, ranked.length - 1)]));
  if (!ranked.length) { put("parallel", make("p", { class: "note" }, "No arm has a finite mean.")); return; }
  const words = DATA.axes.filter((axis) => !continuous(axis)).map((axis) => levels(axis).length);
  const top = 48, height = Math.min(520, Math.max(340, LABEL * Math.max(0, ...words) + top + 20)), bottom = height - 18;
  const stops = [...DATA.axes, null], fit = new Set(fitting().map((arm) => arm.index));
  const values = ranked.map((arm) => value(arm)), metric = scale(values), by = shade(values);
  const of = DATA.axes.map((axis) => placing(axis, top, bottom));
  const marks = ticks(metric, 8), texts = apart(marks);
  const margins = [20 + Math.min(100, Math.max(44, ...of[0].labels.map(([, text]) => wide(text)))), 20 + Math.max(44, ...texts.map((text) => wide(text)))];
  const width = Math.max(inside("parallel"), margins[0] + margins[1] + STOP * (stops.length - 1));
  const gap = (width - margins[0] - margins[1]) / (stops.length - 1), at = (i) => margins[0] + i * gap;
  const down = (number) => bottom - metric.at(number) * (bottom - top);
  const path = (arm) => stops.map((axis, i) => (axis === null ? down(value(arm))
    : of[i].y(arm.cell[axis]) + (places.get(arm.index) - 0.5) * Math.min(of[i].room * 0.6, 30)));
  const ways = new Map(ranked.map((arm) => [arm, path(arm)]));
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "group",
    "aria-label": `parallel coordinates of ${count(ranked.length, "arm")}; the arrows up and down go from the best to the worst`, class: ranked.length > MANY ? "many" : "" });
  stops.forEach((axis, i) => {
    const name = axis ?? measured(chosen.metric), split = name.search(/[./][^./]*$/) + 1, room = gap - 8;
    const title = (y, text, kind, weight) => draw("text", { class: kind, x: at(i), y, "text-anchor": "middle", tip: name }, cut(text, room, weight));
    svg.append(draw("line", { class: "axis", x1: at(i), x2: at(i), y1: top, y2: bottom }),
      title(12, name.slice(0, split), "title", 400), title(27, name.slice(split), "title strong", 600));
    if (axis === null ? metric.log : of[i].log) svg.append(title(41, "(log)", "title", 400));
  });
  svg.append(...[...ranked].reverse().map((arm) => {
    const ys = ways.get(arm), turn = (i) => at(i - 1) + gap / 2;
    const d = ys.map((y, i) => (i ? `C${turn(i)} ${ys[i - 1]} ${turn(i)} ${y} ${at(i)} ${y}` : `M${at(0)} ${y}`)).join("");
    const strength = ranked.length > MANY ? 0.12 + 0.78 * (1 - places.get(arm.index)) ** 3 : 0.8;
    return draw("path", { class: `way${fit.has(arm.index) ? "" : " faint"}`, d, stroke: by.line(value(arm)), style: { opacity: fit.has(arm.index) ? strength : null }, "data-arm": arm.index });
  }));
  svg.append(...of.flatMap(({ labels }, i) => labels.map(([y, text, level]) => label(at(i) - 10, y, text, i ? gap - 24 : 100, DATA.axes[i], level))),
    ...marks.map((tick, i) => draw("text", { class: "plate tick", x: at(stops.length - 1) + 8, y: down(tick) + 4 }, texts[i])));
  follow(svg, ranked.filter((arm) => fit.has(arm.index)), ways, at, gap);
  put("parallel", make("p", { class: "note" }, "A line is an arm, the better the stronger its color; arms outside of the filter are faint. The pointer, or the arrows up and down, pick one out; a click draws its curve. A setting that is clicked is filtered for."),
    make("div", { class: "scroll" }, svg));
}

// A setting of words filters where it is pressed; a mark on a scale does not.
function label(x, y, text, room, axis, level) {
  const node = draw("text", { x, y: y + 4, "text-anchor": "end", class: "plate tick" }, cut(text, room));
  if (level === null) return node;
  const pick = () => only(axis, level);
  return fill(node, { class: "plate tick level", tabindex: 0, role: "button", "aria-label": `only ${axis}=${level}`, tip: `${axis}=${level}: filter`,
    onclick: (event) => { event.stopPropagation(); pick(); },
    onkeydown: (event) => { if (["Enter", " "].includes(event.key)) { event.preventDefault(); pick(); } } }, []);
}

// One line is picked out, the others dimmed: the one nearest to the pointer, or the next by the arrow keys.
function follow(svg, arms, ways, at, gap) {
  let over = -1;
  const pick = (index) => { over = index; emphasize(svg, index < 0 ? null : arms[index].index); };
  hints.set(svg, () => (over < 0 ? "" : `${arms[over].label.replaceAll(" ", "\n")}\n${chosen.metric}: ${mean(arms[over])[5]} (n ${mean(arms[over])[4]})`));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left - at(0)) / gap, y = event.clientY - box.top;
    const stop = Math.min(DATA.axes.length - 1, Math.max(0, Math.floor(x))), share = bend(Math.min(1, Math.max(0, x - stop)));
    let closest = -1, least = NEAR;
    if (x > -0.1 && x < DATA.axes.length + 0.1) arms.forEach((arm, index) => {
      const ys = ways.get(arm), off = Math.abs(ys[stop] + (ys[stop + 1] - ys[stop]) * share - y);
      if (off < least) [closest, least] = [index, off];
    });
    pick(closest);
  });
  svg.addEventListener("pointerleave", () => pick(-1));
  svg.addEventListener("blur", () => pick(-1));
  svg.addEventListener("click", () => { if (over >= 0) mark(arms[over], !drawnArms().includes(arms[over])); });
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || event.target !== svg || !arms.length) return;
    event.preventDefault();
    pick(Math.max(0, Math.min(arms.length - 1, over + by)));
    const box = svg.getBoundingClientRect();
    hint(svg, { left: box.left + at(0), top: box.top, bottom: box.bottom });
  });
}
