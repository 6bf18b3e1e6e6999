"""Optimizers' parameter groups and learning rate schedules.

A rate schedule is a function of the step to a factor of the base rate, with a linear warm-up; torch's LambdaLR applies
it each optimizer step.
"""

import abc
import math
from collections.abc import Iterable

from torch import nn

from denoiselab.spec import Refused


def groups(parameters: Iterable[nn.Parameter]) -> list[dict]:
    """Two groups: matrices and filters decay, norms and biases (fewer than two axes) do not."""
    trained = [p for p in parameters if p.requires_grad]
    wide, narrow = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
    return [{"params": wide}, {"params": narrow, "weight_decay": 0.0}]


class Rate(abc.ABC):
    """The factor of the base rate at a step."""

    def __init__(self, warmup: int = 0):
        if warmup < 0:
            raise Refused("lr_schedule.warmup counts steps", warmup, "give at least 0")
        self.warmup = warmup

    def __call__(self, step: int) -> float:
        return min(1.0, (step + 1) / (self.warmup + 1)) * self.after(step)

    @abc.abstractmethod
    def after(self, step: int) -> float: ...


class Constant(Rate):
    """The base rate throughout."""

    def after(self, step):
        return 1.0


class Cosine(Rate):
    """Half a cosine from 1 to `floor` over `steps` steps (Loshchilov and Hutter, 2017, arXiv:1608.03983). In a
    configuration, null is the length of training."""

    def __init__(self, steps: int | None, warmup: int = 0, floor: float = 0.0):
        super().__init__(warmup)
        if steps is None or steps < 1:
            raise Refused("lr_schedule.steps counts steps, those of trainer.max_steps", steps, "give at least 1")
        if not 0 <= floor <= 1:
            raise Refused("lr_schedule.floor is a share of the base rate", floor, "give 0 to 1")
        self.steps, self.floor = steps, floor

    def after(self, step):
        done = min(step / self.steps, 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2


class Steps(Rate):
    """Times `factor` at each of the `milestones`, counted in steps."""

    def __init__(self, milestones: list[int], factor: float = 0.1, warmup: int = 0):
        super().__init__(warmup)
        if not 0 < factor <= 1:
            raise Refused("lr_schedule.factor is what is left of the rate", factor, "give more than 0, up to 1")
        if min(milestones, default=1) < 1 or sorted(set(milestones)) != list(milestones):
            raise Refused("lr_schedule.milestones count steps, and rise", milestones, "such as [600, 900]")
        self.milestones, self.factor = list(milestones), factor

    def after(self, step):
        return self.factor ** sum(step >= m for m in self.milestones)
