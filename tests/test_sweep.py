"""A sweep: checked whole before the first job, each job a process whose end is its own, one table at the end."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from runs import TINY, losses, marks, process, rows, train

from denoiselab.commands.main import run
from denoiselab.launch.pool import Limits, Pool
from denoiselab.launch.sweep import named
from denoiselab.launch.task import Task, ended
from denoiselab.run import record

FAULTS = '''
"""Ways for a job to end."""

import ctypes
import os
import signal
import subprocess
import sys
import threading

import pytorch_lightning as pl
import torch


class Fault(pl.Callback):
    def __init__(self, kind: str, rank: int = 0):
        self.kind, self.rank = kind, rank

    def on_train_batch_end(self, trainer, module, out, batch, index):
        if index == 5 and trainer.global_rank == self.rank:
            getattr(self, self.kind)(trainer)

    def none(self, trainer):
        pass

    fine = well = good = right = calm = none

    def raises(self, trainer):
        raise ValueError("boom")

    def exits_0(self, trainer):
        os._exit(0)

    def leaves_with_0(self, trainer):
        sys.exit(0)

    def exits_3(self, trainer):
        sys.exit(3)

    def segfaults(self, trainer):
        ctypes.string_at(0)

    def is_killed(self, trainer):
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self, trainer):
        threading.Event().wait()

    def is_stopped(self, trainer):
        os.kill(os.getpid(), signal.SIGSTOP)

    def is_asked_to_leave(self, trainer):
        if "ASKED" not in os.environ:
            os.kill(os.getpid(), signal.SIGTERM)

    def tells(self, trainer):
        print("threads", torch.get_num_threads(), "group", os.getpgid(0) == os.getpid(), flush=True)
'''
# Kind of fault to what the table says of it.
ENDS = {
    "raises": "ValueError: boom", "exits_0": "exit 0 before the end", "exits_3": "exit 3", "segfaults": "SIGSEGV",
    "is_killed": "SIGKILL", "hangs": "no progress for 10 s",
}  # fmt: skip
HEALTHY = ("none", "fine", "well", "good", "right", "calm")
PLANTED = ["plugins=[faults]", "+callbacks.fault._target_=faults.Fault"]
LAUNCHER = ["hydra.launcher.timeout=10", "hydra.launcher.grace=2"]


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """A plugin in the folder where the command runs."""
    (tmp_path / "faults.py").write_text(FAULTS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("faults", None)


def kinds(*names):
    return [*PLANTED, f"+callbacks.fault.kind={','.join(names)}"]


def kind(place):
    config = (place / "overrides.yaml").read_text(encoding="utf-8")
    return re.search(r"fault\.kind=(\w+)", config)[1]


# -- checked whole


def test_the_whole_grid_is_checked_before_the_first_job(tmp_path, capfd):
    words = ["seed=0,1", "parameterization=v,epsilon"]
    assert train(tmp_path, "-m", *words, code=2) == []
    err = capfd.readouterr().err
    assert err.count("Epsilon cannot work with Terminal") == 1
    assert "#1 (seed=0 parameterization=epsilon), #3 (seed=1 parameterization=epsilon)" in err
    assert "2 of 4 cells, so nothing was started" in err
    assert "invalid=skip" in err
    assert not [*tmp_path.iterdir()]


def test_invalid_cells_can_be_skipped(tmp_path, capfd):
    made = train(tmp_path, "-m", "parameterization=v,epsilon,x0", "invalid=skip")
    assert len(made) == 2
    out, err = capfd.readouterr()
    assert "Epsilon cannot work with Terminal" in err
    assert re.search(r"parameterization=epsilon\s+│ refused", out)
    assert "2 completed" in out
    assert "1 refused" in out


@pytest.mark.parametrize(
    "word, said",
    [
        ("architecture.widht=8", ["widht", "did you mean"]),
        ("schedule=cosine,cosin", ["cosin", "did you mean cosine"]),
        ("seed=0,one", ["seed", "one"]),
        ("seed=one", ["cells: #0 (defaults)"]),
        ("seed=range(0)", ["no value", "seed=range(0)", "seed=A,B"]),
        ("schedule=glob(zzz*)", ["no value", "schedule=glob(zzz*)"]),
        ("schedule=glob(linear*) seed=one", ["#0 (schedule=linear), #1 (schedule=linear_beta)"]),
        ("hydra.launcher.n_jobs=0", ["n_jobs", "at least 1"]),
        ("hydra.launcher.timeout=-1", ["timeout", "seconds"]),
        ("hydra.launcher.n_jobs=1,2", ["one value", "hydra.launcher.n_jobs=VALUE"]),
        ("optimizer.lr=interval(1e-4,1e-3)", ["hydra/sweeper=optuna"]),
        ("hydra.sweep.dir=here", ["hydra.sweep.dir", "outputs=FOLDER"]),
        ("++hydra.job.num=3", ["hydra.job.num", "outputs=FOLDER"]),
    ],
)
def test_a_mistake_in_a_sweep_starts_nothing(word, said, tmp_path, capfd):
    assert train(tmp_path, "-m", *word.split(), code=2) == []
    err = capfd.readouterr().err
    assert all(part in err for part in said), err
    assert "Traceback" not in err
    assert not [*tmp_path.iterdir()]


def test_cells_that_are_the_same_are_trained_once(tmp_path, capfd):
    [made] = train(tmp_path, "-m", "optimizer.lr=1e-3,0.001")
    assert "same as #0" in capfd.readouterr().out
    assert (made / "log.txt").read_text(encoding="utf-8").count("started") == 1


def test_cells_that_differ_in_the_sampler_alone_train_once(tmp_path, capfd):
    made = train(tmp_path, "-m", "sampler=ddim,heun", "hydra.launcher.n_jobs=2")
    assert len(made) == 2
    assert len([*tmp_path.rglob("COMPLETED")]) == 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
    assert train(tmp_path, "-m", "sampler=ddim,heun") == []
    assert capfd.readouterr().out.count("finished before") >= 2
    assert train(tmp_path, "-m", "sampler=ddim,heun", "rerun=true") == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")} != before
    [log] = tmp_path.rglob("log.txt")
    assert log.read_text(encoding="utf-8").count("started: ") == 2  # the second one anew


def test_cells_are_named_by_what_varies():
    cells = [["a.lr=1", "b.lr=2", f"seed={seed}", f"+x.y={seed}", f"x.lr={seed}", f"z.lr={seed}"] for seed in (0, 1)]
    assert named(cells) == [f"seed={s} y={s} x.lr={s} z.lr={s}" for s in (0, 1)]
    assert named([["seed=0"]]) == ["(defaults)"]


def test_a_sweep_that_is_done_is_done(tmp_path, capfd):
    assert len(train(tmp_path, "-m", "seed=0,1")) == 2
    capfd.readouterr()
    assert train(tmp_path, "-m", "seed=0,1") == []
    out = capfd.readouterr().out
    assert "2 finished before" in out
    assert "started" not in out


def test_the_table_is_sorted_by_the_monitored_metric(tmp_path, capfd):
    made = train(tmp_path, "-m", "optimizer.lr=1e-9,1e-2,1e-3")
    out = capfd.readouterr().out
    printed = [float(v) for v in re.findall(r"completed\s+│\s+([\d.e-]+)", out)]
    best = [record.read_summary(place)["metrics"]["val/loss"]["value"] for place in made]
    assert printed == [pytest.approx(value, rel=1e-3) for value in sorted(best)]
    assert len(printed) == 3


def test_who_leaves_with_0_before_the_end_has_failed(faults, tmp_path, capfd):
    assert train(tmp_path / "out", *kinds("leaves_with_0"), code=1) == []
    assert "something left with exit code 0 at step 6" in capfd.readouterr().err


def test_the_flag_of_a_sweep_may_stand_anywhere(tmp_path):
    assert run(["train", *TINY, "-m", "seed=0,1", f"outputs={tmp_path}"]) == 0
    assert len(marks(tmp_path)) == 2


LIGHT = """
import sys
from denoiselab.commands.main import run
assert run(WORDS) == 0
heavy = {"torch", "pytorch_lightning", "wandb", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_driver_does_not_import_torch(tmp_path):
    driver = process(LIGHT.replace("WORDS", repr(["train", "-m", *TINY, f"outputs={tmp_path}", "seed=0,1"])))
    said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    assert len(marks(tmp_path)) == 2


# -- isolated


def test_of_twelve_jobs_six_fail_alone(faults, tmp_path, capfd):
    mixed = [name for pair in zip(ENDS, HEALTHY, strict=True) for name in pair]
    made = train(tmp_path / "out", "-m", *kinds(*mixed), *LAUNCHER, "hydra.launcher.n_jobs=2", code=1)
    assert sorted(kind(place) for place in made) == sorted(HEALTHY)
    assert len({tuple(losses(place)) for place in made}) == 1
    out = capfd.readouterr().out
    for name, said in ENDS.items():
        assert re.search(rf"kind={name}\s+│ failed", out), out
        number = mixed.index(name)
        assert f"#{number} failed: {said}" in out
        log = Path(re.search(rf"#{number} failed: .*\n  log: (.*)", out)[1])
        text = log.read_text(encoding="utf-8")
        assert "started: " in text
        assert ("Traceback" in text) == (name == "raises")
        assert ("Fatal Python error" in text) == (name == "segfaults")
        assert ("in hangs" in text) == (name in ("hangs",))
    assert "6 failed, 6 completed" in out
    assert not alive()
    # The ledger has them by name, and the same command leaves them.
    assert run(["status", str(tmp_path / "out"), "--once"]) == 0
    out = capfd.readouterr().out
    for name, said in ENDS.items():
        assert f"#{mixed.index(name)} failed: {said}" in out
    again = [*kinds(*mixed), *LAUNCHER, "hydra.launcher.n_jobs=2"]
    assert train(tmp_path / "out", "-m", *again, code=1) == []
    out = capfd.readouterr().out
    assert "started" not in out
    assert "6 finished before, 6 failed before" in out or "6 failed before, 6 finished before" in out


def alive():
    """Processes of jobs that this process started and that live still: forks of its server, and what they started."""
    from multiprocessing.forkserver import _forkserver

    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(words[1]) == _forkserver._forkserver_pid and words[0] != "Z":
            found.append(folder.name)
    return found


def test_the_jobs_share_the_cores_and_each_is_a_group(faults, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    for n_jobs in (1, 2):
        [made] = train(tmp_path / str(n_jobs), "-m", *kinds("tells"), f"hydra.launcher.n_jobs={n_jobs}")
        said = (made / "log.txt").read_text(encoding="utf-8")
        assert f"threads {cores} group True" in said  # one job is given all, however many might run
    made = train(tmp_path / "two", "-m", *kinds("tells"), "seed=0,1", "hydra.launcher.n_jobs=2")
    for place in made:
        assert f"threads {max(cores // 2, 1)} group True" in (place / "log.txt").read_text(encoding="utf-8")


def test_a_job_of_a_sweep_is_the_run_of_its_own_command(tmp_path):
    swept = train(tmp_path / "swept", "-m", "seed=0,1")
    [alone] = train(tmp_path / "alone", "seed=1")
    [twin] = [place for place in swept if place.name.rpartition("-")[2] == alone.name.rpartition("-")[2]]
    assert rows(twin) == rows(alone)


def test_hydras_own_launcher_trains_the_same_cells(tmp_path):
    own = ["hydra/launcher=basic", "hydra/sweeper=basic", f"hydra.sweep.dir={tmp_path}"]
    swept = train(tmp_path / "swept", "-m", *own, "seed=0,1")
    [alone] = train(tmp_path / "alone", "seed=1")
    assert rows(swept[1]) == rows(alone)


@pytest.mark.parametrize(
    "code, said, words",
    [
        (0, "", "exit 0 before the end"),
        (-9, "x", "SIGKILL"),
        (3, "x", "exit 3"),
        (1, "E: x", "E: x"),
        (1, "failed: x", "x"),
        (1, "", "exit 1"),
    ],
)
def test_an_end_is_told_in_words(code, said, words):
    assert ended(code, said) == words


@pytest.mark.parametrize(
    "before, codes, state",
    [
        ([None], [-9], "preempted"),  # it was asked, and did not save in time
        ([None, None], [75, -9], "preempted"),
        ([-9], [-9], "failed"),  # somebody else killed it, and then it was asked
        ([None, -9], [75, -9], "failed"),
        ([None, None], [75, 1], "failed"),
        ([None], [0], "failed"),
    ],
)
def test_a_job_that_was_asked_and_had_no_time_to_save_may_go_on(before, codes, state, tmp_path, monkeypatch):
    [task] = queue(1, ranks=len(codes))
    monkeypatch.setattr(Task, "ask", lambda self, number: None)
    task.folder, task.codes = tmp_path, codes
    task.written = {task.log(rank): 0 for rank in range(2)}
    task.processes = [SimpleNamespace(exitcode=code) for code in before]
    task.leave()
    task.judge()
    assert task.state == state


# -- GPUs, without one


def pool(gpus, **limits):
    return Pool(
        None, Limits(**{"n_jobs": None, "jobs_per_gpu": 1, "timeout": None, "grace": 1.0} | limits), gpus, print
    )


def queue(n, ranks=1, gpu=True):
    return [Task(i, "", [], {}, {}, fit=str(i), ranks=ranks, gpu=gpu) for i in range(n)]


def started(pool, tasks):
    for task in pool.startable(tasks):
        pool.running.append(task)
    return [task.slots for task in pool.running]


@pytest.mark.parametrize(
    "gpus, limits, ranks, slots",
    [
        (["0", "1"], {}, 1, [["0"], ["1"]]),
        (["0", "1"], {"n_jobs": 1}, 1, [["0"]]),
        (["0", "1"], {"jobs_per_gpu": 2}, 1, [["0"], ["1"], ["0"], ["1"]]),
        (["4", "7", "9"], {}, 2, [["4", "7"]]),
        (["0", "1", "2", "3"], {}, 2, [["0", "1"], ["2", "3"]]),
        (["GPU-a"], {"jobs_per_gpu": 3, "n_jobs": 2}, 1, [["GPU-a"], ["GPU-a"]]),
    ],
)
def test_gpus_are_dealt_out(gpus, limits, ranks, slots):
    assert started(pool(gpus, **limits), queue(5, ranks)) == slots


def test_a_job_that_no_gpus_will_ever_suffice_for_fails(monkeypatch):
    for gpus, ranks in (([], 1), (["0"], 2)):
        told = []
        short = Pool(None, Limits(None, 1, None, 1.0), gpus, told.append)
        short.run(tasks := queue(2, ranks))
        assert told == tasks
        assert {task.state for task in tasks} == {"failed"}
        assert f"needs {ranks} GPUs, and {len(gpus)} are known" in tasks[0].why


def test_on_the_cpu_one_job_runs_at_a_time_unless_asked():
    assert started(pool([]), queue(3, gpu=False)) == [[]]
    assert started(pool([], n_jobs=2), queue(3, gpu=False)) == [[], []]


def test_a_fit_is_trained_by_one_job_at_a_time():
    tasks = queue(2, gpu=False)
    tasks[1].fit = tasks[0].fit
    assert started(pool([], n_jobs=2), tasks) == [[]]


def test_each_rank_has_its_place_in_the_environment():
    [task] = queue(1, ranks=2)
    task.slots = ["3", "5"]
    first, second = task.environments(4)
    assert (first["RANK"], second["RANK"], first["WORLD_SIZE"], first["OMP_NUM_THREADS"]) == ("0", "1", "2", "4")
    assert first["MASTER_PORT"] == second["MASTER_PORT"]
    assert first["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert "RANK" not in queue(1)[0].environments(1)[0] or "RANK" in os.environ


# -- several processes to a job

RANKS = ["data.n=44", "trainer.devices=2", "trainer.accelerator=cpu"]
RANK_ENDS = {"raises": "ValueError: boom", "is_killed": "SIGKILL", "exits_3": "exit 3", "exits_0": "exit 0 before"}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_ends_fails_its_job_and_the_next_one_starts(rank, faults, tmp_path, capfd):
    words = [*kinds(*RANK_ENDS, "none"), f"+callbacks.fault.rank={rank}", *RANKS, "hydra.launcher.grace=2"]
    [made] = train(tmp_path / "out", "-m", *words, code=1)
    assert kind(made) == "none"
    out = capfd.readouterr().out
    for number, said in enumerate(RANK_ENDS.values()):
        assert f"#{number} failed: rank {rank}: {said}" in out, out
    assert not alive()


@pytest.mark.slow
def test_a_rank_that_is_stopped_fails_its_job(faults, tmp_path, capfd):
    words = [*kinds("is_stopped", "none"), "+callbacks.fault.rank=1", *RANKS, "hydra.launcher.grace=2"]
    [made] = train(tmp_path / "out", "-m", *words, code=1)
    assert kind(made) == "none"
    assert "#0 failed: a rank is stopped" in capfd.readouterr().out
    assert not alive()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_signal_to_one_rank_saves_all(flags, faults, tmp_path, capfd, monkeypatch):
    words = [*flags, *kinds("is_asked_to_leave"), "+callbacks.fault.rank=1", *RANKS]
    assert train(tmp_path / "out", *words, code=75) == []
    assert not alive()
    assert len(losses(next((tmp_path / "out").rglob("metrics.jsonl")).parent)) == 6
    monkeypatch.setenv("ASKED", "before")
    [made] = train(tmp_path / "out", *words)
    assert "resumed at step 6" in (made / "log.txt").read_text(encoding="utf-8")
    [whole] = train(tmp_path / "whole", *words)
    assert rows(made) == rows(whole)


@pytest.mark.slow
def test_two_ranks_are_one_process(tmp_path):
    """Losses equal one process's at the same global batch; alone and in a sweep."""
    [alone] = train(tmp_path / "one", "data.n=44")
    [pair] = train(tmp_path / "pair", *RANKS)
    swept = train(tmp_path / "swept", "-m", *RANKS, "seed=0,1")
    [twin] = [place for place in swept if place.name.rpartition("-")[2] == pair.name.rpartition("-")[2]]
    assert rows(twin) == rows(pair)
    assert losses(pair) == pytest.approx(losses(alone), rel=1e-5)
    assert {**rows(pair)[-1]}.keys() == {**rows(alone)[-1]}.keys()


# -- the driver is stopped

DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from denoiselab.commands.main import run
sys.exit(run(WORDS))
"""
LONG = ["trainer.max_steps=400", "trainer.val_check_interval=50", "seed=0,1,2", "hydra.launcher.n_jobs=2",
        "hydra.launcher.grace=5", "checkpoint.every=10"]  # fmt: skip


def begun(root, rows):
    """Do two jobs have so many lines of record?"""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) >= rows for path in root.rglob("metrics.jsonl")) >= 2


def driver(root, *words):
    return process(DRIVER.replace("WORDS", repr(["train", "-m", *TINY, *LONG, f"outputs={root}", *words])))


def jobs(root):
    """The processes that hold a run: the pids in the locks that are taken."""
    import fcntl

    held = []
    for path in root.rglob(".*.lock"):
        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.append(int(file.read().split()[0]))
    return held


def look_until(look, driver, patience=60):
    import time

    end = time.monotonic() + patience
    while not look():
        assert time.monotonic() < end, "waited in vain"
        assert driver is None or driver.poll() is None, driver.stdout.read()


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_a_driver_that_ends_leaves_no_orphan_and_its_sweep_goes_on(number, code, tmp_path):
    stopped = driver(tmp_path)
    look_until(lambda: begun(tmp_path, 30), stopped)
    children = jobs(tmp_path)
    assert len(children) == 2
    os.kill(stopped.pid, number)
    said, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == code, said
    look_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), None)
    if number != signal.SIGKILL:
        assert "2 preempted, 1 not started" in said
    again = driver(tmp_path)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert "3 completed" in said
    finished = marks(tmp_path)
    assert len(finished) == 3
    resumed = [(place / "log.txt").read_text(encoding="utf-8").count("resumed at step") for place in finished]
    assert sorted(resumed) == [0, 1, 1]
    for place in finished:
        assert [row["step"] for row in record.read(place) if "train/loss" in row] == list(range(1, 401))
        assert json.loads((place / "summary.json").read_text(encoding="utf-8"))["steps"] == 400


@pytest.mark.slow
def test_a_driver_that_is_killed_at_ten_moments_completes_every_cell_once(tmp_path):
    """While it composes, checks, starts jobs, waits for them: each time started again, by the same command."""
    import random

    chance = random.Random(0)
    words = ["seed=0,1,2,3,4,5", "trainer.max_steps=600"]
    for _ in range(10):
        killed = driver(tmp_path, *words)
        try:
            killed.wait(chance.uniform(1, 12))
        except subprocess.TimeoutExpired:
            killed.kill()
        killed.communicate()
    last = driver(tmp_path, *words)
    said, _ = last.communicate(timeout=300)
    assert last.returncode == 0, said
    finished = marks(tmp_path)
    assert len(finished) == 6
    for place in finished:
        assert (place / "log.txt").read_text(encoding="utf-8").count(" completed\n") == 1
        assert [row["step"] for row in record.read(place) if "train/loss" in row] == list(range(1, 601))
    assert not jobs(tmp_path)
