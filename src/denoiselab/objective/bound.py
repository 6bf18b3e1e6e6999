"""The variational bound, and a main objective beside it."""

import math

import torch
from torch import Tensor

from denoiselab.corruption import Absorbing, Corruption, Degrading, Generative, Reversible, Terminal
from denoiselab.denoiser import Spread
from denoiselab.objective.base import Likelihood, Objective, places
from denoiselab.schedule import match
from denoiselab.spec import Refused
from denoiselab.times import Grid, StratifiedGrid

FLOOR = math.log(1e-12)  # of the log probability of a rounded value


class Bound(Objective):
    """The variational bound in `steps` steps, in nats a place (Sohl-Dickstein et al., 2015, arXiv:1503.03585; Austin et
    al., 2021, arXiv:2107.03006). `bin` is the distance between the values that data can take, 2 / 255 for pictures, and
    `ends` are the least and the greatest, if there are: what lies beyond counts to them (Ho et al., 2020,
    arXiv:2006.11239, eq. 13)."""

    def __init__(self, steps: int, bin: float = 2 / 255, ends: tuple[float, float] | None = None):
        if steps < 1:
            raise Refused("objective.steps counts the steps of the bound", steps, "give at least 1")
        if not 0 < bin <= 2:
            raise Refused("objective.bin is the distance between values in [-1, 1]", bin, "give more than 0, up to 2")
        if ends is not None and not (len(ends) == 2 and ends[0] < ends[1]):
            what = "objective.ends are the least and the greatest value of data"
            raise Refused(what, ends, "give two that rise, such as [-1.0,1.0], or null for none")
        self.steps, self.bin, self.ends = steps, bin, None if ends is None else (ends[0], ends[1])

    def __call__(self, belief, corrupted, t, corruption):
        x, x_t, s = corrupted.target, corrupted.x_t, (t - 1 / self.steps).clamp(min=0)
        kernel = corruption.transition(t, s)
        back, true = (kernel(x_t, b, **corrupted.context) for b in (belief, belief.at(x)))
        last = match(s < 0.5 / self.steps, x)
        # As in Ho et al.'s code, less counts as the floor, without a gradient: a width of 0 has no likelihood.
        mass = back.log_mass(x, self.bin, self.ends)
        if x.is_floating_point():
            mass = mass.clamp(min=FLOOR)
        return self.steps * torch.where(last, -mass, true.kl(back))

    def count(self, corrupted):
        return places(corrupted)

    def prior(self, x: Tensor, corruption: Corruption) -> Tensor:
        """KL(q(x_1 | x) || p(x_1)), a place: what the bound adds, and no network changes."""
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return corruption.forth(zero, zero + 1)(x).kl(corruption.prior(x))

    def held_out(self):
        return StratifiedGrid(self.steps)

    def accepts(self, spec):
        spec.refuses(Degrading, self, "its way back is certain, so that a bound is infinite: use objective=weighted")
        spec.needs(Generative, self, "use a schedule that ends in its prior, such as schedule=linear")
        if Absorbing in spec.facts:
            spec.needs(Terminal, self, "what survives t = 1 has no place in the prior: use schedule=linear or cosine")
        spec.needs(Grid, self, f"use times=grid times.steps={self.steps}")
        spec.needs(Reversible, self, "a bound needs a way back: use a corruption with a `transition`")
        return spec.having(Likelihood)


class Hybrid(Objective):
    """main + share * bound, the bound teaching the width alone (Nichol and Dhariwal, 2021, arXiv:2102.09672)."""

    def __init__(self, main: Objective, bound: Objective, share: float = 0.001):
        if not 0 < share <= 1:
            raise Refused("objective.share is what a bound counts beside 1", share, "give more than 0, up to 1")
        self.main, self.bound, self.share = main, bound, share

    def __call__(self, belief, *question):
        return self.main(belief, *question) + self.share * self.bound(belief.spread(), *question)

    def count(self, corrupted):
        return self.main.count(corrupted)

    def accepts(self, spec):
        spec.needs(Spread, self, "use posterior=learned, or objective=weighted")
        self.bound.accepts(spec)
        self.main.accepts(spec._replace(facts=spec.facts - {Spread}))
        return spec

    def held_out(self):
        return self.bound.held_out()
