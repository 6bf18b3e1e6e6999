"""Multistep solvers: second order and more from one network call a move, by looking back at the beliefs before.

With lambda = log(alpha / sigma), h = lambda_s - lambda_t and m the mean believed at lambda, the probability flow is, to
the last digit, x_s = (sigma_s / sigma_t) x_t + sigma_s times the integral of e^lambda m from t to s. The solvers differ
in how they continue m from what was believed: every move is a weighted sum of x_t and of means, whose weights a plan
has in float64. A time at which alpha is 0 (lambda is minus infinity) is not looked back on: an infinite step tells
nothing of the slope; the move that begins there is exact in its limit. The move that ends at sigma 0 is of first order,
the mean itself.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption import Corruption
from denoiselab.mixing import mixed
from denoiselab.sampler.base import Past, Step
from denoiselab.sampler.steps import additive, asked
from denoiselab.spec import Refused

NOTHING = 1e-8  # of alpha / sigma: less is as good as no signal


class Place(NamedTuple):
    """A time on the schedule, in numbers."""

    alpha: float
    sigma: float
    lam: float  # log(alpha / sigma), finite


class Way(NamedTuple):
    """A move, and the places to look back on, the latest first."""

    here: Place
    there: Place
    known: list[Place]

    @property
    def h(self) -> float:
        return self.there.lam - self.here.lam

    @property
    def shrink(self) -> float:
        return self.there.sigma / self.here.sigma

    @property
    def order(self) -> int:
        return 1 + len(self.known)

    @property
    def ratios(self) -> list[float]:
        """The places to look back on in units of h, counted from here: below 0."""
        return [(place.lam - self.here.lam) / self.h for place in self.known]


class Multistep(Step):
    """A solver of an order: that of the first and of the last moves is lower."""

    looks_back = True
    highest: int = 3

    def __init__(self, order: int = 2):
        if not 1 <= order <= self.highest:
            raise Refused("sampler.step.order is that of the solver", order, f"give 1 to {self.highest}")
        self.order = order

    def way(self, corruption: Corruption, before: Sequence[Tensor], t: Tensor, s: Tensor, moves_left: int) -> Way:
        """`moves_left` are this one and those after: no more than their number is the order."""
        back = min(self.order, moves_left) - 1
        times = torch.stack((*before[max(len(before) - back, 0) :], t, s)).double()
        columns = (*corruption.schedule(times), corruption.schedule.log_snr(times) / 2)
        *known, here, there = (Place(*row) for row in torch.stack(columns, 1).tolist())
        return Way(here, there, [p for p in reversed(known) if p.alpha > NOTHING * p.sigma])

    def accepts(self, spec):
        return additive(spec, self)


def looked_back(past: Past | None) -> tuple[Tensor, ...]:
    """The means of the moves before, the latest first."""
    return () if past is None else (past.belief.mean, *past.memory)


class DPMSolverPP(Multistep):
    """DPM-Solver++ in its multistep form, of order 1 (DDIM) to 3 (Lu et al., 2022, arXiv:2211.01095, algorithm 2; order
    3: Lu et al., 2022, arXiv:2206.00927, as in diffusers)."""

    def plan(self, corruption, t, s, before=(), after=()):
        way = self.way(corruption, before, t, s, 1 + len(after))
        of_x, of_means, memory = way.shrink, self.weights(way), self.order - 1

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            means = (belief.mean, *looked_back(past))
            return mixed(of_x, x_t, *zip(of_means, means, strict=False)), Past(belief, means[1:memory])

        return move

    def weights(self, way: Way) -> list[float]:
        """Of the means, the latest first."""
        alpha, h, phi = way.there.alpha, way.h, math.expm1(-way.h)
        if way.order < 3:
            return slanted(-alpha * phi, way)
        r, q = (a - b for a, b in itertools.pairwise((0.0, *way.ratios)))
        # Of the differences (m0 - m1) / r and (m1 - m2) / q.
        first, second = alpha * (phi / h + 1), -alpha * ((phi + h) / h**2 - 0.5)
        later = (first * (1 + r / (r + q)) + second / (r + q)) / r
        earlier = -(first * r + second) / (r + q) / q
        return [-alpha * phi + later, earlier - later, -earlier]


def slanted(weight: float, way: Way) -> list[float]:
    """`weight` of the mean as it is believed to be halfway: m0 + (m0 - m1) h / 2 h_0."""
    return [weight * (1 - 0.5 / r) for r in way.ratios] + [0.5 * weight / r for r in way.ratios] or [weight]


class DPMSolverPPSDE(Multistep):
    """SDE-DPM-Solver++, of order 1 (ancestral, of a certain belief) or 2 (Lu et al., 2022, arXiv:2211.01095, eq. 18 and
    appendix E)."""

    highest = 2

    def plan(self, corruption, t, s, before=(), after=()):
        way = self.way(corruption, before, t, s, 1 + len(after))
        fresh = -math.expm1(-2 * way.h)
        of_x, of_means = way.shrink * math.exp(-way.h), slanted(way.there.alpha * fresh, way)
        of_noise = way.there.sigma * math.sqrt(fresh)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            means = (belief.mean, *looked_back(past))
            x_s = mixed(of_x, x_t, *zip(of_means, means, strict=False))
            return (x_s.add_(random.normal(x_s.shape).to(x_s), alpha=of_noise) if of_noise else x_s), Past(belief)

        return move


class UniPC(Multistep):
    """The unified predictor-corrector with B(h) = e^h - 1, of order 1 to 3 (Zhao et al., 2023, arXiv:2302.04867,
    algorithms 5 and 6): what is believed at x_t first corrects the move that led to x_t, then predicts x_s. The network
    is not asked again."""

    def plan(self, corruption, t, s, before=(), after=()):
        moves_left = 1 + len(after)
        of_x, *of_means = self.weights(self.way(corruption, before, t, s, moves_left), corrects=False)
        last_x, *last_means = (
            self.weights(self.way(corruption, before[:-1], before[-1], t, moves_left + 1), corrects=True)
            if before else [0.0]
        )  # fmt: skip
        memory = self.order

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            means = (belief.mean,)
            if past is not None:
                corrected, *earlier = past.memory
                means = (belief.mean, past.belief.mean, *earlier)
                x_t = mixed(last_x, corrected, *zip(last_means, means, strict=False))
            x_s = mixed(of_x, x_t, *zip(of_means, means, strict=False))
            return x_s, Past(belief, (x_t, *means[1:memory]))

        return move

    def weights(self, way: Way, corrects: bool) -> list[float]:
        """Of x and of the means, the latest first: the one there, if it corrects, the one here, and those known."""
        alpha, order, phi = way.there.alpha, way.order, math.expm1(-way.h)
        ratios = [*way.ratios, 1.0] if corrects else way.ratios
        shares = [0.5] if len(ratios) == 1 else self.shares(ratios, -way.h, phi)
        slopes = [-alpha * phi * share / r for share, r in zip(shares, ratios, strict=True)]  # of m_k - m_here
        here = -alpha * phi - sum(slopes)
        known, there = slopes[: order - 1], slopes[order - 1 :]
        return [way.shrink, *there, here, *known]

    def shares(self, ratios: list[float], hh: float, phi: float) -> list[float]:
        """Those of the slopes, from the conditions of order."""
        n, term, factorial, right = len(ratios), phi / hh - 1, 1.0, []
        for i in range(1, n + 1):
            right.append(term * factorial / phi)
            factorial *= i + 1
            term = term / hh - 1 / factorial
        left = torch.tensor(ratios, dtype=torch.float64) ** torch.arange(n)[:, None]
        return torch.linalg.solve(left, torch.tensor(right, dtype=torch.float64)).tolist()
