"""What flows between the parts, agreed before a tensor exists.

Every part is asked in the order of the data's way: data, codec, corruption, denoiser, architecture, times, objective,
sampler. Each `accepts(spec) -> Spec`: it says what it makes of what it gets, or raises `Refused` with its reason. The
list of valid cells is this fold and nothing else.

`facts` are interfaces (classes) that somebody up the way provides: `Reversible`, `Markov`, `Additive` ... A wrapper
passes them on, which inheritance could not: a wrapped corruption is Markov if the inner one is.
"""

import difflib
from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple, Protocol

CONTINUOUS = ("points", "image", "wave")  # kinds whose samples are numbers that can be added


class Refused(ValueError):
    """A mistake of the user's, in one screen: what is wrong, what was got, what would mend it."""

    def __init__(self, what: str, got: object, fix: str):
        super().__init__(f"{what}\n  got: {got}\n  fix: {fix}")
        self.what, self.got, self.fix = what, got, fix

    def __reduce__(self):
        got = self.got if isinstance(self.got, str | float | int | None) else str(self.got)  # others may not travel
        return type(self), (self.what, got, self.fix)


class Failed(RuntimeError):
    """A run that cannot go on, in words: no fault of the program's."""


class Spec(NamedTuple):
    """The agreement so far. Shapes are without the batch."""

    kind: str  # points, image, tokens, wave
    shape: tuple[int, ...]  # of x and x_t
    vocabulary: int = 0  # tokens that occur in clean text; special tokens have the ids from here on
    specials: tuple[str, ...] = ()  # how each special token that the corruption reserves is shown: "[MASK]" ...
    written: int = 0  # how many of them, from the first on, occur in what is asked
    alphabet: tuple[str, ...] = ()  # the text of each clean token; () where it is not known
    classes: int = 0
    words: int = 0  # ids that occur in captions; 0 where there are none
    caption: int = 0  # words of the longest caption, padding included
    spelled: tuple[str, ...] = ()  # the word of each of these ids; () where they are not known
    seen: tuple[int, ...] = ()  # of what the network gets; () means shape
    given: tuple[int, ...] = ()  # of what the network must give; () means shape
    target: tuple[int, ...] = ()  # of what is asked; () means shape
    ends: tuple[float, float] | None = None  # the least and the greatest value that data takes, if there are
    # Of pictures: mean of each channel's mean over the training pictures, and the rows of a Cholesky factor of their
    # covariance: C rows of 1 + C numbers.
    levels: tuple[tuple[float, ...], ...] = ()
    context: frozenset[str] = frozenset()
    asks: frozenset[str] = frozenset()  # names of the context that tell the network what to make
    facts: frozenset[type] = frozenset()

    def having(self, *facts: type, context: Iterable[str] = (), **fields) -> "Spec":
        """This agreement with more facts, more context and other fields."""
        return self._replace(facts=self.facts | set(facts), context=self.context | set(context), **fields)

    def needs(self, fact: type, who: object, fix: str) -> "Spec":
        if fact not in self.facts:
            known = ", ".join(sorted(f.__name__ for f in self.facts)) or "nothing of the kind"
            raise Refused(f"{name(who)} needs {fact.__name__}: {about(fact)}", known, fix)
        return self

    def refuses(self, fact: type, who: object, fix: str) -> "Spec":
        if fact in self.facts:
            raise Refused(f"{name(who)} cannot work with {fact.__name__}: {about(fact)}", fact.__name__, fix)
        return self

    def of(self, kinds: tuple[str, ...], who: object) -> "Spec":
        if self.kind not in kinds:
            raise Refused(
                f"{name(who)} is for {' or '.join(kinds)}", f"{self.kind} of shape {self.shape}",
                f"choose data of kind {' or '.join(kinds)}, or another part in the place of {name(who)}",
            )  # fmt: skip
        return self


class Part(Protocol):
    def accepts(self, spec: Spec) -> Spec: ...


def name(part: object) -> str:
    return getattr(part, "__name__", type(part).__name__)


def about(fact: type) -> str:
    """The first line of a fact's docstring, without its leading "A fact:"."""
    return (fact.__doc__ or "").strip().split("\n")[0].removeprefix("A fact: ").rstrip(".")


def near(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known ones, or all of them."""
    known = sorted(known)
    best = difflib.get_close_matches(word, known, 3, 0.5)
    return f"did you mean {' or '.join(best)}?" if best else f"choose one of {', '.join(known)}"


def compose(spec: Spec, *parts: Part) -> Spec:
    """The fold: what is agreed after all parts, or the first refusal."""
    return reduce(lambda agreed, part: part.accepts(agreed), parts, spec)
