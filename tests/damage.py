"""What tests of damage to text share: ragged texts, every where and shown, a chain and a mixture."""

import torch
import torch.nn.functional as F
from common import full, keys

from denoiselab.corruption import Batch, Chain, Damage, Mixture, tokens
from denoiselab.schedule import Constant
from denoiselab.spec import Spec

ALPHABET = [*"abcdefghijklmnopqrstuvwxyzABCDE 0123456789.,é"]
V = len(ALPHABET)
MASK, END, FIRST = V, V + 1, V + 2
CONTEXT = ("valid", "word", "sentence", "entity")


def texts(n, length, seed=0):
    """Ragged rows, among them one without text and one of a single token."""
    g = torch.Generator().manual_seed(seed)
    count = torch.randint(0, length + 1, (n, 1), generator=g)
    count[:3] = torch.tensor([[length], [0], [1]])[:n]
    valid = torch.arange(length) < count
    x = torch.randint(V, (n, length), generator=g).masked_fill(~valid, 0)
    step = torch.rand(n, length, generator=g)
    word = (step < 0.4).cumsum(1) - (step < 0.4).long()[:, :1]
    return Batch(x, torch.arange(n), {
        "valid": valid, "word": word, "sentence": word // 3, "entity": torch.rand(n, length, generator=g) < 0.3,
    })  # fmt: skip


def spec(length):
    return Spec("tokens", (length,), V, alphabet=tuple(ALPHABET), context=frozenset(CONTEXT))


def wheres(mean=3.0):
    return {
        "tokens": tokens.Tokens(), "words": tokens.Words(), "sentences": tokens.Sentences(),
        "entities": tokens.Entities(), "block": tokens.Block(), "suffix": tokens.Suffix(),
        "random_spans": tokens.RandomSpans(mean), "poisson_spans": tokens.PoissonSpans(mean),
        "geometric_spans": tokens.GeometricSpans(),
    }  # fmt: skip


MASKED = tokens.Mixed(V, 0.0, 0.0)


def sentinels():
    return tokens.Sentinels(V, 1000)


KEEPING = {
    "mask": MASKED, "mixed": tokens.Mixed(V), "permuted_tokens": tokens.PermutedTokens(), "rotated": tokens.Rotated(),
    "permuted_sentences": tokens.PermutedSentences(), "typos": tokens.Typos(ALPHABET, insertion=0.0, deletion=0.0),
}  # fmt: skip
CHANGING = {
    "sentinels": sentinels(), "infilled": tokens.Infilled(V), "deleted": tokens.Deleted(),
    "typos": tokens.Typos(ALPHABET),
}  # fmt: skip
SHOWN = {**KEEPING, **{f"{name}_changing" if name in KEEPING else name: part for name, part in CHANGING.items()}}


def made(where, shown, level=0.4):
    asked = tokens.All() if shown in KEEPING.values() else tokens.Original()
    return Damage(Constant(level), V, where, shown, asked)


def fields(c):
    return {**c._asdict(), **c.context, "context": torch.zeros(())}


def ask(corruption, batch, t=1.0, seed=0):
    n = len(batch.x)
    return corruption(batch, full(n, t), keys(n, seed))


def same_text(text, there, x, valid):
    """Equal up to padding."""
    width = max(text.shape[1], x.shape[1])
    a, b = (F.pad(y, (0, width - y.shape[1])) for y in (text.masked_fill(~there, 0), x.masked_fill(~valid, 0)))
    c, d = (F.pad(y, (0, width - y.shape[1])) for y in (there, valid))
    return torch.equal(a, b) and torch.equal(c, d)


def bart(level=0.3):
    order = tokens.Link(Constant(1.0), tokens.Sentences(), tokens.PermutedSentences())
    spans = tokens.Link(Constant(level), tokens.PoissonSpans(), tokens.Infilled(V))
    return Chain(V, [order, spans], tokens.Original())


def ul2():
    def member(where, level):
        return Damage(Constant(level), V, where, tokens.Sentinels(V, 100), tokens.Spans())

    members = [member(tokens.RandomSpans(3.0), 0.15), member(tokens.Suffix(), 0.25),
               member(tokens.RandomSpans(8.0), 0.5)]  # fmt: skip
    return Mixture(V, members, [2.0, 1.0, 1.0], ["[R]", "[S]", "[X]"])
