"""An embedded corpus whose likelihood is known: an order-2 Markov source over a-z and space.

    p(x) = pi(x_1, x_2) prod_i P(x_i | x_{i-2}, x_{i-1})

with pi the stationary distribution of pairs, so that every window of a text, wherever it starts, has the same law. With
h the entropy rate, H(x_1 .. x_L) = H(pi) + (L - 2) h nats: no model of windows of length L codes them, on average, in
fewer.

Every entry of P is a multiple of 2**-24, as our uniforms are: what is drawn has exactly the probabilities in the table.

References:
    Shannon, 1948, A mathematical theory of communication.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial

import torch
from torch import Tensor

from denoiselab.data.base import Codec, Data, checked
from denoiselab.data.splits import SEED
from denoiselab.data.text import known_marks, rows, spans
from denoiselab.oracle import Chain
from denoiselab.randomness import Keyed
from denoiselab.spec import Refused

ALPHABET = " abcdefghijklmnopqrstuvwxyz"  # in the order of code points: a character's id is its place
GRAIN = 2**24


class Source:
    """The chain itself, float64: entropies and log probabilities in nats. Made of integers, the same everywhere."""

    def __init__(self):
        v = len(ALPHABET)

        def weights(name: str, rows: int) -> Tensor:
            return Keyed.of(SEED, torch.arange(rows)).child(name).uniform((rows, v)).double()

        # Mostly what follows a letter, less what follows the one before, least the triple: as in real text there is
        # something to learn at each order. Products alone: powers may round differently from machine to machine.
        single, pair, skip = weights("single", 1), weights("pair", v), weights("skip", v)
        pair = pair * pair * pair * pair
        w = (single * single) * (pair * pair)[None] * (skip * skip)[:, None] * weights("triple", v * v).view(v, v, v)
        w = w.view(v * v, v)
        w = w / w.sum(1, keepdim=True) + 1e-3 / v  # no character is impossible: what has seen any text can go on
        counts = (w / w.sum(1, keepdim=True) * GRAIN).floor().long()
        counts.scatter_add_(1, counts.argmax(1, keepdim=True), GRAIN - counts.sum(1, keepdim=True))
        self.counts = counts.view(v, v, v)

    @cached_property
    def transition(self) -> Tensor:
        """P(c | a, b) at [a, b, c], (27, 27, 27)."""
        return self.counts.double() / GRAIN

    @cached_property
    def stationary(self) -> Tensor:
        """pi(a, b), (27, 27): what follows pi is distributed as pi."""
        v = len(ALPHABET)
        onward = torch.zeros(v, v, v, v, dtype=torch.float64)  # from (a, b) to (b, c)
        onward[:, torch.arange(v), torch.arange(v)] = self.transition
        system = onward.view(v * v, v * v).T - torch.eye(v * v, dtype=torch.float64)
        system[-1] = 1  # one equation is spare: the sum takes its place
        right = torch.zeros(v * v, dtype=torch.float64)
        right[-1] = 1
        return torch.linalg.solve(system, right).clamp(min=0).view(v, v)

    @cached_property
    def entropy_rate(self) -> float:
        """h, nats a character."""
        return (self.stationary * entropy(self.transition)).sum().item()

    def block_entropy(self, length: int) -> float:
        """H(x_1 .. x_length), nats."""
        if length == 1:
            return entropy(self.stationary.sum(0)).item()
        return entropy(self.stationary.flatten()).item() + (length - 2) * self.entropy_rate

    def log_prob(self, ids: Tensor) -> Tensor:
        """log p of windows (N, L), L >= 2, of ids in the order of the alphabet; (N,) nats."""
        onward = self.transition[ids[:, :-2], ids[:, 1:-1], ids[:, 2:]].log().sum(1)
        return self.stationary[ids[:, 0], ids[:, 1]].log() + onward

    def sample(self, random, n: int, length: int) -> Tensor:
        """Windows (n, length), length >= 2, int64: the first pair from pi, the rest from P. A longer window starts as
        the shorter one does."""
        v = len(ALPHABET)
        first = random.child("pair").uniform((n, 2)).double()
        pair = torch.searchsorted(self.stationary.flatten().cumsum(0), first[:, 0] + first[:, 1] / GRAIN, right=True)
        pair.clamp_(max=v * v - 1)
        text = [pair // v, pair % v]
        draws = (random.child("text").uniform((n, length - 2)) * GRAIN).int()
        below = self.counts.cumsum(2).int()
        for draw in draws.unbind(1):
            text.append((below[text[-2], text[-1]] <= draw[:, None]).sum(1))
        return torch.stack(text, 1)


def entropy(p: Tensor) -> Tensor:
    """Of the last axis, nats."""
    return -torch.xlogy(p, p).sum(-1)


source = lru_cache(Source)  # one for all: its tables take longer than its texts


class Markov(Data):
    """Windows of `length` characters, each drawn by itself, of the source. Where a token is a character `entropy` is
    exact, and where its id is its place in the alphabet the exact denoiser comes along; with other tokenizers neither
    is known, and a window is shorter and padded.

    Args:
        train, val, test: how many windows.
        marks: what is known of tokens, of word and sentence: see `marks.py`.
    """

    def __init__(self, codec: Codec, length: int, batch_size: int, n: int | None = None, train: int = 20_000,
                 val: int = 500, test: int = 500, num_workers: int = 0, marks: Sequence[str] = ()):  # fmt: skip
        checked(batch_size, n, num_workers)
        spans(length, 2)
        if min(train, val, test) < 1:
            raise Refused("data.train, val and test count windows", (train, val, test), "give at least 1 of each")
        self.codec, self.length, self.batch_size, self.n, self.num_workers = codec, length, batch_size, n, num_workers
        self.sizes, self.marks = (train, val, test), known_marks(marks)

    def load(self):
        texts = [strings(source().sample(Keyed.of(SEED, 1 + split, torch.arange(size)), size, self.length))
                 for split, size in enumerate(self.sizes)]  # fmt: skip
        data = rows(self.codec, texts, self.length, self.n, ALPHABET, self.marks)
        exact = "valid" not in data.spec.context and not data.notes
        if not exact:
            return data
        # Bytes are characters too, but their ids are not the places in the alphabet.
        aligned = data.spec.vocabulary == len(ALPHABET)
        oracle = partial(Chain, source().transition, source().stationary) if aligned else None
        return replace(data, entropy=source().block_entropy(self.length) / self.length, oracle=oracle)


def strings(ids: Tensor) -> list[str]:
    """Windows as text."""
    letters = torch.tensor(list(ALPHABET.encode()), dtype=torch.uint8)
    return [row.tobytes().decode() for row in letters[ids].numpy()]
