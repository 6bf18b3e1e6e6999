"""Normal beliefs: elements independent, or pictures of one level."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from denoiselab.posterior.base import Posterior, between
from denoiselab.posterior.dirac import Dirac

TINY = 1e-20


def log_ndtr(z: Tensor) -> Tensor:
    """The log of the standard normal's distribution, with a gradient that is right far out, where torch's is not: from
    z = -25 on by the asymptotic series (Abramowitz and Stegun, 1964, 26.2.12)."""
    near, far = z.clamp(min=-25), z.clamp(max=-25)
    w = far**-2
    series = torch.log1p(-w * (1 - w * (3 - w * (15 - 105 * w))))
    tail = series - far.square() / 2 - (-far).log() - math.log(2 * math.pi) / 2
    return torch.where(z < -25, tail, torch.special.log_ndtr(near))


@dataclass
class Gaussian(Posterior):
    """Normal, elements independent. A variance of 0 is a certainty; it still draws."""

    mean: Tensor
    var: Tensor | float

    @property
    def mode(self):
        return self.mean

    @property
    def safe(self) -> Tensor:
        return torch.as_tensor(self.var, dtype=self.mean.dtype).clamp(min=TINY)

    def sample(self, random):
        z = random.normal(self.mean.shape).to(self.mean)
        if isinstance(self.var, float):
            return torch.add(self.mean, z, alpha=max(self.var, 0.0) ** 0.5)
        return self.mean + self.var.to(self.mean.dtype).clamp(min=0).sqrt() * z

    def log_prob(self, x):
        return -0.5 * ((x - self.mean).square() / self.safe + self.safe.log() + math.log(2 * math.pi))

    def log_mass(self, x, bin, ends=None):
        # float64: a small bin is a small difference of large numbers.
        at, std = x.double() - self.mean.double(), self.safe.double().sqrt()
        low, high = (at - bin / 2) / std, (at + bin / 2) / std
        # Seen from the nearer tail, where neither number is near 1.
        right = at > 0
        near, far = torch.where(right, -low, high), torch.where(right, -high, low)
        near = log_ndtr(near)
        less = (log_ndtr(far) - near).clamp(max=-1e-300)
        mass = near + (-torch.expm1(less)).log()
        if ends is not None:
            mass = torch.where(x <= ends[0] + bin / 2, log_ndtr(high), mass)
            mass = torch.where(x >= ends[1] - bin / 2, log_ndtr(-low), mass)
        return mass.to(self.mean.dtype)

    def at(self, x):
        return Dirac(x)

    def kl(self, other):
        square = (self.mean - other.mean).square()
        return 0.5 * (other.safe.log() - self.safe.log() + (self.safe + square) / other.safe - 1)

    def lerp(self, other, w):
        return Gaussian(between(self.mean, other.mean, w), other.var)

    def spread(self):
        return Gaussian(self.mean.detach(), self.var)


@dataclass
class Level(Posterior):
    """Pictures (B, C, H, W) of one level a channel: normal, its covariance factor @ factor.T over the channels, (C, C).
    On it lies noise of standard deviation `noise`, each pixel its own. Densities are of each element alone."""

    mean: Tensor
    factor: Tensor
    noise: float = 0.0

    @property
    def mode(self):
        return self.mean

    @property
    def alone(self) -> Gaussian:
        var = self.factor.square().sum(-1)[:, None, None] + self.noise**2
        return Gaussian(self.mean, var.expand_as(self.mean))

    def sample(self, random):
        z = random.normal(self.mean.shape[:2]).to(self.mean)
        level = (self.factor * z[:, None]).sum(-1)[..., None, None]
        return self.mean + level + self.noise * random.child("noise").normal(self.mean.shape).to(self.mean)

    def log_prob(self, x):
        return self.alone.log_prob(x)

    def log_mass(self, x, bin, ends=None):
        return self.alone.log_mass(x, bin, ends)

    def at(self, x):
        return Dirac(x)

    def kl(self, other):
        return self.alone.kl(other)

    def lerp(self, other, w):
        return Level(between(self.mean, other.mean, w), self.factor, self.noise)

    def spread(self):
        return Level(self.mean.detach(), self.factor, self.noise)
