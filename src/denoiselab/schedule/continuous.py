"""Schedules in continuous time, by their formulas."""

import math

import torch

from denoiselab.schedule.base import LEFT, LOUDEST, Schedule
from denoiselab.spec import Refused

STEEPEST = 100.0  # logits from one end of a sigmoid to the other: their hyperbolic sine is no infinity


class Constant(Schedule):
    """One level at all times: what makes a diffusion model a classical denoiser.

    `level` is a noise scale for additive noise (25 / 127.5 is sigma 25 of 255), a share in [0, 1] for all others.
    """

    t_min = 1.0
    reaches_prior = False

    def __init__(self, level: float):
        super().__init__()
        if not 0 <= level <= LOUDEST:
            raise Refused("schedule.level is a noise scale or a share", level, f"give a level of 0 to {LOUDEST:g}")
        self.level = level

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return torch.full_like(t, self.level)


class Linear(Schedule):
    """alpha = 1 - t, sigma = t: rectified flow (Liu et al., 2022, arXiv:2209.03003; Lipman et al., 2022,
    arXiv:2210.02747); for tokens MDLM's log-linear schedule (Sahoo et al., 2024, arXiv:2406.07524)."""

    terminal = True

    def alpha(self, t):
        return 1 - t

    def sigma(self, t):
        return t


class Cosine(Schedule):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2), in continuous time without offset or clip (after Nichol and
    Dhariwal, 2021, arXiv:2102.09672; this form: Salimans and Ho, 2022, arXiv:2202.00512)."""

    terminal = True

    def alpha(self, t):
        # alpha(1) in float32 is -4e-8 otherwise.
        return torch.cos(t * (torch.pi / 2)).clamp(min=0)

    def sigma(self, t):
        return torch.sin(t * (torch.pi / 2))


class Sigmoid(Schedule):
    """alpha^2 falls as a sigmoid from `start` to `end` over `tau`, stretched to 1 and 0 at its ends (Jabri et al.,
    2022, arXiv:2212.11972, without their floor of 1e-9). At t = 1 alpha falls infinitely fast; its rate there is given
    as 0. So solvers in t (euler, heun) converge slowly, and those in alpha and sigma (ddim) as ever.

    With d = (end - start) / tau, alpha^2 : sigma^2 = sinh((1 - t) d / 2) cosh(start / 2 tau) : sinh(t d / 2)
    cosh(end / 2 tau): the published ratio of differences of sigmoids, without a difference.
    """

    terminal = True

    def __init__(self, start: float = -3.0, end: float = 3.0, tau: float = 1.0):
        super().__init__()
        if not (tau > 0 and start < end and max(-start, end, end - start) <= STEEPEST * tau):
            raise Refused(
                "schedule.start, end and tau are the ends of a sigmoid and its width", f"{start=} {end=} {tau=}",
                f"give start < end, both and their distance within {STEEPEST:g} tau, as start=-3 end=3 tau=1",
            )  # fmt: skip
        self.half = (end - start) / tau / 2
        self.first, self.last = math.cosh(start / tau / 2), math.cosh(end / tau / 2)

    def shares(self, t):
        t = t.double()
        kept, lost = torch.sinh((1 - t) * self.half) * self.first, torch.sinh(t * self.half) * self.last
        return kept / (kept + lost), lost / (kept + lost)

    def alpha(self, t):
        kept, _ = self.shares(t)
        return torch.where(kept > 0, torch.where(kept > 0, kept, 1.0).sqrt(), 0.0).to(t.dtype)

    def sigma(self, t):
        return self.shares(t)[1].sqrt().to(t.dtype)


def level(t: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """low sqrt((high / low)^(2 t) - 1): of the noise that a rate growing geometrically has added since 0."""
    return low * torch.expm1(t * (2 * math.log(high / low))).sqrt()


def levels(low: float, high: float) -> None:
    """Refuses what are no two noise scales."""
    if not 1 / LOUDEST <= low <= high / 2 <= LOUDEST / 2:
        raise Refused(
            "schedule.low and high are the noise scales between which noise grows", f"{low=} {high=}",
            f"give a low of at least {1 / LOUDEST:g} and a high of at least twice it, up to {LOUDEST:g}",
        )  # fmt: skip


class LogLinear(Schedule):
    """The log-SNR falls linearly and the variance is preserved (Kingma et al., 2021, arXiv:2107.00630): from 13.3 to -5
    where they begin to learn it, which are the levels `low` and `high` of sigma / alpha. To start from 0, sigma / alpha
    grows as in `Geometric`: linear in t is log(1 / SNR + low^2)."""

    def __init__(self, low: float = math.exp(-13.3 / 2), high: float = math.exp(5 / 2)):
        super().__init__()
        levels(low, high)
        self.low, self.high = low, high
        self.reaches_prior = 1 / (1 + high**2) < LEFT

    def alpha(self, t):
        return (1 + level(t, self.low, self.high) ** 2).rsqrt()

    def sigma(self, t):
        return level(t, self.low, self.high) * self.alpha(t)


class Exploding(Schedule):
    """EDM (Karras et al., 2022, arXiv:2206.00364): alpha 1, sigma = high t."""

    def __init__(self, high: float = 80.0):
        super().__init__()
        if not 0 < high <= LOUDEST:
            raise Refused("schedule.high is the noise scale at t = 1", high, f"give more than 0, up to {LOUDEST:g}")
        self.high = high
        # Down to the smallest level of their samplers.
        self.t_min = min(1e-3, 0.002 / high)

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return self.high * t


class Geometric(Schedule):
    """NCSN's in continuous time, the variance-exploding SDE (Song et al., 2021, arXiv:2011.13456): alpha 1, sigma = low
    sqrt((high / low)^(2 t) - 1), the SDE's marginal from clean data on."""

    def __init__(self, low: float = 0.01, high: float = 50.0):
        super().__init__()
        levels(low, high)
        self.low, self.high = low, high
        self.reaches_prior = 1 / high**2 < LEFT

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return level(t, self.low, self.high)
