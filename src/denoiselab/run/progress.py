"""Progress: where training is, how the loss stands, how fast it goes and how long it takes.

On a terminal one line that moves; elsewhere, as in a log, one plain line a validation and one at the end. The loss is
read from the device only when the line is drawn, at most ten times a second: reading waits for the device.
"""

import math
import time

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Live

from denoiselab.spec import Refused

PAUSE = 0.1  # seconds between two drawings


class Progress(pl.Callback):
    """Looks every `refresh` steps. The train loss is `last_loss` of the module, a one-element tensor or None; the
    validation metric is `monitor`."""

    def __init__(self, refresh: int = 10, monitor: str = "val/loss", console: Console | None = None):
        if refresh < 1:
            raise Refused("progress.refresh counts steps", refresh, "give at least 1")
        self.refresh, self.monitor = refresh, monitor
        self.console = console or Console()
        self.moves = self.console.is_terminal and not self.console.is_dumb_terminal
        self.live: Live | None = None
        self.drawn = self.began = 0.0
        self.first = 0
        self.told = -1  # the step of the last plain line

    def on_train_start(self, trainer, pl_module):
        self.began, self.first = time.perf_counter(), trainer.global_step
        if self.moves and trainer.is_global_zero:
            self.live = Live(
                BarColumn(None, style="grey37", complete_style="cyan", finished_style="green"),
                TextColumn("{task.description}", markup=False),
                console=self.console, auto_refresh=False, expand=True,
            )  # fmt: skip
            self.live.add_task("starting", total=total(trainer), completed=trainer.global_step)
            self.live.start()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.live is None or (batch_idx + 1) % self.refresh:
            return
        now = time.perf_counter()
        if now - self.drawn >= PAUSE:
            self.drawn = now
            self.draw(trainer, pl_module)

    def on_validation_end(self, trainer, pl_module):
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.tell(trainer, pl_module)

    def on_train_end(self, trainer, pl_module):
        self.tell(trainer, pl_module)
        self.stop()

    def on_exception(self, trainer, pl_module, exception):
        self.stop()

    def stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def tell(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draws the line, or prints one, a step once."""
        if self.live is not None:
            self.draw(trainer, module)
        elif trainer.is_global_zero and trainer.global_step != self.told:
            self.told = trainer.global_step
            self.console.print(self.line(trainer, module), soft_wrap=True, highlight=False, markup=False)

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        [task] = self.live.task_ids
        self.live.update(task, completed=trainer.global_step, description=self.line(trainer, module), refresh=True)

    def line(self, trainer: pl.Trainer, module: pl.LightningModule) -> str:
        """`step 120/1000  loss 0.1234  val/loss 0.1301  85.2 steps/s  0:10 left`; validations are in the pace."""
        step, last = trainer.global_step, total(trainer)
        seconds = time.perf_counter() - self.began
        words = [f"step {step:,}" if last is None else f"step {step:,}/{last:,}"]
        if module.last_loss is not None:
            words.append(f"loss {float(module.last_loss):.4g}")
        if (value := trainer.callback_metrics.get(self.monitor)) is not None:
            words.append(f"{self.monitor} {float(value):.4g}")
        if step > self.first:
            pace = (step - self.first) / seconds
            words.append(f"{pace:.3g} steps/s")
            words.append(f"{clock((last - step) / pace)} left" if last and last > step else f"{clock(seconds)} in all")
        return "  ".join(words)


def total(trainer: pl.Trainer) -> int | None:
    return trainer.max_steps if trainer.max_steps > 0 else None


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03 or 2:03."""
    minutes, s = divmod(math.ceil(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
