"""Tokens that stay as they are, or become what another posterior says."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.posterior.base import Posterior


@dataclass
class Kept(Posterior):
    """`x` with probability `share` (broadcasts against x), else what `other` says, which is never x. `other` may know
    fewer tokens than x (clean ones alone). No tensor of the vocabulary's size unless somebody asks for the `mean`."""

    x: Tensor
    share: Tensor
    other: Posterior

    @property
    def mean(self):
        rest = self.other.mean
        size = max(rest.shape[-1], int(self.x.max()) + 1)
        rest = F.pad(rest, (0, size - rest.shape[-1]))
        kept, share = F.one_hot(self.x, size).to(rest), self.share[..., None]
        return share * kept + (1 - share) * rest

    @property
    def mode(self):
        return torch.where(self.share > 0.5, self.x, self.other.mode)

    def sample(self, random):
        stays = random.uniform(self.x.shape).to(self.share) < self.share
        return torch.where(stays, self.x, self.other.sample(random.child("other")))

    def log_prob(self, x):
        same = x == self.x
        # Where x is the kept one, `other` is not asked: it need not know that token.
        gone = torch.log1p(-self.share) + self.other.log_prob(torch.where(same, 0, x))
        return torch.where(same, self.share.log(), gone)

    def log_mass(self, x, bin, ends=None):
        return self.log_prob(x)

    def at(self, x):
        return Kept(self.x, self.share, self.other.at(x))

    def kl(self, other):
        """Of another with the same x."""
        gone, left = 1 - self.share, 1 - other.share
        stays = torch.xlogy(self.share, self.share) - torch.xlogy(self.share, other.share)
        goes = torch.xlogy(gone, gone) - torch.xlogy(gone, left)
        return stays + goes + torch.where(gone > 0, gone * self.other.kl(other.other), 0.0)

    def lerp(self, other, w):
        return Kept(self.x, self.share, self.other.lerp(other.other, w))

    def spread(self):
        return self
