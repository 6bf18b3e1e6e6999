"""Guidance: sampling that is pushed towards what was asked for. A plan, which wraps a denoiser when samples are made.

Training knows nothing of it, so cells that differ in the guidance alone train once. A condition that is withheld is
`told` False in the context, (B,) bool.
"""

import abc
import dataclasses

import torch
from torch import Tensor

from denoiselab.corruption import Corruption
from denoiselab.corruption.edits import Withheld
from denoiselab.data.base import Loaded
from denoiselab.denoiser import Denoiser
from denoiselab.posterior import Posterior
from denoiselab.spec import CONTINUOUS, Refused, Spec

TRAIN = "train with a condition that is withheld now and then: conditioning=label edits=[withhold]"


class Guidance(abc.ABC):
    @abc.abstractmethod
    def build(self, denoiser: Denoiser, corruption: Corruption, data: Loaded) -> Denoiser:
        """The denoiser that samples are made with; `data` is what the run was trained on."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


class Unguided(Guidance):
    """The denoiser as it is."""

    def build(self, denoiser, corruption, data):
        return denoiser

    def accepts(self, spec):
        return spec


class ClassifierFree(Guidance):
    """From what is believed without the condition, by `weight` towards what is believed with it, and beyond (Ho and
    Salimans, 2022, arXiv:2207.12598; there it is w + 1). 0 is unconditional, 1 the condition as trained.

    Args:
        interval: first and last t at which it acts; elsewhere the weight is 1 (Kynkaanniemi et al., 2024,
            arXiv:2404.07724).
        rescale: share in [0, 1] by which the standard deviation of each sample's mean is brought back to that of the
            belief with the condition (Lin et al., 2023, arXiv:2305.08891, section 3.4; there of the network's output).
    """

    def __init__(self, weight: float = 3.0, interval: tuple[float, float] = (0.0, 1.0), rescale: float = 0.0):
        if not 0 <= weight <= 1000:
            raise Refused("guidance.weight is 0 (unconditional), 1 (as trained) or more", weight, "give 0 to 1000")
        low, high = interval
        if not 0 <= low < high <= 1:
            raise Refused("guidance.interval is the first and the last time it acts", list(interval), "give [0.0,1.0]")
        if not 0 <= rescale <= 1:
            raise Refused("guidance.rescale is a share", rescale, "give 0 (none) to 1 (the whole)")
        self.weight, self.interval, self.rescale = weight, (low, high), rescale

    def build(self, denoiser, corruption, data):
        return Guided(denoiser, self.weight, self.interval, self.rescale)

    def accepts(self, spec):
        if not spec.asks:
            raise Refused("guidance needs a network that is told what to make", "an unconditional run", TRAIN)
        spec.needs(Withheld, self, TRAIN)
        if self.rescale:
            spec.of(CONTINUOUS, self)
        return spec


class Guided(Denoiser):
    """See `ClassifierFree`. Two network calls."""

    def __init__(self, inner: Denoiser, weight: float, interval: tuple[float, float], rescale: float):
        super().__init__()
        self.inner, self.weight, self.interval, self.rescale = inner, weight, interval, rescale

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        told = self.inner(x_t, t, seen=seen, previous=previous, **context)
        no = torch.zeros(len(x_t), dtype=torch.bool, device=x_t.device)
        free = self.inner(x_t, t, seen=seen, previous=previous, **{**context, "told": no})
        guided = free.lerp(told, self.at(t, x_t))
        return rescaled(guided, told, self.rescale) if self.rescale else guided

    def at(self, t: Tensor, x_t: Tensor) -> Tensor:
        """The weight at t, broadcasting against beliefs about x_t."""
        low, high = self.interval
        weight = torch.where((t >= low) & (t <= high), self.weight, 1.0)
        dtype = x_t.dtype if x_t.is_floating_point() else torch.float32
        return weight.to(dtype).reshape(weight.shape + (1,) * ((x_t.ndim - 1) if weight.ndim else 0))


def rescaled(belief: Posterior, told: Posterior, share: float) -> Posterior:
    """`belief` with each sample's spread of the mean that of `told`, by a share."""
    axes = tuple(range(1, belief.mean.ndim))
    ratio = told.mean.std(axes, keepdim=True) / belief.mean.std(axes, keepdim=True).clamp(min=1e-12)
    return dataclasses.replace(belief, mean=belief.mean * (1 + share * (ratio - 1)))
