"""Callbacks of every run: the record of training, and dropout that is a function of the step."""

import math
import time
from collections.abc import Callable

import pytorch_lightning as pl
import torch

from denoiselab.module import CALMER
from denoiselab.randomness import key
from denoiselab.run.cost import Cost
from denoiselab.run.logger import Logger
from denoiselab.run.record import Record
from denoiselab.spec import Failed


class SeedEachStep(pl.Callback):
    """The global generators (dropout) are seeded from (seed, step, rank): no random state to save, none to restore."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer, module, share, index):
        seed = key(self.seed, 9, index, trainer.global_rank) & (2**63 - 1)
        torch.default_generator.manual_seed(seed)
        if module.device.type == "cuda":
            torch.cuda.manual_seed(seed)


class Watch(pl.Callback):
    """Every `every` steps the loss, the rate and what was spent go to the record and the logger; at each validation its
    metrics, which must be finite. `seconds` counts training over all attempts. `pulse` is called at the end of every
    batch: a sign of life, for whoever waits."""

    def __init__(self, record: Record, logger: Logger, cost: Cost, every: int,
                 pulse: Callable[[], None] = lambda: None):  # fmt: skip
        self.record, self.logger, self.cost, self.every, self.pulse = record, logger, cost, every, pulse
        self.before, self.began = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.began

    def state_dict(self):
        return {"seconds": self.seconds}

    def load_state_dict(self, state):
        self.before = state["seconds"]

    def on_train_start(self, trainer, module):
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer, module, out, share, index):
        self.pulse()
        step = trainer.global_step
        if step % self.every or (index + 1) % trainer.accumulate_grad_batches:
            return
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.write(
            {
                "train/loss": module.last_loss.item(),
                "lr": rate,
                **self.cost.at(step),
                "seconds": round(self.seconds, 3),
            },
            trainer,
        )

    def on_validation_batch_end(self, trainer, module, out, share, index, dataloader_idx=0):
        self.pulse()

    def on_validation_end(self, trainer, module):
        values = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        for name, value in values.items():
            self.finite(name, value, trainer.global_step)
        self.write({**values, **self.cost.at(trainer.global_step), "seconds": round(self.seconds, 3)}, trainer)

    def finite(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise Failed(
                f"{name} is {value} at step {step}; a checkpoint, if there is one, is of a step before\n  fix: {CALMER}"
            )

    def write(self, values: dict, trainer) -> None:
        if trainer.is_global_zero:
            self.record.write(trainer.global_step, values)
            self.logger.log(values, trainer.global_step)
