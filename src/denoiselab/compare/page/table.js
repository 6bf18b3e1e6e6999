// The table of arms, and of an arm's runs where it is opened.

function columns() {
  const all = DATA.axes.map((axis) => {
    const number = levels(axis).every((level) => Number.isFinite(asNumber(level)));
    return { key: axis, title: axis, number, of: (arm) => arm.cell[axis],
      cell: (arm) => make("td", { class: number ? "number" : "setting", tip: number ? null : `${axis}=${arm.cell[axis]}` }, arm.cell[axis]), run: () => make("td", {}) };
  });
  const scored = (name) => {
    const own = name === chosen.metric;
    return { key: own ? "metric" : name, title: measured(name), number: true, tip: origin(name), of: (arm) => value(arm, name),
      cell: (arm) => numeric(mean(arm, name), () => ofMean(arm, name), name),
      run: (run) => (name in run.values
        ? make("td", { class: "number", "data-value": run.values[name], tip: () => ofRun(run, name) }, brief(run.values[name], 6))
        : make("td", {})) };
  };
  all.push(scored(chosen.metric), plotted(chosen.metric));
  all.push({ key: "n", title: "n", number: true, tip: `runs that have ${chosen.metric}`, of: (arm) => (mean(arm) ? mean(arm)[4] : 0),
    cell: (arm) => make("td", { class: "number", tip: arm.lost.length ? arm.lost.map(([folder, seed, why]) => `seed ${seed} has not ended: ${why || "no reason known"}\n${folder}`).join("\n") : null },
      chosen.metric === DATA.metric ? arm.n : String(mean(arm) ? mean(arm)[4] : 0)),
    run: (run) => make("td", { class: "number" }, `seed ${run.seed}`) });
  if (DATA.budget) all.push({
    key: "reached", title: DATA.budget.words, number: true, of: (arm) => (arm.reached ? arm.reached[0] : null),
    tip: "the last value recorded at or before it, which all runs reach",
    cell: (arm) => numeric(arm.reached, () => `mean of ${count(arm.reached[4], "run")}: ${arm.reached[0]}\n${DATA.budget.words}`, "reached"),
    run: () => make("td", {}) });
  if (DATA.paired) all.push({
    key: "difference", title: `difference in ${DATA.metric}`, number: true, of: (arm) => (arm.difference ? arm.difference[0][0] : null),
    tip: "to the baseline, over the seeds that both have",
    cell: (arm) => (arm.difference ? numeric(arm.difference[0], () => paired(arm), "difference") : make("td", { class: "number" }, "baseline")),
    run: () => make("td", {}) });
  all.push(...Object.keys(DATA.metrics).filter((name) => name !== chosen.metric).map(scored));
  return all;
}

const numeric = (entry, hint, name) => (entry
  ? make("td", { class: "number", "data-value": entry[0], "data-column": name, tip: hint }, entry[5])
  : make("td", { class: "number", "data-column": name }, "–"));

const paired = (arm) => {
  const [[middle, low, high, , n], effect, p] = arm.difference;
  return `paired difference over ${count(n, "seed")}: ${middle}\n${interval}: ${low ?? "–"} to ${high ?? "–"}\n`
    + `effect size (mean / standard deviation): ${brief(effect)}\np of the paired t test: ${brief(p)}`;
};

function plotted(name) {
  const on = scale(ends(fitting().map((arm) => mean(arm, name))), 0.02);
  return { key: "plot", title: `${repeated ? "mean and interval" : "value"}${on.log ? " (log)" : ""}`, fixed: true, of: () => null,
    cell: (arm) => make("td", { tip: () => (mean(arm, name) ? ofMean(arm, name) : "") },
      value(arm, name) === null ? "" : whisker(mean(arm, name), on)),
    run: (run) => make("td", {}, Number.isFinite(run.values[name] ?? NaN) ? whisker([run.values[name], null, null], on) : "") };
}

function sorted(arms, all) {
  const column = all.find((one) => one.key === chosen.sort.key) ?? all.find((one) => one.key === "metric");
  const sign = chosen.sort.up ? 1 : -1;
  const key = (arm) => { const found = column.of(arm); return found !== null && column.number ? Number(found) : found; };
  return [...arms].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null); // what is missing comes last
    return sign * (x < y ? -1 : x > y ? 1 : 0) || a.index - b.index;
  });
}

