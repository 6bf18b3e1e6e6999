"""Objectives: a belief and a question to a cost a place, unreduced; and by what count the sum is divided.

    loss = sum(scored * objective(belief, corrupted, t, corruption)) / objective.count(corrupted)

over the whole global batch. `Weighted` is a mean over what is scored; `Bound` and a weight that is a bound (MDLM's) are
sums over places, divided by all places, scored or not: their unit is nats a place.

Bound. With s = t - 1 / T, t on the grid, T * KL(q(x_s | x_t, x) || p(x_s | x_t)) averages over t to the variational
bound; at s = 0 the KL is -log p(x | x_t). `prior` adds KL(q(x_1 | x) || p(x_1)).
"""

import abc

import torch
from torch import Tensor

from denoiselab.corruption import (
    Absorbing,
    Additive,
    Corrupted,
    Corruption,
    Degrading,
    Generative,
    Reversible,
    Terminal,
)
from denoiselab.denoiser import Spread
from denoiselab.posterior import Posterior
from denoiselab.schedule import LOUDEST, Schedule, match
from denoiselab.spec import CONTINUOUS, Refused, Spec
from denoiselab.times import Grid, Stratified, StratifiedGrid, Times


class Likelihood:
    """A fact: at even times the objective is a bound of -log p(x), in nats a place."""


# -- counts ------------------------------------------------------------------------------------------------


def scored(c: Corrupted) -> Tensor:
    """How many places are scored."""
    return (c.scored > 0).sum()


def places(c: Corrupted) -> Tensor:
    """How many places there are: where text is, or all."""
    valid = c.context.get("valid")
    return torch.tensor(c.target.numel(), device=c.target.device) if valid is None else valid.sum()


# -- costs: (belief, target, scale) to a tensor of the shape of the target ------------------------------------


class Cost(abc.ABC):
    """What a wrong belief costs, a place. Residuals are divided by `scale` first."""

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
    """-log p(x), in nats a token."""

    def __call__(self, belief, x, scale):
        return -belief.log_prob(x)

    def accepts(self, spec):
        return spec.of(("tokens",), self)


# -- weights and scales: (schedule, t) to a tensor of the shape of t --------------------------------------------


class Weight(abc.ABC):
    """How much a time counts, and by what the sum is divided."""

    count = staticmethod(scored)

    @abc.abstractmethod
    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor: ...

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


ALL_ALIKE = "use weight=unit: with this corruption alpha and sigma say nothing about an error"


class Unit(Weight):
    """All times alike."""

    def __call__(self, schedule, t):
        return torch.ones_like(t)

    def accepts(self, spec):
        return spec


class Simple(Weight):
    """alpha^2 / sigma^2: the squared error of x becomes that of epsilon (Ho et al., 2020, arXiv:2006.11239)."""

    def __call__(self, schedule, t):
        return schedule.log_snr(t).exp()

    def accepts(self, spec):
        return spec.needs(Additive, self, ALL_ALIKE)


class OfV(Weight):
    """(alpha^2 + sigma^2)^2 / sigma^2: the squared error of x becomes that of v, which is SNR + 1 where alpha^2 +
    sigma^2 = 1 (Salimans and Ho, 2022, arXiv:2202.00512)."""

    def __call__(self, schedule, t):
        alpha, sigma = schedule(t)
        return ((alpha**2 + sigma**2) / sigma).square()

    def accepts(self, spec):
        return spec.needs(Additive, self, ALL_ALIKE)


class OfVelocity(Weight):
    """(alpha + sigma)^2 / sigma^2: the squared error of x becomes that of the velocity z - x (Lipman et al., 2022,
    arXiv:2210.02747)."""

    def __call__(self, schedule, t):
        alpha, sigma = schedule(t)
        return ((alpha + sigma) / sigma).square()

    def accepts(self, spec):
        return spec.needs(Additive, self, ALL_ALIKE)


class EDM(Weight):
    """(sigma^2 + std^2) / (sigma std)^2, sigma relative to alpha (Karras et al., 2022, arXiv:2206.00364, table 1)."""

    def __init__(self, std: float = 0.5):
        if not 1 / LOUDEST <= std <= LOUDEST:
            raise Refused("weight.std is the standard deviation of the data", std, "give more than 0, such as 0.5")
        self.std = std

    def __call__(self, schedule, t):
        return schedule.log_snr(t).exp() + 1 / self.std**2

    def accepts(self, spec):
        return spec.needs(Additive, self, ALL_ALIKE)


