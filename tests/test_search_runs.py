"""A search that trains: its trials are cells, pruned ones stop and say why, and a killed driver changes nothing."""

import json
import os
import random
import re
import signal
from pathlib import Path

import pytest
from runs import TINY, marks, process, rows, train, trials

from denoiselab.commands.main import run
from denoiselab.launch.history import History

pytest.importorskip("optuna", reason="optuna is not installed: pip install denoiselab[optuna]")
pytest.importorskip("cmaes", reason="cmaes is not installed: pip install denoiselab[optuna]")

MOONS = ["data=moons", "data.n=40"]
SEARCH = [*MOONS, "hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(1e-6,1e-1))"]
PRUNED = ["hydra/sweeper/pruner=median", "hydra.sweeper.pruner.startup=1"]


def found(root):
    [folder] = Path(root).glob("*/sweeps/*/")
    return folder


def states(folder):
    return sorted(entry.state for entry in History(folder).read().values())


def test_a_search_trains_prunes_and_says_the_best(tmp_path, capfd):
    words = [*SEARCH, *PRUNED, "hydra.sweeper.n_trials=4", "hydra.sweeper.seed=1"]
    made = train(tmp_path / "out", "-m", *words)
    out = capfd.readouterr().out
    folder = found(tmp_path / "out")
    kinds = [each[1] for each in trials(tmp_path / "out")]
    assert {*kinds} == {"COMPLETE", "PRUNED"}, out
    assert states(folder) == sorted("completed" if kind == "COMPLETE" else "pruned" for kind in kinds)
    assert len(made) == kinds.count("COMPLETE")
    pruned = re.findall(r"#\d pruned after .*: median: val/loss [\d.]+ at step \d, validation \d", out)
    assert len(pruned) == kinds.count("PRUNED")
    # What trains the best again finds it, and a run alone is the same.
    best = re.search(r"best: #\d, val/loss .*\n  denoiselab train (.*)", out)[1]
    alone = [word.strip("'") for word in best.split()]
    assert run(["train", *alone]) == 0
    assert "finished before" in capfd.readouterr().out
    [again] = train(tmp_path / "alone", *MOONS, *(word for word in alone if word.startswith("optimizer.lr")))
    [twin] = [place for place in made if place.name == again.name]
    assert rows(twin) == rows(again)
    # It shows, and is compared.
    assert run(["status", str(folder), "--once"]) == 0
    out = capfd.readouterr().out
    assert "a search: 4 of 4 trials" in out
    assert f"{kinds.count('PRUNED')} pruned" in out
    assert run(["compare", str(folder), f"csv={tmp_path / 'table.csv'}"]) == 0
    table = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert len(table.splitlines()) == 1 + kinds.count("COMPLETE")
    # A pruned run goes on as a run of its own.
    lost = next(each for each in trials(tmp_path / "out") if each[1] == "PRUNED")
    [whole] = train(tmp_path / "out", *MOONS, *lost[5])
    assert "resumed at step" in (whole / "log.txt").read_text(encoding="utf-8")
    assert rows(whole)[-1]["step"] == 12


def test_refused_cells_are_told_and_the_search_goes_on(tmp_path, capfd):
    words = [*MOONS, "hydra/sweeper=optuna", "schedule=choice(cosine,constant)", "schedule.level=range(0.5,1,0.5)"]
    made = train(tmp_path, "-m", *words, "hydra/sweeper/sampler=grid")
    assert len(made) == 1
    assert [each[1] for each in trials(tmp_path)] == ["COMPLETE", "PRUNED"]
    assert "refused: Loop needs Generative" in capfd.readouterr().out
    assert run(["status", str(found(tmp_path)), "--once"]) == 0
    assert "#1 (schedule=constant level=0.5) refused: Loop needs Generative" in capfd.readouterr().out


@pytest.mark.parametrize(
    "words, fix",
    [
        (["hydra/sweeper/sampler=tpee", "seed=0,1"], "did you mean tpe"),
        (["schedule=choice(cosine,linaer)"], "did you mean linear"),
        (["hydra.sweeper.sampler=tpe", "seed=0,1"], "hydra/sweeper/sampler=tpe"),
        (["hydra/sweeper/pruner=medain", "seed=0,1"], "did you mean median"),
        (["hydra.sweeper.n_trials=0", "seed=0,1"], "at least 1"),
        (["hydra.sweeper.n_trial=3", "seed=0,1"], "n_trials"),
        (["optimizer.lrr=interval(0,1)"], "did you mean optimizer.lr"),
        (["compile=interval(0,1)"], "compile=choice(true,false)"),
        (["arms=arms.yaml", "seed=0,1"], "hydra/sweeper=grid"),
        (["trial.number=3", "seed=0,1"], "leave it out"),
    ],
)
def test_a_mistake_starts_and_writes_nothing(words, fix, tmp_path, capfd):
    assert train(tmp_path, "-m", "hydra/sweeper=optuna", *words, code=2) == []
    err = capfd.readouterr().err
    assert fix in err
    assert "Traceback" not in err
    assert not [*tmp_path.iterdir()]


