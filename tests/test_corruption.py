"""Corruptions: the identity where the severity is 0, a function of their random source alone, with the marginals that
they promise; what is not touched is equal."""

import pytest
import torch
from common import full, keys

from denoiselab.corruption import (
    Absorbing,
    Additive,
    Batch,
    Damage,
    Degradation,
    GaussianNoise,
    Reversible,
    SaltAndPepper,
    TokenMask,
    TokenUniform,
)
from denoiselab.corruption.operators import BlockMask, Blur, Fade, Pixelate, Snow
from denoiselab.corruption.tokens import Block, Mixed, Touched
from denoiselab.posterior import Dirac
from denoiselab.randomness import Keyed, Stream
from denoiselab.schedule import Constant, Cosine, Exploding, Linear, LinearBeta
from denoiselab.spec import Refused, Spec

V = 7
f64 = torch.float64


def pictures(n):
    x = torch.rand(n, 3, 9, 7, generator=torch.Generator().manual_seed(0), dtype=f64) * 2 - 1
    return Batch(x, torch.arange(n))


def texts(n, length=19):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(V, (n, length), generator=g)
    valid = torch.arange(length) < torch.randint(3, length + 1, (n, 1), generator=g)
    return Batch(torch.where(valid, x, 0), torch.arange(n), {"valid": valid})


IMAGE, TEXT = Spec("image", (3, 9, 7)), Spec("tokens", (19,), V)
LEVELS = [[0.1, 0.3, 0.0, 0.0], [0.0, 0.2, 0.1, 0.0], [-0.1, 0.2, 0.1, 0.1]]
OPERATORS = {"blur": Blur(LEVELS), "pixelate": Pixelate(LEVELS), "fade": Fade(), "block_mask": BlockMask(),
             "snow": Snow()}  # fmt: skip
CERTAIN = ("blur", "pixelate", "fade")  # what draws nothing


def degradation(operator):
    return lambda schedule: Degradation(schedule, operator)


