"""The page of a comparison at any size: a random search of forty arms, one run, runs that diverged."""

import json
import math
import re
from itertools import product

import numpy as np
import pytest
import yaml
from compared import SEEDS, run, shown

from denoiselab.commands import compare
from denoiselab.run import record


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The page of a random search: two axes of many numbers, two choices of two numbers, two axes of words."""
    root, rng = tmp_path_factory.mktemp("searched"), np.random.default_rng(0)
    for i, rate in enumerate(rng.uniform(1e-4, 1e-2, 40)):
        folder = run(root / "runs" / str(i), "cosine", "0.001", i)
        words = [f"optimizer.lr={rate}", f"sampler.steps={rng.integers(10, 10**6)}", f"schedule={'ab'[i % 2]}",
                 f"architecture.a_long_name_of_dropout={(0, 0.1)[i % 3 == 0]}",
                 f"architecture.width={(32, 320)[i // 2 % 2]}", f"data=kind_{i}"]  # fmt: skip
        (folder / "overrides.yaml").write_text(yaml.safe_dump(words))
    compare.command([str(root / "runs"), f"html={root / 'page.html'}"])
    return root / "page.html"


@pytest.fixture
def search(chromium, searched):
    chromium.errors.clear()
    chromium.open(searched)
    yield chromium
    assert chromium.errors == []


def test_a_random_search_is_drawn(search):
    assert search.ask("document.querySelectorAll('#effects .spread circle').length") == 80  # two numeric axes
    assert search.ask("document.querySelectorAll('#heat tbody tr').length") == 8
    assert search.ask("document.querySelectorAll('#samples figure').length") == 40  # no seed is shared
    counted = (
        "[...document.querySelectorAll('#heat td')].map((cell) => (hints.get(cell) || '').match(/mean of (\\d+)/))"
    )
    assert sum(int(found[1]) for found in search.ask(counted) if found) == 40  # each in one range


# -- at any size ------------------------------------------------------------------------------------------------------

TOUCHING = """[...document.querySelectorAll('main svg')].flatMap((svg) => {
    const all = [...svg.querySelectorAll('text')].map((node) => [node.textContent, node.getBoundingClientRect()]);
    return all.flatMap(([a, x], i) => all.slice(i + 1).filter(([b, y]) => x.width && y.width
        && Math.min(x.right, y.right) - Math.max(x.left, y.left) > 1
        && Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top) > 2)
        .map(([b]) => [a, b])); })"""  # fmt: skip
OUTSIDE = """[...document.querySelectorAll('main svg')].flatMap((svg) => { const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter((node) => { const own = node.getBoundingClientRect();
        return own.left < box.left - 1 || own.right > box.right + 1; }).map((node) => node.textContent); })"""


@pytest.mark.parametrize("width", [1366, 800, 420])
def test_labels_do_not_touch_and_the_page_does_not_scroll_sideways(chromium, searched, width):
    chromium.open(searched, width)
    chromium.ask("Object.assign(curve, {logX: true, logY: true}), drawCurves()")
    assert chromium.ask("document.querySelectorAll('#parallel .tick').length") > 12
    assert (chromium.ask(TOUCHING), chromium.ask(OUTSIDE)) == ([], [])
    assert chromium.ask("document.documentElement.scrollWidth") <= width


def test_ticks_are_round_few_and_within(search):
    for low, high, log in product((1e-6, 0.3, 7), (0.45, 8, 38400, 1e7), (False, True)):
        if low >= high:
            continue
        for most in (2, 5, 8):
            found = search.ask(f"ticks(ruler({low}, {high}, {json.dumps(log)}), {most})")
            assert found == sorted(set(found))
            assert 1 <= len(found) <= most + 1
            slack = 1e-8 * (high - low)
            assert all(low - slack <= tick <= high + slack for tick in found)
            assert all(len(f"{tick:.12g}".replace(".", "").strip("0").partition("e")[0]) <= 4 for tick in found)


SCALES = [([0, 0.1], False), ([0.001, 0.1], False), ([1e-4, 1e-3, 1e-2], True), ([32, 64, 128, 256, 512], True),
          ([0.01, 0.1, 0.2, 0.3, 0.4, 0.5], False), ([0.2, 0.25, 0.3, 40], True), ([-1, 0, 100], False),
          ([5], False)]  # fmt: skip


def test_a_scale_is_by_what_its_numbers_are(search):
    for numbers, log in SCALES:
        said, places = search.ask(
            f"(() => {{ const on = scale({numbers}); return [on.log, {numbers}.map(on.at)]; }})()"
        )
        assert said == log, numbers
        assert places == sorted(places)
        assert (places[0], places[-1]) == ((0, 1) if len(numbers) > 1 else (0.5, 0.5))


def test_numbers_that_differ_have_labels_that_differ(search):
    for numbers in ([100_000, 100_100, 100_200], [0.123401, 0.123402], [1e-7, 1.001e-7], [1, 2, 5]):
        assert len({*search.ask(f"apart({numbers})")}) == len(numbers)


def weak(tab, selector):
    """The arms whose marks are dimmed."""
    marks = f"[...document.querySelectorAll('{selector} [data-arm]')]"
    return {*tab.ask(f"{marks}.filter((node) => getComputedStyle(node).opacity < 0.2).map((node) => node.dataset.arm)")}


def test_a_line_is_picked_out_by_pointer_and_by_keys(search):
    x, y = search.ask("""(() => { const path = document.querySelector('#parallel [data-arm="3"]');
        path.scrollIntoView({block: 'center'}); const at = path.getPointAtLength(0.45 * path.getTotalLength());
        const box = path.ownerSVGElement.getBoundingClientRect(); return [box.left + at.x, box.top + at.y]; })()""")
    assert weak(search, "#parallel") == set()
    search.point(x, y)
    picked = search.ask("document.querySelector('#parallel .over').dataset.arm")
    assert weak(search, "#parallel") == {str(arm) for arm in range(40)} - {picked}
    label = search.ask(f"DATA.arms[{picked}].label")
    assert label.split() == search.ask("document.querySelector('#tip').textContent").split("\nval/loss")[0].split("\n")
    search.point(2, 2)
    assert weak(search, "#parallel") == set()
    search.ask("document.querySelector('#parallel svg').focus()")
    for key, rank in (("ArrowDown", 0), ("ArrowDown", 1), ("ArrowUp", 0)):
        search.press(key)
        assert search.ask(f"document.querySelector('#parallel .over').dataset.arm == best(DATA.arms)[{rank}].index")
    search.hover("#curves .legend span")
    assert len(weak(search, "#curves")) == 5  # of the six that are drawn


def test_a_click_on_a_line_draws_its_curve(search):
    search.ask("document.querySelector('#parallel svg').focus()")
    drawn = "drawnArms().map((arm) => arm.index)"
    before = search.ask(drawn)
    search.press("ArrowDown")
    search.ask("document.querySelector('#parallel svg').dispatchEvent(new Event('click'))")
    assert search.ask(drawn) == [arm for arm in before if arm != search.ask("best(DATA.arms)[0].index")]


def test_a_setting_is_meant_exactly(search):
    search.ask("only('architecture.width', '32')")
    assert len(shown(search)) == 20
    assert all("architecture.width=32" in label.split() for label in shown(search))
    search.ask("only('architecture.width', '32')")  # and again: as it was
    assert len(shown(search)) == 40
    search.type("#filter", "architecture.width=3")  # as long as it is typed, a part
    assert len(shown(search)) == 40


def test_a_filter_without_a_match_says_so(search):
    search.type("#filter", "no_such_word")
    assert "No arm fits “no_such_word”" in search.ask("document.querySelector('#arms').textContent")
    for part in ("curves", "heat", "samples", "differences"):
        assert "No arm fits the filter." in search.ask(f"document.querySelector('#{part}').textContent")
    search.click("#arms [role=status] button")
    assert len(shown(search)) == 40
    assert search.ask("document.activeElement.id") == "filter"


def test_headings_sort_by_the_keyboard(search):
    states = "[...document.querySelectorAll('#arms th[aria-sort]')].map((head) => head.ariaSort)"
    search.ask("document.querySelector('#arms button[data-key=\"optimizer.lr\"]').focus()")
    for state in ("ascending", "descending"):
        search.press("Enter")
        assert [s for s in search.ask(states) if s != "none"] == [state]
        assert search.ask("document.activeElement.dataset.key") == "optimizer.lr"
        assert search.ask("document.activeElement.closest('th').ariaSort") == state
    search.press("Tab")
    assert search.ask("document.activeElement.dataset.key") == "sampler.steps"


def test_the_first_columns_and_the_headings_stay(chromium, searched):
    chromium.open(searched, 800)
    said = chromium.ask("""(() => { const box = document.querySelector('#arms .scroll'); box.scrollTo(150, 200);
        const [left, top] = [box.getBoundingClientRect().left, box.getBoundingClientRect().top];
        const row = [...box.querySelectorAll('.arm-row')][20], head = box.querySelector('thead tr');
        const at = (line, i) => line.children[i].getBoundingClientRect();
        return [box.scrollLeft, box.scrollTop, at(row, 0).left - left, at(row, 1).left - at(row, 0).right,
            at(head, 0).left - left, at(head, 1).left - at(head, 0).right, at(head, 1).top - top, at(head, 5).top - top,
            document.elementFromPoint(at(head, 1).left + 5, at(head, 1).top + 8).closest('thead') === null]; })()""")
    assert said == [150, 200, 0, 0, 0, 0, 0, 0, False]
    chromium.ask("document.querySelectorAll('.opener')[20].click()")
    where = "[document.querySelector('#arms .scroll').scrollLeft, document.querySelector('#arms .scroll').scrollTop]"
    assert chromium.ask(where) == [150, 200]  # as it was


def test_one_run_has_a_page_of_what_there_is(chromium, tmp_path):
    run(tmp_path / "runs" / "0", "cosine", "0.001", 0)
    compare.command([str(tmp_path / "runs"), f"html={tmp_path / 'page.html'}"])
    chromium.errors.clear()
    chromium.open(tmp_path / "page.html")
    assert chromium.ask("document.querySelector('#summary').textContent") == "1 run."
    sections = ("[...document.querySelectorAll('main section')].filter((part) => part.getClientRects().length)"
                ".map((part) => `#${part.id}`)")  # fmt: skip
    links = "[...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href'))"
    assert chromium.ask(links) == chromium.ask(sections) == ["#arms", "#curves", "#samples"]
    assert not re.findall(r"\b1 (?:of 1 )?(?:runs|arms|seeds|steps|samples)\b", chromium.ask("document.body.innerText"))
    assert chromium.errors == []


def test_a_print_is_whole_and_light(search):
    search.call("Emulation.setEmulatedMedia", media="print",
                features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
    try:
        assert search.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
        assert search.ask(
            "[...document.querySelectorAll('.scroll, .cards')].every((box) => box.clientHeight === box.scrollHeight)"
        )
        colors = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        assert search.ask(colors) == ["rgb(255, 255, 255)", "rgb(22, 25, 29)"]
    finally:
        search.call("Emulation.setEmulatedMedia", media="", features=[])


def test_runs_that_differ_in_the_seed_alone(chromium, tmp_path):
    for seed in SEEDS:
        run(tmp_path / "runs" / str(seed), "cosine", "0.001", seed)
    compare.command([str(tmp_path / "runs"), f"html={tmp_path / 'page.html'}"])
    chromium.errors.clear()
    chromium.open(tmp_path / "page.html")
    assert shown(chromium) == ["all"]
    chromium.click("tr.arm-row .opener")
    assert chromium.ask("document.querySelectorAll('tr.run').length") == 3
    assert chromium.errors == []


def test_runs_that_diverged(chromium, tmp_path):
    for schedule, seed in product(("cosine", "linear"), SEEDS):
        folder = run(tmp_path / "runs" / f"{schedule}{seed}", schedule, "0.001", seed)
        if schedule == "linear":
            said = json.loads((folder / "summary.json").read_text())
            said["metrics"]["val/loss"]["value"] = None
            (folder / "summary.json").write_text(json.dumps(said))
            record.Record(folder).write(21, {"train/loss": math.nan, "samples": 168, "seconds": 11.0 * (1 + seed)})
    compare.command([str(tmp_path / "runs"), "x=step", "effects=true", f"html={tmp_path / 'page.html'}"])
    chromium.errors.clear()
    chromium.open(tmp_path / "page.html")
    assert shown(chromium) == ["schedule=cosine", "schedule=linear"]  # what has no mean comes last
    chromium.click("thead button[data-key=metric]")
    assert shown(chromium) == ["schedule=cosine", "schedule=linear"]
    chromium.ask("chosen.drawn = new Set([0, 1]), curve.logY = true, curve.each = true, refresh()")
    for metric in ("val/loss", "train/loss"):
        chromium.ask(f"curve.metric = {metric!r}, drawCurves()")
        assert chromium.ask("document.querySelectorAll('#curves path.arm').length") == 2
    assert not chromium.ask("document.querySelector('#curves').innerHTML.includes('NaN')")
    chromium.type("#filter", "linear")
    assert shown(chromium) == ["schedule=linear"]
    # But for the letters of pictures, which may be any.
    assert not chromium.ask("document.querySelector('main').innerHTML.replace(/data:[^\"']*/g, '').includes('NaN')")
    assert chromium.errors == []
