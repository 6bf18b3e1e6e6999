"""Tokenizers: text to ids and back.

A tokenizer is a plan until it is fitted on the training text; `fit` gives another one, of `size` clean ids 0 to
size - 1. What has been encoded decodes to the same text. Special tokens are the corruption's and have the ids from
`size` on: `decode` shows the first, the mask, as a bar, the later ones as <1>, <2> ...
"""

import abc
import contextlib
import hashlib
from collections import Counter
from itertools import groupby

import numpy as np
import tokenizers
import torch
from torch import Tensor

from denoiselab.data.base import Codec
from denoiselab.files import cache, replacing
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
    def encode(self, text: str) -> Tensor:
        """Ids, (L,) int64."""

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
        return spec._replace(vocabulary=self.size)

    def decode(self, x):
        return ["".join(self.shown(clean, ids) for clean, ids in groupby(row, lambda i: i < self.size))
                for row in x.tolist()]  # fmt: skip

    def shown(self, clean: bool, ids) -> str:
        if clean:
            return self.spell(list(ids))
        return "".join(f"<{i - self.size}>" if i > self.size else MASK for i in ids)


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

    def encode(self, text):
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


class Byte(Tokenizer):
    """The bytes of UTF-8: 256 ids, any text."""

    size = 256

    def fit(self, text, held_out=""):
        return self

    def encode(self, text):
        return torch.from_numpy(np.frombuffer(text.encode(), np.uint8).astype(np.int64))

    def spell(self, ids):
        return bytes(ids).decode(errors="replace")

    def unknown(self, text):
        return Counter()


class BPE(Tokenizer):
    """Byte-pair encoding (Sennrich et al., 2016, arXiv:1508.07909) of bytes, split into words as GPT-2 does: any text.

    `vocabulary` ids at most, the 256 bytes among them; fewer where the text has no more pairs. Trained by the library
    `tokenizers`, once a text: the result is kept in $DENOISELAB_CACHE, or ~/.cache/denoiselab.
    """

    def __init__(self, vocabulary: int = 512):
        if vocabulary < 256:
            raise Refused("codec.vocabulary counts the 256 bytes and the pairs merged", vocabulary, "give 256 or more")
        self.vocabulary = vocabulary
        self.model = tokenizers.Tokenizer(tokenizers.models.BPE())

    def fit(self, text, held_out=""):
        fitted = BPE(self.vocabulary)
        fitted.model = cached(f"{self.vocabulary}\n{text}", lambda: self.train(text))
        return fitted

    def train(self, text: str) -> tokenizers.Tokenizer:
        level = tokenizers.pre_tokenizers.ByteLevel
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = level(add_prefix_space=False)
        model.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=self.vocabulary, initial_alphabet=sorted(level.alphabet()), show_progress=False
        )
        model.train_from_iterator([text], trainer)
        return model

    @property
    def size(self):
        return self.model.get_vocab_size()

    def encode(self, text):
        return torch.tensor(self.model.encode(text).ids, dtype=torch.int64)

    def spell(self, ids):
        return self.model.decode(ids)

    def unknown(self, text):
        return Counter()


def cached(content: str, make) -> tokenizers.Tokenizer:
    """The tokenizer made of `content`, kept in a file whose name has the hashes of the content and of the file itself:
    a damaged one is made anew."""
    folder = cache()
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    for path in folder.glob(f"bpe-{key}-*.json"):
        raw = path.read_bytes()
        if path.stem.endswith(f"-{digest(raw)}"):
            return tokenizers.Tokenizer.from_str(raw.decode())
        path.unlink(missing_ok=True)
    model = make()
    raw = model.to_str().encode()
    path = folder / f"bpe-{key}-{digest(raw)}.json"
    with contextlib.suppress(OSError), replacing(path) as temporary:  # an unwritable cache costs seconds, not the run
        temporary.write_bytes(raw)
    return model


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]
