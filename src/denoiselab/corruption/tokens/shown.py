"""How what is hit is shown. Some keep the length of the text, so that each token can be asked in its place; others do
not, and what is asked is a text of its own. Ids are those of `special`."""

import abc
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption.base import Corruption
from denoiselab.corruption.tokens.layout import compact, first, laid, shuffled, shuffled_groups
from denoiselab.corruption.tokens.special import SENTINEL, cleared, masked
from denoiselab.corruption.tokens.where import Hit, Reach, knows
from denoiselab.spec import Refused, Spec


class Generated(Corruption):
    """A fact: what is hit is shown as tokens that a generator draws, and the denoiser holds one.

    The context has `dice`, (B, L) in [0, 1), a uniform number for each place: what is drawn is a function of it.
    """


class Seen(NamedTuple):
    """What is seen of a text (B, L)."""

    x: Tensor  # (B, S) ids
    ok: Tensor  # (B, S) bool: where it is
    order: Tensor | None = None  # (B, L): which token stands at each place, where that is another one
    told: Mapping[str, Tensor] = {}  # what the context gains


class Shown(abc.ABC):
    """`keeps`: has what is seen the length of the text? `hides`: is nothing of a token that is hit to be seen?
    `sentinels` reserved, and may a mask be shown? `generates`: is what is shown drawn by a generator? `word` is what a
    configuration calls it."""

    word: str
    keeps: bool = True
    hides: bool = False
    generates: bool = False
    sentinels: int = 0
    masks: bool = False

    @abc.abstractmethod
    def __call__(self, x: Tensor, ok: Tensor, hit: Hit, most: Reach, context, random) -> Seen:
        """Shows x (B, L), whose text lies where `ok` is True, in most.shown places, or L where lengths are kept."""

    @abc.abstractmethod
    def width(self, length: int, most: Reach) -> int:
        """Places of what is seen, S."""

    @abc.abstractmethod
    def accepts(self, spec: Spec, most: Reach) -> Spec:
        """Refuses text, or damage, that it cannot show."""


class Keeping(Shown):
    """Keeps the length."""

    def width(self, length, most):
        return length


class Mixed(Keeping):
    """The mask; but a share `swapped` of the tokens hit as random ones and a share `kept` as they were: 0.1 and 0.1 in
    BERT (Devlin et al., 2018, arXiv:1810.04805), 1 and 0 as ELECTRA's replaced tokens, drawn from all alike."""

    def __init__(self, vocabulary: int, swapped: float = 0.1, kept: float = 0.1):
        if not (0 <= swapped and 0 <= kept and swapped + kept <= 1):
            raise Refused(
                "swapped and kept are shares of the tokens hit", f"swapped={swapped} kept={kept}",
                "give two shares of at least 0 that add up to at most 1, such as 0.1 and 0.1",
            )  # fmt: skip
        self.vocabulary, self.swapped, self.kept = vocabulary, swapped, kept
        self.masks, self.hides = swapped + kept < 1, swapped + kept == 0
        self.word = "mask" if not swapped + kept else "swapped" if swapped == 1 else "mixed"

    def __call__(self, x, ok, hit, most, context, random):
        return Seen(masked(x, hit.touched, self.vocabulary, self.swapped, self.kept, random.child("how")), ok)

    def accepts(self, spec, most):
        return spec


class Drawn(Keeping):
    """As a generator's tokens, which the denoiser draws where the mask stands: ELECTRA's (Clark et al., 2020,
    arXiv:2003.10555). The corruption gives the mask, and the dice."""

    word = "generated"
    generates, masks = True, True

    def __init__(self, vocabulary: int):
        self.vocabulary = vocabulary

    def __call__(self, x, ok, hit, most, context, random):
        dice = random.child("dice").uniform(x.shape)
        return Seen(torch.where(hit.touched, self.vocabulary, x), ok, told={"dice": dice})

    def accepts(self, spec, most):
        return spec


# -- spans -------------------------------------------------------------------------------------------------


