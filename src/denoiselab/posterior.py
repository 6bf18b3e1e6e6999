"""Posteriors: what is believed about something unseen, element by element.

One family serves three: a denoiser's belief about clean data, the kernels q(x_t | x_s) and p(x_s | x_t) of a
corruption, and the prior. Shapes are those of what is believed about; a categorical's `mean` has an axis of
probabilities more. Densities and divergences are in nats an element.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.schedule import match

TINY = 1e-20


def log_ndtr(z: Tensor) -> Tensor:
    """The log of the standard normal's distribution, with a gradient that is right far out, where torch's is not: from
    z = -25 on by the asymptotic series (Abramowitz and Stegun, 1964, 26.2.12)."""
    near, far = z.clamp(min=-25), z.clamp(max=-25)
    w = far**-2
    series = torch.log1p(-w * (1 - w * (3 - w * (15 - 105 * w))))
    tail = series - far.square() / 2 - (-far).log() - math.log(2 * math.pi) / 2
    return torch.where(z < -25, tail, torch.special.log_ndtr(near))


class Posterior(abc.ABC):
    mean: Tensor
    mode: Tensor

    @abc.abstractmethod
    def sample(self, random) -> Tensor:
        """A draw from the source `random`."""

    @abc.abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log density, or log probability of tokens."""

    @abc.abstractmethod
    def log_mass(self, x: Tensor, bin: float, ends: tuple[float, float] | None = None) -> Tensor:
        """Log probability of data rounded to multiples of `bin`; with `ends`, what lies beyond counts to the end."""

    @abc.abstractmethod
    def at(self, x: Tensor) -> "Posterior":
        """The belief of the same family that is certain of x."""

    @abc.abstractmethod
    def kl(self, other: "Posterior") -> Tensor:
        """KL(self || other)."""

    @abc.abstractmethod
    def lerp(self, other: "Posterior", w: float | Tensor) -> "Posterior":
        """From self (w = 0) to other (w = 1) and beyond: guidance. w is a number, () or (B,)."""

    @abc.abstractmethod
    def spread(self) -> "Posterior":
        """The same with its mean detached: its width alone learns."""


def between(a: Tensor, b: Tensor, w: float | Tensor) -> Tensor:
    """`torch.lerp` with a weight that is a number, () or one a sample, (B,)."""
    return torch.lerp(a, b, match(w.to(a), a) if isinstance(w, Tensor) else w)


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
        return -F.cross_entropy(self.logits.movedim(-1, 1), x, reduction="none")

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


@dataclass
class Detected(Posterior):
    """ELECTRA's: what was `hidden` (*) is what a generator guesses, and was filled in from the guess; each other token
    is the one `seen`, unless it was replaced, and then another, as the guess says.

    `replaced` is about all of the text filled in: where tokens were hidden, the discriminator is not told so.
    """

    seen: Tensor
    hidden: Tensor
    replaced: Bernoulli
    guess: Categorical

    @property
    def log_probs(self) -> Tensor:
        guess, logit = self.guess.log_probs, self.replaced.logit[..., None]
        one = F.one_hot(self.seen, guess.shape[-1]).bool()
        # The guess, were it not what is seen: finite, for one that is sure of it.
        others = guess.clamp(min=-1e4).masked_fill(one, -torch.inf).log_softmax(-1)
        known = torch.where(one, F.logsigmoid(-logit), F.logsigmoid(logit) + others)
        return torch.where(self.hidden[..., None], guess, known)

    @property
    def logits(self):
        return self.log_probs

    @property
    def whole(self) -> Categorical:
        return Categorical(self.log_probs)

    @property
    def mean(self):
        return self.log_probs.exp()

    @property
    def mode(self):
        return self.log_probs.argmax(-1)

    def sample(self, random):
        return self.whole.sample(random)

    def log_prob(self, x):
        return self.log_probs.gather(-1, x[..., None])[..., 0]

    def log_mass(self, x, bin, ends=None):
        return self.log_prob(x)

    def at(self, x):
        return self.whole.at(x)

    def kl(self, other):
        return self.whole.kl(other)

    def lerp(self, other, w):
        return self.whole.lerp(other, w)

    def spread(self):
        return self
