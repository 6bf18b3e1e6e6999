"""Costs: (belief, target, scale) to a tensor of the shape of the target; and the scales of residuals."""

import abc

import torch
from torch import Tensor

from denoiselab.corruption import Absorbing, Additive, Compared
from denoiselab.posterior import Posterior
from denoiselab.schedule import LOUDEST, Schedule, match
from denoiselab.spec import CONTINUOUS, Refused, Spec

IMPOSSIBLE = -87.0  # nats, of a class with probability 0: float32 has no smaller one


class Cost(abc.ABC):
    """What a wrong belief costs, a place. Residuals are divided by `scale` first."""

    by_log_prob: bool = False  # does it ask a belief for nothing but log_prob?

    @abc.abstractmethod
    def __call__(self, belief: Posterior, x: Tensor, scale: Tensor | float) -> Tensor: ...

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


def residual(belief: Posterior, x: Tensor, scale: Tensor | float) -> Tensor:
    """The error of the mean; a scale of 1.0 costs nothing."""
    error = belief.mean - x
    return error if isinstance(scale, float) and scale == 1 else error / scale


class MSE(Cost):
    """Squared error of the mean."""

    def __call__(self, belief, x, scale):
        return residual(belief, x, scale).square()

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self)


class MAE(Cost):
    """Absolute error of the mean."""

    def __call__(self, belief, x, scale):
        return residual(belief, x, scale).abs()

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self)


class Huber(Cost):
    """Squared error / 2 up to `delta`, linear beyond (Huber, 1964)."""

    def __init__(self, delta: float = 1.0):
        # Far above, the branch that is not taken has an infinite gradient.
        if not 0 < delta <= LOUDEST:
            raise Refused("cost.delta is where the cost becomes linear", delta, f"give more than 0, up to {LOUDEST:g}")
        self.delta = delta

    def __call__(self, belief, x, scale):
        r = residual(belief, x, scale).abs()
        return torch.where(r < self.delta, r**2 / 2, self.delta * (r - self.delta / 2))

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self)


class CrossEntropy(Cost):
    """-log p(x), in nats a token. With `smoothing` that share of the weight is on all classes alike: of every class's
    -log p the mean (Szegedy et al., 2015, arXiv:1512.00567, section 7); then it is no likelihood."""

    def __init__(self, smoothing: float = 0.0):
        if not 0 <= smoothing < 1:
            raise Refused("cost.smoothing is the share of all classes", smoothing, "give 0 up to, not with, 1: as 0.1")
        self.smoothing, self.by_log_prob = smoothing, smoothing == 0

    def __call__(self, belief, x, scale):
        if not self.smoothing:
            return -belief.log_prob(x)
        alike = belief.log_probs.clamp(min=IMPOSSIBLE).mean(-1)
        return -(1 - self.smoothing) * belief.log_prob(x) - self.smoothing * alike

    def accepts(self, spec):
        if self.smoothing:
            spec.refuses(Compared, self, "leave out cost.smoothing")
            spec.refuses(Absorbing, self, "leave out cost.smoothing: with this corruption the loss is a likelihood")
        return spec.of(("tokens",), self)


class Scale(abc.ABC):
    """What the residual of x is divided by, before the cost."""

    @abc.abstractmethod
    def __call__(self, schedule: Schedule, t: Tensor, x: Tensor) -> Tensor | float:
        """Broadcasts against x."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


class InX(Scale):
    """1: the residual of x."""

    def __call__(self, schedule, t, x):
        return 1.0

    def accepts(self, spec):
        return spec


class InNoise(Scale):
    """sigma / alpha: the residual of epsilon, so that a Huber cost is one of epsilon."""

    def __call__(self, schedule, t, x):
        return match((-schedule.log_snr(t) / 2).exp(), x)

    def accepts(self, spec):
        return spec.needs(Additive, self, "use the scale InX: with this corruption sigma is not known")
