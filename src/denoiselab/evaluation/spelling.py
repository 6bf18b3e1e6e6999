"""Distances of texts, and a spell-checker that a text-correction model has to beat.

References:
    Norvig, 2007, How to write a spelling corrector, norvig.com/spell-correct.html.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


def edits(a: Sequence, b: Sequence) -> int:
    """Levenshtein's distance: the fewest insertions, deletions and substitutions from a to b. A row of the table at
    a time: an insertion's chain along a row is a running minimum."""
    ids: dict = {}
    x, y = (np.array([ids.setdefault(one, len(ids)) for one in of], dtype=np.int64) for of in (a, b))
    place = np.arange(len(y) + 1)
    row = place.copy()
    for i, one in enumerate(x, 1):
        new = np.empty_like(row)
        new[0] = i
        np.minimum(row[1:] + 1, row[:-1] + (y != one), out=new[1:])
        row = np.minimum.accumulate(new - place) + place
    return int(row[-1])


def error_rate(said: Sequence[Sequence], clean: Sequence[Sequence]) -> float:
    """All edits by the length of all clean texts: CER of strings, WER of lists of words; nan without text."""
    length = sum(map(len, clean))
    return sum(edits(a, b) for a, b in zip(said, clean, strict=True)) / length if length else float("nan")


class Speller:
    """Each word that training text lacks becomes the most frequent training word at distance 1 (a letter deleted,
    inserted, replaced, or two neighbors swapped), if there is one; ties go to the first in the alphabet. All else
    stays."""

    def __init__(self, texts: Iterable[str]):
        self.counts = Counter(word for text in texts for word in WORD.findall(text))
        self.letters = sorted({letter for word in self.counts for letter in word})

    def __call__(self, text: str) -> str:
        return WORD.sub(lambda found: self.word(found.group()), text)

    def word(self, word: str) -> str:
        if word in self.counts:
            return word
        known = {near for near in self.near(word) if near in self.counts}
        return min(known, key=lambda near: (-self.counts[near], near), default=word)

    def near(self, word: str) -> Iterator[str]:
        for a, b in ((word[:i], word[i:]) for i in range(len(word) + 1)):
            yield from (a + letter + b for letter in self.letters)
            if b:
                yield a + b[1:]
                yield from (a + letter + b[1:] for letter in self.letters)
            if len(b) > 1:
                yield a + b[1] + b[0] + b[2:]


def spelled_cer(train: Iterable[str], clean: Sequence[str], corrupted: Sequence[str]) -> float:
    """CER that the spell-checker of training texts leaves."""
    speller = Speller(train)
    return error_rate([speller(text) for text in corrupted], clean)
