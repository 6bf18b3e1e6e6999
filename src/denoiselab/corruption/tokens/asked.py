"""What is asked of a damaged text."""

import abc
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption.base import Corruption
from denoiselab.corruption.tokens.layout import compact, laid, within
from denoiselab.corruption.tokens.shown import Sentinels, Shown
from denoiselab.corruption.tokens.special import SENTINEL, cleared
from denoiselab.corruption.tokens.where import Hit, Reach
from denoiselab.spec import Refused


class Compared(Corruption):
    """A fact: what is asked of each token is whether it was replaced, yes or no."""


class Question(NamedTuple):
    target: Tensor
    scored: Tensor


class Asked(abc.ABC):
    """`writes`: is the answer a text of its own? `compares`: is it yes or no?"""

    writes: bool = False
    compares: bool = False

    @abc.abstractmethod
    def __call__(self, x: Tensor, ok: Tensor, hit: Hit, seen: Tensor, most: Reach, end: int) -> Question:
        """Of clean x (B, L) with text where `ok`; `seen` (B, S); what is written ends with `end`."""

    @abc.abstractmethod
    def width(self, length: int, most: Reach) -> int:
        """Places of the target, T."""

    @abc.abstractmethod
    def rebuilt(self, seen: Tensor, ok: Tensor, written: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
        """The whole text that an answer means, and where it is: see `Written.rebuilt`."""

    @abc.abstractmethod
    def fits(self, shown: list[Shown]) -> None:
        """Refuses ways to show text that it cannot be asked about."""

    def special(self, sentinels: int) -> int:
        """How many special tokens, from the first on, occur in what is asked."""
        return SENTINEL * self.writes + sentinels * isinstance(self, Spans)


# -- in place ----------------------------------------------------------------------------------------------


class InPlace(Asked):
    """An answer for each token, in its place."""

    def width(self, length, most):
        return length

    def rebuilt(self, seen, ok, written, vocabulary):
        raise AssertionError("nothing is written")

    def fits(self, shown):
        for way in shown:
            if not way.keeps:
                raise Refused(
                    f"asked={type(self).__name__.lower()} asks for each token in its place, and shown={way.word} "
                    "changes how many there are", f"shown={way.word}",
                    "use asked=original, or asked=spans with shown=sentinels",
                )  # fmt: skip


class Touched(InPlace):
    """The tokens that were hit alone, as BERT is."""

    def __call__(self, x, ok, hit, seen, most, end):
        return Question(x, hit.touched)


class All(InPlace):
    """All tokens."""

    def __call__(self, x, ok, hit, seen, most, end):
        return Question(x, ok)


class Replaced(InPlace):
    """Of all tokens whether they are others than they were: ELECTRA's replaced token detection (Clark et al., 2020,
    arXiv:2003.10555). A random token that happens to be the same counts as not replaced, as published."""

    compares = True

    def __call__(self, x, ok, hit, seen, most, end):
        return Question(seen != x, ok)

    def fits(self, shown):
        super().fits(shown)
        if any(way.masks for way in shown):
            got = ", ".join(f"shown={way.word}" for way in shown)
            raise Refused(
                "asked=replaced is no question where the mask is shown", got,
                "use shown=swapped, permuted_tokens or rotated; of a generator's tokens: shown=generated asked=all "
                "parameterization=electra objective=electra",
            )  # fmt: skip


# -- written -----------------------------------------------------------------------------------------------


def answer(written: Tensor, end: int) -> Tensor:
    """What comes before the first `end`, (B, T) bool."""
    return (written == end).cumsum(1) == 0


def ungenerated(shown: list[Shown]) -> None:
    """Refuses what a generator would draw: who writes reads it as it is."""
    if any(way.generates for way in shown):
        raise Refused("shown=generated asks for each token in its place", "an answer that is written",
                      "use asked=all or touched, or shown=mask")  # fmt: skip


class Spans(Asked):
    """Each sentinel and what it stands for, then the end (Raffel et al., 2019, arXiv:1910.10683)."""

    writes = True

    def __call__(self, x, ok, hit, seen, most, end):
        width = self.width(x.shape[1], most)
        target, there = laid(x, hit.touched, hit.opens, width, end + 1, True)
        total = there.sum(1)
        return Question(target.scatter_(1, total[:, None], end), within(total + 1, width))

    def width(self, length, most):
        return most.touched + most.spans + 1

    def rebuilt(self, seen, ok, written, vocabulary):
        end = vocabulary + 1
        # Tokens in the order of their runs: clean run 0, what the first sentinel stands for, clean run 1 ...
        clean = 2 * (seen > end).cumsum(1)
        sentinel = written > end
        place = torch.arange(written.shape[1], device=written.device).expand_as(written)
        last = torch.where(sentinel, place, -1).cummax(1).values
        number = written.gather(1, last.clamp(min=0)) - end
        both, run = torch.cat((seen, written), 1), torch.cat((clean, 2 * number - 1), 1)
        there = torch.cat((ok, answer(written, end) & (last >= 0)), 1) & (both < vocabulary)
        order = run.masked_fill(~there, torch.iinfo(run.dtype).max).argsort(dim=1, stable=True)
        return compact(both.gather(1, order), there.gather(1, order), both.shape[1])

    def fits(self, shown):
        ungenerated(shown)
        if not (len(shown) == 1 and isinstance(shown[0], Sentinels)):
            got = ", ".join(f"shown={way.word}" for way in shown)
            raise Refused(
                "asked=spans asks what each sentinel stands for", got, "use shown=sentinels, or asked=original"
            )


class Original(Asked):
    """The whole text as it was, then the end (Lewis et al., 2019, arXiv:1910.13461)."""

    writes = True

    def __call__(self, x, ok, hit, seen, most, end):
        n, width = ok.sum(1), self.width(x.shape[1], most)
        target = torch.nn.functional.pad(cleared(x, ok), (0, 1))
        return Question(target.scatter_(1, n[:, None], end), within(n + 1, width))

    def width(self, length, most):
        return length + 1

    def rebuilt(self, seen, ok, written, vocabulary):
        return compact(written, answer(written, vocabulary + 1) & (written < vocabulary), written.shape[1])

    def fits(self, shown):
        ungenerated(shown)
