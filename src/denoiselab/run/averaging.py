"""Averaged weights: an exponential moving average whose memory is given as a half-life in samples.

    average <- decay * average + (1 - decay) * weights,     decay = 0.5 ** (batch_size / half_life)

so that an average means the same at any batch size; a published decay d at batch size B is the half-life
B log(0.5) / log(d), and with `batch_size=1` the half-life is in steps. Early on the half-life is cut to `ramp` times
the samples seen: the average forgets the untrained weights at the pace at which training goes on. Then decay is close
to 1 - log(2) / (ramp step); the customary min(decay, (1 + step) / (10 + step)) is ramp 0.077.

The first update copies. Parameters are averaged, buffers copied: counters and statistics are of the present.

References:
    Polyak and Juditsky, 1992, Acceleration of stochastic approximation by averaging.
    Karras et al., 2022, arXiv:2206.00364 (half-life in images, with a ramp of 0.05).
"""

import pytorch_lightning as pl
import torch
from torch import Tensor

from denoiselab.spec import Refused


class EMA(pl.callbacks.WeightAveraging):
    """Lightning's averaging with the decay above: validation sees the average, checkpoints hold both, and after
    training the module has the average."""

    def __init__(self, half_life: float = 500_000.0, batch_size: int = 1, ramp: float | None = 0.05):
        if half_life <= 0 or batch_size < 1 or (ramp is not None and ramp <= 0):
            raise Refused(
                "an average needs half_life > 0, batch_size >= 1 and ramp > 0 or null",
                f"half_life={half_life} batch_size={batch_size} ramp={ramp}", "the defaults suit most runs",
            )  # fmt: skip
        super().__init__(use_buffers=False)
        self.half_life, self.batch_size, self.ramp = half_life, batch_size, ramp
        self.pairs: list[tuple[list[Tensor], list[Tensor]]] = []

    def decay_at(self, step: int) -> float:
        """What is kept of the average of `step` >= 1 updates at the next one."""
        half_life = self.half_life
        if self.ramp is not None:
            half_life = min(half_life, self.ramp * step * self.batch_size)
        return 0.5 ** (self.batch_size / half_life)

    # Lightning's own update walks over all parameters at each step, which costs six times the arithmetic, and asks the
    # device how many updates there were: here the walk is done once and the counter stays with the CPU.

    def on_train_start(self, trainer, pl_module):
        average = self._average_model
        average.n_averaged = average.n_averaged.cpu()
        groups: dict[tuple, tuple[list, list]] = {}
        for averaged, current in zip(average.module.parameters(), pl_module.parameters(), strict=True):
            into = groups.setdefault((averaged.device, averaged.dtype), ([], []))
            into[0].append(averaged)
            into[1].append(current)
        self.pairs = list(groups.values())

    @torch.no_grad()
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self._latest_update_step:  # in the midst of an accumulation
            return
        self._latest_update_step = trainer.global_step
        updates = int(self._average_model.n_averaged)
        share = 1 - self.decay_at(updates) if updates else 1.0
        for averaged, current in self.pairs:
            if averaged[0].is_floating_point() or averaged[0].is_complex():
                torch._foreach_lerp_(averaged, current, share)
            else:  # integers have no mean
                torch._foreach_copy_(averaged, current)
        self._average_model.n_averaged += 1

    # Buffers follow where somebody looks.

    @torch.no_grad()
    def follow(self, module: pl.LightningModule) -> None:
        for averaged, current in zip(self._average_model.module.buffers(), module.buffers(), strict=True):
            averaged.copy_(current)

    def on_validation_epoch_start(self, trainer, pl_module):
        if self._average_model is not None:
            self.follow(pl_module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        if self._average_model is not None:
            self.follow(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_train_end(self, trainer, pl_module):
        self.follow(pl_module)
        super().on_train_end(trainer, pl_module)
