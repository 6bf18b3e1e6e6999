"""Where runs lie, and what a disk can do to them: nothing leads out of the root, which may have any name; what cannot
be written is said before training where it can be known, and loses nothing where not; two processes never write one
run; worker processes change nothing."""

import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from runs import TINY, equal_runs, forked, process, train, until

import denoiselab
from denoiselab.commands.main import run
from denoiselab.run import lock, record
from denoiselab.run.saver import last_good
from denoiselab.spec import Refused

ROOTS = ["with spaces", "ünïcödé 数据 עברית", "a=b,c", "(x) [y] {z}", "quo'te\"s", "-dash", "semi;colon & $HOME"]


def quoted(path):
    """A value that Hydra takes as it is."""
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@pytest.mark.parametrize("name", ROOTS)
def test_the_root_may_have_any_name(name, tmp_path, capsys):
    root = tmp_path / name
    words = ["data.n=40", "trainer.max_steps=2", "trainer.val_check_interval=1"]
    tiny = [word for word in TINY if not word.startswith("trainer.max") and "val_check" not in word]
    assert run(["train", *tiny, *words, f"outputs={quoted(root)}"]) == 0
    [marker] = tmp_path.rglob("COMPLETED")
    assert marker.is_relative_to(root / "diffusion")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert denoiselab.load(marker.parent).sample(1).shape[0] == 1
    assert run(["train", "-m", *tiny, *words, f"outputs={quoted(root)}", "seed=0,1"]) == 0
    assert len([*tmp_path.rglob("COMPLETED")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "1 finished before, 1 completed" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.parametrize("root", ["/proc/denoiselab", "{here}/file/below"])
def test_a_root_that_cannot_be_written_is_refused_before_training(root, flags, tmp_path, capfd):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    root = root.format(here=tmp_path)
    assert run(["train", *flags, *TINY, f"outputs={root}"]) == 2
    err = capfd.readouterr().err
    assert "cannot be made" in err
    assert "outputs=FOLDER" in err
    assert "Traceback" not in err


def test_a_disk_without_room_is_refused_before_training(tmp_path, monkeypatch, capfd):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    train(tmp_path / "out", code=2)
    err = capfd.readouterr().err
    assert "no room" in err
    assert "checkpoint.keep=1" in err
    assert not [*tmp_path.iterdir()]


FULL = """
import os
import resource
import signal

import pytorch_lightning as pl


class Full(pl.Callback):
    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, module, out, batch, index):
        if index + 1 == self.step and os.environ.get("DISK") == "full":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["LIMIT"]), resource.RLIM_INFINITY))
"""


@pytest.fixture
def full(tmp_path, monkeypatch):
    (tmp_path / "full.py").write_text(FULL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield ["plugins=[full]", "+callbacks.full._target_=full.Full", "+callbacks.full.step=6", "checkpoint.every=3"]
    sys.modules.pop("full", None)


@pytest.mark.parametrize("limit", [1024, 20_000])
def test_a_disk_that_fills_up_loses_nothing(limit, full, tmp_path):
    """A limit on the size of files stands for the disk: of the record at 1 kB, of a checkpoint at 20."""
    [whole] = train(tmp_path / "whole", *full)
    config = yaml.safe_load((whole / "config.yaml").read_text(encoding="utf-8"))
    config["outputs"] = str(tmp_path / "out")
    child = forked(config, tmp_path / "log", {"DISK": "full", "LIMIT": str(limit)})
    child.join()
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert child.exitcode == 1, said
    assert "failed: " in said
    assert "File too large" in said
    assert "Traceback" not in said
    [checkpoints] = (tmp_path / "out").rglob("checkpoints")
    good = last_good(checkpoints.parent)
    assert good.stem in ("000000003", "000000004", "000000006")
    assert not list(checkpoints.parent.rglob("*.tmp"))
    child = forked(config, tmp_path / "log")
    child.join()
    assert child.exitcode == 0, (tmp_path / "log").read_text(encoding="utf-8")
    [marker] = (tmp_path / "out").rglob("COMPLETED")
    equal_runs(marker.parent, whole)


# -- one process a run

HOLD = """
from pathlib import Path
from denoiselab.run import lock
with lock.held(Path(ROOT), "0123456789"):
    print("held", flush=True)
    __import__("threading").Event().wait()
"""


def holder(root):
    child = process(HOLD.replace("ROOT", repr(str(root))))
    assert child.stdout.readline() == "held\n"
    return child


def test_a_run_that_another_process_holds_is_refused(tmp_path):
    child = holder(tmp_path)
    with pytest.raises(Refused, match=f"process {child.pid} on"), lock.held(tmp_path, "0123456789"):
        pass
    with lock.held(tmp_path, "abcdefabcd"):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with lock.held(tmp_path, "0123456789"):
        assert str(os.getpid()) in lock.path(tmp_path, "0123456789").read_text(encoding="utf-8")


def test_a_run_that_another_process_holds_is_waited_for(tmp_path, capsys, monkeypatch):
    child = holder(tmp_path)

    def look(seconds):
        child.kill()
        child.wait()

    monkeypatch.setattr(lock.time, "sleep", look)
    with lock.held(tmp_path, "0123456789", wait=True):
        pass
    child.stdout.close()
    assert f"waiting for process {child.pid}" in capsys.readouterr().out


def test_what_a_dead_process_left_is_waited_for(tmp_path, capsys, monkeypatch):
    """Such as its data workers, which have the lock's descriptor too."""
    child = holder(tmp_path)
    lock.path(tmp_path, "0123456789").write_text(f"999999999 {lock.socket.gethostname()}", encoding="utf-8")

    def look(seconds):
        child.kill()
        child.wait()

    monkeypatch.setattr(lock.time, "sleep", look)
    with lock.held(tmp_path, "0123456789"):
        pass
    child.stdout.close()
    assert "waiting for what is left of process 999999999" in capsys.readouterr().out


def test_the_pulse_of_a_run_is_seen(tmp_path):
    with lock.held(tmp_path, "0123456789"):
        file = lock.path(tmp_path, "0123456789")
        os.utime(file, (1, 1))
        pulse = lock.Pulse(file)
        pulse()
        assert file.stat().st_mtime > 1
        os.utime(file, (1, 1))
        pulse()  # within the second
        assert file.stat().st_mtime == 1


def test_two_commands_at_once_train_once(tmp_path):
    """The second waits, and finds it finished."""
    config = configured(tmp_path)
    first = forked(config, tmp_path / "first")
    until(lambda: any((tmp_path / "out").rglob("metrics.jsonl")), first)
    second = forked(config, tmp_path / "second")
    first.join()
    second.join()
    said = [(tmp_path / name).read_text(encoding="utf-8") for name in ("first", "second")]
    assert (first.exitcode, second.exitcode) == (0, 0), said
    assert "finished before" in said[1]
    [folder] = {path.parent for path in (tmp_path / "out").rglob("COMPLETED")}
    assert (folder / "log.txt").read_text(encoding="utf-8").count("started") == 1


def configured(tmp_path):
    """A run's configuration, longer."""
    [made] = train(tmp_path / "one")
    config = yaml.safe_load((made / "config.yaml").read_text(encoding="utf-8"))
    return {**config, "outputs": str(tmp_path / "out"), "trainer": {**config["trainer"], "max_steps": 300}}


# -- workers


def test_worker_processes_change_nothing_killed_or_not(tmp_path):
    [alone] = train(tmp_path / "alone", "data.n=44", "architecture.dropout=0.2")
    [shared] = train(tmp_path / "shared", "data.n=44", "architecture.dropout=0.2", "data.num_workers=2")
    assert shared.name.rpartition("-")[2] == alone.name.rpartition("-")[2]
    equal_runs(shared, alone)


@pytest.mark.parametrize("workers", [(0, 2), (2, 0)])
def test_the_number_of_workers_may_change_on_the_way(workers, tmp_path):
    before, after = workers
    config = configured(tmp_path)
    config["checkpoint"]["every"] = 20
    forked({**config, "outputs": str(tmp_path / "whole")}, tmp_path / "log").join()
    cut = {**config, "data": {**config["data"], "num_workers": before}}
    child = forked(cut, tmp_path / "log")
    until(lambda: any(len(record.read(path)) >= 50 for path in (tmp_path / "out").rglob("metrics.jsonl")), child)
    child.kill()
    child.join()
    child = forked({**cut, "data": {**config["data"], "num_workers": after}}, tmp_path / "log")
    child.join()
    assert child.exitcode == 0, (tmp_path / "log").read_text(encoding="utf-8")
    [resumed], [reference] = (
        [path.parent for path in (tmp_path / name).rglob("COMPLETED")] for name in ("out", "whole")
    )
    assert "resumed at step" in (resumed / "log.txt").read_text(encoding="utf-8")
    equal_runs(resumed, reference)


def test_nothing_leads_out_of_the_root(tmp_path, capfd):
    for name in ("../evil", "a/b", "..", "", ".", "a\\b/..", "-x", "a b"):
        assert run(["train", *TINY, f"outputs={tmp_path / 'out'}", f"name={quoted(name)}"]) == 2
        assert "name becomes a folder" in capfd.readouterr().err
    assert not [*Path(tmp_path).iterdir()]
