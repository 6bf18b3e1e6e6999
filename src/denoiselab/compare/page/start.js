// Puts the page together.

function refreshTable() {
  drawTable();
  drawSamples();
}

function refresh() {
  drawTable();
  drawCurves();
  drawEffects();
  drawHeat();
  drawParallel();
  drawSamples();
  drawDifferences();
}

function start() {
  const runs = DATA.arms.reduce((sum, arm) => sum + arm.runs.length, 0);
  const arms = DATA.arms.length;
  byId("summary").textContent = runs === 1 && arms === 1 ? "1 run." : `${count(runs, "run")} in ${count(arms, "arm")}; `
    + `${DATA.axes.length ? `what differs: ${DATA.axes.join(", ")}` : "they differ in the seed alone"}.`;
  if (DATA.left.length) {
    byId("left").hidden = false;
    byId("left").querySelector("summary").textContent = `${DATA.left.length} left out`;
    byId("left").querySelector("ul").append(...DATA.left.map((why) => make("li", {}, why)));
  }
  const box = byId("metric");
  box.append(...Object.keys(DATA.metrics).map((name) => make("option", { value: name, selected: name === chosen.metric }, name)));
  box.addEventListener("change", () => { chosen.metric = box.value; chosen.sort = { key: "metric", up: lower() }; refresh(); });
  const filter = byId("filter");
  filter.placeholder = DATA.axes.length ? `${DATA.axes[0]}=${DATA.arms[0].cell[DATA.axes[0]]}  ${chosen.metric.split("/").pop()}<1` : "";
  let soon = 0;
  filter.addEventListener("input", () => {
    cancelAnimationFrame(soon);
    soon = requestAnimationFrame(() => { chosen.filter = filter.value; refresh(); });
  });
  byId("best").textContent = arms > BEST ? `Draw the best ${BEST}` : "Draw all";
  byId("best").addEventListener("click", () => { chosen.drawn = null; refresh(); });
  for (const node of [filter.parentElement, byId("count"), byId("best")]) node.hidden = arms < 2;
  // What is jumped to is not to lie behind the bar.
  const pad = () => { document.documentElement.style.scrollPaddingTop = getComputedStyle(bar).position === "sticky" ? `${bar.offsetHeight + 12}px` : "12px"; };
  const bar = document.querySelector("nav");
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    drawCurves();
    drawParallel();
    pad();
  });
  chosen.sort = { key: "metric", up: lower() };
  listen();
  refresh();
  const links = { arms: "Arms", curves: "Curves", effects: "Effects", heat: "Two axes", parallel: "All axes", samples: "Samples", differences: "Configurations" };
  byId("links").append(...Object.entries(links).filter(([id]) => !byId(id).hidden).map(([id, words]) => make("a", { href: `#${id}` }, words)));
  pad();
}

start();
