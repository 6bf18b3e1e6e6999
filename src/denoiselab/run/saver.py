"""When checkpoints are saved: every so many steps the last ones, the best one, and the end.

A checkpoint is the state at the end of an optimizer step. Where a validation is due after that step, it comes first:
saved before it, the checkpoint would say that the step is done, and a run resumed from it would never validate there.
Nothing is saved inside a validation, when averaged and raw weights have changed places, nor after training, when the
raw weights are gone. Lightning calls a `Checkpoint` last, after averages and schedules have moved.
"""

import math
import operator
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl

from denoiselab.run.checkpoint import Damaged, load
from denoiselab.spec import Refused, near

BETTER = {"min": operator.lt, "max": operator.gt}
INTERRUPTED = 130  # of one that the user stopped
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
PREEMPTED = 75  # the exit code of a run that saved itself and can be resumed (EX_TEMPFAIL)


@contextmanager
def handlers() -> Iterator[None]:
    """Puts back the handlers of signals that a `Saver` replaces: after training it is not looked at any more."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class Saver(pl.callbacks.Checkpoint):
    """Keeps the last `keep` checkpoints of every `every` steps in `folder`/checkpoints, named by their step, and
    best.ckpt, where `monitor` was best; `fit`, the config's hash, goes into each. Needs num_sanity_val_steps=0."""

    def __init__(self, folder: str | Path, monitor: str, mode: str, every: int = 500, keep: int = 2,
                 fit: str | None = None):  # fmt: skip
        if mode not in BETTER:
            raise Refused("monitor.mode says which values are better", mode, near(mode, BETTER))
        if every < 1 or keep < 1:
            raise Refused(
                "checkpoint.every counts steps, checkpoint.keep files", f"{every} and {keep}", "give at least 1 each"
            )
        self.folder, self.monitor, self.better = Path(folder) / "checkpoints", monitor, BETTER[mode]
        self.every, self.keep, self.fit = every, keep, fit
        self.best: float | None = None
        self.asked = self.due = False
        self.code = PREEMPTED

    def ask(self) -> None:
        """Saves at the end of the step that is running, then leaves with exit code 75. Safe in a signal handler."""
        self.asked = True

    # -- state

    def state_dict(self):
        return {"best": self.best}

    def load_state_dict(self, state_dict):
        self.best = state_dict["best"]

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["fit"] = self.fit

    # -- when

    def on_train_start(self, trainer, pl_module):
        # After Lightning's own handlers, which would end a run with exit code 0.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self.on_signal)

    def on_signal(self, number, frame):
        self.code = INTERRUPTED if number == signal.SIGINT else PREEMPTED
        if self.asked:
            os._exit(self.code)
        self.ask()

    def setup(self, trainer, pl_module, stage):
        # A process that was killed while it saved leaves its temporary file.
        if trainer.is_global_zero and self.folder.is_dir():
            for left in self.folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step = trainer.global_step
        # A signal may have reached one rank alone; all must save.
        asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        self.asked = asked
        self.due = asked or step % self.every == 0 or step == trainer.max_steps or trainer.should_stop
        if self.due and not validates(trainer, batch_idx):
            self.save(trainer)

    def on_validation_end(self, trainer, pl_module):
        # Not in trainer.validate(); and early stopping, which has looked by now, may have ended training.
        if trainer.state.fn != "fit":
            return
        known = trainer.callback_metrics
        if self.monitor not in known:
            raise Refused("monitor.name is a metric of validation", self.monitor, near(self.monitor, known))
        value = float(known[self.monitor])
        if math.isfinite(value) and (self.best is None or self.better(value, self.best)):
            self.best = value
            trainer.save_checkpoint(self.folder / "best.ckpt")
        if self.due or trainer.should_stop:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step:09}.ckpt")
        self.due = False
        if trainer.is_global_zero:
            for old in steps(self.folder)[: -self.keep]:
                old.unlink()
        if self.asked:
            raise SystemExit(self.code)


def validates(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Does Lightning validate after this batch? `trainer.val_check_interval` counts batches of an endless epoch."""
    return trainer.enable_validation and (trainer.should_stop or (batch_idx + 1) % trainer.val_check_batch == 0)


def steps(folder: Path) -> list[Path]:
    """The checkpoints named by a step, the oldest first."""
    return sorted(folder.glob("[0-9]*.ckpt"))


def last_good(folder: str | Path) -> Path | None:
    """The newest checkpoint of a run's folder that is whole, if any; damaged ones are named in a warning."""
    for path in reversed(steps(Path(folder) / "checkpoints")):
        try:
            load(path)
        except Damaged as error:
            warnings.warn(f"{error}; the one before it is used, if there is one", stacklevel=2)
        else:
            return path
    return None
