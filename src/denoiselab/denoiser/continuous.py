"""Continuous data: a network with four coefficients of time, and the parameterizations that choose them."""

import abc
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from denoiselab.corruption import Additive, Discrete, Terminal
from denoiselab.denoiser.base import At, Denoiser
from denoiselab.denoiser.head import Head
from denoiselab.denoiser.parameterization import Parameterization
from denoiselab.schedule import LOUDEST, Schedule, match
from denoiselab.spec import CONTINUOUS, Refused

# -- the denoiser


class Coefficients(NamedTuple):
    c_in: Tensor | float
    c_skip: Tensor | float
    c_out: Tensor | float
    c_noise: Tensor  # of the shape of t: what the network is told of the time


class Continuous(Denoiser):
    """A network with four coefficients and a head."""

    def __init__(self, network: nn.Module, schedule: Schedule, coefficients: Callable[..., Coefficients], head: Head):
        super().__init__()
        self.network, self.schedule, self.coefficients, self.head = network, schedule, coefficients, head

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        alpha, sigma = self.schedule(t)
        c_in, c_skip, c_out, c_noise = self.coefficients(t, alpha, sigma)
        seen = x_t if seen is None else seen
        told = c_noise.to(x_t.dtype).expand(len(x_t))
        out = self.network(scaled(c_in, seen), told, **context).to(x_t.dtype)

        def mean(y: Tensor) -> Tensor:
            return scaled(c_skip, x_t) + scaled(c_out, y)

        return self.head(out, mean, At(x_t, t, self.schedule))


def scaled(c: Tensor | float, x: Tensor) -> Tensor:
    """c x, where a coefficient of 1.0 or 0.0 costs nothing."""
    if isinstance(c, float):
        return x if c == 1 else c * x
    return match(c.to(x.dtype), x) * x


# -- parameterizations


class OfCoefficients(Parameterization):
    """Four coefficients: a subclass gives `coefficients` and `accepts`."""

    @abc.abstractmethod
    def coefficients(self, t: Tensor, alpha: Tensor, sigma: Tensor) -> Coefficients:
        """All of the shape of t."""

    def build(self, network, corruption, head, spec=None):
        return Continuous(network, corruption.schedule, self.coefficients, head)


KNOWN_SIGMA = "use parameterization=x0 or residual: with this corruption sigma is not known, or there is none"


class X0(OfCoefficients):
    """The network says clean x."""

    def coefficients(self, t, alpha, sigma):
        return Coefficients(1.0, 0.0, 1.0, t)

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self)


class Residual(OfCoefficients):
    """The network says x_t - x, whatever its strength (DnCNN: Zhang et al., 2017, arXiv:1608.03981)."""

    def coefficients(self, t, alpha, sigma):
        return Coefficients(1.0, 1.0, -1.0, t)

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self)


class Epsilon(OfCoefficients):
    """The network says the noise z (Ho et al., 2020, arXiv:2006.11239)."""

    def coefficients(self, t, alpha, sigma):
        return Coefficients(1.0, 1 / alpha, -sigma / alpha, t)

    def accepts(self, spec):
        spec = spec.of(CONTINUOUS, self).needs(Additive, self, KNOWN_SIGMA)
        fix = "x = (x_t - sigma z) / alpha has no answer at alpha = 0: use parameterization=v, or schedule=linear_beta"
        return spec.refuses(Terminal, self, fix)


class V(OfCoefficients):
    """The network says alpha z - sigma x (Salimans and Ho, 2022, arXiv:2202.00512); alpha^2 + sigma^2 need not be 1."""

    def coefficients(self, t, alpha, sigma):
        n = alpha**2 + sigma**2
        return Coefficients(1.0, alpha / n, -sigma / n, t)

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self).needs(Additive, self, KNOWN_SIGMA)


class Velocity(OfCoefficients):
    """The network says z - x (flow matching: Lipman et al., 2022, arXiv:2210.02747); alpha + sigma need not be 1."""

    def coefficients(self, t, alpha, sigma):
        n = alpha + sigma
        return Coefficients(1.0, 1 / n, -sigma / n, t)

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self).needs(Additive, self, KNOWN_SIGMA)


class Karras(OfCoefficients):
    """EDM's preconditioning for data of standard deviation `std` (Karras et al., 2022, arXiv:2206.00364, table 1)."""

    def __init__(self, std: float = 0.5):
        if not 1 / LOUDEST <= std <= LOUDEST:
            raise Refused("parameterization.std is the standard deviation of the data", std, "give one above 0, as 0.5")
        self.std = std

    def coefficients(self, t, alpha, sigma):
        n = alpha**2 * self.std**2 + sigma**2
        # A finite c_noise at alpha or sigma 0: the network is told +-17 at most.
        noise = (sigma.clamp(min=1e-30).log() - alpha.clamp(min=1e-30).log()) / 4
        return Coefficients(n.rsqrt(), alpha * self.std**2 / n, sigma * self.std * n.rsqrt(), noise)

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self).needs(Additive, self, KNOWN_SIGMA)


class Mu(Parameterization):
    """The network says the mean of q(x_s | x_t, x), k x_t + m x, one step of a discrete schedule earlier (Ho et al.,
    2020, arXiv:2006.11239, table 2)."""

    def coefficients(self, schedule: Schedule, t: Tensor) -> Coefficients:
        """All of the shape of t, in float64: 1 / m is up to steps / alpha."""
        assert schedule.steps is not None, "a schedule without steps was accepted"
        t = t.double()
        s = (t - 1 / schedule.steps).clamp(min=0)
        (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
        m = a_s * schedule.fresh(t, s)
        # (a_t s_s^2) / (a_s s_t^2), without a difference of large numbers.
        k = a_t * s_s**2 / (a_s * s_t**2)
        return Coefficients(1.0, -k / m, 1 / m, t)

    def accepts(self, spec):
        fix = "use a schedule that is a table of steps, such as schedule=linear_beta, or parameterization=x0"
        return spec.of(CONTINUOUS, self).needs(Additive, self, KNOWN_SIGMA).needs(Discrete, self, fix)

    def build(self, network, corruption, head, spec=None):
        of = partial(self.coefficients, corruption.schedule)
        return Continuous(network, corruption.schedule, lambda t, alpha, sigma: of(t), head)
