"""ELECTRA's two objectives in one."""

from denoiselab.denoiser import Detects
from denoiselab.objective.base import Objective, scored
from denoiselab.schedule import LOUDEST
from denoiselab.spec import Refused
from denoiselab.times import Stratified


class Detection(Objective):
    """The generator's cross-entropy, a mean over the tokens hit, and `weight` times the discriminator's, a mean over
    what is scored (Clark et al., 2020, arXiv:2003.10555, section 2.2: 50): all tokens with asked=all, those that were
    hit with asked=touched ("ELECTRA 15%", section 3.4).

    The first mean is that of each row, weighted by what is scored of it: a row's cost depends on the row alone. Where
    all rows have as many tokens hit, it is that of the batch.
    """

    def __init__(self, weight: float = 50.0):
        if not 0 < weight <= LOUDEST:
            raise Refused("objective.weight is what the discriminator counts", weight, "give more than 0, as 50")
        self.weight = weight

    def __call__(self, belief, corrupted, t, corruption):
        x, asked = corrupted.target, corrupted.scored > 0
        hidden = corrupted.touched & asked
        share = asked.sum(1, keepdim=True) / hidden.sum(1, keepdim=True).clamp(min=1)
        guessed = -belief.guess.log_prob(x) * hidden * share
        return guessed - self.weight * belief.replaced.log_prob(belief.seen != x)

    def count(self, corrupted):
        return scored(corrupted)

    def held_out(self):
        return Stratified()

    def accepts(self, spec):
        return spec.needs(Detects, self, "use parameterization=electra, or objective=weighted")
