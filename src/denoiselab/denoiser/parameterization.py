"""Parameterizations: what the network is asked to say, and the denoisers that it makes."""

import abc
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.architecture.base import Architecture, Selective, Writer
from denoiselab.corruption import Absorbing, Additive, Compared, Corruption, Discrete, Generated, Terminal, Written
from denoiselab.denoiser.base import At, Decodes, Denoiser, Detects
from denoiselab.denoiser.head import Head, Logits
from denoiselab.denoiser.wrappers import Detecting, Substituted
from denoiselab.posterior import Chosen, Posterior
from denoiselab.schedule import LOUDEST, Schedule, match
from denoiselab.spec import CONTINUOUS, Refused, Spec

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

        return self.head(out, mean, At(x_t, t, self.schedule))


def scaled(c: Tensor | float, x: Tensor) -> Tensor:
    """c x, where a coefficient of 1.0 or 0.0 costs nothing."""
    if isinstance(c, float):
        return x if c == 1 else c * x
    return match(c.to(x.dtype), x) * x


class Tokens(Denoiser):
    """A network that gives logits (B, L, V) over the clean vocabulary. Where the context has `asked` (B, L) bool, those
    places are worked out alone, if the network can."""

    def __init__(self, network: nn.Module, schedule: Schedule, head: Head):
        super().__init__()
        self.network, self.schedule, self.head = network, schedule, head

    def forward(self, x_t, t, *, seen=None, previous=None, asked=None, **context):
        x, noise = x_t if seen is None else seen, t.float().expand(len(x_t))
        selects = isinstance(self.network, Selective) and isinstance(self.head, Logits)
        # A compiler needs sizes that it knows.
        if asked is None or not selects or torch.compiler.is_compiling():
            return self.said(self.network(x, noise, **context), x_t, t)
        # Before the network is: a GPU waits here for little.
        index = asked.flatten().nonzero()[:, 0]
        logits = self.network.some(x, noise, index, **context).float()
        return Chosen(logits, index, lambda: self.said(self.network(x, noise, **context), x_t, t))

    def said(self, out: Tensor, x_t: Tensor, t: Tensor) -> Posterior:
        return self.head(out, lambda y: y.float(), At(x_t, t, self.schedule))


class Writing(Decodes):
    """A `Writer` that gives logits of what is written, (B, T, V)."""

    def __init__(self, network: Writer, schedule: Schedule, head: Head):
        super().__init__()
        self.network, self.schedule, self.head = network, schedule, head

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        x = x_t if seen is None else seen
        return self.said(self.network(x, t.float().expand(len(x)), **context), x_t, t)

    def encode(self, x_t, t, **context):
        context = {name: value for name, value in context.items() if name != "prefix"}
        return self.network.encode(x_t, t.float().expand(len(x_t)), **context), x_t, t

    def cache(self, memory, length):
        return self.network.cache(memory[0], length)

    def decode(self, token, place, memory, cache):
        read, x_t, t = memory
        return self.said(self.network.step(token, place, read, cache), x_t, t)

    def said(self, out: Tensor, x_t: Tensor, t: Tensor) -> Posterior:
        return self.head(out, lambda y: y.float(), At(x_t, t, self.schedule))


# -- parameterizations: plans of denoisers -------------------------------------------------------------------


class Parameterization(abc.ABC):
    """What the network is asked to say."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def build(self, network: nn.Module, corruption: Corruption, head: Head, spec: Spec | None = None) -> Denoiser:
        """Around a network of what was agreed; `spec` says that to those that hold another network too."""


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


WRITTEN = "use parameterization=autoregressive architecture=encoder_decoder sampler=autoregressive"


class TokenLogits(Parameterization):
    """The network says the logits of the clean tokens."""

    def accepts(self, spec):
        spec = spec.of(("tokens",), self).refuses(Written, self, WRITTEN)
        spec = spec.refuses(Compared, self, "use parameterization=replaced")
        return spec.refuses(Generated, self, "use parameterization=electra, or shown=mask")

    def build(self, network, corruption, head, spec=None):
        return Tokens(network, corruption.schedule, head)


class Replaced(Parameterization):
    """The network says of each token whether it was replaced: ELECTRA's discriminator (Clark et al., 2020,
    arXiv:2003.10555)."""

    def accepts(self, spec):
        fix = "use parameterization=logits, or corruption=damage shown=swapped asked=replaced"
        return spec.of(("tokens",), self).needs(Compared, self, fix)

    def build(self, network, corruption, head, spec=None):
        return Tokens(network, corruption.schedule, head)


class Electra(Parameterization):
    """Two networks: a small `generator` says what the mask hides, and of the text with its draws the network says which
    tokens are replaced (Clark et al., 2020, arXiv:2003.10555). Nothing learns through a draw, and no embeddings are
    shared."""

    def __init__(self, generator: Architecture):
        self.generator = generator

    def accepts(self, spec):
        fix = "use parameterization=logits, or corruption=damage shown=generated asked=all"
        spec = spec.of(("tokens",), self).needs(Generated, self, fix)
        self.generator.accepts(guessing(spec))
        return spec.having(Detects)

    def build(self, network, corruption, head, spec=None):
        assert spec is not None, "the generator needs to know what was agreed"
        plan = self.generator
        guess = Tokens(plan.build(plan.accepts(guessing(spec))), corruption.schedule, Logits())
        return Detecting(guess, Tokens(network, corruption.schedule, head), corruption.mask)


def guessing(spec: Spec) -> Spec:
    """What is agreed with a generator: it gives logits of the clean tokens."""
    return spec._replace(given=(*spec.shape, spec.vocabulary))


class Subs(Parameterization):
    """Logits, and a shown token is what it is: MDLM's SUBS. Needs a corruption that never shows a wrong token."""

    def accepts(self, spec):
        return spec.of(("tokens",), self).refuses(Written, self, WRITTEN).needs(
            Absorbing, self, "use parameterization=logits, or corruption=token_mask"
        )  # fmt: skip

    def build(self, network, corruption, head, spec=None):
        return Substituted(Tokens(network, corruption.schedule, head), corruption.mask)


class NextToken(Parameterization):
    """The network says the logits of the next token, given what is seen and the tokens before it (Sutskever et al.,
    2014, arXiv:1409.3215): what is asked is a text of its own."""

    def accepts(self, spec):
        fix = "use parameterization=logits, corruption=bart, or damage that asks for a text: asked=spans, original"
        return spec.of(("tokens",), self).needs(Written, self, fix).having(Decodes)

    def build(self, network, corruption, head, spec=None):
        if not isinstance(network, Writer):
            fix = "use architecture=encoder_decoder or decoder; a network of yours subclasses Writer"
            raise Refused("NextToken needs a network that writes token by token", type(network).__name__, fix)
        return Writing(network, corruption.schedule, head)
