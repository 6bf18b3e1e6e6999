"""The page of a comparison: its numbers are those of the table, it works in a browser, and nothing in it runs but its
own script."""

import csv
import json
import math
import re

import numpy as np
import pytest
import yaml
from compared import EVIL, RATES, SCHEDULES, SEEDS, column, run, shown, value
from scipy import stats

from denoiselab.commands import compare
from denoiselab.compare import curves, gallery, read, statistics, table
from denoiselab.run import record
from denoiselab.spec import Refused


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("compared") / "runs"
    for schedule in SCHEDULES:
        for rate in RATES:
            for seed in SEEDS:
                run(root / f"{SCHEDULES.index(schedule)}-{rate}-{seed}", schedule, rate, seed)
    texts = root / "1-0.001-0" / "samples"
    (texts / "samples.png").unlink()
    (texts / "samples.txt").write_text(EVIL * 40)
    return root


@pytest.fixture(scope="module")
def written(runs):
    """The page and the table."""
    page, lines = runs.parent / "report.html", runs.parent / "table.csv"
    compare.command([str(runs), "x=samples", "effects=true", "baseline=schedule=cosine,optimizer.lr=1e-4",
                     f"html={page}", f"csv={lines}"])  # fmt: skip
    return page, list(csv.DictReader(lines.read_text().splitlines()))


def data(page):
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(text)


# -- without a browser ------------------------------------------------------------------------------------------------


def test_numbers_of_the_page_are_the_tables(written):
    page, lines = written
    said = data(page)
    assert len(said["arms"]) == len(lines) == 9
    for arm, line in zip(said["arms"], lines, strict=True):
        assert arm["cell"] == {"schedule": line["schedule"], "optimizer.lr": line["optimizer.lr"]}
        for entry, prefix in ((arm["means"]["val/loss"], ""), (arm["reached"], "curve_")):
            assert entry[:5] == [float(line[prefix + name]) for name in ("mean", "low", "high", "std", "n")]
        gap = arm["difference"]
        assert (gap is None) == (line["difference"] == "")
        if gap:
            assert gap[0][0] == float(line["difference"])


def test_the_data_are_no_markup(written):
    page, _ = written
    text = page.read_text()
    assert text.count("<script") == 2
    assert "onerror" in text
    assert "<img" not in text
    assert any(arm["cell"]["schedule"] == EVIL for arm in data(page)["arms"])


def test_the_page_asks_for_nothing(written):
    page, _ = written
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)=["']?https?:|@import|url\(|fetch\(|XMLHttp|innerHTML|eval\(""", text)
    assert "default-src 'none'" in text


def test_samples_are_few_and_small(runs, monkeypatch):
    rows, _, _ = read.rows([runs])
    found = table.groups(rows, read.axes(rows), "val/loss", statistics.student)
    kept, left = gallery.samples(found)
    assert (len(kept), left) == (27, [])
    assert [one["arm"] for one in kept[:9]] == [*range(9)]  # each arm's first seed first
    assert {one["seed"] for one in kept[:9]} == {"0"}
    assert max(one.get("width", 0) for one in kept) == gallery.SIDE
    [text] = [one for one in kept if "text" in one]
    assert text["text"] == (EVIL * 40)[: gallery.LETTERS]
    assert "letters" in text["words"]
    monkeypatch.setattr(gallery, "MOST", 9)
    kept, [why] = gallery.samples(found)
    assert len(kept) == 9
    assert why.startswith("samples of 18 runs")


def test_unlike_metrics_are_left_out_of_the_page(runs, tmp_path):
    for seed, split in enumerate(("test", "val")):
        folder = run(tmp_path / "runs" / split, "cosine", "0.001", seed)
        said = json.loads((folder / "summary.json").read_text())
        said["metrics"]["test/accuracy"]["n"] = seed
        (folder / "summary.json").write_text(json.dumps(said))
    compare.command([str(tmp_path / "runs"), f"html={tmp_path / 'page.html'}"])
    found = data(tmp_path / "page.html")
    assert [*found["metrics"]] == ["val/loss"]
    assert any("test/accuracy" in why and "cannot be compared" in why for why in found["left"])


# -- curves and effects -----------------------------------------------------------------------------------------------


