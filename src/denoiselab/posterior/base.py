"""Posteriors: what is believed about something unseen, element by element.

One family serves three: a denoiser's belief about clean data, the kernels q(x_t | x_s) and p(x_s | x_t) of a
corruption, and the prior. Shapes are those of what is believed about; a categorical's `mean` has an axis of
probabilities more. Densities and divergences are in nats an element.
"""

import abc

import torch
from torch import Tensor

from denoiselab.schedule import match


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
