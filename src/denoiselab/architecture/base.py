"""Architectures: plans of networks, which never know the schedule.

An `Architecture` accepts a spec without allocating, then builds `network(x, noise, **context)`: x of the shape of
spec.seen, noise (B,) what it is told of the time, the answer of the shape of spec.given. What a network has no use for
in the context it does not look at. `time=False` makes one that is not told the time.
"""

import abc
import math
from typing import Any

import torch
from torch import Tensor, nn

from denoiselab.spec import Refused, Spec


class Architecture(abc.ABC):
    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def build(self, spec: Spec) -> nn.Module: ...


class Timeless(Architecture):
    """A fact: the network is not told the time, so that its answer is a function of what it sees."""


class AnyLength(Architecture):
    """A fact: the network takes texts shorter than those of the spec, and says of them what it says of padded ones."""


def entire(spec: Spec, who: object) -> Spec:
    """Refuses a corruption that shows the network only a part of x."""
    if spec.seen and spec.seen != spec.shape:
        raise Refused(f"{type(who).__name__} sees all of x", f"a part of shape {spec.seen}", "use another architecture")
    return spec


def whole(spec: Spec, who: object) -> Spec:
    """The same, and refuses one that asks for a text of its own."""
    if "prefix" in spec.context:
        raise Refused(
            f"{type(who).__name__} answers all places at once, and here a text is written token by token",
            f"{spec.target[0]} tokens asked", "use architecture=encoder_decoder or decoder",
        )  # fmt: skip
    return entire(spec, who)


def halved(spec: Spec, times: int, who: object) -> None:
    """Refuses pictures of which too little is left when their sides were halved so many times."""
    if min(spec.shape[1:]) < 2**times:
        raise Refused(
            f"{type(who).__name__} halves the picture {times} times", f"pictures of {spec.shape[1]} x {spec.shape[2]}",
            f"use at most {min(spec.shape[1:]).bit_length()} multipliers",
        )  # fmt: skip


def writing(spec: Spec, who: object) -> Spec:
    """Refuses a corruption that asks for no text to be written token by token."""
    if "prefix" not in spec.of(("tokens",), who).context:
        raise Refused(
            f"{type(who).__name__} writes a text of its own, token by token", "a corruption that asks for x, in place",
            "use architecture=transformer, corruption=bart, or damage that asks for a text: asked=spans, original",
        )  # fmt: skip
    return entire(spec, who)


class Selective(nn.Module, abc.ABC):
    """A network on tokens that can answer some places alone: of a large vocabulary, most of the work is the answer."""

    @abc.abstractmethod
    def some(self, x: Tensor, noise: Tensor, index: Tensor, **context: Tensor) -> Tensor:
        """The rows `index` (n,) of network(x, noise, **context) in the flat shape, (n, V)."""


class Writer(nn.Module, abc.ABC):
    """A network that writes a text token by token: network(x, noise, prefix=..., **context) gives the logits of all
    places (B, T, classes), each of which knows of `prefix` (B, T) what stands up to it alone; and the same in steps."""

    @abc.abstractmethod
    def encode(self, x: Tensor, noise: Tensor, **context: Tensor) -> Any:
        """What is read of x, once: a memory."""

    @abc.abstractmethod
    def cache(self, memory: Any, length: int) -> Any:
        """Room for `length` tokens, filled by `step`, one place after the other."""

    @abc.abstractmethod
    def step(self, token: Tensor, place: int, memory: Any, cache: Any) -> Tensor:
        """Logits (B, classes) of the place at which the prefix has `token` (B,)."""


class Recomputed(Writer):
    """A network(x, noise, prefix=..., **context) in steps: each asks anew for all places so far. Slow and right."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x, noise, **context):
        return self.network(x, noise, **context)

    def encode(self, x, noise, **context):
        return x, noise, context

    def cache(self, memory, length):
        return memory[0].new_zeros(len(memory[0]), length)

    def step(self, token, place, memory, cache):
        (x, noise, context), cache[:, place] = memory, token
        return self.network(x, noise, prefix=cache, **context)[:, place]


def leaving_out(dropout: float) -> float:
    """Refuses what is no share of activations that training may leave out."""
    if not 0 <= dropout < 1:
        raise Refused("architecture.dropout is the share left out in training", dropout, "give 0 up to, not with, 1")
    return dropout


class Features(nn.Module, abc.ABC):
    """A network whose last features can be read, before they become an answer: what a probe is trained on."""

    @abc.abstractmethod
    def features(self, x: Tensor, noise: Tensor, **context: Tensor) -> Tensor:
        """Of each place of what is seen, (B, N, width)."""


class Attends(nn.Module, abc.ABC):
    """A network that writes a text, and says where of what was read it looked."""

    @abc.abstractmethod
    def attended(self, x: Tensor, noise: Tensor, **context: Tensor) -> Tensor:
        """How much each place of the answer looks at each of the source, (layers, B, heads, T, S)."""


class TimeEmbedding(nn.Module):
    """noise (B,) to (B, width): sines and cosines of 1000 noise at geometric frequencies (Vaswani et al., 2017,
    arXiv:1706.03762; Ho et al., 2020, arXiv:2006.11239), then two layers."""

    def __init__(self, width: int, waves: int = 64):
        super().__init__()
        frequency = 1000 * torch.exp(torch.arange(waves // 2) * (-math.log(10_000) / (waves // 2 - 1)))
        self.register_buffer("frequency", frequency, persistent=False)
        self.layers = nn.Sequential(nn.Linear(waves, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, noise: Tensor) -> Tensor:
        angle = noise[:, None].to(self.frequency.dtype) * self.frequency
        return self.layers(torch.cat((angle.cos(), angle.sin()), -1))


def zeroed(layer: nn.Module) -> nn.Module:
    """A layer that starts as nothing: a residual branch that starts as the identity."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer
