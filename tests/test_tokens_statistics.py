"""Damage to text beside the references, over many draws: transformers' whole word masking, T5's span corruption and
BART's infilling as published, SpanBERT's lengths; and typos, kind by kind."""

import numpy as np
import pytest
import torch
from common import full, keys

from denoiselab.corruption import Batch, Damage
from denoiselab.corruption.tokens import (
    GeometricSpans,
    Infilled,
    Mixed,
    Original,
    PoissonSpans,
    RandomSpans,
    Sentinels,
    Spans,
    Tokens,
    Touched,
    Typos,
    Words,
)
from denoiselab.corruption.tokens.typos import KINDS, LOOKALIKE, neighbors
from denoiselab.schedule import Constant

V = 50


def near(a, n_a, b, n_b):
    """Are a of n_a and b of n_b draws of one probability, to 5 standard errors?"""
    p = (a + b) / (n_a + n_b)
    assert (np.abs(a / n_a - b / n_b) < 5 * (p * (1 - p) * (1 / n_a + 1 / n_b)) ** 0.5 + 1e-9).all()


def touched(where, n, length, level, **context):
    batch = Batch(torch.zeros(n, length, dtype=torch.long), torch.arange(n), context)
    return Damage(Constant(level), V, where, Mixed(V), Touched())(batch, full(n, 1.0), keys(n)).touched


# -- whole words


def test_whole_words_are_masked_as_by_transformers():
    reason = "compares with transformers, which is not installed"
    transformers = pytest.importorskip("transformers", reason=reason)
    tokenizers = pytest.importorskip("tokenizers", reason=reason)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[MASK]": 1}, unk_token="a")),
        mask_token="[MASK]",
    )  # fmt: skip
    collator = transformers.DataCollatorForLanguageModeling(
        tokenizer, whole_word_mask=True, mlm_probability=0.15, mask_replace_prob=1.0, random_replace_prob=0.0, seed=5
    )
    n, length = 2000, 60
    sizes = np.random.default_rng(0).integers(1, 5, (n, length))
    word = torch.tensor(np.stack([np.repeat(np.arange(length), row)[:length] for row in sizes]))
    index = torch.arange(length)
    begin = index + word  # a space before each word
    offsets = torch.stack((begin, begin + 1), -1)
    x = torch.zeros(n, length, dtype=torch.long)
    special = torch.zeros(n, length, dtype=torch.long)
    _, labels = collator.torch_mask_tokens(x.clone(), special_tokens_mask=special, offset_mapping=offsets)
    theirs, ours = labels != -100, touched(Words(), n, length, 0.15, word=word)
    same = word[:, 1:] == word[:, :-1]
    for hit in (theirs, ours):
        assert torch.equal(hit[:, 1:][same], hit[:, :-1][same])
    first = torch.nn.functional.pad(~same, (1, 0), value=True)
    a, b = (int(hit[first].sum()) for hit in (ours, theirs))
    near(a, int(first.sum()), b, int(first.sum()))
    assert abs(a / int(first.sum()) - 0.15) < 5 * (0.15 * 0.85 / int(first.sum())) ** 0.5
    both = [(hit[:, 1:] & hit[:, :-1] & ~same).sum().item() for hit in (ours, theirs)]  # neighbors are independent
    near(both[0], int((~same).sum()), both[1], int((~same).sum()))


# -- T5


def noise_mask(length, density, mean, rng):
    """T5's random_spans_noise_mask as published, of one text."""
    noise = min(max(round(length * density), 1), length - 1)
    spans = max(round(noise / mean), 1)

    def segments(items, count):
        first = np.arange(items - 1) < count - 1
        rng.shuffle(first)
        return np.bincount(np.cumsum(np.pad(first, (1, 0))), minlength=count)

    away, clean = segments(noise, spans), segments(length - noise, spans)
    ends = np.cumsum(np.stack((clean, away), 1).reshape(-1))[:-1]
    turn = np.zeros(length, dtype=int)
    turn[ends] = 1
    return np.cumsum(turn) % 2 == 1


