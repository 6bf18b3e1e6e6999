"""Classifier-free guidance: the same network, told what to make and not told. Where a condition is withheld, `told` in
the context, (B,) bool, is False."""

import dataclasses

import torch
from torch import Tensor

from denoiselab.corruption.edits import Withheld
from denoiselab.denoiser import Denoiser
from denoiselab.guidance.base import Guidance, strength
from denoiselab.posterior import Posterior
from denoiselab.spec import CONTINUOUS, Refused

TRAIN = "train with a condition that is withheld now and then: conditioning=label edits=[withhold]"


class ClassifierFree(Guidance):
    """From what is believed without the condition, by `weight` towards what is believed with it, and beyond (Ho and
    Salimans, 2022, arXiv:2207.12598; there it is w + 1). 0 is unconditional, 1 the condition as trained: these two need
    one network call, all others two.

    Args:
        interval: first and last t at which it acts; elsewhere the weight is 1 (Kynkaanniemi et al., 2024,
            arXiv:2404.07724).
        rescale: share in [0, 1] by which the standard deviation of each sample's mean is brought back to that of the
            belief with the condition (Lin et al., 2023, arXiv:2305.08891, section 3.4; there of the network's output).
    """

    def __init__(self, weight: float = 3.0, interval: tuple[float, float] = (0.0, 1.0), rescale: float = 0.0):
        low, high = interval
        if not 0 <= low < high <= 1:
            raise Refused("guidance.interval is the first and the last time it acts", list(interval), "give [0.0,1.0]")
        if not 0 <= rescale <= 1:
            raise Refused("guidance.rescale is a share", rescale, "give 0 (none) to 1 (the whole)")
        self.weight, self.interval, self.rescale = strength(weight, "unconditional"), (low, high), rescale
        self.plain = weight == 1  # the condition as trained
        self.blind = weight == 0 and (low, high) == (0, 1) and not rescale  # the condition is never looked at
        self.calls = 1 if self.plain or self.blind else 2

    def build(self, denoiser, corruption, data):
        if self.plain:
            return denoiser
        return Blind(denoiser) if self.blind else Guided(denoiser, self.weight, self.interval, self.rescale)

    def accepts(self, spec):
        if not spec.asks:
            raise Refused("guidance needs a network that is told what to make", "an unconditional run", TRAIN)
        if not self.plain:
            spec.needs(Withheld, self, TRAIN)
        if self.rescale:
            spec.of(CONTINUOUS, self)
        return spec


class Blind(Denoiser):
    """A denoiser from which the condition is withheld."""

    def __init__(self, inner: Denoiser):
        super().__init__()
        self.inner = inner

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        no = torch.zeros(len(x_t), dtype=torch.bool, device=x_t.device)
        return self.inner(x_t, t, seen=seen, previous=previous, **{**context, "told": no})


class Guided(Denoiser):
    """See `ClassifierFree`. Two network calls: beliefs are of any family, so a batch of both could not be parted."""

    def __init__(self, inner: Denoiser, weight: float, interval: tuple[float, float], rescale: float):
        super().__init__()
        self.inner, self.blind = inner, Blind(inner)
        self.weight, self.interval, self.rescale = weight, interval, rescale

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        told = self.inner(x_t, t, seen=seen, previous=previous, **context)
        free = self.blind(x_t, t, seen=seen, previous=previous, **context)
        guided = free.lerp(told, self.at(t))
        return rescaled(guided, told, self.rescale) if self.rescale else guided

    def at(self, t: Tensor) -> Tensor:
        """The weight at t, of its shape."""
        low, high = self.interval
        weight = torch.full_like(t, self.weight)
        return torch.where((t >= low) & (t <= high), weight, torch.ones_like(weight))


def rescaled(belief: Posterior, told: Posterior, share: float) -> Posterior:
    """`belief` with each sample's spread of the mean that of `told`, by a share."""
    axes = tuple(range(1, belief.mean.ndim))
    ratio = told.mean.std(axes, keepdim=True) / belief.mean.std(axes, keepdim=True).clamp(min=1e-12)
    return dataclasses.replace(belief, mean=belief.mean * (1 + share * (ratio - 1)))
