"""Weights: (schedule, t) to a tensor of the shape of t.

All are of the squared error of x, whatever the network says. Written for another error in a paper, a weight is
multiplied by what makes that error of x's: SNR for epsilon's, and where alpha^2 + sigma^2 = 1 SNR + 1 for v's.
"""

import abc
import math

import torch
from torch import Tensor

from denoiselab.corruption import Absorbing, Additive, Generative, Terminal
from denoiselab.objective.base import Likelihood, places, scored
from denoiselab.schedule import LOUDEST, Schedule
from denoiselab.spec import Refused, Spec

STRONGEST = 8.0  # powers of the SNR, which is 1e7 and more: float32 has 1e38
FARTHEST = 20.0  # of log-SNRs


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


class OfLevel(Weight):
    """A weight that reads alpha and sigma."""

    def accepts(self, spec):
        return spec.needs(Additive, self, ALL_ALIKE)


def snr(schedule: Schedule, t: Tensor) -> Tensor:
    """alpha^2 / sigma^2."""
    return schedule.log_snr(t).exp()


class Simple(OfLevel):
    """SNR: the squared error of x becomes that of epsilon (Ho et al., 2020, arXiv:2006.11239)."""

    def __call__(self, schedule, t):
        return snr(schedule, t)


class TruncatedSNR(OfLevel):
    """max(SNR, 1): epsilon's error, or x's where that is larger (Salimans and Ho, 2022, arXiv:2202.00512)."""

    def __call__(self, schedule, t):
        return snr(schedule, t).clamp(min=1)


class SNRPlusOne(OfLevel):
    """SNR + 1: the errors of epsilon and of x, added (Salimans and Ho, 2022, arXiv:2202.00512)."""

    def __call__(self, schedule, t):
        return snr(schedule, t) + 1


class MinSNR(OfLevel):
    """min(SNR, gamma): epsilon's error, up to gamma times that of x (Hang et al., 2023, arXiv:2303.09556)."""

    def __init__(self, gamma: float = 5.0):
        self.gamma = positive(gamma)

    def __call__(self, schedule, t):
        return snr(schedule, t).clamp(max=self.gamma)


class SoftMinSNR(OfLevel):
    """SNR gamma / (SNR + gamma): min_snr without its corner (Crowson et al., 2024, arXiv:2401.11605)."""

    def __init__(self, gamma: float = 5.0):
        self.gamma = positive(gamma)

    def __call__(self, schedule, t):
        # As a harmonic sum: no product of two large numbers.
        return 1 / (1 / self.gamma + (-schedule.log_snr(t)).exp())


def positive(gamma: float) -> float:
    if not 1 / LOUDEST <= gamma <= LOUDEST:
        raise Refused("weight.gamma is the largest weight", gamma, f"give more than 0, up to {LOUDEST:g}, such as 5")
    return gamma


class P2(OfLevel):
    """SNR / (k + SNR)^gamma: on epsilon's error 1 / (k + SNR)^gamma, less where little noise is left to remove (Choi et
    al., 2022, arXiv:2204.00227)."""

    def __init__(self, gamma: float = 1.0, k: float = 1.0):
        if not (0 < gamma <= STRONGEST and 0.01 <= k <= LOUDEST):
            raise Refused(
                "weight.gamma and weight.k of p2 say how much less little noise counts, and from which SNR on",
                f"{gamma=} {k=}", f"give a gamma above 0, up to {STRONGEST:g}, and a k of 0.01 or more, as 1 and 1",
            )  # fmt: skip
        self.gamma, self.k = gamma, k

    def __call__(self, schedule, t):
        log_snr = schedule.log_snr(t)
        return (log_snr - self.gamma * (self.k + log_snr.exp()).log()).exp()


class Sigmoid(Weight):
    """-lambda' e^bias sigmoid(lambda - bias), lambda the log-SNR: on epsilon's error, and over lambda instead of t,
    sigmoid(bias - lambda) (Kingma and Gao, 2023, arXiv:2303.00848; Hoogeboom et al., 2024, arXiv:2410.19324). So the
    schedule does not matter but for the variance of the loss."""

    def __init__(self, bias: float = -1.0):
        if not abs(bias) <= FARTHEST:
            raise Refused("weight.bias is a log-SNR", bias, f"give -{FARTHEST:g} to {FARTHEST:g}, such as -1")
        self.bias = bias

    def __call__(self, schedule, t):
        alpha, sigma = schedule(t)
        rise, fall = schedule.rates(t)
        # Multiplied out: no logarithm of alpha, which may be 0.
        speed = 2 * alpha * (alpha * fall - sigma * rise)
        return speed / (sigma * (sigma**2 + alpha**2 * math.exp(-self.bias)))

    def accepts(self, spec):
        spec = spec.needs(Additive, self, ALL_ALIKE)
        return spec.needs(Generative, self, "use weight=min_snr, or a schedule in which noise grows: schedule=cosine")


class OfV(OfLevel):
    """(alpha^2 + sigma^2)^2 / sigma^2: the squared error of x becomes that of v, which is SNR + 1 where alpha^2 +
    sigma^2 = 1 (Salimans and Ho, 2022, arXiv:2202.00512)."""

    def __call__(self, schedule, t):
        alpha, sigma = schedule(t)
        return ((alpha**2 + sigma**2) / sigma).square()


class OfVelocity(OfLevel):
    """(alpha + sigma)^2 / sigma^2: the squared error of x becomes that of the velocity z - x (Lipman et al., 2022,
    arXiv:2210.02747)."""

    def __call__(self, schedule, t):
        alpha, sigma = schedule(t)
        return ((alpha + sigma) / sigma).square()


class EDM(OfLevel):
    """(sigma^2 + std^2) / (sigma std)^2, sigma relative to alpha (Karras et al., 2022, arXiv:2206.00364, table 1)."""

    def __init__(self, std: float = 0.5):
        if not 1 / LOUDEST <= std <= LOUDEST:
            raise Refused("weight.std is the standard deviation of the data", std, "give more than 0, such as 0.5")
        self.std = std

    def __call__(self, schedule, t):
        return schedule.log_snr(t).exp() + 1 / self.std**2


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