class Sentinels(Shown):
    """Each span as one sentinel, the first of a row as the first of `count` (Raffel et al., 2019, arXiv:1910.10683,
    which reserves 100)."""

    word = "sentinels"
    keeps, hides, masks = False, True, True

    def __init__(self, vocabulary: int, count: int = 100):
        if not 1 <= count <= 2**20:
            raise Refused("shown.count is the number of sentinels", count, "give 1 or more; T5 has 100")
        self.vocabulary, self.sentinels = vocabulary, count

    def __call__(self, x, ok, hit, most, context, random):
        return Seen(*laid(x, ok & ~hit.touched, hit.opens, most.shown, self.vocabulary + SENTINEL, True))

    def width(self, length, most):
        return most.shown

    def accepts(self, spec, most):
        if most.spans > self.sentinels:
            raise Refused(
                f"a text of {spec.shape[0]} tokens can have {most.spans} spans, each with a sentinel of its own",
                f"{self.sentinels} sentinels", f"shown.count={most.spans}, or longer spans, or a lower rate",
            )  # fmt: skip
        return spec


class Infilled(Shown):
    """Each span as one mask, however long it is (BART's text infilling: Lewis et al., 2019, arXiv:1910.13461)."""

    word = "infilled"
    keeps, hides, masks = False, True, True

    def __init__(self, vocabulary: int):
        self.vocabulary = vocabulary

    def __call__(self, x, ok, hit, most, context, random):
        return Seen(*laid(x, ok & ~hit.touched, hit.opens, most.shown, self.vocabulary, False))

    def width(self, length, most):
        return most.shown

    def accepts(self, spec, most):
        return spec


class Deleted(Shown):
    """Not at all: what is missing, and where, is to be found out (BART's token deletion)."""

    word = "deleted"
    keeps, hides = False, True

    def __call__(self, x, ok, hit, most, context, random):
        return Seen(*compact(x, ok & ~hit.touched, most.shown))

    def width(self, length, most):
        return most.shown

    def accepts(self, spec, most):
        return spec


# -- in another order --------------------------------------------------------------------------------------


def reordered(x: Tensor, ok: Tensor, order: Tensor) -> Seen:
    return Seen(x.gather(1, order), ok, order)


class PermutedTokens(Keeping):
    """In their places, but permuted: all that is hit among itself."""

    word = "permuted_tokens"

    def __call__(self, x, ok, hit, most, context, random):
        u = random.child("order").uniform(x.shape)
        return reordered(x, ok, shuffled(hit.touched, u, context.get("segment")))

    def accepts(self, spec, most):
        return spec


class PermutedSentences(Keeping):
    """Sentences with a token that is hit change places among each other (BART's sentence permutation)."""

    word = "permuted_sentences"

    def __call__(self, x, ok, hit, most, context, random):
        u = random.child("order").uniform(x.shape)
        return reordered(x, ok, shuffled_groups(context["sentence"], hit.touched, ok, u, context.get("segment")))

    def accepts(self, spec, most):
        return knows(spec, self, "sentence", "add data.marks=[sentence]; or use shown=permuted_tokens")


class Rotated(Keeping):
    """What is hit begins at another of its tokens, chosen uniformly, and goes on at its front: at rate 1 BART's
    document rotation."""

    word = "rotated"

    def __call__(self, x, ok, hit, most, context, random):
        slots, rank = first(hit.touched), torch.arange(x.shape[1], device=x.device)
        count, begin = hit.touched.sum(1, keepdim=True), 0
        hits = rank < count
        if "segment" in context:  # of what is hit, in order, then of the rest
            number = context["segment"].gather(1, slots)
            count = torch.zeros_like(slots).scatter_add_(1, number, hits.long())
            begin = (count.cumsum(1) - count).gather(1, number)
            count, u = count.gather(1, number), random.child("by").uniform(x.shape).gather(1, number)
        else:
            u = random.child("by").uniform((len(x), 1))
        by = (u.double() * count).long()
        moved = rank + cleared(by - cleared(count.expand_as(slots), rank - begin + by >= count), hits)
        return reordered(x, ok, torch.empty_like(slots).scatter_(1, slots, slots.gather(1, moved)))

    def accepts(self, spec, most):
        return spec
