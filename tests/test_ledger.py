"""The ledger of a sweep: one driver at a time works on a cell, which ends once; what a killed driver held is free."""

import json
import os
import random
import re
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest
from runs import TINY, completed_once, equal_runs, marks, process, scores, states, train

from denoiselab.commands.main import run
from denoiselab.commands.train import plain
from denoiselab.launch import plan
from denoiselab.launch.history import History
from denoiselab.launch.ledger import joined
from denoiselab.launch.standing import Sweep, pace
from denoiselab.launch.task import Task
from denoiselab.spec import Refused

MOONS = ["data=moons", "data.n=40"]


def cell(root, name="a", state="waiting"):
    config = {"rerun": False, "monitor": {"name": "val/loss", "mode": "min"}}
    return Task(0, "", [], config, {}, fit=name, score=name, folder=root / "name" / f"default-{name}", state=state)


@pytest.fixture
def two(tmp_path):
    """Two drivers of one sweep."""
    with joined(tmp_path) as first, joined(tmp_path) as second:
        yield first, second


def entry(folder, task):
    return History(folder).read()[task.key]


def rows_of(folder):
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]


def ended(task, state, why=""):
    task.state, task.why, task.seconds = state, why, 2.0
    return task


def results(task):
    """As a run leaves them."""
    task.folder.mkdir(parents=True)
    said = {"score": task.score, "metrics": {"val/loss": {"value": 1.5}}}
    (task.folder / "summary.json").write_text(json.dumps(said), encoding="utf-8")
    (task.folder / "COMPLETED").touch()


# -- leases


def test_one_driver_gets_a_cell(two, tmp_path):
    first, second = two
    mine, theirs = cell(tmp_path), cell(tmp_path)
    assert first.claim(mine)
    assert not second.claim(theirs)
    assert f"process {os.getpid()}" in theirs.elsewhere
    assert states(tmp_path) == ["running"]


def test_cells_of_one_fit_are_one_driver_s_at_a_time(two, tmp_path):
    first, second = two
    other = cell(tmp_path)
    other.score = "b"
    assert first.claim(cell(tmp_path))
    assert not second.claim(other)
    second.follow([other])
    assert other.elsewhere


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_what_another_driver_ended_is_ended(state, two, tmp_path):
    first, second = two
    mine, theirs = cell(tmp_path), cell(tmp_path)
    assert first.claim(mine)
    first.settle(ended(mine, state, "a reason"))
    assert not second.claim(theirs)
    second.follow([theirs])
    assert theirs.state == state
    assert "a reason (on " in theirs.why
    assert theirs.seconds == 2.0
    assert states(tmp_path) == ["running", state]


def test_what_another_driver_completed_while_cells_were_judged_is_not_completed_twice(two, tmp_path):
    first, second = two
    mine, theirs = cell(tmp_path), cell(tmp_path)
    assert first.claim(mine)
    results(mine)
    first.settle(ended(mine, "completed"))
    second.begin([theirs], retry=False)
    assert theirs.state == "finished before"
    assert theirs.value == 1.5
    assert states(tmp_path) == ["running", "completed"]


def test_what_another_driver_had_to_leave_is_taken_over(two, tmp_path):
    first, second = two
    mine, theirs = cell(tmp_path), cell(tmp_path)
    assert first.claim(mine)
    first.settle(ended(mine, "preempted"))
    second.follow([theirs])
    assert theirs.state == "waiting"
    assert second.claim(theirs)
    assert theirs.attempts == 2


def test_the_cells_of_a_driver_that_died_are_free(tmp_path):
    with joined(tmp_path) as dead:
        assert dead.claim(cell(tmp_path))
    task = cell(tmp_path)
    with joined(tmp_path) as next_one:
        next_one.follow([task])
        assert not task.elsewhere
        assert next_one.claim(task)
        next_one.settle(ended(task, "completed"))
    assert states(tmp_path) == ["running", "preempted", "running", "completed"]
    assert entry(tmp_path, task).attempts == 2


def test_a_driver_without_a_sign_of_life_loses_its_cells(tmp_path):
    now = [0.0]
    with joined(tmp_path) as quiet, joined(tmp_path, lease=100.0, clock=lambda: now[0]) as second:
        lost, task = cell(tmp_path), cell(tmp_path)
        assert quiet.claim(lost)
        for now[0], free in ((0.0, False), (99.0, False)):
            assert second.claim(task) == free
        quiet.lease.beat()  # it lives
        os.utime(quiet.lease.place(quiet.lease.driver), ns=(1, 1))
        for now[0], free in ((150.0, False), (249.0, False), (251.0, True)):
            assert second.claim(task) == free
        quiet.settle(ended(lost, "completed"))  # not its to say any more
        second.settle(ended(task, "completed"))
    assert states(tmp_path) == ["running", "preempted", "running", "completed"]