def test_a_matched_budget_is_what_all_reach(tmp_path, capsys):
    folders = [run(tmp_path / "runs" / str(end), "cosine", "0.001", end, end) for end in (20, 12, 17)]
    out = tmp_path / "table.csv"
    compare.command([str(tmp_path / "runs"), "x=samples", f"csv={out}"])
    [line] = csv.DictReader(out.read_text().splitlines())
    # The shortest was validated at steps 5 and 10: nobody is read beyond the samples of step 10.
    assert float(line["budget"]) == 80
    values = [
        next(row["val/loss"] for row in record.read(f) if row["step"] == 10 and "val/loss" in row) for f in folders
    ]
    assert float(line["curve_mean"]) == pytest.approx(np.mean(values), rel=1e-12)
    assert "val/loss at 80 samples" in " ".join(capsys.readouterr().out.split())


def test_flops_are_multiply_adds(tmp_path):
    for end in (20, 12):
        run(tmp_path / "runs" / str(end), "cosine", "0.001", end, end)
    said = {}
    for x in ("flops", "multiply_adds"):
        compare.command([str(tmp_path / "runs"), f"x={x}", f"csv={tmp_path / x}"])
        said[x] = (tmp_path / x).read_text()
    assert said["flops"] == said["multiply_adds"]
    [line] = csv.DictReader(said["flops"].splitlines())
    assert (line["x"], float(line["budget"]), line["curve_n"]) == ("multiply_adds", 10_000, "2")


def test_curves_are_the_record(runs):
    folder = runs / "0-0.001-1"
    found, lines = curves.read(folder), record.read(folder)
    assert {*found} == {"train/loss", "val/loss"}
    for name, curve in found.items():
        own = [line for line in lines if name in line]
        assert curve.y.tolist() == [line[name] for line in own]
        for x in ("step", "samples", "seconds"):
            assert curve.x[x].tolist() == [line[x] for line in own]


