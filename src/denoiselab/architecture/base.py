"""Architectures: plans of networks, which never know the schedule.

An `Architecture` accepts a spec without allocating, then builds `network(x, noise, **context)`: x of the shape of
spec.seen, noise (B,) what it is told of the time, the answer of the shape of spec.given. What a network has no use for
in the context it does not look at. `time=False` makes one that is not told the time.
"""

import abc
import math

import torch
from torch import Tensor, nn

from denoiselab.spec import Refused, Spec


class Architecture(abc.ABC):
    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def build(self, spec: Spec) -> nn.Module: ...


def whole(spec: Spec, who: object) -> Spec:
    """Refuses a corruption that shows the network only a part of x."""
    if spec.seen and spec.seen != spec.shape:
        raise Refused(f"{type(who).__name__} sees all of x", f"a part of shape {spec.seen}", "use another architecture")
    return spec


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
