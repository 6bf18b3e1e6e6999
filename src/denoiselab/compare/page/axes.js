// What the axes do: main effects, and two axes as a heat map.

const heat = { rows: DATA.axes[0], columns: DATA.axes[1] };

function drawEffects() {
  byId("effects").hidden = !DATA.axes.length || DATA.arms.length < 2;
  if (byId("effects").hidden) return;
  const { shares, levels: of, ranks, balanced, left } = DATA.effects[chosen.metric];
  const shown = DATA.axes.filter((axis) => !continuous(axis)).flatMap((axis) => (of[axis] ?? []).slice(0, WORDS));
  const on = scale(ends(shown.map(([, entry]) => entry)), 0.02);
  const forest = chosen.metric === DATA.metric ? DATA.importance : null;
  const panels = DATA.axes.map((axis) => {
    const share = shares.find(([name]) => name === axis), rank = ranks[axis];
    const words = [share && `${(100 * share[1]).toFixed(0)} % of the variance`,
      rank && `Spearman's rank correlation ${rank[0].toFixed(2)} (p ${brief(rank[1], 2)}, n ${rank[2]})`,
      forest && `random forest: R² loses ${forest.lost[axis].toFixed(2).replace("-0.00", "0.00")} where it is shuffled`].filter(Boolean).join(", ");
    if (continuous(axis)) {
      return make("div", {}, make("h3", {}, axis), make("p", { class: "note" }, words), spread(axis));
    }
    const more = (of[axis] ?? []).length > WORDS ? make("p", { class: "note" }, `the first ${WORDS} of ${of[axis].length} levels`) : null;
    return make("div", {}, make("h3", {}, axis), make("p", { class: "note" }, words), more, make("table", {}, make("tbody", {},
      ...(of[axis] ?? []).slice(0, WORDS).map(([level, entry]) => make("tr", { tip: `${axis}=${level}\nmean over ${count(entry[4], "run")}: ${entry[0]}\n${origin(chosen.metric)}` },
        make("th", { scope: "row", class: "setting" }, level), make("td", {}, whisker(entry, on)), make("td", { class: "number", "data-value": entry[0] }, entry[5]),
        make("td", { class: "number soft" }, `n ${entry[4]}`))))));
  });
  const pairs = shares.filter(([name]) => !DATA.axes.includes(name)).sort((a, b) => b[1] - a[1]).slice(0, 12)
    .map(([name, share]) => `${name} ${(100 * share).toFixed(0)} %`).join(", ");
  put("effects", make("p", { class: "note" }, `${chosen.metric}, of all arms, whatever the filter: mean over all runs at each level; the interval holds the spread that the `
    + `other axes and the seeds make.${on.log ? " Log scale." : ""} Share of the variance: eta squared`
    + `${balanced ? "" : "; there are not as many runs in every cell, so shares overlap and only describe"}.${left ? ` ${left} values are not finite, and no part of it.` : ""}`),
    make("div", { class: "panels" }, ...panels), pairs ? make("p", {}, `Interactions, share beyond the two axes: ${pairs}.`) : null,
    forest ? make("p", { class: "note" }, `The random forest foretells arms that it has not seen with R² ${brief(forest.r2, 2)}, of ${forest.arms}${forest.r2 > 0 ? "" : ": nothing is to be read from it"}.`) : null);
}

// Every run by its setting of an axis of many numbers.
function spread(axis) {
  const width = 420, height = 220;
  const points = DATA.arms.flatMap((arm) => arm.runs.map((run) => [asNumber(arm.cell[axis]), run.values[chosen.metric], arm, run]))
    .filter(([, y]) => Number.isFinite(y));
  const svg = draw("svg", { class: "spread", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${chosen.metric} by ${axis}` });
  if (!points.length) return svg;
  const { nodes, toX, toY } = frame(width, height, scale(points.map((p) => p[0])), scale(points.map((p) => p[1])), [axis, measured(chosen.metric)]);
  svg.append(...nodes);
  svg.append(...points.map(([x, y, arm, run]) => draw("circle", { cx: toX(x), cy: toY(y), r: 3.5, tip: () => `${arm.label}\n${ofRun(run, chosen.metric)}` })));
  return svg;
}

function drawHeat() {
  byId("heat").hidden = DATA.axes.length < 2;
  if (DATA.axes.length < 2) return;
  if (!fitting().length) { put("heat", noArm()); return; }
  const again = (change) => { Object.assign(heat, change); drawHeat(); };
  const arms = fitting(), rows = binned(heat.rows), across = binned(heat.columns);
  const cell = (row, column) => {
    const values = arms.filter((arm) => row.has(arm.cell[heat.rows]) && column.has(arm.cell[heat.columns]))
      .flatMap((arm) => arm.runs.filter((run) => chosen.metric in run.values).map((run) => run.values[chosen.metric]));
    return values.length ? { n: values.length, mean: values.some((v) => v === null) ? null : values.reduce((a, b) => a + b, 0) / values.length } : null;
  };
  const table = rows.map((row) => across.map((column) => cell(row, column)));
  const by = shade(table.flat().filter(Boolean).map((one) => one.mean).filter((v) => v !== null));
  const drawn = rows.map((row, i) => make("tr", {}, make("th", { scope: "row", class: "setting", tip: `${heat.rows}=${row.label}` }, row.label), ...table[i].map((one, j) => (one
    ? make("td", { tabindex: 0, "data-value": one.mean, tip: `${heat.rows}=${row.label} ${heat.columns}=${across[j].label}\nmean of ${count(one.n, "run")}: ${one.mean ?? "not finite"}\n${origin(chosen.metric)}`,
      style: one.mean === null ? {} : { background: by.color(one.mean), color: by.ink(one.mean) } }, brief(one.mean))
    : make("td", {}, "–")))));
  put("heat", make("div", { class: "controls" },
    select("Down", DATA.axes, heat.rows, (axis) => again({ rows: axis, columns: axis === heat.columns ? heat.rows : heat.columns })),
    select("across", DATA.axes, heat.columns, (axis) => again({ columns: axis, rows: axis === heat.rows ? heat.columns : heat.rows }))),
    make("p", { class: "note" }, `Mean of ${chosen.metric} over all runs of the arms in the filter, the other axes averaged over. The stronger the color, the better${by.log ? " (log scale)" : ""}.`),
    make("div", { class: "scroll" }, make("table", { class: "heat" },
      make("thead", {}, make("tr", {}, make("th", {}, `${heat.rows} \\ ${heat.columns}`), ...across.map((column) => make("th", { scope: "col", class: "number setting", tip: `${heat.columns}=${column.label}` }, column.label)))),
      make("tbody", {}, ...drawn))));
}
