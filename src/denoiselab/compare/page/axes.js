// What the axes do: main effects, two axes as a heat map, and all of them as parallel coordinates.

const heat = { rows: DATA.axes[0], columns: DATA.axes[1] };

function drawEffects() {
  const { shares, levels: of, ranks, balanced, left } = DATA.effects[chosen.metric];
  if (!DATA.axes.length) { put("effects", make("p", { class: "note" }, "The runs differ in the seed alone.")); return; }
  const shown = DATA.axes.filter((axis) => !continuous(axis)).flatMap((axis) => (of[axis] ?? []).slice(0, WORDS));
  const on = scale(ends(shown.map(([, entry]) => entry)), 0.02);
  const forest = chosen.metric === DATA.metric ? DATA.importance : null;
  const panels = DATA.axes.map((axis) => {
    const share = shares.find(([name]) => name === axis), rank = ranks[axis];
    const words = [share && `${(100 * share[1]).toFixed(0)} % of the variance`,
      rank && `Spearman's rank correlation ${rank[0].toFixed(2)} (p ${brief(rank[1], 2)}, n ${rank[2]})`,
      forest && `random forest: R² loses ${brief(forest.lost[axis], 2)} where it is shuffled`].filter(Boolean).join(", ");
    if (continuous(axis)) {
      return make("div", {}, make("h3", {}, axis), make("p", { class: "note" }, words), spread(axis));
    }
    const more = (of[axis] ?? []).length > WORDS ? make("p", { class: "note" }, `the first ${WORDS} of ${of[axis].length} levels`) : null;
    return make("div", {}, make("h3", {}, axis), make("p", { class: "note" }, words), more, make("table", {}, make("tbody", {},
      ...(of[axis] ?? []).slice(0, WORDS).map(([level, entry]) => make("tr", { tip: `mean over ${entry[4]} runs: ${entry[0]}\n${origin(chosen.metric)}` },
        make("th", { scope: "row" }, level), make("td", {}, whisker(entry, on)), make("td", { class: "number", "data-value": entry[0] }, entry[5]),
        make("td", { class: "number soft" }, `n ${entry[4]}`))))));
  });
  const pairs = shares.filter(([name]) => !DATA.axes.includes(name)).sort((a, b) => b[1] - a[1]).slice(0, 12)
    .map(([name, share]) => `${name} ${(100 * share).toFixed(0)} %`).join(", ");
  put("effects", make("p", { class: "note" }, `${chosen.metric}, all arms: mean over all runs at each level; the interval holds the spread that the `
    + `other axes and the seeds make.${on.log ? " Log scale." : ""} Share of the variance: eta squared`
    + `${balanced ? "" : "; there are not as many runs in every cell, so shares overlap and only describe"}.${left ? ` ${left} values are not finite, and no part of it.` : ""}`),
    make("div", { class: "panels" }, ...panels), pairs ? make("p", {}, `Interactions, share beyond the two axes: ${pairs}.`) : null,
    forest ? make("p", { class: "note" }, `The random forest foretells arms that it has not seen with R² ${brief(forest.r2, 2)}, of ${forest.arms}${forest.r2 > 0 ? "" : ": nothing is to be read from it"}.`) : null);
}

// Every run by its setting of an axis of many numbers.
function spread(axis) {
  const width = 400, height = 190, edge = { left: 56, bottom: 24, top: 8, right: 12 };
  const points = DATA.arms.flatMap((arm) => arm.runs.map((run) => [asNumber(arm.cell[axis]), run.values[chosen.metric], arm, run]))
    .filter(([, y]) => Number.isFinite(y ?? NaN));
  const svg = draw("svg", { class: "spread", width, height, role: "img", "aria-label": `${chosen.metric} by ${axis}` });
  if (!points.length) return svg;
  const [xs, ys] = [points.map((p) => p[0]), points.map((p) => p[1])], [across, up] = [scale(xs), scale(ys)];
  const toX = (x) => edge.left + across.at(x) * (width - edge.left - edge.right);
  const toY = (y) => height - edge.bottom - up.at(y) * (height - edge.bottom - edge.top);
  for (const tick of ticks(Math.min(...ys), Math.max(...ys), up.log)) svg.append(
    draw("line", { class: "axis", x1: edge.left, x2: width - edge.right, y1: toY(tick), y2: toY(tick) }),
    draw("text", { x: edge.left - 8, y: toY(tick) + 4, "text-anchor": "end" }, brief(tick)));
  for (const tick of ticks(Math.min(...xs), Math.max(...xs), across.log, 4)) svg.append(
    draw("text", { x: toX(tick), y: height - 6, "text-anchor": "middle" }, brief(tick)));
  svg.append(...points.map(([x, y, arm, run]) => draw("circle", { cx: toX(x), cy: toY(y), r: 3.5, tip: () => `${arm.label}\n${ofRun(run, chosen.metric)}` })));
  return svg;
}

