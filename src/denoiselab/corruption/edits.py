"""Edits: what a corruption gave, changed afterwards, in training alone.

Labels withheld, extra noise, emphasis ... Validation, evaluation and sampling know the corruption as it is: so all arms
are compared on one damage. An edit never changes what is asked for: the target is clean.
"""

import abc

from torch import Tensor

from denoiselab.corruption.base import Batch, Corrupted
from denoiselab.schedule import Schedule
from denoiselab.spec import Refused, Spec


class Withheld:
    """A fact: in training the condition is withheld now and then."""


class Edit(abc.ABC):
    """A function of what a corruption gave; draws from `random` alone."""

    @abc.abstractmethod
    def __call__(self, c: Corrupted, batch: Batch, t: Tensor, random, schedule: Schedule) -> Corrupted: ...

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """What is agreed after this part; raises `Refused`."""


class Withhold(Edit):
    """A share of the samples is not told what to make (Ho and Salimans, 2022, arXiv:2207.12598)."""

    def __init__(self, share: float = 0.1):
        if not 0 < share < 1:
            raise Refused("edits.withhold.share is a share of the samples", share, "give more than 0 and less than 1")
        self.share = share

    def __call__(self, c, batch, t, random, schedule):
        return c.knowing(told=random.uniform((len(c.x_t), 1))[:, 0] >= self.share)

    def accepts(self, spec):
        if not spec.asks:
            fix = "use conditioning=label, or leave out edits=[withhold]"
            raise Refused("there is no condition that could be withheld", "an unconditional network", fix)
        return spec.having(Withheld)
