"""Launchers: a sweep is the same sweep, whoever starts its jobs; each job owns itself, and who submitted it may go."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import slurm as real
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from runs import TINY, completed_once, equal_runs, marks, process, rows, states, train, trials

from denoiselab.commands.main import run
from denoiselab.files import CONF
from denoiselab.launch import plan
from denoiselab.launch.history import History, held
from denoiselab.launch.judge import judge
from denoiselab.launch.parallel import Joblib
from denoiselab.launch.pool import Limits
from denoiselab.spec import Refused

pytestmark = pytest.mark.usefixtures("patient")
MOONS = ["data=moons", "data.n=44"]


# -- a cell, and what is refused


def verdict(tmp_path, *words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [*TINY, *MOONS, f"outputs={tmp_path}", *words])
    [found] = judge([(OmegaConf.to_container(cfg, resolve=True), {}, list(words))], elsewhere=True)
    return found


def test_a_cell_for_a_cluster_needs_nothing_of_this_machine(tmp_path):
    many = ["trainer.accelerator=gpu", "trainer.devices=4", "trainer.num_nodes=2", "trainer.strategy=fsdp"]
    found = verdict(tmp_path, *many)
    assert (found.ranks, found.gpu, found.finished) == (8, False, None)
    assert found.fit != verdict(tmp_path).fit  # it is the cell that was asked for that is known
    for words, ranks in ((["speed=ddp"], 2), (["speed=nodes"], 16), (["speed=fsdp"], 2), (["speed=ddp", *many], 8)):
        assert verdict(tmp_path, *words).ranks == ranks
    assert "a number" in verdict(tmp_path, "trainer.devices=auto").fix
    assert "epsilon" in str(verdict(tmp_path, "parameterization=epsilon", *many)).lower()


@pytest.mark.parametrize(
    "words, said",
    [
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "at least 1"),
        (["hydra/launcher=joblib", "hydra.launcher.backend=threading"], "a process"),
        (["hydra/launcher=joblib", "hydra.launcher.backend=nobody"], "no such backend"),
        (["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=0"], "at least 1 minute"),
        (["hydra/launcher=joblib", "hydra.launcher.grace=-1"], "seconds"),
        (["hydra/launcher=submitit_local", "hydra.launcher.array_parallelism=0"], "at least 1"),
        (["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"], "give trainer.devices=2 alone"),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.patition=x"], "partition"),
        (["hydra/launcher=submitit_slurm"], "there is no Slurm on this machine"),
    ],
)
def test_a_launcher_that_cannot_be_starts_nothing(words, said, tmp_path, capfd, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not here: pip install denoiselab[launchers]")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert train(tmp_path / "out", "-m", *MOONS, *words, code=2) == []
    assert said in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_plugin_brings_joblib_a_backend(tmp_path, monkeypatch):
    joblib = pytest.importorskip("joblib", reason="joblib is not here: pip install denoiselab[launchers]")
    (tmp_path / "brings.py").write_text("from joblib import parallel\nparallel.BACKENDS['mine'] = object\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(joblib.parallel, "BACKENDS", dict(joblib.parallel.BACKENDS))
    monkeypatch.delitem(sys.modules, "brings", raising=False)
    crew = Joblib(1, "mine", Limits(1, 1, None, 1.0))
    with pytest.raises(Refused, match="no such backend"):
        crew.registered([[], None])
    crew.registered([["brings"]])


def test_a_launcher_is_a_sweep_s(tmp_path, capfd):
    assert train(tmp_path, *MOONS, "hydra/launcher=submitit_slurm", code=2) == []
    assert "add -m" in capfd.readouterr().err


# -- whole sweeps


def complete(root, cells):
    """The ledger has each cell once, completed; its folder."""
    [folder] = plan.found(root)
    completed_once(folder, cells)
    assert not any(map(held, (folder / "drivers").iterdir()))  # a killed one leaves its file to the next command
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_sweep_on_this_machine_by_another_launcher(launcher, tmp_path, capfd):
    if launcher == "submitit_local":
        pytest.importorskip("submitit", reason="submitit is not here: pip install denoiselab[launchers]")
    many = {"joblib": "n_jobs", "submitit_local": "array_parallelism"}[launcher]
    words = ["-m", *MOONS, f"hydra/launcher={launcher}", f"hydra.launcher.{many}=2", "seed=0,1,2,3"]
    made = train(tmp_path / "out", *words)
    assert len(made) == 4
    complete(tmp_path / "out", 4)
    assert "4 completed" in capfd.readouterr().out
    assert train(tmp_path / "out", *words) == []
    assert "4 finished before" in capfd.readouterr().out
    [alone] = train(tmp_path / "alone", *MOONS, "seed=2")
    [twin] = [place for place in made if place.name.rpartition("-")[2] == alone.name.rpartition("-")[2]]
    equal_runs(twin, alone)


# -- jobs that are killed, and a real Slurm

PAUSES = '''
"""A job that waits for a signal in its first start, after six steps."""

import os
import threading
from pathlib import Path

import pytorch_lightning as pl

from denoiselab.run.saver import Saver

PAUSING = ("first", "asked", "killed", "ranks")


class Pause(pl.Callback):
    def __init__(self, name: str):
        self.name = name

    def on_train_batch_end(self, trainer, module, out, batch, index):
        place = Path(os.environ["PLACE"]) / self.name
        if index == 5 and self.name in PAUSING and not place.exists():
            array = os.environ.get("SLURM_ARRAY_JOB_ID")  # the number of one job of it may be that of the whole
            job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "here")
            if trainer.is_global_zero:
                place.with_suffix(".new").write_text(job, encoding="utf-8")
                place.with_suffix(".new").rename(place)
            [saver] = [each for each in trainer.callbacks if isinstance(each, Saver)]
            while not saver.asked:  # the signal may be here already
                threading.Event().wait(0.02)
'''
PLANTED = ["plugins=[pauses]", "+callbacks.pause._target_=pauses.Pause"]
DRIVER = """
import sys
from denoiselab.commands.main import run
sys.exit(run(WORDS))
"""


@pytest.fixture
def planted(monkeypatch, tmp_path):
    (tmp_path / "pauses.py").write_text(PAUSES, encoding="utf-8")
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1] / "src"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def slurm(planted, monkeypatch, tmp_path):
    pytest.importorskip("submitit", reason="submitit is not here: pip install denoiselab[launchers]")
    try:
        environment = real.running()
    except real.Unavailable as e:
        pytest.skip(f"no Slurm: {e}")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    for file in tmp_path.rglob("jobs.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            subprocess.run(["scancel", "--quiet", json.loads(line)["job"]])


def driver(root, *words, launcher="submitit_slurm"):
    words = ["train", "-m", *TINY, *MOONS, f"hydra/launcher={launcher}", f"outputs={root}", *words]
    return process(DRIVER.replace("WORDS", repr(words)), COLUMNS="200")


def preempt(job, root, child):
    """By scancel, which asks again and again where Slurm is slow: a second start of the job shall not hear it."""
    [folder] = plan.found(root)
    asking = subprocess.Popen(["scancel", "--signal=USR1", job])
    until(lambda: '"preempted"' in (folder / "ledger.jsonl").read_text(encoding="utf-8"), child)
    asking.kill()
    asking.wait()


def until(look, child, patience=300.0):
    """Waits until `look()` gives something, as long as `child` lives."""
    for _ in range(int(patience / 0.05)):
        if found := look():
            return found
        with suppress(subprocess.TimeoutExpired):
            child.wait(0.05)
            raise AssertionError(child.communicate()[0])
    child.kill()
    raise AssertionError(f"waited in vain: {child.communicate()[0]}")


def word(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.mark.slow
def test_what_a_killed_process_of_joblib_had_is_tried_once_more(planted):
    words = [*PLANTED, "+callbacks.pause.name=killed,none", "hydra.launcher.n_jobs=2"]
    child = driver(planted / "out", *words, launcher="joblib")
    until(lambda: word(planted / "killed"), child)
    [folder] = plan.found(planted / "out")
    [key] = [each["cell"] for each in plan.read(folder)["cells"] if "name=killed" in each["words"]]
    os.kill(History(folder).read()[key].pid, signal.SIGKILL)
    said, _ = child.communicate(timeout=600)
    assert child.returncode == 0, said
    assert "2 completed" in said
    complete(planted / "out", 2)
    done = named(planted / "out")
    assert "resumed at step 6" in (done["killed"] / "log.txt").read_text(encoding="utf-8")
    equal_runs(done["killed"], done["none"])


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_slurm"])
def test_a_search_is_the_same_whoever_starts_its_trials(launcher, planted, request):
    pytest.importorskip("optuna", reason="optuna is not installed: pip install denoiselab[optuna]")
    if launcher == "submitit_slurm":
        request.getfixturevalue("slurm")
    words = ["hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(1e-6,1e-1))", "hydra/sweeper/pruner=median",
             "hydra.sweeper.pruner.startup=1", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2",
             "hydra.sweeper.seed=1"]  # fmt: skip
    for name in ("local", launcher):
        child = driver(planted / name, *words, launcher=name)
        said, _ = child.communicate(timeout=600)
        assert child.returncode == 0, said
    found, theirs = trials(planted / launcher), trials(planted / "local")
    assert {each[1] for each in theirs} == {"COMPLETE", "PRUNED"}
    assert found == theirs
    [folder], [other] = plan.found(planted / launcher), plan.found(planted / "local")
    for key, one in History(other).read().items():
        entry = History(folder).read()[key]
        assert (entry.state, entry.value, entry.attempts) == (one.state, one.value, 1)
    assert [(place.name, rows(place)) for place in sorted(marks(planted / launcher))] == [
        (place.name, rows(place)) for place in sorted(marks(planted / "local"))
    ]


def named(root):
    """What is done, by the name of what was planted."""
    return {OmegaConf.load(place / "config.yaml").callbacks.pause.name: place for place in marks(root)}


@pytest.mark.slow
def test_a_sweep_on_slurm_whose_driver_is_killed(slurm, capfd):
    words = [*PLANTED, "+callbacks.pause.name=first,none,fine,calm"]
    killed = driver(slurm / "out", *words)
    until(lambda: word(slurm / "first"), killed)
    killed.kill()
    killed.communicate()
    [folder] = plan.found(slurm / "out")
    assert "running" in states(folder)  # and it goes on
    again = driver(slurm / "out", *words)
    preempt(word(slurm / "first"), slurm / "out", again)
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said
    # Slurm went on while no command looked: any of the others may have ended before the second one came.
    [total] = re.findall(r"^(?:\d+ (?:completed|finished before)(?:, )?)+$", said, re.M)
    assert sum(map(int, re.findall(r"\d+", total))) == 4, said
    complete(slurm / "out", 4)
    jobs = [json.loads(line)["job"] for line in (folder / "jobs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(jobs) == 4, "what the killed command had submitted was submitted again"
    assert run(["status", str(slurm / "out"), "--once"]) == 0
    assert "4 completed" in capfd.readouterr().out


@pytest.mark.slow
def test_of_slurm_jobs_a_preempted_one_goes_on_and_a_killed_one_is_named(slurm):
    child = driver(slurm / "out", *PLANTED, "+callbacks.pause.name=asked,killed,none")
    preempt(until(lambda: word(slurm / "asked"), child), slurm / "out", child)
    until(lambda: word(slurm / "killed"), child)
    [folder] = plan.found(slurm / "out")
    [key] = [each["cell"] for each in plan.read(folder)["cells"] if "name=killed" in each["words"]]
    os.kill(History(folder).read()[key].pid, signal.SIGKILL)  # scancel would ask first
    said, _ = child.communicate(timeout=600)
    assert child.returncode == 1, said
    assert "1 failed, 2 completed" in said or "2 completed, 1 failed" in said
    found = re.search(r"#1 failed: job \d+_\d+ ended without a word.*\n  log: (.*log\.txt)", said)
    assert found, said
    assert "started: " in Path(found[1]).read_text(encoding="utf-8")
    done = named(slurm / "out")
    asked, none = done["asked"], done["none"]
    assert "resumed at step 6" in (asked / "log.txt").read_text(encoding="utf-8")
    equal_runs(asked, none)
    assert sorted(one.attempts for one in History(folder).read().values()) == [1, 1, 2]


@pytest.mark.slow
def test_two_tasks_of_slurm_are_two_ranks(slurm):
    ranks = ["trainer.devices=2", "trainer.accelerator=cpu", "hydra.launcher.tasks_per_node=2"]
    child = driver(slurm / "out", *PLANTED, "+callbacks.pause.name=ranks", *ranks)
    preempt(until(lambda: word(slurm / "ranks"), child), slurm / "out", child)
    said, _ = child.communicate(timeout=600)
    assert child.returncode == 0, said
    complete(slurm / "out", 1)
    [swept] = marks(slurm / "out")
    [whole] = train(slurm / "whole", *MOONS, *PLANTED, "+callbacks.pause.name=ranks", *ranks[:2])
    assert rows(swept) == rows(whole)


@pytest.mark.slow
def test_what_slurm_does_not_take_is_refused(slurm):
    child = driver(slurm / "out", "hydra.launcher.partition=none")
    said, _ = child.communicate(timeout=300)
    assert child.returncode == 2, said
    assert "Slurm does not take the job" in said
