"""What a cell costs, by a few of its steps: asked in a process of its own, by a sweep that starts nothing."""

import statistics
import tempfile
import time

import pytorch_lightning as pl
import torch

from denoiselab.launch.order import Timing
from denoiselab.names import contents
from denoiselab.run import cell, job, training
from denoiselab.spec import Refused

WARM, TIMED = 3, 10  # steps
PATIENCE = 30.0  # seconds after which the steps so far are enough


class Clock(pl.Callback):
    """When each optimizer step ended, and how long the validation took."""

    def __init__(self):
        self.ends, self.validation, self.began = [], 0.0, 0.0

    def on_train_start(self, trainer, module):
        self.ends.append(time.perf_counter())

    def on_train_batch_end(self, trainer, module, out, share, index):
        if (index + 1) % trainer.accumulate_grad_batches:
            return
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        if self.ends[-1] - self.ends[0] > PATIENCE:
            trainer.should_stop = True

    def on_validation_start(self, trainer, module):
        self.began = time.perf_counter()

    def on_validation_end(self, trainer, module):
        self.validation = time.perf_counter() - self.began

    def timing(self) -> Timing:
        lengths = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        return Timing(lengths[0], statistics.median(lengths[min(WARM, len(lengths) - 1) :]), self.validation)


def timed(config: dict, choices: dict, overrides: list[str], threads: int) -> Timing | Refused:
    """The seconds of the first step, of a later one and of a validation, on one device. Leaves nothing behind."""
    torch.set_num_threads(threads)
    steps, clock = WARM + TIMED, Clock()
    with tempfile.TemporaryDirectory(prefix="denoiselab-") as root:
        trainer = {**config["trainer"], "max_steps": steps, "max_samples": None, "max_time": None,
                   "val_check_interval": steps, "log_every_n_steps": steps,
                   "devices": 1, "num_nodes": 1, "enable_progress_bar": False}  # fmt: skip
        small = {**config, "outputs": root, "trainer": trainer, "logger": contents()["logger", "none"],
                 "rerun": False, "extend": None, "callbacks": {}}  # fmt: skip
        try:
            made = job.made(cell.known(small, choices, overrides))
        except Refused as e:
            return e
        made.tools.trainer.callbacks.append(clock)
        training.fit(made, training.Resume(None))
    return clock.timing()
