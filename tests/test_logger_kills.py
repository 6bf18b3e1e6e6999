"""Loggers of runs that are killed: each metric of each step is there, and once."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb_server

from denoiselab.run import online
from denoiselab.run.logger import CSV, TensorBoard, Wandb

# A run that logs until it is killed, or until its end, and then waits for either.
RUN = """
import os
import sys
import numpy as np
from PIL import Image
from denoiselab.run import logger
from denoiselab.run.record import Record

kind, folder, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
record, log = Record(folder), getattr(logger, kind)()
record.cut(first)
log.start(folder, "0123456789", logger.Label("name"), {"schedule": "linear"}, first)
for step in range(first + 1, last + 1):
    for values in [{"train/loss": 1 / step}, *[{"val/loss": 2 / step}] * (step % 4 == 0)]:
        record.write(step, values)
        log.log(values, step)
    print(step, flush=True)
if last == 480:
    log.log({"test/loss": 0.25}, last)
if last == 480 and "NUMBERS_ALONE" not in os.environ:
    log.image("samples", Image.fromarray(np.zeros((4, 4, 3), np.uint8)), last)
    log.table("texts", ["text"], [["a"]], last)
print("evaluated", flush=True)
sys.stdin.read()
print(log.finish())
"""


def attempt(kind: str, folder: Path, first: int, last: int, killed: str | None = None, **variables: str) -> str:
    """A run from step `first`: killed when it has printed that, or ended at step `last`; its last words."""
    command = [sys.executable, "-c", RUN, kind, str(folder), str(first), str(last)]
    # A process of wandb's of its own, not the one of the tests: that would hold the run of one that was killed.
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    env |= {"PYTHONWARNINGS": "ignore::DeprecationWarning", **variables}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=env) as run:  # fmt: skip
        if killed:
            assert f"{killed}\n" in iter(run.stdout.readline, "")
            run.kill()
            return ""
        out, complaints = run.communicate()
        assert complaints == ""
        return out.splitlines()[-1]


def from_csv(folder: Path, said: str) -> list[tuple[int, str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(int(r["step"]), name, float(v)) for r in rows for name, v in r.items() if v and name != "step"]


def from_tensorboard(folder: Path, said: str) -> list[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    assert all(len(events.Images(tag)) == 1 for tag in tags["images"])
    assert all(len(events.Tensors(tag)) == 1 for tag in tags["tensors"])
    assert (tags["images"], tags["tensors"]) == (["samples"], ["config/text_summary", "texts/text_summary"])
    return [(e.step, tag, e.value) for tag in tags["scalars"] for e in events.Scalars(tag)]


def from_wandb(folder: Path, said: str) -> list[tuple[int, str, float]]:
    parts = sorted((folder / "wandb").glob("offline-run-*"))
    command, _, comment = said.partition("  # ")
    assert command.split() == ["wandb", "sync", *map(str, parts)]
    assert len(parts) == 3
    assert comment.startswith("one run, in 3 parts")
    told = []
    for part in parts:
        rows = online.records(part)
        assert rows[-1]["type"] == "exit", "wandb sync stops at a part that was cut short"
        items = [row["history"]["item"] for row in rows if row["type"] == "history"]
        assert [item["_step"] for item in items] == sorted({item["_step"] for item in items})
        told += [(item["trainer/global_step"], name, value) for item in items for name, value in item.items()]
    shown = [(step, name) for step, name, _ in told if name in ("samples._type", "texts._type")]
    assert sorted(shown) == [(480, "samples._type"), (480, "texts._type")]
    return [(step, name, value) for step, name, value in told if name.endswith("/loss")]


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::DeprecationWarning")
@pytest.mark.parametrize("logger, logged", [(CSV, from_csv), (TensorBoard, from_tensorboard), (Wandb, from_wandb)])
def test_killed_runs_log_each_step_once(tmp_path, logger, logged):
    if logger is TensorBoard:
        pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    kind = logger.__name__
    attempt(kind, tmp_path, 0, 10**6, killed="3")
    attempt(kind, tmp_path, 0, 10**6, killed="420")
    attempt(kind, tmp_path, 300, 450)
    attempt(kind, tmp_path, 350, 470)
    attempt(kind, tmp_path, 460, 480, killed="evaluated")
    said = attempt(kind, tmp_path, 480, 480)
    each_once(logged(tmp_path, said))


def each_once(found: list[tuple[int, str, float]]) -> None:
    """The losses of a run of 480 steps that was not killed: each is there, and once."""
    train, val = [(s, "train/loss", 1 / s) for s in range(1, 481)], [(s, "val/loss", 2 / s) for s in range(4, 481, 4)]
    whole = sorted([*train, *val, (480, "test/loss", 0.25)])
    assert [row[:2] for row in sorted(found)] == [row[:2] for row in whole]
    assert [row[2] for row in sorted(found)] == pytest.approx([row[2] for row in whole])


@pytest.fixture
def server(monkeypatch):
    with wandb_server.serving() as server:
        for name, value in {**server.variables, "WANDB_MODE": "online", "NUMBERS_ALONE": "yes"}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.slow
def test_killed_runs_are_one_run_online(tmp_path, server):
    quiet = {"WANDB_SILENT": "true"}
    attempt("Wandb", tmp_path, 0, 10**6, killed="420")
    attempt("Wandb", tmp_path, 300, 450, **quiet)
    attempt("Wandb", tmp_path, 350, 480, **quiet)
    assert attempt("Wandb", tmp_path, 480, 480, **quiet) == "None"
    each_once([(line["trainer/global_step"], name, value) for line in server.lines for name, value in line.items()
               if name.endswith("/loss")])  # fmt: skip


@pytest.mark.slow
def test_a_server_that_falls_silent_stops_no_run(tmp_path, server):
    """It accepts the run, and then answers nothing: the run ends, and says how to send what was not sent."""
    waits = "from denoiselab.run.logger import wandb as w; w.LAST = 2\n"
    command = [sys.executable, "-c", waits + RUN, "Wandb", str(tmp_path), "0", "450"]
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as run:
        assert "1\n" in iter(run.stdout.readline, "")
        server.stalling = True
        out, _ = run.communicate()
    assert run.returncode == 0
    [place] = (tmp_path / "wandb").glob("run-*-0123456789")
    assert out.splitlines()[-1] == f"wandb sync {place}  # not all of it reached the server within 2 seconds"


@pytest.mark.slow
def test_parts_written_offline_are_one_run_when_they_are_sent(tmp_path, server):
    offline = {"WANDB_MODE": "offline"}
    attempt("Wandb", tmp_path, 0, 10**6, killed="420", **offline)
    attempt("Wandb", tmp_path, 300, 450, **offline)
    said = attempt("Wandb", tmp_path, 350, 480, **offline)
    assert server.lines == []
    command = [sys.executable, "-m", *said.partition("  # ")[0].split()]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    each_once([(line["trainer/global_step"], name, value) for line in server.lines for name, value in line.items()
               if name.endswith("/loss")])  # fmt: skip