function drawHeat() {
  byId("heat").hidden = DATA.axes.length < 2;
  if (DATA.axes.length < 2) return;
  const again = (change) => { Object.assign(heat, change); drawHeat(); };
  const arms = fitting(), rows = binned(heat.rows), across = binned(heat.columns);
  const cell = (row, column) => {
    const values = arms.filter((arm) => row.has(arm.cell[heat.rows]) && column.has(arm.cell[heat.columns]))
      .flatMap((arm) => arm.runs.filter((run) => chosen.metric in run.values).map((run) => run.values[chosen.metric]));
    return values.length ? { n: values.length, mean: values.some((v) => v === null) ? null : values.reduce((a, b) => a + b, 0) / values.length } : null;
  };
  const table = rows.map((row) => across.map((column) => cell(row, column)));
  const by = shade(table.flat().filter(Boolean).map((one) => one.mean).filter((v) => v !== null));
  const drawn = rows.map((row, i) => make("tr", {}, make("th", { scope: "row" }, row.label), ...table[i].map((one, j) => (one
    ? make("td", { tabindex: 0, "data-value": one.mean, tip: `${heat.rows}=${row.label} ${heat.columns}=${across[j].label}\nmean of ${one.n} runs: ${one.mean ?? "not finite"}\n${origin(chosen.metric)}`,
      style: one.mean === null ? {} : { background: by.color(one.mean), color: by.ink(one.mean) } }, brief(one.mean))
    : make("td", {}, "–")))));
  put("heat", make("div", { class: "controls" },
    select("Down", DATA.axes, heat.rows, (axis) => again({ rows: axis, columns: axis === heat.columns ? heat.rows : heat.columns })),
    select("across", DATA.axes, heat.columns, (axis) => again({ columns: axis, rows: axis === heat.rows ? heat.columns : heat.rows }))),
    make("p", { class: "note" }, `Mean of ${chosen.metric} over all runs of the arms in the filter, the other axes averaged over. The stronger the color, the better${by.log ? " (log scale)" : ""}.`),
    make("div", { class: "scroll" }, make("table", { class: "heat" },
      make("thead", {}, make("tr", {}, make("th", {}, `${heat.rows} \\ ${heat.columns}`), ...across.map((column) => make("th", { scope: "col", class: "number" }, column.label)))),
      make("tbody", {}, ...drawn))));
}

function drawParallel() {
  byId("parallel").hidden = !DATA.axes.length;
  if (!DATA.axes.length) return;
  const known = DATA.arms.filter((arm) => value(arm) !== null);
  if (!known.length) { put("parallel", make("p", { class: "note" }, "No arm has a finite mean.")); return; }
  const width = Math.max(420, byId("parallel").clientWidth - 34), height = 330, top = 40, bottom = height - 18;
  const stops = [...DATA.axes, null], inside = new Set(fitting().map((arm) => arm.index));
  const margin = 100, at = (i) => margin + (stops.length === 1 ? 0 : i * (width - 2 * margin) / (stops.length - 1));
  const metric = scale(known.map((arm) => value(arm))), by = shade(known.map((arm) => value(arm)));
  const down = (share) => bottom - share * (bottom - top);
  const ranked = new Map(best(known).map((arm, i) => [arm.index, known.length > 1 ? i / (known.length - 1) - 0.5 : 0]));
  const placing = DATA.axes.map((axis) => {
    const of = levels(axis);
    const numbers = of.map(asNumber);
    if (of.length > 10 && numbers.every(Number.isFinite)) { // many numbers: a scale
      const on = scale(numbers);
      return { ticks: [of[0], of[Math.floor(of.length / 2)], of[of.length - 1]], y: (level) => down(on.at(asNumber(level))), room: 0 };
    }
    const room = (bottom - top) / of.length;
    return { ticks: of.length > 30 ? of.filter((_, i) => i % Math.ceil(of.length / 30) === 0) : of, y: (level) => top + room * (of.indexOf(level) + 0.5), room };
  });
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "parallel coordinates of the arms" });
  const lines = best(known).reverse().map((arm) => {
    const points = stops.map((axis, i) => [at(i), axis === null ? down(metric.at(value(arm)))
      : placing[i].y(arm.cell[axis]) + ranked.get(arm.index) * Math.min(placing[i].room * 0.5, 26)]);
    const d = points.map(([x, y], i) => (i ? `C${(points[i - 1][0] + x) / 2} ${points[i - 1][1]} ${(points[i - 1][0] + x) / 2} ${y} ${x} ${y}` : `M${x} ${y}`)).join("");
    const line = draw("path", { class: `way${inside.has(arm.index) ? "" : " faint"}`, d, stroke: by.line(value(arm)), "data-arm": arm.index,
      tip: `${arm.label}\n${chosen.metric}: ${mean(arm)[5]} (n ${mean(arm)[4]})` });
    line.addEventListener("pointerenter", () => line.classList.add("over"));
    line.addEventListener("pointerleave", () => line.classList.remove("over"));
    return line;
  });
  stops.forEach((axis, i) => {
    svg.append(draw("line", { class: "axis", x1: at(i), x2: at(i), y1: top, y2: bottom }));
    svg.append(draw("text", { class: "strong", x: at(i), y: 16, "text-anchor": "middle" }, axis ?? `${chosen.metric}${metric.log ? " (log)" : ""}`));
  });
  svg.append(...lines);
  const plate = (x, y, text, anchor, more = {}) => {
    const node = draw("text", { x, y: y + 4, "text-anchor": anchor, class: "plate", ...more }, text);
    svg.append(node);
    return node;
  };
  DATA.axes.forEach((axis, i) => placing[i].ticks.forEach((level) => {
    const pick = () => only(axis, level);
    plate(at(i) - 10, placing[i].y(level), level.length > 14 ? `${level.slice(0, 13)}…` : level, "end", { class: "plate level", tabindex: 0, role: "button", "aria-label": `only ${axis}=${level}`,
      tip: `${axis}=${level}: filter`, onclick: pick, onkeydown: (event) => { if (["Enter", " "].includes(event.key)) { event.preventDefault(); pick(); } } });
  }));
  const all = known.map((arm) => value(arm));
  for (const tick of ticks(Math.min(...all), Math.max(...all), metric.log)) plate(at(stops.length - 1) + 8, down(metric.at(tick)), brief(tick), "start");
  put("parallel", make("p", { class: "note" }, "A line is an arm, the better the stronger its color; arms outside of the filter are faint. A setting that is clicked is filtered for."), svg);
}
