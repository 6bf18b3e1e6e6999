"""A weighted cost, and the sum of objectives."""

from denoiselab.denoiser import Detects, Spread
from denoiselab.objective.base import Likelihood, Objective
from denoiselab.objective.cost import Cost, InX, Scale
from denoiselab.objective.weight import Weight
from denoiselab.schedule import LOUDEST, match
from denoiselab.spec import Refused
from denoiselab.times import Stratified


class Weighted(Objective):
    """weight(t) * cost(belief, target), the residual divided by scale(t)."""

    def __init__(self, cost: Cost, weight: Weight, scale: Scale | None = None):
        self.cost, self.weight, self.scale = cost, weight, scale or InX()
        self.scored_alone = cost.by_log_prob

    def __call__(self, belief, corrupted, t, corruption):
        x, schedule = corrupted.target, corruption.schedule
        return match(self.weight(schedule, t), x) * self.cost(belief, x, self.scale(schedule, t, x))

    def count(self, corrupted):
        return self.weight.count(corrupted)

    def held_out(self):
        return Stratified()

    def accepts(self, spec):
        fix = "use objective=hybrid, which teaches the width, or posterior=dirac"
        spec = spec.refuses(Spread, self, fix).refuses(Detects, self, "use objective=electra")
        return self.scale.accepts(self.weight.accepts(self.cost.accepts(spec)))


class Sum(Objective):
    """The terms, each times its share. The first says by what the sum is divided and where validation looks."""

    def __init__(self, terms: list[Objective], shares: list[float]):
        if not terms or len(terms) != len(shares):
            got = f"{len(terms)} terms and {len(shares)} shares"
            raise Refused("objective.shares has a number for each of objective.terms", got, "give as many")
        if not all(0 < share <= LOUDEST for share in shares):
            raise Refused("objective.shares are what each term counts", shares, f"give more than 0, up to {LOUDEST:g}")
        self.terms, self.shares = terms, shares
        self.scored_alone = all(term.scored_alone for term in terms)

    def __call__(self, *question):
        return sum(share * term(*question) for share, term in zip(self.shares, self.terms, strict=True))

    def count(self, corrupted):
        return self.terms[0].count(corrupted)

    def held_out(self):
        return self.terms[0].held_out()

    def accepts(self, spec):
        agreed = spec
        for term in self.terms:
            agreed = term.accepts(agreed)
        # A bound and something else is a bound no more.
        return agreed._replace(facts=agreed.facts - {Likelihood})
