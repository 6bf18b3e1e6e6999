"""Denoisers: what the network says, turned into a posterior about clean data.

Continuous data: mean = c_skip x_t + c_out F(c_in seen, c_noise), with four coefficients of time: epsilon, x0, v,
velocity, residual, karras and mu are choices of them (Karras et al., 2022, arXiv:2206.00364, eq. 7). The head says what
is believed around the mean. Tokens: the network gives logits over the clean vocabulary. Mixing is float32 or better,
whatever the network runs in.

A `Parameterization` and a `Head` are plans: they accept, then build a `Denoiser` around a network
`network(x, noise, **context)`, noise (B,). Wrappers hold a denoiser and are one.
"""

import abc
from typing import Any, NamedTuple

from torch import Tensor, nn

from denoiselab.posterior import Posterior
from denoiselab.schedule import Schedule, match


class Denoiser(nn.Module, abc.ABC):
    """A belief about clean x, given x_t (B, *) and t, () or (B,)."""

    @abc.abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, *, seen: Tensor | None = None, previous: Posterior | None = None,
                **context: Tensor) -> Posterior:  # fmt: skip
        """`seen` is what the network gets, x_t unless given; `previous` is the belief of the sampler's move before: a
        denoiser that has no use for it does not look."""


class Decodes(Denoiser):
    """A fact: answers token by token.

    `forward` gives the belief about every place of the target (B, T), each knowing of the context's `prefix` what
    stands up to it; the same in steps is `encode` once, then `decode` place by place. Memory and cache are tensors
    whose first axis is the batch, in tuples and mappings: so rows of them can be taken.
    """

    @abc.abstractmethod
    def encode(self, x_t: Tensor, t: Tensor, **context: Tensor) -> Any:
        """What is read of x_t, once: a memory. The context's `prefix` is not looked at."""

    @abc.abstractmethod
    def cache(self, memory: Any, length: int) -> Any:
        """Room for `length` tokens, which `decode` fills, one place after the other."""

    @abc.abstractmethod
    def decode(self, token: Tensor, place: int, memory: Any, cache: Any) -> Posterior:
        """The belief (B, V) about the target's `place`, where the prefix has `token` (B,)."""


class Detects(Denoiser):
    """A fact: the belief is what a generator says is hidden, and what a discriminator says is replaced."""


class Spread:
    """A fact: the belief has a width that learns."""


def is_last(t: Tensor, steps: int) -> Tensor:
    """Is the move from t, in a chain of `steps`, the one to 0?"""
    return t < 1.5 / steps


class At(NamedTuple):
    """Where a belief is asked for: x_t (B, *), and t, () or (B,), with what the schedule says of it."""

    x_t: Tensor
    t: Tensor
    schedule: Schedule

    def widest(self) -> Tensor:
        """The variance of x given x_t when x is standard normal; broadcasts against x_t."""
        alpha, sigma = self.schedule(self.t)
        return match((sigma**2 / (alpha**2 + sigma**2)).to(self.x_t.dtype), self.x_t)
