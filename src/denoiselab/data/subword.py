"""Tokenizers of the library `tokenizers`: of pieces of words, trained here on the training text, or read from a file.

What is trained here works on the bytes of UTF-8, split into words as GPT-2 does, a space going with the word that
follows: it reads any text and gives it back. It is trained once a text: the result is kept in $DENOISELAB_CACHE, or
~/.cache/denoiselab.
"""

import abc
import contextlib
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np
import tokenizers
import torch

from denoiselab.data.tokenizer import Tokenizer, places
from denoiselab.data.tokenizer_file import opened
from denoiselab.files import cache, replacing
from denoiselab.spec import Refused

PIECE = 20_000  # characters that are encoded at once
CUT = re.compile(r"(?<=\S) (?=\S)")  # where no token of ours reaches over
WORD = 4096  # characters: more are no word
LONG = re.compile(rf"(?<!\S)\S{{{WORD + 1},}}|(?<!\s)\s{{{WORD + 1},}}")
LEVEL = tokenizers.pre_tokenizers.ByteLevel
BYTES = 256


class Subword(Tokenizer):
    """What has a model of the library's; empty before it is fitted."""

    model: tokenizers.Tokenizer

    @abc.abstractmethod
    def cut(self, text: str) -> list[str]:
        """The text in parts that can be encoded by themselves."""

    @cached_property
    def size(self) -> int:
        return 1 + max(self.model.get_vocab().values(), default=-1)

    @cached_property
    def alphabet(self):
        # Behind a letter: some decoders take the space from the first token of a text.
        before = self.model.encode("a", add_special_tokens=False).ids if self.size else []
        known = len(self.model.decode(before, skip_special_tokens=False))
        rows = [[*before, i] for i in range(self.size)]
        return tuple(text[known:] for text in self.model.decode_batch(rows, skip_special_tokens=False))

    def encode_all(self, texts):
        parts = [self.cut(text) for text in texts]
        found = iter(self.model.encode_batch_fast([p for ps in parts for p in ps], add_special_tokens=False))
        return [torch.tensor([i for _ in ps for i in next(found).ids], dtype=torch.int64) for ps in parts]

    def spell(self, ids):
        return self.model.decode(ids, skip_special_tokens=False)


class Bytewise(Subword):
    """One of ours: every byte is in its vocabulary, and a token is written with one letter a byte."""

    def cut(self, text):
        return list(pieces(text))

    def unknown(self, text):
        return Counter()

    @cached_property
    def lengths(self) -> np.ndarray:
        """Bytes of each token."""
        return np.array([len(self.model.id_to_token(i)) for i in range(self.size)], np.int64)

    def starts(self, text, ids):
        sizes = self.lengths[ids.numpy()]
        return places(text)[sizes.cumsum() - sizes]


def pieces(text: str) -> Iterator[str]:
    """A text in parts of about `PIECE` characters, cut where a word begins."""
    ends = [0]
    while ends[-1] + PIECE < len(text) and (place := CUT.search(text, ends[-1] + PIECE)):
        ends.append(place.start())
    return (text[a:b] for a, b in pairwise([*ends, len(text)]))


def shortened(text: str) -> Iterator[str]:
    """A text in parts, cut within what is longer than any word: each merge of pairs goes over a whole word, so that a
    text of one word would take the square of its length."""
    begin = 0
    for long in LONG.finditer(text):
        for end in range(long.start() + WORD, long.end(), WORD):
            yield text[begin:end]
            begin = end
    yield text[begin:]


def roomy(vocabulary: int, others: str) -> int:
    if vocabulary < BYTES:
        raise Refused(f"codec.vocabulary counts the 256 bytes and {others}", vocabulary, "give 256 or more")
    return vocabulary


class BPE(Bytewise):
    """Byte-pair encoding (Sennrich et al., 2016, arXiv:1508.07909) of bytes: any text.

    `vocabulary` ids at most, the 256 bytes among them; fewer where the text has no more pairs.
    """

    def __init__(self, vocabulary: int = 512):
        self.vocabulary = roomy(vocabulary, "the pairs merged")
        self.model = tokenizers.Tokenizer(tokenizers.models.BPE())

    def fit(self, text, held_out=""):
        fitted = BPE(self.vocabulary)
        fitted.model = cached("bpe", f"{self.vocabulary}\n{text}", lambda: self.train(text))
        return fitted

    def train(self, text: str) -> tokenizers.Tokenizer:
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = LEVEL(add_prefix_space=False)
        model.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=self.vocabulary, initial_alphabet=sorted(LEVEL.alphabet()), show_progress=False
        )
        model.train_from_iterator(shortened(text), trainer)
        return model


