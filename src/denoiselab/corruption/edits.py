"""Edits: what a corruption gave, changed afterwards, in training alone.

Labels withheld, more noise than the state holds, emphasis ... Validation, evaluation and sampling know the corruption
as it is: so all arms are compared on one damage. An edit never changes what is asked for: the target is clean.
"""

import abc

import torch
from torch import Tensor

from denoiselab.corruption.base import Additive, Batch, Corrupted, Local
from denoiselab.schedule import Schedule, match
from denoiselab.spec import Refused, Spec


class Withheld:
    """A fact: in training the condition is withheld now and then."""


class Edit(abc.ABC):
    """A function of what a corruption gave; draws from `random` alone."""

    @abc.abstractmethod
    def __call__(self, c: Corrupted, batch: Batch, t: Tensor, random, schedule: Schedule) -> Corrupted: ...

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """What is agreed after this part; raises `Refused`."""


class Withhold(Edit):
    """A share of the samples is not told what to make (Ho and Salimans, 2022, arXiv:2207.12598)."""

    def __init__(self, share: float = 0.1):
        if not 0 < share < 1:
            raise Refused("edits.withhold.share is a share of the samples", share, "give more than 0 and less than 1")
        self.share = share

    def __call__(self, c, batch, t, random, schedule):
        return c.knowing(told=random.uniform((len(c.x_t), 1))[:, 0] >= self.share)

    def accepts(self, spec):
        if not spec.asks:
            fix = "use conditioning=label, or leave out edits=[withhold]"
            raise Refused("there is no condition that could be withheld", "an unconditional network", fix)
        return spec.having(Withheld)


# -- noise that is not the corruption's own ------------------------------------------------------------------------


def additive(spec: Spec, who: Edit, key: str) -> Spec:
    return spec.needs(Additive, who, f"use corruption=gaussian, or leave out edits=[{key}]")


def bounded(value: float, key: str, what: str) -> float:
    """A number of 0 to 100; raises `Refused`."""
    if not 0 <= value <= 100:
        raise Refused(f"edits.{key} is {what}", value, "give 0 to 100")
    return value


class InputPerturbation(Edit):
    """The network sees gamma sigma_t more noise than the state holds, as it will of its own errors when sampling (Ning
    et al., 2023, arXiv:2301.11706). Mixing goes by the state, so that epsilon is still that of the state."""

    def __init__(self, gamma: float = 0.1):
        self.gamma = bounded(gamma, "input_perturbation.gamma", "the noise added to what is seen, as a share of sigma")

    def __call__(self, c, batch, t, random, schedule):
        more = self.gamma * schedule.at(t, c.seen)[1] * random.normal(c.seen.shape).to(c.seen)
        return c._replace(seen=c.seen + more)

    def accepts(self, spec):
        return additive(spec, self, "input_perturbation")


class OffsetNoise(Edit):
    """The noise has a part that is the same all over a channel, `strength` sigma_t of it, so that the mean of a picture
    is learned at all noise levels (Guttenberg, 2023, Diffusion with offset noise).

    Unlike input perturbation it moves the state too: it is a part of the noise, and epsilon holds it. Sampling goes by
    the corruption as it is, as published.
    """

    def __init__(self, strength: float = 0.1):
        self.strength = bounded(strength, "offset_noise.strength", "the noise that a channel shares, by sigma")

    def __call__(self, c, batch, t, random, schedule):
        shared = random.normal(c.x_t.shape[:2]).to(c.x_t)
        more = self.strength * match(schedule.sigma(t), c.x_t) * shared.reshape(*shared.shape, 1, 1)
        return c._replace(x_t=c.x_t + more, seen=c.seen + more)

    def accepts(self, spec):
        return additive(spec.of(("image",), self), self, "offset_noise")


class NoiseMismatch(Edit):
    """The state holds `factor` times the noise that the network is told: training and sampling do not match, to measure
    what that costs."""

    def __init__(self, factor: float = 1.1):
        self.factor = bounded(factor, "noise_mismatch.factor", "what the noise of the state is multiplied by")

    def __call__(self, c, batch, t, random, schedule):
        more = (self.factor - 1) * (c.x_t - match(schedule.alpha(t), c.x_t) * batch.x)
        return c._replace(x_t=c.x_t + more, seen=c.seen + more)

    def accepts(self, spec):
        return additive(spec, self, "noise_mismatch")


# -- what counts ---------------------------------------------------------------------------------------------------


class Emphasis(Edit):
    """Errors weigh `touched` where the corruption hit and `rest` elsewhere (Vincent et al., 2010, Stacked denoising
    autoencoders, section 3.4)."""

    def __init__(self, touched: float = 1.0, rest: float = 0.5):
        for key, value in {"touched": touched, "rest": rest}.items():
            bounded(value, f"emphasis.{key}", "how much an error weighs there")
        if not touched + rest:
            raise Refused("edits.emphasis says how much errors weigh", "touched=0 rest=0", "give one above 0")
        self.weights = (touched, rest)

    def __call__(self, c, batch, t, random, schedule):
        return c._replace(scored=c.scored * torch.where(c.touched, *self.weights))

    def accepts(self, spec):
        fix = (
            "use a corruption that hits some places (salt_and_pepper, block_mask, snow), or leave out edits=[emphasis]"
        )
        return spec.needs(Local, self, fix)
