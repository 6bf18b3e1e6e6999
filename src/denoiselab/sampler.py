"""Samplers: a denoiser and a start to a sample.

`Loop`: a grid of times from the most corrupted down, and a `Step` that plans the move from t to s: all that depends on
times alone is done there, once, so that a move costs the network and a few operations. A move takes x_t and the belief
of the move before, and gives x_s and its own. Randomness is the caller's; move i draws from its child i.
`OneShot` asks once.
"""

import abc
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from denoiselab.corruption import Additive, Corruption, Generative, Reversible
from denoiselab.denoiser import Denoiser
from denoiselab.posterior import Posterior
from denoiselab.schedule import match
from denoiselab.spec import Refused, Spec

Move = Callable[..., tuple[Tensor, Posterior]]  # (denoiser, x_t, random, previous, context)


class Generates:
    """A fact: the sampler makes new samples, starting from the corruption's prior."""


class Step(abc.ABC):
    """Plans a move from t to s < t, both ()."""

    calls: int = 1  # network calls a move

    @abc.abstractmethod
    def plan(self, corruption: Corruption, t: Tensor, s: Tensor) -> Move: ...

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


ONE_SHOT = "use sampler=one_shot, or a corruption with a way back (gaussian; token_mask without swapped or kept ones)"


class Ancestral(Step):
    """A draw from p(x_s | x_t): DDPM (Ho et al., 2020, arXiv:2006.11239), D3PM and MDLM alike."""

    def plan(self, corruption, t, s):
        back = corruption.transition(t, s)

        def move(denoiser, x_t, random, previous, context):
            belief = denoiser(x_t, t, previous=previous, **context)
            return back(x_t, belief, **context).sample(random), belief

        return move

    def accepts(self, spec):
        return spec.needs(Reversible, self, ONE_SHOT)


class DDIM(Step):
    """Ancestral with its fresh noise scaled by `eta`; at 0 it draws nothing (Song et al., 2021, arXiv:2010.02502)."""

    def __init__(self, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise Refused("eta scales the fresh noise", eta, "give 0 (deterministic) to 1 (ancestral)")
        self.eta = eta

    def plan(self, corruption, t, s):
        back = corruption.transition(t, s, self.eta)

        def move(denoiser, x_t, random, previous, context):
            belief = denoiser(x_t, t, previous=previous, **context)
            kernel = back(x_t, belief, **context)
            return (kernel.sample(random) if self.eta else kernel.mode), belief

        return move

    def accepts(self, spec):
        return spec.needs(Reversible, self, ONE_SHOT).needs(Additive, self, "use sampler=ancestral")


class Flow:
    """The probability flow dx/dt = (sigma' / sigma) x + (alpha' - alpha sigma' / sigma) mean at one time (Song et al.,
    2021, arXiv:2011.13456; this form: Karras et al., 2022, arXiv:2206.00364, algorithm 1)."""

    def __init__(self, corruption: Corruption, t: Tensor):
        alpha, sigma = corruption.schedule(t)
        rise, fall = corruption.schedule.rates(t)
        self.of_x = fall / sigma
        self.of_mean = rise - alpha * self.of_x

    def __call__(self, x_t: Tensor, belief: Posterior) -> Tensor:
        return match(self.of_x.to(x_t.dtype), x_t) * x_t + match(self.of_mean.to(x_t.dtype), x_t) * belief.mean


class Euler(Step):
    """One slope of the probability flow a move."""

    def plan(self, corruption, t, s):
        slope, far = Flow(corruption, t), s - t

        def move(denoiser, x_t, random, previous, context):
            belief = denoiser(x_t, t, previous=previous, **context)
            return x_t + far.to(x_t.dtype) * slope(x_t, belief), belief

        return move

    def accepts(self, spec):
        return spec.needs(Reversible, self, ONE_SHOT).needs(Additive, self, "use sampler=ancestral")


class Heun(Step):
    """Second order: the mean of the slopes at both ends; the last move, to 0, is Euler's (Karras et al., 2022,
    arXiv:2206.00364, algorithm 1)."""

    calls = 2

    def plan(self, corruption, t, s):
        slope, far = Flow(corruption, t), s - t
        final = not bool(s > 0)
        later = None if final else Flow(corruption, s)

        def move(denoiser, x_t, random, previous, context):
            belief = denoiser(x_t, t, previous=previous, **context)
            first = slope(x_t, belief)
            x_s = x_t + far.to(x_t.dtype) * first
            if final:
                return x_s, belief
            second = denoiser(x_s, s, previous=belief, **context)
            return x_t + far.to(x_t.dtype) * (first + later(x_s, second)) / 2, second

        return move

    def accepts(self, spec):
        return spec.needs(Reversible, self, ONE_SHOT).needs(Additive, self, "use sampler=ancestral")


class Sampler(abc.ABC):
    """x from a start x_t (B, *) at time t, as the corruption left it there."""

    @abc.abstractmethod
    def __call__(self, denoiser: Denoiser, corruption: Corruption, x_t: Tensor, t: Tensor, random,
                 **context: Tensor) -> Tensor: ...  # fmt: skip

    @property
    @abc.abstractmethod
    def calls(self) -> int:
        """Network calls a sample."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...


class Loop(Sampler):
    """A step along a grid of `steps` moves, from the prior (t = 1) to 0."""

    def __init__(self, step: Step, grid: Callable[..., Tensor], steps: int):
        if steps < 1:
            raise Refused("sampler.steps counts moves", steps, "give at least 1")
        self.step, self.grid, self.steps = step, grid, steps

    def moves(self, denoiser: Denoiser, corruption: Corruption, x_t: Tensor, random, **context) -> Iterator[tuple]:
        """(s, x_s, belief) after each move, lazily: for loops that look on the way."""
        # Plans need float64; the grid goes to the device once.
        grid = self.grid(corruption.schedule, self.steps).to(x_t.device)
        plans = [(s, self.step.plan(corruption, t, s)) for t, s in pairwise(grid)]
        belief = None
        for i, (s, move) in enumerate(plans):
            x_t, belief = move(denoiser, x_t, random.child(i), belief, context)
            yield s, x_t, belief

    @torch.no_grad()
    def __call__(self, denoiser, corruption, x_t, t, random, **context):
        for _, x_s, _ in self.moves(denoiser, corruption, x_t, random, **context):
            x_t = x_s
        return x_t

    @property
    def calls(self):
        return self.step.calls * self.steps - (self.step.calls - 1)

    def accepts(self, spec):
        spec = self.step.accepts(spec)
        return spec.needs(Generative, self, "use sampler=one_shot, or a schedule that ends in its prior").having(
            Generates
        )


class OneShot(Sampler):
    """The most likely x, asked once: classical denoising."""

    @torch.no_grad()
    def __call__(self, denoiser, corruption, x_t, t, random, **context):
        return denoiser(x_t, t, **context).mode

    @property
    def calls(self):
        return 1

    def accepts(self, spec):
        return spec
