"""Beliefs about tokens: from logits everywhere, from logits at some places alone, and certainty."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.posterior.base import Posterior, between


@dataclass
class Categorical(Posterior):
    """One of V tokens, from logits (*, V), normalized or not."""

    logits: Tensor

    @property
    def log_probs(self) -> Tensor:
        return self.logits.log_softmax(-1)

    @property
    def mean(self):
        return self.logits.softmax(-1)

    @property
    def mode(self):
        return self.logits.argmax(-1)

    def sample(self, random):
        return self.quantile(random.uniform((*self.logits.shape[:-1], 1))[..., 0])

    def quantile(self, u: Tensor) -> Tensor:
        """The inverse transform of u (*) in [0, 1): one uniform number a position, however large V is."""
        c = self.mean.cumsum(-1)
        u = u[..., None].to(c) * c[..., -1:]
        return torch.searchsorted(c, u, right=True)[..., 0].clamp(max=c.shape[-1] - 1)

    def log_prob(self, x):
        # Of rows: along another axis than the last it is a third slower, and copies.
        return -F.cross_entropy(self.logits.flatten(0, -2), x.flatten(), reduction="none").view_as(x)

    def log_mass(self, x, bin, ends=None):
        return self.log_prob(x)

    def at(self, x):
        return Known(x, self.logits.shape[-1], self.logits.dtype)

    def kl(self, other):
        p = self.mean
        return (torch.xlogy(p, p) - torch.where(p > 0, p * other.log_probs, 0.0)).sum(-1)

    def lerp(self, other, w):
        # Impossible to both must not be inf - inf.
        a, b = (p.log_probs.clamp(min=-1e30) for p in (self, other))
        return Categorical(between(a, b, w))

    def spread(self):
        return self


@dataclass
class Chosen(Posterior):
    """A belief about tokens of a shape (*), worked out at some places alone: their numbers `index` (n,) in the flat
    shape, and logits (n, V) there. `log_prob` is 0 at all others; what else is asked works out `whole`."""

    logits: Tensor
    index: Tensor
    whole: Callable[[], Categorical]

    @property
    def mean(self):
        return self.whole().mean

    @property
    def mode(self):
        return self.whole().mode

    def sample(self, random):
        return self.whole().sample(random)

    def log_prob(self, x):
        said = -F.cross_entropy(self.logits, x.flatten()[self.index], reduction="none")
        return said.new_zeros(x.numel()).index_put((self.index,), said).view_as(x)

    def log_mass(self, x, bin, ends=None):
        return self.log_prob(x)

    def at(self, x):
        return self.whole().at(x)

    def kl(self, other):
        return self.whole().kl(other)

    def lerp(self, other, w):
        return self.whole().lerp(other, w)

    def spread(self):
        return self.whole()


@dataclass
class Known(Posterior):
    """A token that is certain: one-hot only if somebody asks for its `mean`."""

    x: Tensor
    vocabulary: int
    dtype: torch.dtype = torch.float32

    @property
    def mean(self):
        return F.one_hot(self.x, self.vocabulary).to(self.dtype)

    @property
    def mode(self):
        return self.x

    def sample(self, random):
        return self.x

    def log_prob(self, x):
        return torch.where(x == self.x, 0.0, -torch.inf)

    def log_mass(self, x, bin, ends=None):
        return self.log_prob(x)

    def at(self, x):
        return Known(x, self.vocabulary, self.dtype)

    def kl(self, other):
        return -other.log_prob(self.x)

    def lerp(self, other, w):
        return other

    def spread(self):
        return self
