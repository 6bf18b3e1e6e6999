"""Tokenizers: text to ids and back.

A tokenizer is a plan until it is fitted on the training text; `fit` gives another one, of `size` clean ids 0 to
size - 1. What has been encoded decodes to the same text. Special tokens are the corruption's and have the ids from
`size` on: `decode` shows them by their names where it is told them; otherwise the first, the mask, as a bar, the later
ones as <1>, <2> ... What is trained by the library `tokenizers` or read from its files is in `subword.py`.
"""

import abc
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from denoiselab.data.base import Codec
from denoiselab.spec import Refused

MASK = "▁"
UNKNOWN = "\ufffd"  # Unicode's replacement character


class Tokenizer(Codec):
    """A plan, or fitted; before `fit` its size is 0 and it reads nothing."""

    size: int = 0

    @abc.abstractmethod
    def fit(self, text: str, held_out: str = "") -> "Tokenizer":
        """The tokenizer of a training text; of the text held out only those characters are looked at which the
        training text lacks."""

    @abc.abstractmethod
    def encode_all(self, texts: Sequence[str]) -> list[Tensor]:
        """Ids of each text, (L,) int64, each as if it were alone."""

    @abc.abstractmethod
    def starts(self, text: str, ids: Tensor) -> np.ndarray:
        """The character of a text at which each of its tokens, `ids`, begins; (L,) int64, never falling."""

    @property
    @abc.abstractmethod
    def alphabet(self) -> tuple[str, ...]:
        """The text of each clean id as it follows others; a part of a character is U+FFFD."""

    @abc.abstractmethod
    def spell(self, ids: list[int]) -> str:
        """The text of clean ids."""

    @abc.abstractmethod
    def unknown(self, text: str) -> Counter:
        """Characters that are read as one unknown symbol, and how often they occur."""

    def accepts(self, spec):
        if spec.kind != "tokens":
            raise Refused(f"{type(self).__name__} is a tokenizer, for text", f"{spec.kind} of shape {spec.shape}",
                          "use codec=identity, or data of text")  # fmt: skip
        return spec._replace(vocabulary=self.size, alphabet=self.alphabet)

    def encode(self, text: str) -> Tensor:
        """Ids, (L,) int64."""
        return self.encode_all([text])[0]

    @property
    def space(self) -> int:
        """The id that pads: of a space, or the first one where a space has none."""
        return 0 if self.unknown(" ") else next(iter(self.encode(" ").tolist()), 0)

    def decode(self, x, specials: Sequence[str] = ()):
        """The texts of ids (B, L); special tokens by their names, `Spec.specials`, as far as they are given."""
        return ["".join(self.shown(clean, ids, specials) for clean, ids in groupby(row, lambda i: i < self.size))
                for row in x.tolist()]  # fmt: skip

    def shown(self, clean: bool, ids, specials: Sequence[str]) -> str:
        if clean:
            return self.spell(list(ids))
        return "".join(special(i - self.size, specials) for i in ids)


def special(number: int, names: Sequence[str]) -> str:
    """How a special token is shown."""
    if number < len(names):
        return names[number]
    return f"<{number}>" if number else MASK


class Character(Tokenizer):
    """One id a character, in the order of code points.

    The vocabulary is the training text's characters, or `symbols`. Only if there are others, in any split, does it hold
    one more, U+FFFD, that stands for all of them.
    """

    def __init__(self, symbols: str | None = None):
        self.symbols = symbols
        self.known = ""

    def fit(self, text, held_out=""):
        known = set(self.symbols or text)
        fitted = Character(self.symbols)
        fitted.known = "".join(sorted(known | {UNKNOWN} if (set(text) | set(held_out)) - known else known))
        return fitted

    @property
    def size(self):
        return len(self.known)

    @property
    def alphabet(self):
        return tuple(self.known)

    def encode_all(self, texts):
        return [self.ids(text) for text in texts]

    def starts(self, text, ids):
        return np.arange(len(text))

    def ids(self, text: str) -> Tensor:
        known, points = points_of(self.known), points_of(text)
        ids = np.searchsorted(known, points).clip(max=self.size - 1)
        strange = known[ids] != points
        if strange.any():
            if UNKNOWN not in self.known:
                raise Refused(
                    "codec=character knows the characters of its training text alone",
                    repr(text[int(strange.argmax())]), "use codec=byte or bpe, which read any text",
                )  # fmt: skip
            ids[strange] = self.known.index(UNKNOWN)
        return torch.from_numpy(ids)

    def spell(self, ids):
        return "".join(self.known[i] for i in ids)

    def unknown(self, text):
        return Counter({c: n for c, n in Counter(text).items() if c not in self.known})


def points_of(text: str) -> np.ndarray:
    """Code points, uint32."""
    return np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4"))


def places(text: str) -> np.ndarray:
    """The number of the character that each byte of UTF-8 belongs to, int64."""
    points = points_of(text)
    sizes = 1 + sum((points >= first).astype(np.int64) for first in (0x80, 0x800, 0x10000))
    return np.repeat(np.arange(len(text)), sizes)


class Byte(Tokenizer):
    """The bytes of UTF-8: 256 ids, any text."""

    size = 256

    def fit(self, text, held_out=""):
        return self

    @property
    def alphabet(self):
        return tuple(bytes([i]).decode(errors="replace") for i in range(256))

    def encode_all(self, texts):
        return [torch.from_numpy(np.frombuffer(text.encode(), np.uint8).astype(np.int64)) for text in texts]

    def starts(self, text, ids):
        return places(text)

    def spell(self, ids):
        return bytes(ids).decode(errors="replace")

    def unknown(self, text):
        return Counter()
