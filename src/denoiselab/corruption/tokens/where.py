"""Where text is damaged: a rate (B,) to the places that are hit.

Two laws. Of `tokens`, `words`, `sentences` and `entities` each is hit by itself with the probability `rate`. Of spans,
block and suffix round(n rate) of the n tokens of a row are hit, exactly. A row's places depend on the row alone: not on
the batch, nor on the padding. At rate 0 nothing is hit.

Where a row has several documents (`segment` in the context), block and suffix are those of each of its documents, and
no word, sentence or name goes on from one to the next. Spans are counted by the row: what looks like a span across two
documents is one in each. Such rows are shown in place (see `damage`), so that nothing tells the two apart.
"""

import abc
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption.tokens.special import starts
from denoiselab.spec import Refused, Spec, name


@dataclass(frozen=True)
class Hit:
    """What is hit."""

    touched: Tensor  # (B, L) bool
    begun: Tensor | None = None  # `opens`, where spans may touch, or have no token; else each run of tokens is one

    @cached_property
    def opens(self) -> Tensor:
        """(B, L + 1) int32: spans that begin before token i; those without a token count too."""
        if self.begun is not None:
            return self.begun
        return torch.nn.functional.pad(starts(self.touched).int(), (0, 1))


class Reach(NamedTuple):
    """The most there can be in a row."""

    touched: int  # tokens hit
    spans: int
    shown: int  # tokens not hit and spans together
    rate: float  # the highest


class Where(abc.ABC):
    @abc.abstractmethod
    def __call__(self, ok: Tensor, rate: Tensor, spans: int, context, random) -> Hit:
        """Hits text that lies where `ok` (B, L) is True, right-padded; rate (B,) float64 in [0, 1], of which `reach`
        says that there are at most so many spans."""

    @abc.abstractmethod
    def reach(self, length: int, low: float, high: float) -> Reach:
        """The most there can be in `length` tokens at rates between low and high."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """Refuses text without what it needs."""


def alone(length: int, high: float) -> Reach:
    """Where each is hit by itself all may be, or every other one."""
    return Reach(length, (length + 1) // 2, length, high)


class Documents(NamedTuple):
    """The documents of rows, for each token (B, L) of its own."""

    number: Tensor  # in its row
    size: Tensor  # its tokens
    place: Tensor  # of the token in it

    @classmethod
    def of(cls, ok: Tensor, context) -> "Documents":
        """One a row, unless the context has `segment`."""
        number = context.get("segment", torch.zeros_like(ok, dtype=torch.long))
        size = torch.zeros_like(number).scatter_add_(1, number, ok.long())
        begin = size.cumsum(1) - size
        place = torch.arange(ok.shape[1], device=ok.device) - begin.gather(1, number)
        return cls(number, size.gather(1, number), place)

    def hit(self, rate: Tensor) -> Tensor:
        """How many tokens of each document are, (B, L) int64."""
        return (self.size * rate[:, None]).round().long()


def knows(spec: Spec, who: object, key: str, fix: str) -> Spec:
    if key not in spec.context:
        known = ", ".join(sorted(spec.context)) or "nothing"
        raise Refused(f"{name(who)} needs to know the {key} of each token", f"the data says {known}", fix)
    return spec


class Tokens(Where):
    """Each token by itself (Devlin et al., 2018, arXiv:1810.04805)."""

    def __call__(self, ok, rate, spans, context, random):
        return Hit(random.chance(rate[:, None], ok.shape) & ok)

    def reach(self, length, low, high):
        return alone(length, high)

    def accepts(self, spec):
        return spec


class Numbered(Where):
    """Each of what the context numbers by itself, all of its tokens at once."""

    of: str  # in the context, (B, L): the number of what each token belongs to
    fix: str

    def __call__(self, ok, rate, spans, context, random):
        return Hit(random.chance(rate[:, None], ok.shape).gather(1, context[self.of]) & ok)

    def reach(self, length, low, high):
        return alone(length, high)

    def accepts(self, spec):
        return knows(spec, self, self.of, self.fix)


class Words(Numbered):
    """Each word by itself: whole word masking. `word` (B, L) in the context numbers them."""

    of, fix = "word", "add data.marks=[word], or data.marks=[word,sentence]; or use where=tokens"


class Sentences(Numbered):
    """Each sentence by itself. `sentence` (B, L) in the context numbers them."""

    of, fix = "sentence", "add data.marks=[sentence]; or use where=tokens"


class Entities(Where):
    """Each run of tokens where `entity` (B, L) in the context is True by itself: names of a user's list."""

    def __call__(self, ok, rate, spans, context, random):
        entity = context["entity"] & ok
        begins = starts(entity)
        if "segment" in context:
            segment = context["segment"]
            begins = begins | (entity & torch.nn.functional.pad(segment[:, 1:] != segment[:, :-1], (1, 0)))
        number = (begins.cumsum(1) - 1).clamp_(min=0)
        return Hit(random.chance(rate[:, None], ok.shape).gather(1, number) & entity)

    def reach(self, length, low, high):
        return alone(length, high)

    def accepts(self, spec):
        return knows(spec, self, "entity", "give the list: data.entities=FILE, or use where=words")


# -- so many tokens, in one piece --------------------------------------------------------------------------


def counted(ok: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of each row, and how many of them are hit, (B,) int64."""
    n = ok.sum(1)
    return n, (n * rate).round().long()


def piece(length: int, low: float, high: float) -> Reach:
    return Reach(min(length, round(length * high) + 1), 1, min(length, int(length * (1 - low)) + 2), high)


class Block(Where):
    """One block of consecutive tokens, wherever it fits."""

    def __call__(self, ok, rate, spans, context, random):
        own = Documents.of(ok, context)
        hit = own.hit(rate)
        begin = (random.uniform(ok.shape).gather(1, own.number).double() * (own.size - hit + 1)).long()
        return Hit((own.place >= begin) & (own.place < begin + hit) & ok)

    def reach(self, length, low, high):
        return piece(length, low, high)

    def accepts(self, spec):
        return spec


class Suffix(Where):
    """The end of the text: prefix language modelling (Raffel et al., 2019, arXiv:1910.10683)."""

    def __call__(self, ok, rate, spans, context, random):
        own = Documents.of(ok, context)
        return Hit((own.place >= own.size - own.hit(rate)) & ok)

    def reach(self, length, low, high):
        return piece(length, low, high)

    def accepts(self, spec):
        return spec