def test_as_many_trials_run_at_once_as_the_sweeper_is_told(tmp_path, capfd):
    words = [*MOONS, "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "seed=1,2", "hydra.sweeper.n_jobs=2"]
    train(tmp_path, "-m", *words)
    lines = capfd.readouterr().out.splitlines()
    assert [line.startswith(f"#{n} of 2 started") for n, line in enumerate(lines[:2])] == [True, True]


def test_a_dry_run_shows_the_space_and_writes_nothing(tmp_path, capfd):
    assert train(tmp_path, "-m", *SEARCH, "hydra.sweeper.n_trials=1", "dry_run=true") == []
    out = capfd.readouterr().out
    assert "interval(1e-6,1e-1)" in out
    assert "1 trials at random, of 1" in out
    assert not [*tmp_path.iterdir()]


DRIVER = """
import sys
from denoiselab.commands.main import run
code = run(WORDS)
assert "torch" not in sys.modules
sys.exit(code)
"""


def driver(root, *words, **more):
    return process(DRIVER.replace("WORDS", repr(["train", "-m", *TINY, f"outputs={root}", *words])), **more)


OUTSIDE = """
from optuna.pruners import ThresholdPruner
from denoiselab.search.methods import Pruner
class Above(Pruner):
    def __init__(self, upper):
        self.upper = upper
    def made(self):
        return ThresholdPruner(upper=self.upper)
"""


@pytest.mark.slow
def test_a_pruner_of_a_plugin_stops_trials(tmp_path):
    (tmp_path / "outside.py").write_text(OUTSIDE, encoding="utf-8")
    words = [*SEARCH, "plugins=[outside]", "~hydra.sweeper.pruner", "hydra.sweeper.n_trials=2",
             "+hydra.sweeper.pruner={_target_:outside.Above,upper:1e-9}"]  # fmt: skip
    child = driver(tmp_path / "out", *words, cwd=tmp_path)
    said, _ = child.communicate(timeout=300)
    assert child.returncode == 0, said
    assert [each[1] for each in trials(tmp_path / "out")] == ["PRUNED"] * 2
    assert "pruned after" in said
    assert ": above: val/loss" in said


@pytest.mark.slow
def test_a_search_whose_driver_is_killed_at_random_is_the_one_that_nobody_killed(tmp_path):
    words = [*SEARCH, *PRUNED, "hydra.sweeper.sampler.startup=2", "hydra.sweeper.n_trials=6", "trainer.max_steps=40"]
    whole = driver(tmp_path / "whole", *words)
    said, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    rng = random.Random(0)
    for _ in range(8):
        child = driver(tmp_path / "killed", *words)
        lines = []
        for line in child.stdout:  # killed at a moment after some line that it prints
            lines.append(line)
            if " started" in line or " completed" in line or " pruned" in line:
                if rng.random() < 0.7:
                    os.kill(child.pid, signal.SIGKILL)
                break
        else:
            break
        child.communicate(timeout=300)
    last = driver(tmp_path / "killed", *words)
    said, _ = last.communicate(timeout=300)
    assert last.returncode == 0, said
    assert trials(tmp_path / "killed") == trials(tmp_path / "whole")
    runs = {place.name: place for place in marks(tmp_path / "whole")}
    again = {place.name: place for place in marks(tmp_path / "killed")}
    assert {*again} == {*runs}
    assert all(rows(again[name]) == rows(runs[name]) for name in runs)


@pytest.mark.slow
def test_two_drivers_feed_one_study(tmp_path):
    words = [*SEARCH, "hydra.sweeper.n_trials=6"]
    both = [driver(tmp_path, *words) for _ in range(2)]
    said = [child.communicate(timeout=300)[0] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert [(each[0], each[1]) for each in trials(tmp_path)] == [(n, "COMPLETE") for n in range(6)]
    folder = found(tmp_path)
    events = [json.loads(line) for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(event["state"] for event in events) == ["completed"] * 6 + ["running"] * 6
    assert {cell["number"] for cell in json.loads((folder / "sweep.json").read_text("utf-8"))["cells"]} == {*range(6)}
