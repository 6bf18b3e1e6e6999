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
        super().__init__(use_buffers=False, multi_avg_fn=self.average)
        self.half_life, self.batch_size, self.ramp = half_life, batch_size, ramp

    def decay_at(self, step: int) -> float:
        """What is kept of the average of `step` >= 1 updates at the next one."""
        half_life = self.half_life
        if self.ramp is not None:
            half_life = min(half_life, self.ramp * step * self.batch_size)
        return 0.5 ** (self.batch_size / half_life)

    @torch.no_grad()
    def average(self, averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        """In place, one kernel a list; the lists have one device and type. Integers have no mean and are copied."""
        if averaged[0].is_floating_point() or averaged[0].is_complex():
            # The counter's own copy, which `setup` keeps on the CPU: reading `updates` would wait for the device.
            torch._foreach_lerp_(averaged, current, 1 - self.decay_at(int(self._average_model.n_averaged)))
        else:
            torch._foreach_copy_(averaged, current)

    def setup(self, trainer, pl_module, stage):
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()
