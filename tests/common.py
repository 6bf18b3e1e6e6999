"""What several tests of laws share: a network that is a function, keys, schedules, and numbers to test on."""

import torch
from torch import nn

from denoiselab.denoiser import Denoiser
from denoiselab.randomness import Keyed, Random
from denoiselab.schedule import (
    Constant,
    Cosine,
    CosineBeta,
    Exploding,
    Geometric,
    Linear,
    LinearBeta,
    LogLinear,
    ScaledLinearBeta,
    Sigmoid,
    ZeroTerminalSNR,
)  # fmt: skip

f64 = torch.float64
VARYING = {  # each schedule that is not constant, with its own numbers
    "linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta(), "scaled_linear_beta": ScaledLinearBeta(),
    "cosine_beta": CosineBeta(), "exploding": Exploding(), "geometric": Geometric(), "sigmoid": Sigmoid(),
    "log_linear": LogLinear(), "zero_linear_beta": ZeroTerminalSNR(LinearBeta()),
}  # fmt: skip
SCHEDULES = VARYING | {"constant": Constant(0.2), "constant_0": Constant(0.0)}


class Says(nn.Module):
    """A network that is a function of (x, noise)."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x, noise, **context):
        return self.f(x, noise)


class Believes(Denoiser):
    """A denoiser of one belief, whatever it sees."""

    def __init__(self, belief):
        super().__init__()
        self.belief = belief

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        return self.belief


class Forever:
    """Batches without end: batch k of numbers is a function of k, the first that of `position()`."""

    def __init__(self, position, *shape):
        self.position, self.shape = position, shape

    def __iter__(self):
        k = self.position()
        while True:
            yield torch.randn(self.shape, generator=torch.Generator().manual_seed(k))
            k += 1


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
