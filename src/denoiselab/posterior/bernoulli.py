"""Yes or no."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.posterior.base import Posterior, between


@dataclass
class Bernoulli(Posterior):
    """ELECTRA's question: was this replaced?"""

    logit: Tensor

    @property
    def mean(self):
        return self.logit.sigmoid()

    @property
    def mode(self):
        return self.logit > 0

    def sample(self, random):
        return random.uniform(self.logit.shape).to(self.logit) < self.mean

    def log_prob(self, x):
        return -F.binary_cross_entropy_with_logits(self.logit, x.to(self.logit), reduction="none")

    def log_mass(self, x, bin, ends=None):
        return self.log_prob(x)

    def at(self, x):
        return Bernoulli(torch.where(x, torch.inf, -torch.inf))

    def kl(self, other):
        p = self.mean
        entropy = torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)
        return entropy + F.binary_cross_entropy_with_logits(other.logit, p, reduction="none")

    def lerp(self, other, w):
        return Bernoulli(between(self.logit, other.logit, w))

    def spread(self):
        return self
