"""Token corruptions. Severity sigma_t is the share of tokens hit; survival is 1 - sigma_t.

Text is (B, L) int64 ids, right-padded; `context["valid"]` (B, L) says where text is. Clean text has the ids 0 to
vocabulary - 1; the special tokens that a corruption reserves follow: the mask is `vocabulary`.
"""

import abc

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.corruption.base import Absorbing, Batch, Markov, corrupted, everywhere, reversible_facts, severity
from denoiselab.corruption.tokens.special import masked, select
from denoiselab.posterior import Categorical, Kept, Known
from denoiselab.schedule import Schedule, match
from denoiselab.spec import Refused, Spec, name


def valid(batch: Batch) -> Tensor:
    """Where text is, (B, L) bool."""
    return batch.context.get("valid", everywhere(batch.x))


def spoken(spec: Spec, corruption: "Pointwise", vocabulary: int) -> Spec:
    """Refuses a vocabulary that is not the data's: what is drawn, and the mask, would be other tokens."""
    if spec.vocabulary != vocabulary:
        raise Refused(
            f"{name(corruption)} draws from the vocabulary of the data, {spec.vocabulary} tokens", vocabulary,
            "leave corruption.vocabulary out: the data says it",
        )  # fmt: skip
    return spec


class Pointwise(Markov):
    """A fact: each token is hit by itself, and how is known: an oracle can invert it."""

    @abc.abstractmethod
    def evidence(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """q(x_t | x) over clean x, (B, L, V) float64: at any place, and at one that is scored."""


class TokenMask(Pointwise):
    """Absorbing: a token survives with probability 1 - sigma_t, else it is shown as the mask (Austin et al., 2021,
    arXiv:2107.03006; Sahoo et al., 2024, arXiv:2406.07524).

    BERT (Devlin et al., 2018, arXiv:1810.04805) shows a share `swapped` of the hit tokens as random ones and a share
    `kept` as they were, and is asked for all that were hit; then there is no way back.
    """

    def __init__(self, schedule: Schedule, vocabulary: int, swapped: float = 0.0, kept: float = 0.0):
        super().__init__()
        if not (0 <= swapped and 0 <= kept and swapped + kept <= 1):
            raise Refused(
                "swapped and kept are shares of the tokens hit", f"swapped={swapped} kept={kept}",
                "give two shares of at least 0 that add up to at most 1, such as 0.1 and 0.1",
            )  # fmt: skip
        self.schedule, self.vocabulary, self.swapped, self.kept = schedule, vocabulary, swapped, kept

    @property
    def mask(self) -> int:
        return self.vocabulary

    def forward(self, batch, t, random):
        x = batch.x
        touched = random.chance(match(self.schedule.sigma(t), x), x.shape) & valid(batch)
        x_t = masked(x, touched, self.vocabulary, self.swapped, self.kept, random.child("how"))
        return corrupted(batch, x_t, touched=touched, scored=touched)

    def prior(self, like):
        # Of `forth`'s family, so that a bound can compare the two.
        mask = torch.full_like(like, self.mask)
        return Kept(mask, torch.ones((), device=like.device), Known(mask, self.vocabulary + 1))

    def own(self, like, random):
        return {}

    def transition(self, t, s, noise=1.0):
        stay = self.schedule.sigma(s) / self.schedule.sigma(t)
        return lambda x_t, belief, **context: Kept(
            x_t, torch.where(x_t == self.mask, match(stay, x_t), 1.0), belief)  # fmt: skip

    def forth(self, s, t):
        hit_t, hit_s = self.schedule.sigma(t), self.schedule.sigma(s)
        lost = (hit_t - hit_s) / (1 - hit_s)
        return lambda x_s, **context: Kept(
            torch.full_like(x_s, self.mask), torch.where(x_s == self.mask, 1.0, match(lost, x_s)),
            Known(x_s, self.vocabulary + 1))  # fmt: skip

    def evidence(self, x_t, t):
        hidden = (x_t == self.mask)[..., None]
        same = F.one_hot(torch.where(x_t == self.mask, 0, x_t), self.vocabulary).double()
        shown = self.swapped / self.vocabulary + self.kept * same
        hit = torch.where(hidden, 1 - self.swapped - self.kept, shown)
        sigma = match(self.schedule.sigma(t), hit)
        anywhere = torch.where(hidden, sigma * hit, (1 - sigma) * same + sigma * hit)
        # What cannot have been hit is not scored: what is said of it is never asked, but must be a belief.
        return anywhere, torch.where(hit.sum(-1, keepdim=True) > 0, hit, anywhere)

    def accepts(self, spec):
        spec = spoken(severity(spec.of(("tokens",), self), self), self, self.vocabulary)
        facts = [Absorbing, *reversible_facts(self.schedule)] if self.swapped + self.kept == 0 else []
        return spec.having(Pointwise, *facts, specials=spec.specials or ("[MASK]",))


class TokenUniform(Pointwise):
    """D3PM uniform (Austin et al., 2021, arXiv:2107.03006): a token survives with probability 1 - sigma_t, else it is
    drawn anew from all of the vocabulary.

    Exact: the belief is mixed over q(x_s | x_t, x). The published rule puts the belief in the place of x before
    normalizing, which is not a belief about clean data: with the exact posterior its bound is above the entropy.
    """

    def __init__(self, schedule: Schedule, vocabulary: int):
        super().__init__()
        self.schedule, self.vocabulary = schedule, vocabulary

    def forward(self, batch, t, random):
        x = batch.x
        touched = random.chance(match(self.schedule.sigma(t), x), x.shape) & valid(batch)
        x_t = select(touched, random.child("other").integers(self.vocabulary, x.shape), x)
        return corrupted(batch, x_t, touched=touched, scored=valid(batch))

    def prior(self, like):
        return Categorical(torch.zeros(*like.shape, self.vocabulary, device=like.device))

    def step(self, x, s, t):
        """q(x_t = j | x_s = x) over j; also, being symmetric, q(x_t = x | x_s = j)."""
        one = self.prior(x).at(x).mean
        (_, hit_t), (_, hit_s) = self.schedule.at(t, one), self.schedule.at(s, one)
        kept = (1 - hit_t) / (1 - hit_s)
        return kept * one + (1 - kept) / self.vocabulary

    def forth(self, s, t):
        return lambda x_s, **context: Categorical(self.step(x_s, s, t).log())

    def own(self, like, random):
        return {}

    def transition(self, t, s, noise=1.0):
        def back(x_t, belief, **context):
            u = belief.mean / self.step(x_t, torch.zeros_like(t), t)
            hit = match(self.schedule.sigma(s), u)
            mixed = (1 - hit) * u + hit / self.vocabulary * u.sum(-1, keepdim=True)
            return Categorical((self.step(x_t, s, t) * mixed).log())

        return back

    def evidence(self, x_t, t):
        seen = self.step(x_t, torch.zeros_like(t), t).double()
        return seen, seen

    def accepts(self, spec):
        spec = spoken(severity(spec.of(("tokens",), self), self), self, self.vocabulary)
        return spec.having(Pointwise, *reversible_facts(self.schedule))
