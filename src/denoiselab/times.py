"""Times: where in [0, 1] training draws; and grids: where sampling looks.

`Times` draws t for the places of a global batch; a `grid` is a function of (schedule, steps) to decreasing times from
1 to 0. Both are apart from the schedule: any goes with any.
"""

import abc

import torch
from torch import Tensor, nn

from denoiselab.schedule import Schedule
from denoiselab.spec import Refused

FARTHEST = 16.0  # of logits: beyond, t in float32 is 1


class Grid:
    """A fact: training times lie on a grid of i / steps."""


class Times(nn.Module, abc.ABC):
    """Draws t for the places (B,) of a global batch of `n`; with each its importance, 1 where t is uniform.

    The source is keyed by (seed, step, place): times do not depend on ranks. Buffers are the state.
    """

    @abc.abstractmethod
    def forward(self, place: Tensor, n: int, random) -> tuple[Tensor, Tensor]:
        """t and importance, each (B,), for places (B,) in 0 .. n - 1."""

    @abc.abstractmethod
    def accepts(self, spec): ...


class Uniform(Times):
    """Independent and uniform."""

    def forward(self, place, n, random):
        t = random.uniform((len(place), 1))[:, 0]
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec


class Stratified(Times):
    """One draw in each of n equal parts of [0, 1]: the variance of the batch's mean falls (Kingma et al., 2021,
    arXiv:2107.00630, their low-discrepancy sampler)."""

    def forward(self, place, n, random):
        t = (place + random.uniform((len(place), 1))[:, 0]) / n
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec


class OnGrid(Times):
    """i / steps, i = 1 .. steps, uniform: DDPM's discrete times, and what a bound over `steps` needs."""

    def __init__(self, steps: int):
        super().__init__()
        if steps < 1:
            raise Refused("times.steps counts steps", steps, "give at least 1")
        self.steps = steps

    def forward(self, place, n, random):
        t = (1 + random.integers(self.steps, (len(place), 1))[:, 0]) / self.steps
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec.having(Grid)


class StratifiedGrid(Times):
    """i / steps, with one draw in each of n equal parts: where a bound is validated."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def forward(self, place, n, random):
        u = (place + random.uniform((len(place), 1))[:, 0]) / n
        t = ((u * self.steps).floor() + 1).clamp(max=self.steps) / self.steps
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec.having(Grid)


class LogitNormal(Times):
    """The logit of t is normal; the loss is not reweighted (Esser et al., 2024, arXiv:2403.03206)."""

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        super().__init__()
        if not (abs(mean) <= FARTHEST and 0 < std <= FARTHEST):
            raise Refused(
                "times.mean and times.std are those of the logit of t", f"mean={mean} std={std}",
                f"give a mean of -{FARTHEST:g} to {FARTHEST:g} and a std above 0, such as mean=0.0 std=1.0",
            )  # fmt: skip
        self.mean, self.std = mean, std

    def forward(self, place, n, random):
        logit = self.mean + self.std * random.normal((len(place), 1))[:, 0]
        # Not torch.sigmoid, whose last bit depends on the place in the tensor: on the rank.
        t = logit.neg().exp().add(1).reciprocal()
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec


# -- grids ---------------------------------------------------------------------------------------


def even(schedule: Schedule, steps: int) -> Tensor:
    """steps + 1 times, evenly from the schedule's t_max to 0, float64."""
    return torch.linspace(schedule.t_max, 0, steps + 1, dtype=torch.float64)


def quadratic(schedule: Schedule, steps: int) -> Tensor:
    """Square roots evenly spaced: denser near 0 (Song et al., 2021, arXiv:2010.02502)."""
    return torch.linspace(schedule.t_max**0.5, 0, steps + 1, dtype=torch.float64).square()
