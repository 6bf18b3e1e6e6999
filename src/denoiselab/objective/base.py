"""Objectives: a belief and a question to a cost a place, unreduced; and by what count the sum is divided.

    loss = sum(scored * objective(belief, corrupted, t, corruption)) / objective.count(corrupted)

over the whole global batch. `Weighted` is a mean over what is scored; `Bound` and a weight that is a bound (MDLM's) are
sums over places, divided by all places, scored or not: their unit is nats a place.

Bound. With s = t - 1 / T, t on the grid, T * KL(q(x_s | x_t, x) || p(x_s | x_t)) averages over t to the variational
bound; at s = 0 the KL is -log p(x | x_t). `prior` adds KL(q(x_1 | x) || p(x_1)).
"""

import abc

import torch
from torch import Tensor

from denoiselab.corruption import Corrupted, Corruption
from denoiselab.posterior import Posterior
from denoiselab.spec import Spec
from denoiselab.times import Times


class Likelihood:
    """A fact: at even times the objective is a bound of -log p(x), in nats a place."""


def scored(c: Corrupted) -> Tensor:
    """How many places are scored."""
    return (c.scored > 0).sum()


def places(c: Corrupted) -> Tensor:
    """How many places there are: where text is, or all."""
    valid = c.context.get("valid")
    return torch.tensor(c.target.numel(), device=c.target.device) if valid is None else valid.sum()


class Objective(abc.ABC):
    """An unreduced cost and its divisor."""

    scored_alone: bool = False  # does it look at beliefs where they are scored alone, and by log_prob?

    @abc.abstractmethod
    def __call__(self, belief: Posterior, corrupted: Corrupted, t: Tensor, corruption: Corruption) -> Tensor:
        """A cost a place, of the shape of `corrupted.scored`."""

    @abc.abstractmethod
    def count(self, corrupted: Corrupted) -> Tensor:
        """What the sum over all places is divided by."""

    @abc.abstractmethod
    def held_out(self) -> Times:
        """Where validation looks, whatever times training draws."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...