def test_a_metric_in_unlike_lines_is_one_curve_and_damage_is_said(tmp_path):
    log = record.Record(tmp_path)
    log.write(1, {"a": 1.0, "samples": 8})
    log.write(2, {"a": math.nan, "b": 2.0, "samples": 16})
    log.write(3, {"a": 3.0, "samples": 24})
    assert curves.read(tmp_path)["a"].x["samples"].tolist() == [8, 16, 24]
    assert np.isnan(curves.read(tmp_path)["a"].y).tolist() == [False, True, False]
    with log.path.open("a") as file:
        file.write("no json\n")
    with pytest.warns(UserWarning, match="line 4, is damaged"):
        assert len(curves.read(tmp_path)["a"].y) == 3
    assert curves.read(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("length, most", [(1, 5), (5, 5), (1000, 160), (161, 160)])
def test_thinning_keeps_the_ends(length, most):
    kept = curves.thinned(length, most)
    assert (kept[0], kept[-1], len(kept)) == (0, length - 1, min(length, most))
    assert (np.diff(kept) > 0).all()


def test_effects_are_scipys(runs):
    cells = [{"schedule": s, "lr": rate} for s in SCHEDULES for rate in RATES for _ in SEEDS]
    values = [value(s, rate, seed) for s in SCHEDULES for rate in RATES for seed in SEEDS]
    found = statistics.effects(cells, [*values[:-1], math.nan], ["schedule", "lr"])
    assert (found.balanced, found.left, [*found.ranks]) == (False, 1, ["lr"])
    found = statistics.effects(cells, values, ["schedule", "lr"])
    test = stats.spearmanr([float(c["lr"]) for c in cells], values)
    assert found.ranks["lr"][:2] == pytest.approx([test.statistic, test.pvalue], rel=1e-12)
    own = [v for c, v in zip(cells, values, strict=True) if c["lr"] == "0.001"]
    assert [*found.levels["lr"]] == [*RATES]  # by size
    assert found.levels["lr"]["0.001"].value == pytest.approx(np.mean(own), rel=1e-12)
    assert found.levels["lr"]["0.001"][1:3] == pytest.approx(
        stats.t.interval(0.95, len(own) - 1, np.mean(own), stats.sem(own)), rel=1e-12
    )
    assert found.balanced
    assert found.left == 0


def test_an_axis_of_a_random_search_has_no_share():
    cells = [{"lr": str(rate), "schedule": "ab"[i % 2]} for i, rate in enumerate(np.geomspace(1e-4, 1e-2, 40))]
    found = statistics.effects(cells, np.arange(40.0), ["lr", "schedule"])
    assert ([*found.shares], [*found.ranks]) == (["schedule"], ["lr"])
    assert found.ranks["lr"][:2] == pytest.approx((1, 0))


def test_a_configuration_in_parts_is_the_whole(tmp_path):
    shared = {"steps": 3, "list": [1, {"a": None}], "text": "two\n\nlines\n- not a list\n", "quoted": "a: '#b'\n\n\n"}
    for number, config in enumerate(({"a": shared, "b": [], "c": ["x", 2.5], "d": None, "e": "é: " + "long " * 40},
                                     {"a": shared, "b": shared}, {})):  # fmt: skip
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        assert read.configuration(path) == yaml.safe_load(path.read_text())
    assert read.configuration(tmp_path / "none.yaml") == {}


@pytest.mark.parametrize(
    "words, what",
    [(["x=epochs"], "measured by"), (["x=tokens"], "no run recorded val/loss against tokens"),
     (["x=step", "curve=los"], "no run recorded los"), (["effects=much"], "effects is true or false"),
     (["html=/nowhere/x.html"], "cannot be written")],
)  # fmt: skip
def test_mistakes(runs, words, what):
    with pytest.raises(Refused, match=what):
        compare.command([str(runs), *words])


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tab(chromium, written):
    chromium.errors.clear()
    chromium.open(written[0])
    yield chromium
    assert chromium.ask("window.broken") is None
    assert chromium.errors == []


def test_the_table_shows_the_numbers_and_sorts(tab, written):
    means = [float(line["mean"]) for line in written[1]]
    assert column(tab) == means == sorted(means)
    state = "document.querySelector('th:has(button[data-key={}])').ariaSort"
    assert tab.ask(state.format("metric")) == "ascending"
    tab.click("thead button[data-key=metric]")
    assert column(tab) == means[::-1]
    assert tab.ask(state.format("metric")) == "descending"
    tab.click("thead button[data-key='optimizer.lr']")  # by size, not by letters
    assert [label.split("optimizer.lr=")[1] for label in shown(tab)] == [r for r in RATES for _ in SCHEDULES]
    assert sorted(column(tab)) == means


def test_the_table_is_filtered(tab):
    tab.type("#filter", "schedule=linear val/loss<2.5")
    assert {label.split()[0] for label in shown(tab)} == {"schedule=linear"}
    assert 0 < max(column(tab)) < 2.5
    assert tab.ask("document.querySelector('#count').textContent") == f"{len(column(tab))} of 9 arms"
    tab.type("#filter", "nothing of this name")
    assert shown(tab) == []
    tab.click("svg .level")  # a setting in the parallel coordinates is put into the filter
    assert "nothing of this name " in tab.ask("document.querySelector('#filter').value")


def test_an_arm_is_opened(tab, written):
    tab.click("tr.arm-row .opener")
    cells = tab.ask(
        "[...document.querySelectorAll('tr.run')].map((row) => Number(row.querySelector('[data-value]').dataset.value))"
    )
    assert cells == [value("cosine", "0.0001", seed) for seed in SEEDS]
    assert tab.ask("document.querySelector('.opener').getAttribute('aria-expanded')") == "true"
    assert "0-0.0001-2" in tab.ask("[...document.querySelectorAll('tr.run')].at(-1).textContent")
    tab.press("Enter")  # the focus stays on what was pressed
    assert tab.ask("document.querySelectorAll('tr.run').length") == 0


def test_a_number_says_where_it_comes_from(tab):
    tab.hover("tr.arm-row td[data-column='val/loss']")
    said = tab.ask("document.querySelector('#tip').textContent")
    for words in ("mean of 3 runs", "over 10 samples", "split val", "seeds 0, 1, 2", "noise seed 5", "0-0.0001-0",
                  "0.1.0 0123456789+changes abcdef012345"):  # fmt: skip
        assert words in said


def test_the_keyboard_is_enough(tab):
    tab.ask("document.querySelector('tr.arm-row .opener').focus()")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
        tab.press(key)
    assert tab.ask("document.activeElement.dataset.column") == "val/loss"
    assert tab.ask("document.activeElement.parentElement.rowIndex") == 2
    assert not tab.ask("document.querySelector('#tip').hidden")


def test_curves_have_students_bands(tab, runs):
    for metric, x, step in (("val/loss", "step", 10), ("train/loss", "samples", 80)):
        tab.ask(f"Object.assign(curve, {{metric: {metric!r}, x: {x!r}}}), drawCurves()")
        assert tab.ask("document.querySelectorAll('#curves path.arm').length") == 6
        assert tab.ask("document.querySelectorAll('#curves path.band').length") == 6
        found = tab.ask(f"band(series(DATA.arms[0], {metric!r}, {x!r})).find((point) => point[0] === {step})")
        lines = [record.read(runs / f"0-0.0001-{seed}") for seed in SEEDS]
        values = [next(row[metric] for row in own if metric in row and row[x] == step) for own in lines]
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert found[1:] == pytest.approx([np.mean(values), low, high, 3], rel=1e-5)  # six digits are in the page


def test_bands_are_of_the_interval_that_was_asked(tab, runs):
    ys = [1.0, 2.0, 4.0, 3.0, 9.0, 0.5]
    low, high = tab.ask(f"resampled({ys})")
    expected = statistics.bootstrap(ys)
    assert [low, high] == pytest.approx([expected.low, expected.high], abs=0.35)  # a thousand draws
    points = tab.ask("""(() => { const before = DATA.interval; DATA.interval = "bootstrap";
        const found = band(series(DATA.arms[0], "train/loss", "step")); DATA.interval = before; return found; })()""")
    for _, middle, low, high, n in points:
        assert n == 3
        assert low <= middle <= high
    assert tab.errors == []


def test_seeds_that_recorded_elsewhere_are_joined_by_lines(tab, runs):
    tab.ask("Object.assign(curve, {metric: 'train/loss', x: 'seconds'}), drawCurves()")
    points = tab.ask("band(series(DATA.arms[0], 'train/loss', 'seconds'))")
    ends = [(curves.read(runs / f"0-0.0001-{seed}")["train/loss"].x["seconds"][[0, -1]]) for seed in SEEDS]
    assert (points[0][0], points[-1][0]) == (max(e[0] for e in ends), min(e[1] for e in ends))
    for at, mean, _, _, n in points:
        own = [curves.read(runs / f"0-0.0001-{seed}")["train/loss"] for seed in SEEDS]
        assert mean == pytest.approx(np.mean([np.interp(at, c.x["seconds"], c.y) for c in own]), rel=1e-5)
        assert n == 3


def test_the_heat_map_has_the_means(tab, written):
    cells = tab.ask("[...document.querySelectorAll('#heat td')].map((cell) => Number(cell.dataset.value))")
    assert sorted(cells) == pytest.approx(sorted(float(line["mean"]) for line in written[1]), rel=1e-12)


def test_another_metric_is_chosen(tab):
    tab.ask("document.querySelector('#metric').value = 'test/accuracy',"
            "document.querySelector('#metric').dispatchEvent(new Event('change'))")  # fmt: skip
    found = column(tab, "test/accuracy")
    assert found == sorted(found, reverse=True)  # more of it is better


def test_samples_and_configurations(tab):
    assert tab.ask("document.querySelectorAll('#samples figure').length") == 9
    assert tab.ask("[...document.querySelectorAll('#samples img')].every((image) => image.complete || image.loading)")
    assert EVIL in tab.ask("document.querySelector('#samples pre').textContent")
    said = tab.ask("[...document.querySelectorAll('#samples figcaption')].map((caption) => caption.textContent)")
    assert all("seed 0 · noise 5 step" in words for words in said)
    marked = tab.ask("[...document.querySelectorAll('#samples .differs')].map((word) => word.textContent)")
    assert marked == ["step 15"]
    assert "1 of 9 are not alike" in tab.ask("document.querySelector('#samples').textContent")
    keys = tab.ask("[...document.querySelectorAll('#differences tbody th')].map((head) => head.textContent)")
    assert keys == ["schedule._target_", "optimizer.lr"]
    assert tab.ask("document.querySelectorAll('#differences td.differs').length") > 0


def test_a_setting_with_spaces_is_filtered_for(tab):
    tab.ask(f"only('schedule', {json.dumps(EVIL)})")
    assert len(shown(tab)) == 3
    tab.ask(f"only('schedule', {json.dumps(EVIL)})")
    assert (len(shown(tab)), tab.ask("chosen.filter")) == (9, "")


def test_links_are_those_of_what_is_shown(tab):
    assert tab.ask(
        "[...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href').slice(1))"
    ) == tab.ask("[...document.querySelectorAll('main section:not([hidden])')].map((part) => part.id)")
    assert tab.ask("document.querySelectorAll('nav a').length") == 7