@pytest.mark.parametrize("length, density, mean", [(64, 0.15, 3.0), (40, 0.5, 3.0), (33, 0.3, 8.0), (20, 0.25, 1.0)])
def test_random_spans_are_those_of_t5(length, density, mean):
    n, rng = 4000, np.random.default_rng(1)
    theirs = np.stack([noise_mask(length, density, mean, rng) for _ in range(n)])
    ours = touched(RandomSpans(mean), n, length, density).numpy()
    near(ours.sum(0), n, theirs.sum(0), n)  # each position, the first and the last among them
    assert ours[:, 0].sum() == theirs[:, 0].sum() == 0
    assert ours[:, -1].all()
    assert theirs[:, -1].all()
    counts = [hit.sum(1) for hit in (ours, theirs)]
    assert (counts[0] == counts[1]).all()
    starts = [(hit[:, 1:] & ~hit[:, :-1]).sum(1) for hit in (ours, theirs)]
    assert (starts[0] == starts[1]).all()
    sizes = [np.bincount(lengths(hit), minlength=length + 1)[: length + 1] for hit in (ours, theirs)]
    near(sizes[0], sizes[0].sum(), sizes[1], sizes[1].sum())
    pairs = [(hit[:, 1:] & hit[:, :-1]).sum(0) for hit in (ours, theirs)]
    near(pairs[0], n, pairs[1], n)


def lengths(hit):
    """Of the runs of True, row after row."""
    flat = np.pad(np.pad(hit, ((0, 0), (1, 1))).reshape(-1).astype(int), 1)
    begin, end = np.flatnonzero(np.diff(flat) == 1), np.flatnonzero(np.diff(flat) == -1)
    return end - begin


# -- BART and SpanBERT


def drawn(count, sizes, rng):
    """Lengths drawn until `count` tokens are hit, the last cut to fit: as published."""
    found, left = [], count
    while left > 0:
        size = min(sizes(rng), left)
        found.append(size)
        left -= size
    return found


@pytest.mark.parametrize("where, sizes", [
    (PoissonSpans(3.0), lambda rng: rng.poisson(3.0)), (PoissonSpans(1.0), lambda rng: rng.poisson(1.0)),
    (GeometricSpans(0.2, 10), lambda rng: rng.choice(np.arange(1, 11), p=SPANBERT)),
], ids=["bart", "short", "spanbert"])  # fmt: skip
def test_spans_have_the_published_lengths(where, sizes):
    n, length, level, rng = 3000, 100, 0.3, np.random.default_rng(2)
    batch = Batch(torch.zeros(n, length, dtype=torch.long), torch.arange(n))
    c = Damage(Constant(level), V, where, Sentinels(V, 500), Spans())(batch, full(n, 1.0), keys(n))
    theirs = [drawn(round(length * level), sizes, rng) for _ in range(n)]
    ours = [np.diff(np.flatnonzero(row > V)) - 1 for row in c.target.numpy()]
    a, b = (np.bincount(np.concatenate(found), minlength=40) for found in (ours, theirs))
    near(a, a.sum(), b, b.sum())
    a, b = (np.bincount([len(found) for found in each], minlength=80) for each in (ours, theirs))
    near(a, n, b, n)
    assert (c.touched.sum(1) == round(length * level)).all()
    # Where a span lies is uniform: seen from the end the text is hit as from the front.
    hit = c.touched.sum(0).numpy()
    near(hit, n, hit[::-1], n)


SPANBERT = 0.2 * 0.8 ** np.arange(10) / (1 - 0.8**10)


def test_the_means_are_the_published_ones():
    assert GeometricSpans(0.2, 10).mean == pytest.approx(3.8, abs=0.01)
    assert PoissonSpans(3.0).mean == pytest.approx(3.0, abs=1e-6)
    assert float(PoissonSpans(3.0).cdf[0]) == pytest.approx(np.exp(-3.0), rel=1e-6)