# A corruption of a schedule; samples of its kind; and their spec.
CORRUPTIONS = {
    "gaussian": (GaussianNoise, pictures, IMAGE),
    "salt_and_pepper": (SaltAndPepper, pictures, IMAGE),
    **{name: (degradation(operator), pictures, IMAGE) for name, operator in OPERATORS.items()},
    "token_mask": (lambda s: TokenMask(s, V), texts, TEXT),
    "token_mask_80_10_10": (lambda s: TokenMask(s, V, 0.1, 0.1), texts, TEXT),
    "token_uniform": (lambda s: TokenUniform(s, V), texts, TEXT),
    "damage": (lambda s: Damage(s, V, Block(), Mixed(V), Touched()), texts, TEXT),
}
NOISES = {"linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta(), "exploding": Exploding(5.0)}

every = pytest.mark.parametrize("make, data, spec", CORRUPTIONS.values(), ids=CORRUPTIONS)


def fields(c):
    return {**c._asdict(), **c.context, "context": torch.zeros(())}


# -- every corruption


@every
@pytest.mark.parametrize("schedule, t", [(Constant(0.0), 1.0), (Linear(), 0.0), (LinearBeta(), 0.0)], ids=str)
def test_severity_0_is_the_identity(make, data, spec, schedule, t):
    batch = data(8)
    c = make(schedule)(batch, full(8, t), keys(8))
    assert torch.equal(c.x_t, batch.x)
    assert torch.equal(c.seen, batch.x)


@every
def test_the_same_random_gives_the_same_draw(make, data, spec):
    sources = [lambda: keys(8), lambda: Stream(torch.Generator().manual_seed(3))]
    for source in sources:
        one, two = (fields(make(Linear())(data(8), full(8, 0.6), source())) for _ in range(2))
        assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("name", [n for n in CORRUPTIONS if n not in CERTAIN])
def test_another_random_gives_another_draw(name):
    make, data, _ = CORRUPTIONS[name]
    other = make(Linear())(data(8), full(8, 0.6), keys(8, seed=1))
    assert not torch.equal(other.x_t, make(Linear())(data(8), full(8, 0.6), keys(8)).x_t)


@every
def test_nothing_is_drawn_but_from_random(make, data, spec):
    batch, before = data(8), torch.get_rng_state()
    make(Linear())(batch, full(8, 0.6), keys(8))
    assert torch.equal(before, torch.get_rng_state())


@every
def test_input_is_not_changed_in_place(make, data, spec):
    batch = data(8)
    x, context = batch.x.clone(), {k: v.clone() for k, v in batch.context.items()}
    c = make(Linear())(batch, full(8, 0.6), keys(8))
    c.x_t.mul_(0)
    assert torch.equal(batch.x, x)
    assert all(torch.equal(batch.context[k], v) for k, v in context.items())


@every
def test_what_is_not_touched_is_equal(make, data, spec):
    batch = data(64)
    c = make(Linear())(batch, torch.linspace(0, 1, 64, dtype=f64), keys(64))
    assert torch.equal(c.x_t[~c.touched], batch.x[~c.touched])
    assert (c.x_t != batch.x).any()


@every
def test_answer_has_the_promised_shapes(make, data, spec):
    batch = data(8)
    c = make(Linear())(batch, full(8, 0.6), keys(8))
    assert c.x_t.shape == batch.x.shape == c.touched.shape
    assert c.x_t.dtype == batch.x.dtype
    assert c.touched.dtype == torch.bool
    assert c.scored.shape == c.target.shape
    assert (c.scored >= 0).all()
    assert torch.equal(c.target, batch.x)


@every
def test_float32_stays_float32(make, data, spec):
    batch = data(8)
    x = batch.x.float() if batch.x.is_floating_point() else batch.x
    c = make(Linear())(batch._replace(x=x), torch.full((8,), 0.6), keys(8))
    assert c.x_t.dtype == x.dtype


@every
@pytest.mark.parametrize("schedule", NOISES.values(), ids=NOISES)
def test_a_sample_alone_equals_the_sample_in_a_batch(make, data, spec, schedule):
    if schedule.sigma(torch.ones(())) > 1 and make is not GaussianNoise:
        schedule = Exploding(1.0)
    batch, r, t = data(21), keys(21), torch.rand(21, generator=torch.Generator().manual_seed(1))
    whole = fields(make(schedule)(batch, t, r))
    for i in (0, 5, 20):
        one = Batch(batch.x[i : i + 1], batch.key[i : i + 1], {k: v[i : i + 1] for k, v in batch.context.items()})
        alone = fields(make(schedule)(one, t[i : i + 1], Keyed(r.key[i : i + 1])))
        assert all(torch.equal(alone[k][0], whole[k][i]) for k in alone if alone[k].ndim)


@every
def test_severity_grows_with_time(make, data, spec):
    batch = data(64)
    changed = [(make(Linear())(batch, full(64, t), keys(64)).x_t != batch.x).double().mean() for t in (0.0, 0.3, 0.6)]
    assert changed[0] == 0 < changed[1] <= changed[2]


@every
def test_what_it_accepts_is_what_it_gives(make, data, spec):
    """A fact that is claimed is there: kernels where there is a way back, no wrong token where it absorbs."""
    corruption = make(Linear())
    facts = corruption.accepts(spec).facts
    batch = data(16)
    c = corruption(batch, full(16, 0.6), keys(16))
    if Reversible in facts:
        belief = corruption.prior(batch.x).at(batch.x) if spec.kind == "tokens" else Dirac(batch.x)
        back = corruption.transition(full(16, 0.6), full(16, 0.2))(c.x_t, belief, **c.context)
        assert back.sample(keys(16, 2)).shape == batch.x.shape
    if Absorbing in facts:
        assert ((c.x_t == batch.x) | (c.x_t == corruption.mask)).all()
    if spec.kind == "tokens":
        assert c.x_t.max() < V + len(corruption.accepts(spec).specials)


@every
def test_other_kinds_are_refused(make, data, spec):
    with pytest.raises(Refused, match="is for"):
        make(Linear()).accepts(TEXT if spec is IMAGE else IMAGE)


@pytest.mark.parametrize("name", [n for n in CORRUPTIONS if n != "gaussian"])
def test_a_severity_above_1_is_refused(name):
    make, _, spec = CORRUPTIONS[name]
    with pytest.raises(Refused, match="share"):
        make(Exploding(80.0)).accepts(spec)
    with pytest.raises(Refused, match="share"):
        make(Constant(1.5)).accepts(spec)
    make(Constant(1.0)).accepts(spec)


# -- text


@pytest.mark.parametrize("name", [n for n, (_, _, spec) in CORRUPTIONS.items() if spec is TEXT])
def test_padding_is_neither_touched_nor_scored_and_changes_no_draw(name):
    make = CORRUPTIONS[name][0]
    batch, r, t = texts(32), keys(32), full(32, 0.7)
    c = make(Linear())(batch, t, r)
    valid = batch.context["valid"]
    assert not (c.touched & ~valid).any()
    assert not (c.scored.bool() & ~valid).any()
    longer = Batch(*(torch.cat((a, torch.zeros_like(a)[:, :40]), 1) for a in (batch.x,)), batch.key,
                   {"valid": torch.cat((valid, torch.zeros_like(valid)), 1)})  # fmt: skip
    padded = make(Linear())(longer, t, r)
    for a, b in ((padded.x_t, c.x_t), (padded.touched, c.touched), (padded.scored, c.scored)):
        assert torch.equal(a[:, :19], b)


# -- statistics


def test_salt_and_pepper_statistics():
    n, share = 500, 0.3
    batch = pictures(n)
    c = SaltAndPepper(Constant(share))(batch, torch.ones(n), keys(n))
    places = n * 9 * 7
    assert (c.touched == c.touched[:, :1]).all()  # all channels at once
    hit = c.touched[:, 0]
    assert abs(hit.double().mean() - share) < 5 * (share * (1 - share) / places) ** 0.5
    shown = c.x_t.movedim(1, -1)[hit]
    assert (shown.abs() == 1).all()
    assert (shown == shown[:, :1]).all()
    white = (shown[:, 0] == 1).double().mean()
    assert abs(white - 0.5) < 5 * 0.5 / (places * share) ** 0.5


# -- BERT


def test_bert_statistics():
    """15 % are scored, of these 80 % show the mask, 10 % another token (one in V of them the same), 10 % themselves."""
    n, length, vocabulary = 512, 128, 1000
    x = torch.randint(vocabulary, (n, length), generator=torch.Generator().manual_seed(0))
    valid = torch.arange(length) < torch.randint(20, length, (n, 1), generator=torch.Generator().manual_seed(1))
    bert = TokenMask(Constant(0.15), vocabulary, swapped=0.1, kept=0.1)
    c = bert(Batch(x, torch.arange(n), {"valid": valid}), torch.ones(n), keys(n))
    assert torch.equal(c.scored, c.touched)
    ours = shares(x, c.x_t, c.touched, bert.mask, valid)
    for (k, m), p in zip(ours, (0.15, 0.8, 0.1 + 0.1 / vocabulary, 0.1 - 0.1 / vocabulary), strict=True):
        assert abs(k / m - p) < 5 * (p * (1 - p) / m) ** 0.5


def shares(x, shown, scored, mask, valid):
    """How many of how many are scored; and of these masked, equal, other."""
    hit = int(scored.sum())
    masked = scored & (shown == mask)
    same = scored & (shown == x)
    counts = [int(a.sum()) for a in (masked, same, scored & ~masked & ~same)]
    return [(hit, int(valid.sum())), *((k, hit) for k in counts)]


def test_bert_statistics_are_those_of_transformers():
    reason = "compares with transformers, which is not installed"
    transformers = pytest.importorskip("transformers", reason=reason)
    tokenizers = pytest.importorskip("tokenizers", reason=reason)
    vocabulary, n, length = 1000, 512, 128
    words = {str(i): i for i in range(vocabulary)} | {"[MASK]": vocabulary, "[PAD]": vocabulary + 1}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="0")),
        mask_token="[MASK]", pad_token="[PAD]",
    )  # fmt: skip
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=0.15, seed=3)
    x = torch.randint(vocabulary, (n, length), generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones_like(x, dtype=torch.bool)
    theirs = collator([{"input_ids": row, "special_tokens_mask": [0] * length} for row in x.tolist()])
    bert = TokenMask(Constant(0.15), vocabulary, swapped=0.1, kept=0.1)
    ours = bert(Batch(x, torch.arange(n)), torch.ones(n), keys(n))
    asked = theirs["labels"] != -100
    assert torch.equal(theirs["labels"][asked], x[asked])
    for (a, n_a), (b, n_b) in zip(
        shares(x, ours.x_t, ours.scored, bert.mask, everywhere),
        shares(x, theirs["input_ids"], asked, vocabulary, everywhere), strict=True,
    ):  # fmt: skip
        p = (a + b) / (n_a + n_b)
        assert abs(a / n_a - b / n_b) < 5 * (p * (1 - p) * (1 / n_a + 1 / n_b)) ** 0.5


@pytest.mark.parametrize("swapped, kept", [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5)])
def test_only_the_mask_alone_has_a_way_back(swapped, kept):
    facts = TokenMask(Linear(), V, swapped, kept).accepts(TEXT).facts
    assert (Reversible in facts) == (Absorbing in facts) == (swapped + kept == 0)


def test_noise_of_level_0_is_not_additive():
    """Whoever divides by sigma must not take it for noise."""
    assert Additive in GaussianNoise(Constant(0.2)).accepts(IMAGE).facts
    assert Additive not in GaussianNoise(Constant(0.0)).accepts(IMAGE).facts