class ELBO(Weight):
    """sigma' / sigma: the continuous limit of the bound of an absorbing corruption, in nats a token (Sahoo et al.,
    2024, arXiv:2406.07524, eq. 10)."""

    count = staticmethod(places)

    def __call__(self, schedule, t):
        return schedule.rates(t)[1] / schedule.sigma(t)

    def accepts(self, spec):
        spec = spec.needs(Absorbing, self, "use weight=unit, or objective=bound with times=grid")
        fix = "what survives t = 1 has no place in the prior: use schedule=linear or cosine, or weight=unit"
        return spec.needs(Terminal, self, fix).having(Likelihood)


# -- objectives -----------------------------------------------------------------------------------------------


class Objective(abc.ABC):
    """An unreduced cost and its divisor."""

    @abc.abstractmethod
    def __call__(self, belief: Posterior, corrupted: Corrupted, t: Tensor, corruption: Corruption) -> Tensor:
        """A cost a place, of the shape of `corrupted.scored`."""

    @abc.abstractmethod
    def count(self, corrupted: Corrupted) -> Tensor:
        """What the sum over all places is divided by."""

    @abc.abstractmethod
    def held_out(self) -> Times:
        """Where validation looks, whatever times training draws."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


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


class Weighted(Objective):
    """weight(t) * cost(belief, target), the residual divided by scale(t)."""

    def __init__(self, cost: Cost, weight: Weight, scale: Scale | None = None):
        self.cost, self.weight, self.scale = cost, weight, scale or InX()

    def __call__(self, belief, corrupted, t, corruption):
        x, schedule = corrupted.target, corruption.schedule
        return match(self.weight(schedule, t), x) * self.cost(belief, x, self.scale(schedule, t, x))

    def count(self, corrupted):
        return self.weight.count(corrupted)

    def held_out(self):
        return Stratified()

    def accepts(self, spec):
        fix = "use objective=hybrid, which teaches the width, or posterior=dirac"
        return self.scale.accepts(self.weight.accepts(self.cost.accepts(spec.refuses(Spread, self, fix))))


class Bound(Objective):
    """The variational bound in `steps` steps, in nats a place (Sohl-Dickstein et al., 2015, arXiv:1503.03585; Austin et
    al., 2021, arXiv:2107.03006). `bin` is the distance between the values that data can take, 2 / 255 for pictures."""

    def __init__(self, steps: int, bin: float = 2 / 255):
        if steps < 1:
            raise Refused("objective.steps counts the steps of the bound", steps, "give at least 1")
        if not 0 < bin <= 2:
            raise Refused("objective.bin is the distance between values in [-1, 1]", bin, "give more than 0, up to 2")
        self.steps, self.bin = steps, bin

    def __call__(self, belief, corrupted, t, corruption):
        x, x_t, s = corrupted.target, corrupted.x_t, (t - 1 / self.steps).clamp(min=0)
        kernel = corruption.transition(t, s)
        back, true = (kernel(x_t, b, **corrupted.context) for b in (belief, belief.at(x)))
        last = match(s < 0.5 / self.steps, x)
        return self.steps * torch.where(last, -back.log_mass(x, self.bin), true.kl(back))

    def count(self, corrupted):
        return places(corrupted)

    def prior(self, x: Tensor, corruption: Corruption) -> Tensor:
        """KL(q(x_1 | x) || p(x_1)), a place: what the bound adds, and no network changes."""
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return corruption.forth(zero, zero + 1)(x).kl(corruption.prior(x))

    def held_out(self):
        return StratifiedGrid(self.steps)

    def accepts(self, spec):
        spec.refuses(Degrading, self, "its way back is certain, so that a bound is infinite: use objective=weighted")
        spec.needs(Generative, self, "use a schedule that ends in its prior, such as schedule=linear")
        if Absorbing in spec.facts:
            spec.needs(Terminal, self, "what survives t = 1 has no place in the prior: use schedule=linear or cosine")
        spec.needs(Grid, self, f"use times=grid times.steps={self.steps}")
        spec.needs(Reversible, self, "a bound needs a way back: use a corruption with a `transition`")
        return spec.having(Likelihood)


class Hybrid(Objective):
    """main + share * bound, the bound teaching the width alone (Nichol and Dhariwal, 2021, arXiv:2102.09672)."""

    def __init__(self, main: Objective, bound: Objective, share: float = 0.001):
        if not 0 < share <= 1:
            raise Refused("objective.share is what a bound counts beside 1", share, "give more than 0, up to 1")
        self.main, self.bound, self.share = main, bound, share

    def __call__(self, belief, *question):
        return self.main(belief, *question) + self.share * self.bound(belief.spread(), *question)

    def count(self, corrupted):
        return self.main.count(corrupted)

    def accepts(self, spec):
        spec.needs(Spread, self, "use posterior=learned, or objective=weighted")
        self.bound.accepts(spec)
        self.main.accepts(spec._replace(facts=spec.facts - {Spread}))
        return spec

    def held_out(self):
        return self.bound.held_out()
