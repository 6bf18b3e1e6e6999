"""Certainty about numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from denoiselab.posterior.base import Posterior, between


@dataclass
class Dirac(Posterior):
    """Certain of its mean: draws nothing, and has no density."""

    mean: Tensor
    var: float = 0.0

    @property
    def mode(self):
        return self.mean

    def sample(self, random):
        return self.mean

    def log_prob(self, x):
        return torch.where(x == self.mean, 0.0, -torch.inf)

    def log_mass(self, x, bin, ends=None):
        return torch.where((x - self.mean).abs() <= bin / 2, 0.0, -torch.inf)

    def at(self, x):
        return Dirac(x)

    def kl(self, other):
        return -other.log_prob(self.mean)

    def lerp(self, other, w):
        return Dirac(between(self.mean, other.mean, w))

    def spread(self):
        return Dirac(self.mean.detach())