def test_an_infilled_text_has_a_mask_a_span():
    n = 500
    batch = Batch(torch.zeros(n, 100, dtype=torch.long), torch.arange(n))
    where = PoissonSpans(3.0)
    infilled, spelled = (
        Damage(Constant(0.3), V, where, shown, asked)(batch, full(n, 1.0), keys(n))
        for shown, asked in ((Infilled(V), Original()), (Sentinels(V, 500), Spans()))
    )
    assert torch.equal(infilled.seen == V, spelled.seen > V + 1)
    assert torch.equal(infilled.context["valid"], spelled.context["valid"])


# -- typos

ALPHABET = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789.,;:éèüö"]
ONLY = {kind: {other: float(other == kind) for other in KINDS} for kind in KINDS}


def typed(level=1.0, n=400, length=64, **shares):
    x = torch.randint(len(ALPHABET), (n, length), generator=torch.Generator().manual_seed(3))
    damage = Damage(Constant(level), len(ALPHABET), Tokens(), Typos(ALPHABET, **shares), Original())
    c = damage(Batch(x, torch.arange(n)), full(n, 1.0), keys(n))
    return x, c


def plain(c):
    return {"é": "e", "è": "e", "ü": "u", "ö": "o"}.get(c)


@pytest.mark.parametrize("kind, allowed", [
    ("neighbor", neighbors), ("case", str.swapcase), ("diacritic", lambda c: plain(c) or ""),
    ("digit", lambda c: "0123456789" if c.isdigit() else ""),
    ("lookalike", lambda c: "".join(g for g in LOOKALIKE if c in g and c != " ")),
])  # fmt: skip
def test_a_kind_of_typo_gives_what_it_may(kind, allowed):
    x, c = typed(**ONLY[kind])
    assert c.seen.shape == x.shape
    changed = 0
    for i, o in enumerate(ALPHABET):
        may = set(allowed(o)) & set(ALPHABET) - {o, " "}
        seen = {ALPHABET[j] for j in c.seen[x == i].unique().tolist()}
        assert seen == (may or {o}), o
        changed += bool(may)
    assert changed >= 4


def test_letters_are_left_out_put_in_and_change_places():
    x, c = typed(0.1, **ONLY["deletion"])
    assert torch.equal(c.context["valid"].sum(1), (~c.touched).sum(1))
    assert torch.equal(c.seen[c.context["valid"]], x[~c.touched])
    x, c = typed(0.1, **ONLY["insertion"])
    room = c.seen.shape[1] - x.shape[1]
    assert torch.equal(c.context["valid"].sum(1), x.shape[1] + c.touched.sum(1).clamp(max=room))
    for text, seen, ok in zip(x.tolist(), c.seen, c.context["valid"], strict=True):
        rest = iter(seen[ok].tolist())
        assert all(token in rest for token in text)  # what was there is there, in order
    x, c = typed(0.2, **ONLY["transposition"])
    assert torch.equal(c.seen.sort(1).values, x.sort(1).values)
    moved = (c.seen != x).double().mean()
    assert 0.2 < moved < 0.4


def test_a_share_of_the_characters_is_damaged_as_the_rate_says():
    n, length, level = 2000, 64, 0.1
    x, c = typed(level, n, length, insertion=0.0, deletion=0.0, transposition=0.0)
    # Only the space, of which no damage of these kinds is known, is spared.
    able = x != ALPHABET.index(" ")
    assert torch.equal(c.seen != x, c.touched & able)
    p, m = level, int(able.sum())
    assert abs((c.seen != x).sum().item() / m - p) < 5 * (p * (1 - p) / m) ** 0.5


def test_neighbors_are_beside_each_other_both_ways():
    assert {"f", "h", "t", "y", "v", "b"} <= set(neighbors("g"))
    assert neighbors(" ") == ""
    for c in "qwertyuiopasdfghjklzxcvbnm1234567890":
        assert all(c in neighbors(o) for o in neighbors(c))
        assert c.upper() == c or all(o == o.upper() for o in neighbors(c.upper()))