HOSTS = {"early": -7200.0, "late": 7200.0}  # and by how much their clocks are off


def test_hosts_whose_clocks_differ_agree(tmp_path, monkeypatch):
    """Two machines on one file server: process numbers are the same, clocks are hours apart."""

    @contextmanager
    def on(name):
        with monkeypatch.context() as there:
            there.setattr("socket.gethostname", lambda: name)
            there.setattr("time.time", lambda: real() + HOSTS[name])
            yield

    real = time.time
    began = real()
    with ExitStack() as stack:
        drivers = {}
        for name in HOSTS:
            with on(name):
                drivers[name] = stack.enter_context(joined(tmp_path))
        early, late = drivers.values()
        assert early.lease.driver.startswith(f"early-{os.getpid()}-")
        assert late.lease.driver.startswith(f"late-{os.getpid()}-")
        tasks = [cell(tmp_path, name) for name in "abc"]
        with on("late"):
            assert late.claim(tasks[0])
        with on("early"):
            assert not early.claim(cell(tmp_path, "a"))
            assert early.claim(tasks[1])
            assert early.spent() < 60  # hours, by the clocks
        with on("late"):
            assert late.spent() < 60
            late.settle(ended(tasks[0], "completed"))
        with on("early"):
            early.follow([other := cell(tmp_path, "a")])
            assert other.state == "completed"
    with joined(tmp_path) as third:
        assert third.claim(cell(tmp_path, "b"))
        lost = next(row for row in rows_of(tmp_path) if row["state"] == "preempted")
        assert lost["host"] == "early"
        assert lost["seconds"] < 60
    times = [row["time"] for row in rows_of(tmp_path)]
    assert times == sorted(times)
    assert began - 1 <= times[0] <= times[-1] <= real() + 1
    assert 0 <= History(tmp_path).spent() < 60


def test_status_by_a_clock_that_is_off_has_no_odd_seconds(tmp_path, monkeypatch):
    with joined(tmp_path) as ledger:
        task = cell_of_a_plan(tmp_path)
        assert ledger.claim(task)
        plan.made([task])
        [folder] = plan.found(tmp_path / "name")
        (folder / "ledger.jsonl").write_bytes((tmp_path / "ledger.jsonl").read_bytes())
        (folder / "drivers").symlink_to(tmp_path / "drivers")
        monkeypatch.setattr("time.time", lambda: 4e9)
        sweep = Sweep(folder)
        [one] = sweep.cells
        assert one.state == "running"
        assert sweep.seconds(one) < 60
        assert not any("no sign of life" in line for line in sweep.lines())


def test_what_failed_stays_so_until_it_is_asked_again(tmp_path):
    with joined(tmp_path) as first:
        task = cell(tmp_path)
        assert first.claim(task)
        first.settle(ended(task, "failed", "boom"))
    with joined(tmp_path) as second:
        second.begin([task := cell(tmp_path)], retry=False)
        assert (task.state, task.why, task.attempts) == ("failed before", "boom", 1)
    with joined(tmp_path) as third:
        third.begin([task := cell(tmp_path)], retry=True)
        assert task.state == "waiting"
        assert third.claim(task)
        assert task.attempts == 2


def test_a_run_that_ended_after_its_driver_is_written_down_once(tmp_path):
    with joined(tmp_path) as killed:
        assert killed.claim(cell(tmp_path))
    for _ in range(2):
        with joined(tmp_path) as again:
            # Its summary is read for the value.
            task = cell(tmp_path, state="finished before")
            task.folder.mkdir(parents=True, exist_ok=True)
            again.begin([task], retry=False)
    assert states(tmp_path) == ["running", "preempted", "completed"]


# -- the file


def test_half_a_line_is_left_out_and_nothing_is_lost(tmp_path):
    with joined(tmp_path) as ledger:
        assert ledger.claim(cell(tmp_path, "a"))
        with (tmp_path / "ledger.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"time": 1, "cell": "name/b", "sta')
        early = History(tmp_path)
        assert set(early.read()) == {"name/a"}
        assert ledger.claim(cell(tmp_path, "c"))
        assert set(early.read()) == {"name/a", "name/c"}


WRITER = """
from pathlib import Path
from denoiselab.launch.ledger import joined
with joined(Path(FOLDER)) as ledger:
    for n in range(100):
        with ledger.locked() as append:
            append(ledger.event(f"{ledger.lease.pid}/{n}", "failed", 1, why="x" * 500))
"""


def test_lines_of_several_processes_are_whole(tmp_path):
    writers = [process(WRITER.replace("FOLDER", repr(str(tmp_path)))) for _ in range(4)]
    for writer in writers:
        said, _ = writer.communicate(timeout=120)
        assert writer.returncode == 0, said
    assert len(states(tmp_path)) == 400
    assert len(History(tmp_path).read()) == 400
    assert not [*(tmp_path / "drivers").iterdir()]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="ledger"), joined(tmp_path / "file"):
        pass


