"""Histograms of the network's gradients and parameters, for a logger that was asked to draw them."""

import pytorch_lightning as pl
import torch
from torch import Tensor

from denoiselab.run.logger import Bars, Logger

BINS = 64


class Histograms(pl.Callback):
    """Every `logger.watched.every` optimizer steps: the gradients that a step is made of, before they are clipped, and
    the parameters before it. Draws nothing at random and changes nothing."""

    def __init__(self, logger: Logger):
        self.logger, (self.kinds, self.every) = logger, logger.watched

    def on_before_optimizer_step(self, trainer, module, optimizer):
        step = trainer.global_step + 1
        if step % self.every or not trainer.is_global_zero:
            return
        for kind in self.kinds:
            for name, parameter in module.named_parameters():
                found = {"gradients": parameter.grad, "parameters": parameter}[kind]
                if found is not None and (bars := counted(found.detach())) is not None:
                    self.logger.histogram(f"{kind}/{name}", bars, step)


def counted(x: Tensor) -> Bars | None:
    """The histogram of the finite values of a tensor; None where there is none."""
    x = x.flatten().float()
    x = x[x.isfinite()]
    if not len(x):
        return None
    low, high = x.min(), x.max()
    width = (high - low).clamp(min=torch.finfo(x.dtype).tiny)
    places = ((x - low) / width * BINS).long().clamp(0, BINS - 1)
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64) * (high - low).double().cpu() + low.double().cpu()
    if low == high:  # bars need a width
        edges += torch.linspace(-0.5, 0.5, BINS + 1, dtype=torch.float64)
        places.fill_(BINS // 2)
    return Bars(torch.bincount(places, minlength=BINS).tolist(), edges.tolist())
