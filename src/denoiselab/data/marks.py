"""What is known of the tokens of a text: which word and which sentence each belongs to, and what names the user gave.

Told by the text, the same for every tokenizer. A token belongs where its first character does. A word is a run of
letters, digits and the marks on them, or a run of punctuation and symbols ("don't" is three); an ideograph is a word by
itself. White space belongs to the word, and to the sentence, that follows. A sentence ends behind ., !, ? and closing
quotes where white space follows, and at an empty line; behind a single capital and a few abbreviations it does not.
Numbers count from 0 in the row, and go on over padding as one more.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from denoiselab.data.plain import plain
from denoiselab.data.tokenizer import Tokenizer, points_of
from denoiselab.spec import Refused

SPACE, SIGN, LETTER, IDEOGRAPH = range(4)
IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
SHORT = "".join(rf"(?<!\b{word})" for word in ("[A-Z]", "Mr", "Mrs", "Ms", "Dr", "St", "Prof", "vs", "etc"))
END = re.compile(rf"""{SHORT}\.+["'”’»)\]]*(?=\s)|[!?…]+["'”’»)\]]*(?=\s)|[。！？]+[”’」』）]*|(?=\n[ \t]*\n)""")  # noqa: RUF001


@lru_cache(1 << 16)
def kind(point: int) -> int:
    letter = chr(point)
    if letter.isspace():
        return SPACE
    if any(a <= point <= b for a, b in IDEOGRAPHS):
        return IDEOGRAPH
    return SIGN if unicodedata.category(letter)[0] in "PSC" else LETTER


def words(text: str) -> np.ndarray:
    """The number of the word that each character belongs to, int64."""
    known, place = np.unique(points_of(text), return_inverse=True)
    kinds = np.array([kind(int(p)) for p in known], np.int64)[place]
    before = np.concatenate(([SPACE], kinds[:-1]))
    number = ((kinds != SPACE) & ((kinds != before) | (kinds == IDEOGRAPH))).cumsum()
    return np.minimum(number - (kinds != SPACE), max(number[-1] - 1, 0))


def sentences(text: str) -> np.ndarray:
    """The number of the sentence that each character belongs to, int64."""
    start = np.zeros(len(text) + 1, np.int64)
    start[[match.end() for match in END.finditer(text)]] = 1
    start[len(text.rstrip()) :] = 0  # white space at the end begins nothing
    start[0] = 0
    return start[:-1].cumsum()


MARKS: dict[str, Callable[[str], np.ndarray]] = {"word": words, "sentence": sentences}


class Names:
    """Names that the user gave, in a list or in a file with one a line. They are found as they are written, as whole
    words, the longest first."""

    def __init__(self, names: Sequence[str]):
        self.names = sorted({name.strip() for name in names if name.strip()}, key=lambda name: (-len(name), name))
        self.by_word = defaultdict(list)
        for name in self.names:
            first = re.search(r"\w+", name)
            if first is None:
                raise Refused("data.entities are names, of letters or digits", repr(name), "leave it out")
            self.by_word[first[0]].append((first.start(), name))
        self.found = dict.fromkeys(self.names, 0)

    def inside(self, text: str) -> np.ndarray:
        """Which characters belong to one, bool. Counts what was found."""
        inside, end = np.zeros(len(text), bool), 0
        for match in re.finditer(r"\w+", text):
            for before, name in self.by_word.get(match[0], ()):
                a = match.start() - before
                b = a + len(name)
                if a >= end and text.startswith(name, a) and not part(text, a) and not part(text, b):
                    inside[a:b], end = True, b
                    self.found[name] += 1
                    break
        return inside

    def note(self) -> str:
        """What was found, for the notes; raises `Refused` if nothing was."""
        there = [name for name, count in self.found.items() if count]
        if not there:
            raise Refused("data.entities are names in the text", f"none of {len(self.names)} occurs",
                          "give names as the text writes them")  # fmt: skip
        return f"entities: {len(there)} of {len(self.names)} names occur, {sum(self.found.values())} times"


def part(text: str, place: int) -> bool:
    """Is a place inside a word?"""
    return 0 < place < len(text) and re.fullmatch(r"\w\w", text[place - 1 : place + 1]) is not None


def names(entities: list[str] | str) -> Names:
    if isinstance(entities, str):
        file = Path(entities).expanduser()
        if not file.is_file():
            raise Refused("data.entities is a list of names or a file with one a line", f"no file {file}",
                          "give data.entities=[NAME,NAME] or data.entities=FILE")  # fmt: skip
        entities = plain(file, "data.entities")[0].splitlines()
    found = Names(entities)
    if not found.names:
        raise Refused("data.entities has no names", entities or "nothing", "give data.entities=[NAME,NAME] or null")
    return found


def marked(codec: Tokenizer, texts: Sequence[str], ids: Sequence[Tensor], asked: Sequence[str],
           known: Names | None) -> dict[str, np.ndarray]:  # fmt: skip
    """What is asked of all tokens of texts, `ids` of each, one text behind the other: word and sentence int64, entity
    bool."""
    found = {name: [np.zeros(0, np.int64)] for name in asked}
    if known is not None:
        found["entity"] = [np.zeros(0, bool)]
    for text, own in zip(texts, ids, strict=True) if found else ():
        starts = np.minimum(codec.starts(text, own), len(text) - 1)
        for name in asked:
            found[name].append(MARKS[name](text)[starts])
        if known is not None and len(starts):
            ends = np.maximum(np.append(starts[1:], len(text)), starts + 1)
            before = np.concatenate(([0], known.inside(text).cumsum()))
            found["entity"].append(before[ends] > before[starts])
    return {name: np.concatenate(parts) for name, parts in found.items()}
