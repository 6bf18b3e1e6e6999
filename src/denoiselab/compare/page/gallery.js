// Samples side by side, and the keys in which the configurations of the drawn arms differ.

const FIRST = "the first of each arm";
const SMALL = 128; // pixels, of a picture that is shown larger than it is: its pixels stay sharp
const gallery = { seed: null };

// What most have; of several the first.
function common(all) {
  const times = (one) => all.filter((other) => other === one).length;
  return all.reduce((found, one) => (times(one) > times(found) ? one : found), all[0]);
}

function drawSamples() {
  const left = DATA.samples_left.length ? make("p", { class: "note" }, `Left out: ${DATA.samples_left.join("; ")}.`) : null;
  if (!DATA.samples.length) { put("samples", left); return; }
  const seeds = [...new Set(DATA.samples.map((one) => one.seed))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const of = (seed) => DATA.samples.filter((one, i) => (seed === FIRST ? DATA.samples.findIndex((other) => other.arm === one.arm) === i : one.seed === seed));
  if (gallery.seed === null) { // the one that the most arms have
    gallery.seed = seeds.reduce((found, seed) => (of(seed).length > of(found).length ? seed : found), seeds[0]);
    if (2 * of(gallery.seed).length < of(FIRST).length) gallery.seed = FIRST;
  }
  const arms = sorted(fitting(), columns()).map((arm) => arm.index);
  const shown = of(gallery.seed).filter((one) => arms.includes(one.arm)).sort((a, b) => arms.indexOf(a.arm) - arms.indexOf(b.arm));
  if (!fitting().length) { put("samples", noArm()); return; }
  const usual = { noise: common(shown.map((one) => one.noise)), step: common(shown.map((one) => one.step)) };
  let unlike = 0;
  const cards = shown.map((one) => {
    const arm = DATA.arms[one.arm], run = arm.runs.find((other) => other.seed === one.seed);
    const said = (key, words) => make("span", { class: one[key] === usual[key] ? "soft" : "differs" }, words);
    const hint = [arm.label, `seed ${one.seed}, noise seed ${one.noise ?? "not recorded"}, weights of step ${one.step ?? "not recorded"} of ${run.steps ?? "?"}`,
      one.words, one.file, `code ${run.code || "unknown"}`].filter(Boolean).join("\n");
    unlike += one.noise !== usual.noise || one.step !== usual.step;
    const score = run.values[chosen.metric];
    const content = one.uri ? make("img", { class: Math.max(one.width, one.height) < SMALL ? "pixels" : "", src: one.uri, width: one.width, height: one.height, alt: `samples of ${arm.label}, seed ${one.seed}`, loading: "lazy" })
      : make("pre", { tabindex: 0 }, one.text);
    return make("figure", { tip: hint }, make("figcaption", {}, make("span", { class: "name" }, DATA.axes.length ? arm.short : chosen.metric),
      make("span", { class: "soft" }, `${score === undefined ? "" : `${brief(score)} · `}seed ${one.seed} · `), said("noise", `noise ${one.noise ?? "?"}`), " ", said("step", `step ${one.step ?? "?"}`)), content);
  });
  const order = DATA.arms.length > 1 ? `Arms in the order of the table, with this run's ${chosen.metric}. Each says` : DATA.samples.length > 1 ? "Each says" : "It says";
  put("samples", seeds.length > 1 ? make("div", { class: "controls" }, select("Seed", [...seeds, FIRST], gallery.seed, (seed) => { gallery.seed = seed; drawSamples(); })) : null,
    make("p", { class: "note" }, `${order} its seed, that of the noise it began from, and the step of its weights, the best ones by the run's monitor. `
      + `${DATA.samples.length > 1 ? "Runs of one noise seed began from the same noise where their sampler and shapes are the same. " : ""}${unlike ? `${unlike} of ${shown.length} are not alike in noise and step: marked where they depart from most.` : ""}`),
    left, cards.length ? make("div", { class: "cards", tabindex: 0, role: "group", "aria-label": "samples" }, ...cards) : make("p", {}, "None of the arms in the filter has samples of this seed."));
}

function drawDifferences() {
  byId("differences").hidden = DATA.arms.length < 2;
  const arms = drawnArms();
  if (arms.length < 2) { put("differences", arms.length ? make("p", { class: "note" }, "One arm is drawn: nothing to set beside it.") : noArm()); return; }
  const rows = DATA.differences.map((line) => ({ ...line, own: arms.map((arm) => line.values[arm.index]) })).filter((line) => new Set(line.own).size > 1);
  const usual = (own) => own.map((text) => [own.filter((other) => other === text).length, text]).sort((a, b) => b[0] - a[0])[0];
  const body = rows.map((line) => {
    const [count, common] = usual(line.own);
    return make("tr", {}, make("th", { scope: "row", tip: line.also.length ? `the same at ${line.also.join(", ")}` : line.key }, ...breakable(line.key), line.also.length ? make("span", { class: "soft" }, ` +${line.also.length}`) : null),
      ...line.own.map((text) => make("td", { class: count > 1 && text === common ? "" : "differs", tip: text || "not there" }, ...breakable(text.replace(/^denoiselab\./, "") || "–"))));
  });
  put("differences", make("p", { class: "note" }, `Of the ${arms.length} arms that are drawn, the keys that are not the same in all; what most have is plain, what departs from it is marked. `
    + "+1 says that the key goes with another, named on hover."),
    body.length ? make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "key"), ...arms.map((arm) => make("th", { scope: "col", tip: arm.label }, swatch(arm), make("span", { class: "name" }, arm.short))))), make("tbody", {}, ...body)))
      : make("p", {}, "They do not differ."));
}
