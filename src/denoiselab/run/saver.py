"""When checkpoints are saved: every so many seconds the last ones, at every validation, and the end.

A checkpoint is the state at the end of an optimizer step. Where a validation is due after that step, it comes first:
saved before it, the checkpoint would say that the step is done, and a run resumed from it would never validate there.
Nothing is saved inside a validation, when averaged and raw weights have changed places, nor after training, when the
raw weights are gone. Lightning calls a `Checkpoint` last, after averages and schedules have moved.

The best one and the last one are two names of one file. best.ckpt is written first: a run killed before the file has
its second name goes on from the step before, validates again, and writes the same best.ckpt once more. The other way
round it would go on after the validation and never write it.

Weights that are not finite are never saved: what is there can be resumed from.
"""

import math
import operator
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
from safetensors import SafetensorError

from denoiselab.files import replacing
from denoiselab.module import CALMER
from denoiselab.run.checkpoint import Damaged, load
from denoiselab.run.signals import INTERRUPTED, PREEMPTED, PREEMPTING, tell
from denoiselab.spec import Failed, Refused, near

BETTER = {"min": operator.lt, "max": operator.gt}
SAME = 1.0  # seconds in which a signal that comes again is one: a cluster may send it to the driver and to its jobs
SIGNALS = (*PREEMPTING, signal.SIGINT)


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
    """Keeps the last `keep` checkpoints in `folder`/checkpoints, named by their step, and best.ckpt, where `monitor`
    was best. Saves at every validation and at the end; between them when `seconds` have passed since the last save, and
    at multiples of `every` steps (None: not for that). `fit`, the config's hash, and `about`, what it was made of as
    plain JSON, go into each; `clock` gives seconds. Needs num_sanity_val_steps=0. Raises `Failed` where a checkpoint
    cannot be written, or should not."""

    def __init__(self, folder: str | Path, monitor: str, mode: str, seconds: float | None = 60.0,
                 every: int | None = None, keep: int = 2, fit: str | None = None, about: dict | None = None,
                 clock: Callable[[], float] = time.monotonic):  # fmt: skip
        if mode not in BETTER:
            raise Refused("monitor.mode says which values are better", mode, near(mode, BETTER))
        if seconds is not None and not 0 < seconds < math.inf:
            raise Refused("checkpoint.seconds pass between two saves", seconds, "give more than 0, or null for never")
        if every is not None and every < 1:
            raise Refused("checkpoint.every counts steps", every, "give at least 1, or null for never")
        if keep < 1:
            raise Refused("checkpoint.keep counts files", keep, "give at least 1")
        self.folder, self.monitor, self.better = Path(folder) / "checkpoints", monitor, BETTER[mode]
        self.seconds, self.every, self.keep, self.clock = seconds or math.inf, every or math.inf, keep, clock
        self.fit, self.about = fit, about
        self.best: float | None = None
        self.ended = False  # by early stopping: not by the number of steps
        self.asked = False
        self.since = -math.inf  # when it was asked, by the clock
        self.saved = 0.0  # when, by the clock
        self.code = PREEMPTED

    def ask(self) -> None:
        """Saves at the end of the step that is running, then leaves with exit code 75. Safe in a signal handler."""
        self.asked = True

    # -- state

    def state_dict(self):
        return {"best": self.best, "ended": self.ended}

    def load_state_dict(self, state_dict):
        self.best, self.ended = state_dict["best"], state_dict.get("ended", False)

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.refuse_what_is_not_finite(pl_module, checkpoint)
        checkpoint["fit"], checkpoint["about"] = self.fit, self.about

    def refuse_what_is_not_finite(self, module: pl.LightningModule, checkpoint: dict) -> None:
        """Looks at parameters alone, raw and averaged: a buffer may hold infinities on purpose. Of weights in shards
        the first rank alone has all."""
        names = [name for name, _ in module.named_parameters()]
        bad = {name for part in ("state_dict", "current_model_state") if part in checkpoint for name in names
               if name in checkpoint[part] and not checkpoint[part][name].isfinite().all()}  # fmt: skip
        if bad:
            raise Failed(
                f"the weights of step {checkpoint['global_step']} are not finite, in {', '.join(sorted(bad)[:3])}; "
                f"they are not saved, {self.what_is_there()}\n  fix: {CALMER}"
            )

    def what_is_there(self) -> str:
        last = steps(self.folder)[-1:]
        return f"and the run can go on from {last[0].name}" if last else "and there is no checkpoint before"

    # -- when

    def on_train_start(self, trainer, pl_module):
        self.saved = self.clock()
        trainer.should_stop = trainer.should_stop or self.ended
        # After Lightning's own handlers, which would end a run with exit code 0.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self.on_signal)

    def on_signal(self, number, frame):
        self.code = INTERRUPTED if number == signal.SIGINT else PREEMPTED
        if self.asked and self.clock() - self.since > SAME:
            os._exit(self.code)
        if not self.asked:
            tell("saving at the end of this step, then leaving; asked once more, leaving at once")
        self.since = self.clock()
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
        # A signal may have reached one rank alone, and clocks differ; all must save.
        now = trainer.strategy.reduce_boolean_decision(self.asked or self.late, all=False)
        due = now or step % self.every == 0 or step == trainer.max_steps or trainer.should_stop
        if due and not validates(trainer, batch_idx):
            self.save(trainer, f"{step:09}.ckpt")

    @property
    def late(self) -> bool:
        return self.clock() - self.saved >= self.seconds

    def on_validation_end(self, trainer, pl_module):
        # Not in trainer.validate(); and early stopping, which has looked by now, may have ended training.
        if trainer.state.fn != "fit":
            return
        known = trainer.callback_metrics
        if self.monitor not in known:
            raise Refused("monitor.name is a metric of validation", self.monitor, near(self.monitor, known))
        value = float(known[self.monitor])
        names = [f"{trainer.global_step:09}.ckpt"]
        if math.isfinite(value) and (self.best is None or self.better(value, self.best)):
            self.best = value
            names.insert(0, "best.ckpt")
        self.save(trainer, *names)

    def save(self, trainer: pl.Trainer, name: str, *others: str) -> None:
        """Writes a file under a name, gives it its other names, and leaves where somebody asked to."""
        self.ended = trainer.should_stop
        try:
            trainer.save_checkpoint(self.folder / name)
            if trainer.is_global_zero:
                for other in others:
                    link(self.folder / name, self.folder / other)
                for old in steps(self.folder)[: -self.keep]:
                    old.unlink()
        except (OSError, SafetensorError) as error:  # safetensors says in its own class that a disk is full
            raise Failed(
                f"the checkpoint of step {trainer.global_step} cannot be written: {error}\n"
                f"  in {self.folder}, {self.what_is_there()}\n"
                "  fix: make room, or allow writing there; then give the same command again"
            ) from error
        self.saved = self.clock()
        # Agreed anew: what was agreed at the step's end does not say who asked, a signal or a clock.
        if trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            raise SystemExit(self.code)


def link(file: Path, other: Path) -> None:
    """A second name for a file, in the place of whatever has it; a copy where a file cannot have two."""
    with replacing(other) as temporary:
        try:
            os.link(file, temporary)
        except OSError:
            shutil.copyfile(file, temporary)


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