function drawTable() {
  const all = columns(), arms = sorted(fitting(), all), shown = new Set(drawnArms().map((arm) => arm.index));
  const sort = (column) => {
    chosen.sort = { key: column.key, up: chosen.sort.key === column.key ? !chosen.sort.up : true };
    refreshTable();
    document.querySelector("#arms .scroll").scrollTop = 0;
    document.querySelector(`#arms thead button[data-key="${CSS.escape(column.key)}"]`)?.focus({ preventScroll: true });
  };
  const state = (column) => (column.key !== chosen.sort.key ? "none" : chosen.sort.up ? "ascending" : "descending");
  const head = all.map((column) => make("th", { scope: "col", class: column.number ? "number" : "", "aria-sort": column.fixed ? null : state(column) },
    column.fixed ? column.title : make("button", { type: "button", "data-key": column.key, tip: column.tip, onclick: () => sort(column) },
      ...breakable(column.title), { none: "", ascending: "\u00a0▲", descending: "\u00a0▼" }[state(column)])));
  const rows = arms.flatMap((arm) => [armRow(arm, all, shown.has(arm.index)),
    ...(chosen.open.has(arm.index) ? [...arm.runs.map((run) => runRow(run, all)), ...arm.lost.map(lostRow(all.length))] : [])]);
  const body = make("tbody", { onkeydown: walk }, ...rows);
  const first = body.querySelector("td");
  if (first) cellTarget(first).tabIndex = 0;
  const several = DATA.arms.length > 1;
  const use = `${several ? "A heading sorts; " : ""}▸ shows ${several ? "an arm's" : "the"} runs; arrow keys go from cell to cell. Each number says on hover where it comes from.`;
  put("arms", make("p", { class: "note" }, `${origin(chosen.metric)}; ${lower() ? "less" : "more"} is better. ${repeated ? `${interval}. ` : ""}${use}`),
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "drawn"), ...head)), body)),
    arms.length ? null : unfitting());
  byId("count").textContent = `${arms.length} of ${count(DATA.arms.length, "arm")}`;
}

const unfitting = () => make("p", { role: "status" }, `No arm fits “${chosen.filter}”. A word is a part of an arm's settings (${DATA.arms[0].label.split(" ")[0]}), or it compares an axis or a metric with a number (${chosen.metric}<1). `,
  make("button", { type: "button", onclick: () => { filterBy([]); byId("filter").focus(); } }, "Clear the filter"));

function armRow(arm, all, shown) {
  const open = chosen.open.has(arm.index);
  const toggle = () => {
    if (open) chosen.open.delete(arm.index); else chosen.open.add(arm.index);
    refreshTable();
    document.querySelector(`#arms tr[data-arm="${arm.index}"] button`)?.focus({ preventScroll: true });
  };
  const tick = (event) => {
    mark(arm, event.target.checked);
    document.querySelector(`#arms tr[data-arm="${arm.index}"] input`)?.focus({ preventScroll: true });
  };
  return make("tr", { class: "arm-row", "data-arm": arm.index },
    make("td", {},
      make("button", { type: "button", class: "opener", tabindex: -1, "aria-expanded": String(open), "aria-label": `runs of ${arm.label}`, onclick: toggle }, open ? "▾" : "▸"),
      make("input", { type: "checkbox", tabindex: -1, checked: shown, "aria-label": `draw ${arm.label}`, onchange: tick }),
      shown ? swatch(arm) : null),
    ...all.map((column) => column.cell(arm)));
}

function runRow(run, all) {
  const words = [`seed ${run.seed}`, run.steps && count(run.steps, "step"), run.seconds && `${brief(run.seconds)} s`, `code ${run.code || "unknown"}`].filter(Boolean);
  const cells = all.map((column) => column.run(run));
  const said = make("td", { class: "path", colspan: Math.max(1, DATA.axes.length), tip: [...words, run.hardware, run.folder].filter(Boolean).join("\n") },
    make("div", {}, words.join(" · ")), make("div", {}, run.folder.split("/").pop()));
  if (DATA.axes.length) cells.splice(0, DATA.axes.length, said);
  return make("tr", { class: "run" }, make("td", {}), ...cells);
}

const lostRow = (columns) => ([folder, seed, why]) => make("tr", { class: "run" }, make("td", {}),
  make("td", { class: "path", colspan: columns, tip: folder }, make("div", {}, `seed ${seed} has not ended: ${why || "no reason known"}`), make("div", {}, folder.split("/").pop())));

// One cell is in the order of the tab key; arrows move it.
const cellTarget = (cell) => cell.querySelector("button") ?? cell;

function walk(event) {
  const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
  const cell = event.target.closest("td");
  if (!cell || (!down && !right)) return;
  const row = down ? (down > 0 ? cell.parentElement.nextElementSibling : cell.parentElement.previousElementSibling) : cell.parentElement;
  const inner = right && [...cell.querySelectorAll("button, input")];
  const at = inner ? inner.indexOf(event.target) + right : -1;
  const next = inner && at >= 0 && at < inner.length && inner.includes(event.target) ? inner[at]
    : row?.cells[Math.min(cell.cellIndex + right, row.cells.length - 1)];
  if (!next) return;
  event.preventDefault();
  const target = next.matches("td") ? cellTarget(next) : next;
  event.currentTarget.querySelectorAll("[tabindex='0']").forEach((node) => { node.tabIndex = -1; });
  target.tabIndex = 0;
  target.focus();
}
