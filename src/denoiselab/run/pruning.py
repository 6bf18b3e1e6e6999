"""How a trial of a search is stopped early. After each validation the job itself reports to the study's journal and
asks Optuna's pruner: so what is stopped, and where, is a function of the trials before, and not of when somebody
looked. A job that is to stop leaves a mark in the folder of the search, and gives itself the signal of a preemption: it
saves, and whoever wants to may train it on."""

import math
import os
import signal
from pathlib import Path

import pytorch_lightning as pl

from denoiselab.files import write_json
from denoiselab.run.prune import mark


class Pruning(pl.Callback):
    """Reports `monitor` of trial `number` to the study in a folder after each validation but the last; one is due every
    so many steps. `fit` is the hash of the run."""

    def __init__(self, study: str, number: int, monitor: str, every: int, fit: str):
        self.folder, self.number, self.monitor, self.every, self.fit = Path(study), number, monitor, every, fit
        self.trial = None

    def on_validation_end(self, trainer, module):
        value, step = float(trainer.callback_metrics[self.monitor]), trainer.global_step
        if not trainer.is_global_zero or not math.isfinite(value) or step >= trainer.max_steps:
            return
        from denoiselab.search import journal

        self.trial = self.trial or journal.Reported(self.folder, self.number)
        if name := self.trial.stopped(step // self.every, value):
            words = f"{name}: {self.monitor} {value:.4g} at step {step:,}, validation {step // self.every}"
            write_json(mark(self.folder, self.fit), {"why": words, "step": step})
            print(f"pruned by {words}", flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
