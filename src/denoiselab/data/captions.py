"""The captions of `Shapes`: a small grammar. A text is a caption or is refused, and what it says can be checked.

    caption = group | group relation group              "two red circles left of a seven"
    group   = number color shape | "a" [color] digit    "a green square", "a blue five"

A digit without a color is white. "a right of b" and "b left of a" are said of one picture: what is true of it is told
in one order, the left or upper group first. The two groups of a picture differ in color or shape.
"""

import re
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.data.base import Captions
from denoiselab.names import nearest
from denoiselab.spec import Refused

NUMBERS = ("a", "two", "three")
HUES = ("red", "green", "blue", "yellow")  # colors that are said; white goes without saying
SHAPES = ("circle", "square", "triangle", "cross")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RELATIONS = ("left of", "above", "right of", "below")  # the first two again, the other way round
WORDS = tuple(dict.fromkeys((*NUMBERS, *HUES, *SHAPES, *(f"{s}{'es' if s == 'cross' else 's'}" for s in SHAPES),
                             *DIGITS, *" ".join(RELATIONS).split())))  # fmt: skip
PLURALS = dict(zip(SHAPES, WORDS[len(NUMBERS) + len(HUES) + len(SHAPES) :], strict=False))
ID = {word: i for i, word in enumerate(WORDS)}
LONGEST = 8  # words: "two red circles left of three blue squares"
# What is true of a picture, and how many values each has. A color or shape of another group is one more than that of
# the first: 0 is that there is none. Shapes and digits are one list.
ATTRIBUTES = {"number": 3, "color": 5, "shape": 14, "relation": 3,
              "other_number": 4, "other_color": 6, "other_shape": 15}  # fmt: skip
TEMPLATES = (
    "a five", "a red five", "a green square", "two red circles", "GROUP left of GROUP", "GROUP right of GROUP",
    "GROUP above GROUP", "GROUP below GROUP",
)  # fmt: skip


class Group(NamedTuple):
    """Alike objects; numbers of the lists above. A `shape` past the shapes is a digit."""

    number: int
    color: int
    shape: int

    def __str__(self):
        digit = self.shape >= len(SHAPES)
        noun = DIGITS[self.shape - len(SHAPES)] if digit else SHAPES[self.shape]
        color = "" if self.color == len(HUES) else f"{HUES[self.color]} "
        return f"{NUMBERS[self.number]} {color}{PLURALS[noun] if self.number else noun}"


# -- captions ----------------------------------------------------------------------------------------------

_hue, _shape, _digit = ("|".join(words) for words in (HUES, SHAPES, DIGITS))
_group = (
    rf"(?:(a) ({_hue}) ({_shape})|(two|three) ({_hue}) ({'|'.join(PLURALS.values())})|(a)(?: ({_hue}))? ({_digit}))"
)
GRAMMAR = re.compile(rf"{_group}(?: ({'|'.join(RELATIONS)}) {_group})?")


def words(text: str) -> list[str]:
    """The words of a caption as they are known: in small letters, "an" as "a"."""
    return ["a" if word == "an" else word for word in text.lower().split()]


def groups(text: str) -> tuple[Group, int | None, Group | None]:
    """The first group, the relation and the other group of a caption; refused where it is none."""
    said = " ".join(words(text))
    for word in said.split():
        if word not in ID:
            close = nearest(word, WORDS)
            fix = f"did you mean {' or '.join(close)}? " if close else f"the words are {', '.join(WORDS)}. "
            raise Refused(f"no caption has the word {word!r}", text, fix + can_be_said())
    found = GRAMMAR.fullmatch(said)
    if not found:
        raise Refused("this is no caption", repr(text), can_be_said())
    parts = found.groups()
    first, other = group(parts[:9]), group(parts[10:])
    if other and first[1:] == other[1:]:
        raise Refused("the two groups of a picture differ in color or shape", repr(text), can_be_said())
    return first, None if parts[9] is None else RELATIONS.index(parts[9]), other


def can_be_said() -> str:
    return f"captions are {'; '.join(TEMPLATES)}"


def group(parts: tuple[str | None, ...]) -> Group | None:
    """Of what the grammar found: number, color and noun of one shape, of several, or of a digit."""
    said = [word for word in parts if word is not None]
    if not said:
        return None
    number, noun = NUMBERS.index(said[0]), said[-1]
    color = HUES.index(said[1]) if len(said) == 3 else len(HUES)
    singular = {**{s: s for s in SHAPES}, **{plural: s for s, plural in PLURALS.items()}}
    # "two" and "three" are digits as nouns, numbers before.
    place = len(SHAPES) + DIGITS.index(noun) if noun in DIGITS else SHAPES.index(singular[noun])
    return Group(number, color, place)


def caption(first: Group, relation: int | None, other: Group | None) -> str:
    return str(first) if other is None else f"{first} {RELATIONS[relation]} {other}"


def true(first: Group, relation: int | None, other: Group | None) -> list[int]:
    """The attributes of a picture, in the order of `ATTRIBUTES`."""
    if other is None:
        return [*first, 0, 0, 0, 0]
    if relation >= 2:
        first, other = other, first
    return [*first, 1 + relation % 2, *(value + 1 for value in other)]


def parsed(text: str) -> list[int]:
    """The ids of a caption's words. Raises `Refused` where a word or the whole is none, with what can be said."""
    groups(text)
    return [ID[word] for word in words(text)]


def spoken(ids: Tensor, valid: Tensor) -> list[str]:
    """Captions (N, S) of word ids as text."""
    return [" ".join(WORDS[i] for i, there in zip(row, known, strict=True) if there)
            for row, known in zip(ids.tolist(), valid.tolist(), strict=True)]  # fmt: skip


def written(texts: list[str]) -> dict[str, Tensor]:
    """Captions, right-padded: `caption` (N, 8) int64 and `caption_valid` (N, 8)."""
    rows = [parsed(text) for text in texts]
    ids = torch.tensor([row + [0] * (LONGEST - len(row)) for row in rows])
    return {"caption": ids, "caption_valid": torch.arange(LONGEST) < torch.tensor([[len(row)] for row in rows])}


class Said(Captions):
    """The captions of this module."""

    words, attributes = WORDS, ATTRIBUTES

    def spoken(self, context):
        return spoken(context["caption"], context["caption_valid"])

    def written(self, texts):
        return written(texts)

    def truth(self, context):
        return torch.tensor([true(*groups(text)) for text in self.spoken(context)])