# -- whole sweeps

BREAKS = '''
"""A job that raises in some seeds, while BROKEN is set."""

import os

import pytorch_lightning as pl


class Break(pl.Callback):
    def __init__(self, when: int):
        self.when = when

    def on_train_batch_end(self, trainer, module, out, batch, index):
        if self.when == 1 and "BROKEN" in os.environ:
            raise ValueError("boom")
'''


def sweep_of(root):
    [folder] = plan.found(root)
    return folder


def test_the_same_command_leaves_what_failed_and_retry_takes_it(tmp_path, monkeypatch, capfd):
    (tmp_path / "breaks.py").write_text(BREAKS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["-m", *MOONS, "plugins=[breaks]", "+callbacks.break._target_=breaks.Break", "+callbacks.break.when=0,1"]
    monkeypatch.setenv("BROKEN", "1")
    [fine] = train(tmp_path / "out", *words, code=1)
    monkeypatch.delenv("BROKEN")
    capfd.readouterr()
    assert train(tmp_path / "out", *words, code=1) == []
    out = capfd.readouterr().out
    assert re.search(r"when=1\s+│ failed before", out)
    assert "#1 failed before: ValueError: boom\n  log: " in out
    assert "--retry failed runs again" in out
    assert run(["status", str(tmp_path / "out")]) == 0
    out = capfd.readouterr().out
    assert "1 failed, 1 completed" in out
    assert "#1 failed: ValueError: boom" in out
    assert re.search(r"log: (/.*/log\.txt)\n", out)
    [mended] = train(tmp_path / "out", "--retry=failed", *words)
    assert mended != fine
    folder = sweep_of(tmp_path / "out")
    assert states(folder) == ["running", "completed", "running", "failed", "pending", "running", "completed"]
    assert Sweep(folder).best.entry.value == min(scores(fine)["val/loss"], scores(mended)["val/loss"])
    assert re.search(r"│ +2 │", capfd.readouterr().out)  # attempts


def test_after_the_budget_no_job_starts(tmp_path, capfd):
    [first] = train(tmp_path, "-m", *MOONS, "seed=0,1,2", "budget.seconds=0.01", code=75)
    out = capfd.readouterr().out
    assert "1 completed, 2 not started" in out
    assert "#2 not started: the budget of 0.01 s is spent" in out
    rest = train(tmp_path, "-m", *MOONS, "seed=0,1,2")
    assert len({first, *rest}) == 3
    assert sorted(states(sweep_of(tmp_path))) == ["completed"] * 3 + ["running"] * 3


def test_a_dry_run_says_what_each_cell_costs_and_writes_nothing(tmp_path, capfd):
    words = ["-m", *MOONS, "seed=0,1", "architecture.width=16,32", "--dry-run"]
    assert train(tmp_path, *words, without="architecture.width") == []
    out = capfd.readouterr().out
    assert "timing 2 of 2" in out  # seeds cost the same
    assert len(re.findall(r"│ to be trained │ +12 │ +[\d.]+ │ +[\d.]+ s │", out)) == 4
    assert "4 to be trained" in out
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("words", [["--retry", "failed"], ["--retry=failed"], ["retry=failed"]])
def test_flags_are_words_that_hydra_takes(words):
    assert plain(["-m", *words, "seed=0,1", "--dry-run"]) == ["-m", "retry=failed", "seed=0,1", "dry_run=true"]
    assert plain([]) == []


@pytest.mark.parametrize("word", ["dry_run=true", "retry=failed", "budget.seconds=3", "arms=file.yaml"])
def test_what_is_a_sweep_s_is_refused_to_one_run(word, tmp_path, capfd):
    assert train(tmp_path, *MOONS, word, code=2) == []
    assert "add -m" in capfd.readouterr().err


@pytest.mark.parametrize("word", ["retry=faild", "budget.seconds=0", "dry_run=false,true", "dry_run=3"])
def test_what_cannot_be_is_refused(word, tmp_path, capfd):
    assert train(tmp_path, "-m", *MOONS, word, code=2) == []
    assert "refused" in capfd.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_sweep_is_its_cells_however_they_are_typed(tmp_path):
    train(tmp_path, "-m", *MOONS, "seed=0,1")
    train(tmp_path, "-m", *MOONS, "seed=1,0")
    folder = sweep_of(tmp_path)
    assert folder.name.startswith("seed-")
    assert states(folder) == ["running", "completed"] * 2


def test_status_needs_a_sweep(tmp_path, capfd):
    assert run(["status", str(tmp_path)]) == 2
    assert run(["status", "--twice"]) == 2
    assert "no sweep" in capfd.readouterr().err


def test_the_pace_is_that_of_the_last_rows():
    assert pace([]) == (0, None)
    assert pace([{"step": 10, "seconds": 1.0}]) == (10, None)
    assert pace([{"step": 10 * n, "seconds": float(n)} for n in range(1, 50)]) == (490, 10.0)


LIGHT = """
import sys
from denoiselab.commands.main import run
assert run(["status", FOLDER, "--once"]) == 0
heavy = {"torch", "pytorch_lightning", "hydra", "wandb"} & set(sys.modules)
assert not heavy, heavy
"""


def test_status_imports_nothing_heavy(tmp_path):
    with joined(plan.made([cell_of_a_plan(tmp_path)])):
        reader = process(LIGHT.replace("FOLDER", repr(str(tmp_path))))
        said, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0, said
    assert "1 pending" in said


def cell_of_a_plan(root):
    task = cell(root)
    task.config["trainer"] = {"max_steps": 7}
    task.words = "seed=0"
    return task


# -- several drivers, and those that are killed

DRIVER = """
import sys
from denoiselab.commands.main import run
sys.exit(run(WORDS))
"""
SIX = ["seed=0,1,2", "architecture.layers=1,2"]
MANY = ["seed=0,1,2,3,4,5", "architecture.layers=1,2", "optimizer.lr=1e-3,2e-3"]
PLAIN = [word for word in TINY if not word.startswith("architecture.layers")]


def driver(root, *words, cells=SIX):
    words = ["train", "-m", *PLAIN, *MOONS, *cells, f"outputs={root}", *words]
    return process(DRIVER.replace("WORDS", repr(words)), COLUMNS="160")  # a row a line


def events(root):
    return sum(len(path.read_bytes().splitlines()) for path in root.rglob("ledger.jsonl"))


def until_events(root, n, child):
    while events(root) < n:
        with suppress(subprocess.TimeoutExpired):
            child.wait(0.02)
            return


def table(said):
    """Number, cell, value and run of each row: what no clock says."""
    found = re.findall(r"^│ +(\d+) │ (.*?) +│ [\w ]+? *│ +([\d.e-]*) │.*│ (\w{10}) │$", said, re.MULTILINE)
    return sorted(found)


def logged_once(folder, cells):
    completed_once(folder, cells)
    for marker in folder.parents[1].rglob("COMPLETED"):
        assert (marker.parent / "log.txt").read_text(encoding="utf-8").count(" completed\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("drivers", [2, 4])
def test_drivers_at_once_share_the_cells(drivers, tmp_path):
    several = [driver(tmp_path, "trainer.max_steps=300") for _ in range(drivers)]
    said = [each.communicate(timeout=300)[0] for each in several]
    assert [each.returncode for each in several] == [0] * drivers, said
    folder = sweep_of(tmp_path)
    assert sorted(states(folder)) == ["completed"] * 6 + ["running"] * 6
    logged_once(folder, 6)
    assert len({tuple(table(each)) for each in said}) == 1
    started = [len(re.findall(r"of 6 started", each)) for each in said]
    assert sum(started) == 6
    assert max(started) < 6


@pytest.mark.slow
def test_a_sweep_whose_driver_is_killed_again_and_again_is_the_sweep_that_nobody_killed(tmp_path):
    chance = random.Random(1)
    whole = driver(tmp_path / "whole", "trainer.max_steps=60", cells=MANY)
    reference, _ = whole.communicate(timeout=900)
    assert whole.returncode == 0, reference
    root = tmp_path / "killed"
    for _ in range(10):
        killed = driver(root, "trainer.max_steps=60", "hydra.launcher.n_jobs=2", cells=MANY)
        until_events(root, events(root) + chance.randint(1, 7), killed)
        try:
            killed.wait(chance.uniform(0, 0.7))
        except subprocess.TimeoutExpired:
            killed.kill()
        killed.communicate()
    last = driver(root, "trainer.max_steps=60", cells=MANY)
    said, _ = last.communicate(timeout=900)
    assert last.returncode == 0, said
    logged_once(sweep_of(root), 24)
    assert table(said) == table(reference)
    assert len(table(said)) == 24
    assert not [*(sweep_of(root) / "drivers").iterdir()]
    print(f"\nattempts: {sorted(one.attempts for one in History(sweep_of(root)).read().values())}")
    ours, theirs = ({path.name: path for path in marks(place)} for place in (root, tmp_path / "whole"))
    assert ours.keys() == theirs.keys()
    for name in ours:
        equal_runs(ours[name], theirs[name])