class Unigram(Bytewise):
    """The pieces under which a text is likeliest (Kudo, 2018, arXiv:1804.10959), of bytes: any text.

    From the most frequent parts of words, those that the likeliest splits use least are dropped, until `vocabulary` ids
    are left, the 256 bytes among them; fewer where the text has no more parts. Counts are of the likeliest split
    (Viterbi) in the place of expected ones, and sums in one order: the library's own training differs at each call.
    """

    def __init__(self, vocabulary: int = 512):
        self.vocabulary = roomy(vocabulary, "the pieces")
        self.model = tokenizers.Tokenizer(tokenizers.models.BPE())  # an empty Unigram has one token

    def fit(self, text, held_out=""):
        fitted = Unigram(self.vocabulary)
        fitted.model = cached("unigram", f"{self.vocabulary}\n{text}", lambda: self.train(text))
        return fitted

    def train(self, text: str) -> tokenizers.Tokenizer:
        level = LEVEL(add_prefix_space=False)
        counts = Counter(word for part in pieces(text) for word, _ in level.pre_tokenize_str(part))
        counts = dict(sorted(counts.items()))
        vocabulary = scored(first_pieces(counts, SEEDS * self.vocabulary))
        while True:
            for _ in range(ROUNDS):
                used = usage(vocabulary, counts)
                vocabulary = scored(used)
            extra = len(vocabulary) - self.vocabulary
            if extra <= 0:
                break
            rare = sorted((n, piece) for piece, n in used.items() if len(piece) > 1)
            gone = {piece for _, piece in rare[: max(min(extra, len(rare) // 4), 1)]}
            vocabulary = scored({piece: n for piece, n in used.items() if piece not in gone})
        model = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary))
        model.pre_tokenizer, model.decoder = level, tokenizers.decoders.ByteLevel()
        return model


SEEDS, ROUNDS = 8, 2  # pieces at the start for one at the end; counts for one dropping
LONGEST = 16  # bytes of a piece


def first_pieces(counts: dict[str, int], n: int) -> dict[str, float]:
    """The bytes, and the n parts of words that cover most of the text."""
    parts: Counter = Counter()
    for word, count in counts.items():
        word = word[: 4 * LONGEST]  # what is longer is no word
        for i in range(len(word)):
            for j in range(i + 2, min(i + LONGEST, len(word)) + 1):
                parts[word[i:j]] += count
    best = sorted(((-count * len(part), part) for part, count in parts.items() if count > 1))[:n]
    single: Counter = Counter()
    for word, count in counts.items():
        for letter, times in Counter(word).items():
            single[letter] += count * times
    return {**{b: single[b] for b in sorted(LEVEL.alphabet())}, **{part: parts[part] for _, part in best}}


def usage(vocabulary: list[tuple[str, float]], counts: dict[str, int]) -> dict[str, float]:
    """How often the likeliest split of the text uses each piece."""
    model = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary))
    found = [e.ids for e in model.encode_batch_fast(list(counts), add_special_tokens=False)]
    weight = np.repeat(np.array(list(counts.values()), np.float64), [len(ids) for ids in found])
    used = np.bincount(np.array([i for ids in found for i in ids]), weight, len(vocabulary))
    return {piece: n for (piece, _), n in zip(vocabulary, used.tolist(), strict=True) if n or len(piece) == 1}


def scored(counts: dict[str, float]) -> list[tuple[str, float]]:
    """Pieces and their log probability, bytes first; rounded, so that every machine has the same."""
    total = sum(counts.values())
    rows = [(piece, round(math.log(max(n, 0.5) / total), 6)) for piece, n in counts.items()]
    return sorted(rows, key=lambda row: (len(row[0]) > 1, row[0] if len(row[0]) == 1 else "", -row[1], row[0]))


class TokenizerFile(Subword):
    """Any tokenizer.json, as the libraries `tokenizers` and `transformers` save it, by its `path`. Its ids are the
    clean ones, its own special tokens among them; none is added to a text, and nothing is cut or padded.

    Some do not give a text back as it was (lower case, white space): the notes say so.
    """

    def __init__(self, path: str | None):
        self.path = path
        self.model = tokenizers.Tokenizer(tokenizers.models.BPE())

    def fit(self, text, held_out=""):
        fitted = TokenizerFile(self.path)
        fitted.model = opened(self.path)
        return fitted

    def cut(self, text):
        return [text]  # a rule of its own may look at anything

    def starts(self, text, ids):
        found = self.model.encode(text, add_special_tokens=False)
        return np.maximum.accumulate(np.array([a for a, _ in found.offsets], np.int64))

    @cached_property
    def strange_id(self) -> int | None:
        """The id of the file's unknown token, if it has one."""
        model = json.loads(self.model.to_str())["model"]
        return self.model.token_to_id(model["unk_token"]) if model.get("unk_token") else model.get("unk_id")

    def unknown(self, text):
        """What the file's unknown token stands for, or where it has none, what is left out."""
        strange = self.strange_id
        if strange is None:
            lost = {c for c in set(text) if not c.isspace() and not len(self.encode(c))}
            return Counter(c for c in text if c in lost)
        found = self.model.encode(text, add_special_tokens=False)
        places = (range(*o) for i, o in zip(found.ids, found.offsets, strict=True) if i == strange)
        return Counter(text[i] for place in places for i in place if not text[i].isspace())


def cached(kind: str, content: str, make) -> tokenizers.Tokenizer:
    """The tokenizer made of `content`, kept in a file whose name has the hashes of the content and of the file itself:
    a damaged one is made anew."""
    folder = cache()
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    for path in folder.glob(f"{kind}-{key}-*.json"):
        raw = path.read_bytes()
        if path.stem.endswith(f"-{digest(raw)}"):
            return tokenizers.Tokenizer.from_str(raw.decode())
        path.unlink(missing_ok=True)
    model = make()
    raw = model.to_str().encode()
    path = folder / f"{kind}-{key}-{digest(raw)}.json"
    with contextlib.suppress(OSError), replacing(path) as temporary:  # an unwritable cache costs seconds, not the run
        temporary.write_bytes(raw)
    return model


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]
