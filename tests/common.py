"""What several tests of laws share: a network that is a function, keys, times, and numbers to test on."""

import torch
from torch import nn

from denoiselab.randomness import Keyed, Random

f64 = torch.float64


class Says(nn.Module):
    """A network that is a function of (x, noise)."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x, noise, **context):
        return self.f(x, noise)


class Silence(Random):
    """Raises when somebody draws."""

    def uniform(self, shape):
        raise AssertionError("a number was drawn")

    normal = words = uniform

    def child(self, name):
        return self


def keys(n, seed=0):
    return Keyed.of(seed, torch.arange(n))


def full(n, t):
    return torch.full((n,), t, dtype=f64)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=f64)


def ring(n):
    a = torch.arange(n, dtype=f64) / n * 2 * torch.pi
    return torch.stack((a.cos(), a.sin()), -1)
