"""Samplers: a denoiser and a start to a sample.

`Loop`: a grid of times from the most corrupted down, and a `Step` that plans the move from t to s: all that depends on
times alone is done there, once, so that a move costs the network and a few operations. A move takes x_t and the `Past`,
what the move before left, and gives x_s and its own. Steps wrap steps. Randomness is the caller's; move i draws from
its child i. `OneShot` asks once.
"""

import abc
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption import Corruption, Generative
from denoiselab.denoiser import Bounded, Decodes, Denoiser
from denoiselab.posterior import Posterior
from denoiselab.schedule import LOUDEST
from denoiselab.spec import CONTINUOUS, Refused, Spec


class Past(NamedTuple):
    """What a move leaves to the next: its belief, and what a multistep solver remembers besides."""

    belief: Posterior
    memory: tuple[Tensor, ...] = ()


Move = Callable[..., tuple[Tensor, Past]]  # (denoiser, x_t, random, past or None, context)


class Generates:
    """A fact: the sampler makes new samples, starting from the corruption's prior."""


class Step(abc.ABC):
    """Plans a move from t to s < t, both ()."""

    calls: int = 1  # network calls a move; one in the last
    looks_back: bool = False  # does a move build on the moves before, so that nothing may happen in between?

    @abc.abstractmethod
    def plan(self, corruption: Corruption, t: Tensor, s: Tensor, before: tuple[Tensor, ...] = (),
             after: tuple[Tensor, ...] = ()) -> Move:  # fmt: skip
        """`before` are the times at which the moves before began, the latest last; `after` those at which the moves
        after will end, the next first: one time a move."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


def nothing() -> None:
    """A pulse that nobody feels."""


class Sampler(abc.ABC):
    """x from a start x_t (B, *) at time t, (B,) and the same for all, as the corruption left it there. `pulse` is
    called at each move, as a sign of life."""

    steps: int = 1  # moves a sample

    @abc.abstractmethod
    def __call__(self, denoiser: Denoiser, corruption: Corruption, x_t: Tensor, t: Tensor, random,
                 pulse: Callable[[], None] = nothing, **context: Tensor) -> Tensor: ...  # fmt: skip

    @property
    @abc.abstractmethod
    def calls(self) -> int:
        """Network calls a sample."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


class Loop(Sampler):
    """A step along a grid of `steps` moves, from the prior (t = 1) to 0; from a later start along the same grid, drawn
    together. `clip` holds the means of beliefs within -clip to clip (None: as they are)."""

    def __init__(self, step: Step, grid: Callable[..., Tensor], steps: int, clip: float | None = None):
        if steps < 1:
            raise Refused("sampler.steps counts moves", steps, "give at least 1")
        if clip is not None and not 0 < clip <= LOUDEST:
            raise Refused(
                "sampler.clip is the largest value of what is believed", clip, "give 1.0 for pictures, or null"
            )
        self.step, self.grid, self.steps, self.clip = step, grid, steps, clip
        self.planned = None  # the last moves: batches of one run have one plan

    def moves(self, denoiser: Denoiser, corruption: Corruption, x_t: Tensor, random, t: Tensor | float = 1.0,
              **context) -> Iterator[tuple]:  # fmt: skip
        """(s, x_s, belief) after each move from t, (), lazily: for loops that look on the way."""
        if self.clip is not None:
            denoiser = Bounded(denoiser, self.clip)
        past = None
        for i, (s, move) in enumerate(self.plan(corruption, float(t), x_t.device)):
            x_t, past = move(denoiser, x_t, random.child(i), past, context)
            yield s, x_t, past.belief

    def plan(self, corruption: Corruption, t: float, device: torch.device) -> list[tuple[Tensor, Move]]:
        """The end of each move from t, and the move."""
        known = (corruption, t, device)
        if self.planned is None or self.planned[0] != known:
            # Plans need float64; the grid goes to the device once.
            grid = self.grid(corruption.schedule, self.steps).to(device) * t
            # From a later start: below t_min nobody was trained.
            kept = grid >= corruption.schedule.t_min
            times = tuple(grid if t == 1 else torch.cat((grid[kept], grid[-1:])))
            moves = [self.step.plan(corruption, t, s, times[:i], times[i + 2 :])
                     for i, (t, s) in enumerate(pairwise(times))]  # fmt: skip
            self.planned = known, list(zip(times[1:], moves, strict=True))
        return self.planned[1]

    @torch.no_grad()
    def __call__(self, denoiser, corruption, x_t, t, random, pulse=nothing, **context):
        for _, x_s, _ in self.moves(denoiser, corruption, x_t, random, t.flatten()[0], **context):
            x_t = x_s
            pulse()
        return x_t

    @property
    def calls(self):
        return self.step.calls * self.steps - (self.step.calls - 1)

    def accepts(self, spec):
        spec = self.step.accepts(spec if self.clip is None else spec.of(CONTINUOUS, self))
        return spec.needs(Generative, self, "use sampler=one_shot, or a schedule that ends in its prior").having(
            Generates
        )


class OneShot(Sampler):
    """The most likely x, asked once: classical denoising."""

    @torch.no_grad()
    def __call__(self, denoiser, corruption, x_t, t, random, pulse=nothing, **context):
        return denoiser(x_t, t, **context).mode

    @property
    def calls(self):
        return 1

    def accepts(self, spec):
        fix = "use sampler=autoregressive: each token is told those before it"
        return spec.refuses(Decodes, self, fix)
