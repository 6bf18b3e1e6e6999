"""What tests of whole runs share: a tiny cell, what a run or a sweep left, and processes that can be killed."""

import json
import os
import subprocess
import sys
from multiprocessing.connection import wait
from pathlib import Path

import torch

from denoiselab.commands.main import run
from denoiselab.launch import plan, server
from denoiselab.launch.history import History
from denoiselab.launch.order import Order
from denoiselab.run import checkpoint, record

STEPS = 12
TINY = ["architecture=mlp", "architecture.width=16", "architecture.layers=1", "data.batch_size=8", "logger=none",
        f"trainer.max_steps={STEPS}", "trainer.val_check_interval=4", "trainer.log_every_n_steps=1", "sampler.steps=3",
        "trainer.enable_progress_bar=false", "evaluation.samples=8", "evaluation.metrics=[]"]  # fmt: skip


def train(root, *overrides, code=0, without=None):
    """The folders in which results lie, of one command that leaves with `code`; `without` a key of the tiny cell."""
    before = marks(root)
    # Hydra takes flags before overrides alone.
    flags = [word for word in overrides if word.startswith("-")]
    words = [word for word in overrides if word not in flags]
    tiny = [word for word in TINY if word.partition("=")[0] != without]
    assert run(["train", *flags, *tiny, f"outputs={root}", *words]) == code
    return sorted(marks(root) - before)


def marks(root):
    return {path.parent for path in Path(root).rglob("summary.json")}


def rows(folder):
    """The record, without what a clock says."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in record.read(folder)]


def losses(folder):
    return [row["train/loss"] for row in record.read(folder) if "train/loss" in row]


def scores(folder):
    return {name: score["value"] for name, score in record.read_summary(folder)["metrics"].items()}


def last(folder):
    """The name of the newest checkpoint."""
    return max(path.stem for path in (folder / "checkpoints").glob("[0-9]*.ckpt"))


def weights(folder, name=None):
    """All that a checkpoint says of weights and optimizer."""
    saved = checkpoint.load(folder / "checkpoints" / f"{name or last(folder)}.ckpt")
    return {key: saved[key] for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states",
                                        "lr_schedulers", "global_step") if key in saved}  # fmt: skip


def same(a, b):
    """Equal to the bit, through all containers."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def equal_runs(resumed, whole):
    """A run that went on is the run that nobody stopped."""
    assert rows(resumed) == rows(whole)
    assert same(weights(resumed), weights(whole))
    assert same(weights(resumed, "best"), weights(whole, "best"))
    assert scores(resumed) == scores(whole)
    assert (resumed / "COMPLETED").exists()


def states(folder, key=None):
    """What the ledger of a sweep says, in order; or of one cell."""
    lines = (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["state"] for row in map(json.loads, lines) if key in (None, row["cell"])]


def completed_once(folder, cells):
    """The ledger has each cell once, completed."""
    history = History(folder).read()
    assert len(history) == cells
    for key, one in history.items():
        assert one.state == "completed"
        assert states(folder, key).count("completed") == 1
        assert states(folder, key).count("running") == one.attempts


def trials(root):
    """How the trials of a search ended."""
    from denoiselab.search import journal

    [folder], kept = plan.found(root), ("words", "state", "why")
    return [(each.number, each.state.name, each.params, each.values, each.intermediate_values,
             *map(each.user_attrs.get, kept)) for each in journal.opened(folder).trials]  # fmt: skip


def process(code, cwd=None, **environment):
    """A Python process of its own, which runs `code`."""
    source = Path(__file__).resolve().parents[1] / "src"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(source), **environment},
    )  # fmt: skip


def forked(config, log, environment=None):
    """A process of a job, started as a sweep starts it: in hundredths of a second."""
    order = Order(config, {}, [], str(log), {**os.environ, **(environment or {})}, 1, 5.0)
    return server.process(server.started(), order.obeyed)


def until(look, child, patience=120.0):
    """Waits until `look()` holds, as long as `child` lives; fails after `patience` seconds."""
    for _ in range(int(patience / 0.005)):
        if look():
            return
        if wait([child.sentinel], timeout=0.005):
            assert look(), "the process ended before"
            return
    raise AssertionError("waited in vain")
