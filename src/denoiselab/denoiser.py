"""Denoisers: what the network says, turned into a posterior about clean data.

Continuous data: mean = c_skip x_t + c_out F(c_in seen, c_noise), with four coefficients of (t, alpha, sigma): epsilon,
x0, v, velocity, residual and karras are choices of them (Karras et al., 2022, arXiv:2206.00364, eq. 7). The head says
what is believed around the mean. Tokens: the network gives logits over the clean vocabulary. Mixing is float32 or
better, whatever the network runs in.

A `Parameterization` and a `Head` are plans: they accept, then build a `Denoiser` around a network
`network(x, noise, **context)`, noise (B,). Wrappers hold a denoiser and are one.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.corruption import Absorbing, Additive, Corruption, Terminal
from denoiselab.posterior import Categorical, Dirac, Gaussian, Posterior
from denoiselab.schedule import LOUDEST, Schedule, match
from denoiselab.spec import CONTINUOUS, Refused, Spec


class Denoiser(nn.Module, abc.ABC):
    """A belief about clean x, given x_t (B, *) and t, () or (B,)."""

    @abc.abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, *, seen: Tensor | None = None, previous: Posterior | None = None,
                **context: Tensor) -> Posterior:  # fmt: skip
        """`seen` is what the network gets, x_t unless given; `previous` is the belief of the sampler's move before: a
        denoiser that has no use for it does not look."""


class Decodes(Denoiser):
    """A fact: an encoder-decoder, which answers token by token."""


class Spread:
    """A fact: the belief has a width that learns."""


# -- heads: the posterior around what the network says -------------------------------------------------


class Head(abc.ABC):
    """What is believed: `mean` mixes the network's output with x_t, `widest` is the variance of x given x_t when x is
    standard normal."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def __call__(self, out: Tensor, mean: Callable[[Tensor], Tensor], widest: Callable[[], Tensor]) -> Posterior: ...


class Point(Head):
    """Certain of the mean; as a way back it gives DDPM's small variance."""

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self).having(given=spec.given or spec.shape)

    def __call__(self, out, mean, widest):
        return Dirac(mean(out))


class Large(Head):
    """As wide as if x were standard normal: DDPM's large variance (Ho et al., 2020, arXiv:2006.11239)."""

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self).needs(Additive, self, "use posterior=dirac").having(
            given=spec.given or spec.shape)  # fmt: skip

    def __call__(self, out, mean, widest):
        center = mean(out)
        return Gaussian(center, widest().expand_as(center))


class Learned(Head):
    """Between small and large, as the second half of the network's channels says (after Nichol and Dhariwal, 2021,
    arXiv:2102.09672; the variance of the belief about x is interpolated linearly)."""

    def accepts(self, spec):
        spec = spec.of(CONTINUOUS, self).needs(Additive, self, "use posterior=dirac")
        c, *rest = spec.given or spec.shape
        return spec.having(Spread, given=(2 * c, *rest))

    def __call__(self, out, mean, widest):
        center, width = out.chunk(2, 1)
        return Gaussian(mean(center), width.sigmoid() * widest())


class Logits(Head):
    """One of the clean tokens at each place."""

    def accepts(self, spec):
        spec = spec.of(("tokens",), self)
        return spec.having(given=(*(spec.target or spec.shape), spec.vocabulary))

    def __call__(self, out, mean, widest):
        return Categorical(mean(out))


# -- denoisers ---------------------------------------------------------------------------------------------


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

        def widest() -> Tensor:
            return match((sigma**2 / (alpha**2 + sigma**2)).to(x_t.dtype), x_t)

        return self.head(out, mean, widest)


def scaled(c: Tensor | float, x: Tensor) -> Tensor:
    """c x, where a coefficient of 1.0 or 0.0 costs nothing."""
    if isinstance(c, float):
        return x if c == 1 else c * x
    return match(c.to(x.dtype), x) * x


class Tokens(Denoiser):
    """A network that gives logits (B, L, V) over the clean vocabulary."""

    def __init__(self, network: nn.Module, head: Head):
        super().__init__()
        self.network, self.head = network, head

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        out = self.network(x_t if seen is None else seen, t.float().expand(len(x_t)), **context)
        return self.head(out, lambda y: y.float(), t)


class Substituted(Denoiser):
    """MDLM's substitution (Sahoo et al., 2024, arXiv:2406.07524, section 3.2.3): a shown token is what it is, and
    nothing is a mask (the network has no logit for it)."""

    def __init__(self, inner: Denoiser, mask: int):
        super().__init__()
        self.inner, self.mask = inner, mask

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        belief = self.inner(x_t, t, seen=seen, previous=previous, **context)
        hidden = x_t == self.mask
        known = belief.at(torch.where(hidden, 0, x_t)).mean.log()
        return Categorical(torch.where(hidden[..., None], belief.logits, known))


# -- parameterizations: plans of denoisers -------------------------------------------------------------------


class Parameterization(abc.ABC):
    """What the network is asked to say."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def build(self, network: nn.Module, corruption: Corruption, head: Head) -> Denoiser: ...


class OfCoefficients(Parameterization):
    """Four coefficients: a subclass gives `coefficients` and `accepts`."""

    @abc.abstractmethod
    def coefficients(self, t: Tensor, alpha: Tensor, sigma: Tensor) -> Coefficients:
        """All of the shape of t."""

    def build(self, network, corruption, head):
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


class TokenLogits(Parameterization):
    """The network says the logits of the clean tokens."""

    def accepts(self, spec):
        return spec.of(("tokens",), self)

    def build(self, network, corruption, head):
        return Tokens(network, head)


class Subs(Parameterization):
    """Logits, and a shown token is what it is: MDLM's SUBS. Needs a corruption that never shows a wrong token."""

    def accepts(self, spec):
        return spec.of(("tokens",), self).needs(
            Absorbing, self, "use parameterization=logits, or corruption=token_mask"
        )

    def build(self, network, corruption, head):
        return Substituted(Tokens(network, head), corruption.mask)
