"""Comparing runs: numbers equal scipy's, unlike ones are refused, files say what the screen says."""

import csv
import json
import math

import numpy as np
import pytest
import yaml
from scipy import stats

from denoiselab.commands import compare
from denoiselab.compare import read, statistics, table
from denoiselab.spec import Refused

VALUES = {("cosine", "x0"): (1.0, 1.4, 1.1), ("cosine", "v"): (0.8, 0.9, 0.7), ("linear", "x0"): (2.0, 2.5, 2.2),
          ("linear", "v"): (1.9, 1.8, 2.2)}  # fmt: skip


def run(root, schedule, parameterization, seed, value, n=10, done=True):
    """A run folder as training leaves it."""
    folder = root / f"{schedule}-{parameterization}-{seed}"
    folder.mkdir(parents=True)
    typed = [f"schedule={schedule}", f"seed={seed}", "logger=none"]
    if parameterization != "v":  # the default is not typed
        typed.append(f"parameterization={parameterization}")
    node = {"_target_": "denoiselab.denoiser.V" if parameterization == "v" else "denoiselab.denoiser.X0"}
    config = {"seed": seed, "parameterization": node, "monitor": {"name": "val/loss", "mode": "min"}}
    (folder / "overrides.yaml").write_text(yaml.safe_dump(typed))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    score = {"value": value, "n": n, "split": "val", "extractor": None, "seed": 0}
    (folder / "summary.json").write_text(json.dumps({"metrics": {"val/loss": score}, "score": "0"}))
    if done:
        (folder / "COMPLETED").touch()
    return folder


@pytest.fixture
def runs(tmp_path):
    for (schedule, parameterization), values in VALUES.items():
        for seed, value in enumerate(values):
            run(tmp_path / "runs", schedule, parameterization, seed, value)
    return tmp_path / "runs"


def test_axes_are_what_differs(runs):
    rows, left, _ = read.rows([runs])
    assert (len(rows), left) == (12, [])
    assert set(read.axes(rows)) == {"schedule", "parameterization"}
    assert {row.setting("parameterization") for row in rows} == {"v", "x0"}


@pytest.mark.parametrize(
    "value, text", [("1e-3", "0.001"), (0.001, "0.001"), ("2", "2"), (2.0, "2"), (True, "true"), ("cosine", "cosine"),
                    ("nan", "nan"), ("1e-05", "1e-05"), (0.00001, "1e-05"), ("[1,2]", "[1,2]"), ("inf", "inf")],
)  # fmt: skip
def test_a_number_is_one_setting_however_it_is_written(value, text):
    assert read.plain(value) == text


def test_numbers_equal_scipy(runs, tmp_path, capsys):
    out = tmp_path / "table.csv"
    compare.command([str(runs), "baseline=schedule=linear,parameterization=x0", f"csv={out}"])
    lines = list(csv.DictReader(out.read_text().splitlines()))
    means = [float(line["mean"]) for line in lines]
    assert means == sorted(means)
    assert "0.80 ± 0.25" in capsys.readouterr().out
    base = np.array(VALUES["linear", "x0"])
    for line in lines:
        values = np.array(VALUES[line["schedule"], line["parameterization"]])
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert [float(line[k]) for k in ("mean", "low", "high")] == pytest.approx([values.mean(), low, high], rel=1e-12)
        assert int(line["n"]) == 3
        if line["difference"]:
            gaps = values - base
            test = stats.ttest_rel(values, base)
            assert float(line["difference"]) == pytest.approx(gaps.mean(), rel=1e-12)
            assert float(line["p"]) == pytest.approx(test.pvalue, rel=1e-9)
            assert float(line["effect"]) == pytest.approx(gaps.mean() / gaps.std(ddof=1), rel=1e-9)
        else:
            assert line["schedule"] == "linear"


def fold_of(root, fold, value, n, seed=0):
    folder = run(root / str(fold), "cosine", "v", seed, value, n)
    typed = yaml.safe_load((folder / "overrides.yaml").read_text())
    (folder / "overrides.yaml").write_text(yaml.safe_dump([*typed, "data.folds=3", f"data.fold={fold}"]))


def test_folds_are_averaged_over_as_seeds_are(tmp_path, capsys):
    for fold, (value, n) in enumerate(((1.0, 10), (2.0, 10), (4.5, 9))):
        fold_of(tmp_path / "runs", fold, value, n)
    out = tmp_path / "table.csv"
    compare.command([str(tmp_path / "runs"), f"csv={out}"])
    [line] = csv.DictReader(out.read_text().splitlines())
    assert (float(line["mean"]), line["n"], line["seeds"]) == (2.5, "3", "0-fold-0 0-fold-1 0-fold-2")
    assert "n 9 to 10" in " ".join(capsys.readouterr().out.split())


def test_one_fold_has_one_size_and_a_run_without_folds_is_no_fold(tmp_path):
    fold_of(tmp_path / "runs", 0, 1.0, 10)
    fold_of(tmp_path / "runs", 1, 2.0, 9)
    fold_of(tmp_path / "runs", 0, 1.5, 9, seed=1)
    with pytest.raises(Refused, match="cannot be compared"):
        compare.command([str(tmp_path / "runs")])
    fold_of(tmp_path / "others", 1, 2.0, 9)
    run(tmp_path / "others", "linear", "v", 0, 2.0, 10)
    with pytest.raises(Refused, match="cannot be compared"):
        compare.command([str(tmp_path / "others")])


def test_shares_of_a_full_factorial_add_up():
    cells = [{"a": a, "b": b} for a in "xyz" for b in "pq" for _ in range(3)]
    values = np.random.default_rng(0).normal(size=len(cells)) + [3 * (c["a"] == "x") for c in cells]
    found = statistics.shares(cells, values, ["a", "b"])
    y = np.asarray(values).reshape(6, 3)
    rest = ((y - y.mean(1, keepdims=True)) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert sum(found.values()) + rest == pytest.approx(1, rel=1e-12)
    assert max(found, key=found.get) == "a"


def test_bootstrap_covers_the_mean():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        mean = statistics.bootstrap(rng.normal(size=30))
        inside += mean.low <= 0 <= mean.high
    assert inside >= 85


def test_one_seed_has_no_interval(tmp_path):
    run(tmp_path, "cosine", "v", 0, 1.0)
    rows, _, _ = read.rows([tmp_path])
    [group] = table.groups(rows, [], "val/loss", statistics.student)
    assert math.isnan(group.mean.low)
    assert table.shown(group.mean) == "1"


def test_unlike_values_are_refused(runs):
    run(runs, "sigmoid", "v", 0, 1.0, n=20)
    with pytest.raises(Refused, match="cannot be compared"):
        compare.command([str(runs)])


def test_two_runs_of_one_cell_are_refused(runs):
    with pytest.raises(Refused, match="same settings and seed"):
        compare.command([str(runs), "by=schedule"])


def test_unfinished_runs_are_said(runs, capsys):
    run(runs, "sigmoid", "v", 0, 1.0, done=False)
    compare.command([str(runs)])
    assert "left out: sigmoid-v-0: not trained to the end" in capsys.readouterr().out


def failed(root, schedule, seed, why, words=True):
    """A run that a sweep could not train to its end, and the ledger's line of it; `words`: the run had begun."""
    folder = run(root, schedule, "v", f"{seed}-f{schedule}{seed}", None, done=False)
    (folder / "overrides.yaml").write_text(yaml.safe_dump([f"schedule={schedule}", f"seed={seed}"]))
    (folder / "summary.json").unlink()
    if not words:
        (folder / "overrides.yaml").unlink()
    fit, sweep = f"f{schedule}{seed}", root / "sweeps" / "schedule-0123456789"
    sweep.mkdir(parents=True, exist_ok=True)
    cells = [
        {"cell": f"runs/{fit}", "number": 7, "words": f"{schedule} {seed}", "fit": fit, "runs": "../..", "steps": 9}
    ]
    monitor = {"name": "val/loss", "mode": "min"}
    (sweep / "sweep.json").write_text(json.dumps({"monitor": monitor, "cells": cells}))
    event = {"time": 1.0, "cell": f"runs/{fit}", "state": "failed", "fit": fit, "why": why, "seconds": 1.0}
    with (sweep / "ledger.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")
    read.ledger.cache_clear()
    return sweep


def test_an_arm_of_which_all_failed_is_shown(tmp_path, capsys):
    for seed in (0, 1):
        run(tmp_path / "runs", "cosine", "v", seed, 1.0 + seed)
    for seed in (0, 1):
        failed(tmp_path / "runs", "linear", seed, "ValueError: boom")
    failed(tmp_path / "runs", "cosine", 2, "SIGKILL")
    out = tmp_path / "table.csv"
    compare.command(
        [str(tmp_path / "runs"), "baseline=schedule=cosine", f"csv={out}", f"html={tmp_path / 'page.html'}"]
    )
    said = capsys.readouterr().out
    cosine, linear = csv.DictReader(out.read_text().splitlines())
    assert (cosine["schedule"], cosine["n"], cosine["mean"]) == ("cosine", "2", "1.5")
    assert (linear["schedule"], linear["n"], linear["mean"], linear["difference"]) == ("linear", "0", "", "")
    assert "2 of 3" in said
    assert "0 of 2" in said
    assert "no run of schedule=linear has ended: ValueError: boom" in said
    assert "not trained to the end: SIGKILL" in said
    assert "nan" not in said


def test_what_failed_before_it_began_is_said(runs, capsys):
    failed(runs, "linear", 7, "OutOfMemoryError: much", words=False)
    compare.command([str(runs)])
    assert "left out: #7 (linear 7) of schedule-0123456789: OutOfMemoryError: much" in capsys.readouterr().out


def test_a_sweep_s_folder_is_its_cells(tmp_path, capsys):
    sweep = failed(tmp_path, "linear", 0, "boom")
    run(tmp_path, "cosine", "v", 0, 1.0)  # not of the sweep
    folder = run(tmp_path, "linear", "v", "1-flinear1", 2.0)
    (folder / "overrides.yaml").write_text(yaml.safe_dump(["schedule=linear", "seed=1"]))
    said = json.loads((sweep / "sweep.json").read_text())
    said["cells"].append(said["cells"][0] | {"cell": "runs/flinear1", "fit": "flinear1", "number": 8})
    (sweep / "sweep.json").write_text(json.dumps(said))
    found, _, lost = read.rows([sweep])
    assert [row.folder.name for row in found] == ["linear-v-1-flinear1"]
    assert [each.why for each in lost] == ["boom"]
    found, _, _ = read.rows([sweep, folder, tmp_path])  # any mix, each once
    assert len(found) == 2


def test_what_an_arm_stands_for_is_no_axis_beside_it(tmp_path):
    arms = {"a": ["weight=v"], "b": ["weight=min_snr", "schedule=linear"]}
    typed = [{"arm": arm, **dict(word.split("=") for word in words), "optimizer.lr": rate}
             for arm, words in arms.items() for rate in ("1", "2")]  # fmt: skip
    rows = [read.Row(tmp_path, tmp_path, each, {}, read.Repeat(0)) for each in typed]
    assert read.axes(rows) == ["arm", "optimizer.lr"]
    assert read.axes(rows[:2]) == ["optimizer.lr"]


def test_a_run_is_of_the_arm_that_its_sweep_has_it_for(tmp_path):
    sweep = failed(tmp_path, "linear", 0, "boom")
    said = json.loads((sweep / "sweep.json").read_text())
    for number, (name, typed) in enumerate({"plain": None, "other": "first", "none": "first"}.items(), 1):
        folder = run(tmp_path, "linear", "v", f"{number}-f{name}", 2.0)
        words = ["schedule=linear", f"seed={number}", *([f"arm={typed}"] if typed else [])]
        (folder / "overrides.yaml").write_text(yaml.safe_dump(words))
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(summary | {"score": f"s{name}"}))
        words = f"seed={number}" if name == "none" else f"arm={name} seed={number}"
        said["cells"].append({**said["cells"][0], "cell": f"runs/s{name}", "fit": f"f{name}", "number": number,
                              "words": words})  # fmt: skip
    (sweep / "sweep.json").write_text(json.dumps(said))
    found, _, _ = read.rows([sweep])
    assert [row.typed.get("arm") for row in found] == ["plain", "other", None]
    assert read.axes(found) == ["arm"]
    found, _, _ = read.rows([tmp_path])  # as they were typed
    assert [row.typed.get("arm") for row in found] == [None, "first", "first"]


@pytest.mark.parametrize(
    "words, what",
    [(["nowhere"], "folders of runs"), ([], "compare what"), (["{runs}", "metric=lost"], "no run has the metric"),
     (["{runs}", "by=nothing"], "was told this key"), (["{runs}", "interval=wide"], "kind of interval"),
     (["{runs}", "baseline=schedule=cosine"], "several arms"), (["{runs}", "baseline=schedule=no"], "no arm"),
     (["{runs}", "lower=maybe"], "true or false"), (["{runs}", "csv=/nowhere/x.csv"], "cannot be written"),
     (["{runs}", "csv={runs}"], "cannot be written\n  got: a folder is there"),
     (["{runs}", "sort=x"], "no argument")],
)  # fmt: skip
def test_mistakes(runs, words, what):
    with pytest.raises(Refused, match=what):
        compare.command([word.format(runs=runs) for word in words])


def test_files(runs, tmp_path):
    compare.command([str(runs), f"markdown={tmp_path / 't.md'}", f"latex={tmp_path / 't.tex'}",
                     f"parquet={tmp_path / 't.parquet'}"])  # fmt: skip
    assert (tmp_path / "t.md").read_text().count("\n") == 6
    assert r"\toprule" in (tmp_path / "t.tex").read_text()
    pq = pytest.importorskip("pyarrow.parquet")
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 4


def test_latex_has_minus_signs_before_numbers_alone():
    assert table.typeset("-0.5 ± 0.1") == r"$-$0.5 $\pm$ 0.1"
    assert table.typeset("-inf") == "$-$inf"
    assert table.typeset("1e-05 kind_a-3") == r"1e-05 kind\_a-3"


def test_a_run_without_a_value_by_the_budget_is_said(tmp_path, capsys):
    for seed, points in enumerate([[(1, 3.0), (2, 2.0)], [(5, 1.0), (9, 0.5)]]):
        folder = run(tmp_path, "cosine", "v", seed, 1.0)
        lines = [json.dumps({"step": step, "val/loss": value, "seconds": float(step)}) for step, value in points]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    compare.command([str(tmp_path), "x=seconds"])
    said = capsys.readouterr().out
    assert "1 runs have not recorded val/loss by 2 seconds" in said
    assert "nan" not in said
