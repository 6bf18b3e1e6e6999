"""Damage to text, where x shown x asked: what is seen and what is asked rebuild the text; a row depends on itself
alone; combinations that make no sense are refused."""

import pytest
import torch
import torch.nn.functional as F
from common import full, keys
from damage import (
    ALPHABET,
    END,
    FIRST,
    KEEPING,
    MASK,
    MASKED,
    SHOWN,
    V,
    ask,
    fields,
    made,
    same_text,
    sentinels,
    spec,
    texts,
    ul2,
    wheres,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiselab.corruption import Batch, Compared, Damage, Local, TokenMask, Written
from denoiselab.corruption.tokens.asked import All, Original, Replaced, Spans, Touched
from denoiselab.corruption.tokens.shown import (
    Deleted,
    Infilled,
    Mixed,
    PermutedSentences,
    PermutedTokens,
    Rotated,
    Sentinels,
)
from denoiselab.corruption.tokens.spans import GeometricSpans, PoissonSpans, RandomSpans
from denoiselab.corruption.tokens.typos import Typos
from denoiselab.corruption.tokens.where import Block, Entities, Sentences, Tokens, Words
from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant, Linear
from denoiselab.spec import Refused, Spec

pairs = pytest.mark.parametrize(
    "where, shown", [(w, s) for w in wheres().values() for s in SHOWN.values()],
    ids=[f"{w}-{s}" for w in wheres() for s in SHOWN],
)  # fmt: skip


# -- it can be undone


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(wheres())), length=st.integers(1, 60), rate=st.floats(0, 1),
    mean=st.floats(1, 40), seed=st.integers(0, 2**30),
)  # fmt: skip
def test_source_and_target_rebuild_the_text(name, length, rate, mean, seed):
    batch = texts(6, length, seed)
    damage = Damage(Constant(rate), V, wheres(mean)[name], sentinels(), Spans())
    agreed = damage.accepts(spec(length))
    c = ask(damage, batch, seed=seed)
    assert (c.seen.shape[1:], c.target.shape[1:]) == (agreed.shape, agreed.target)
    assert same_text(*damage.rebuilt(c.x_t, c.target, c.context), batch.x, batch.context["valid"])
    ok, scored = c.context["valid"], c.scored
    # Each side names the same sentinels, in order, from the first on.
    for i in range(len(batch.x)):
        seen, said = c.seen[i][ok[i]], c.target[i][scored[i]]
        marks = seen[seen >= FIRST]
        assert torch.equal(marks, said[said >= FIRST])
        assert torch.equal(marks, FIRST + torch.arange(len(marks)))
        assert said[-1] == END
        assert (said[:-1] != END).all()


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(wheres())), shown=st.sampled_from(sorted(SHOWN)), length=st.integers(1, 60),
    rate=st.floats(0, 1), seed=st.integers(0, 2**30),
)  # fmt: skip
def test_the_original_is_the_text_and_the_end(name, shown, length, rate, seed):
    batch = texts(6, length, seed)
    damage = Damage(Constant(rate), V, wheres()[name], SHOWN[shown], Original())
    agreed = damage.accepts(spec(length))
    c = ask(damage, batch, seed=seed)
    assert (
        (c.seen.shape[1:], c.target.shape[1:])
        == (agreed.shape, agreed.target)
        == ((damage.seen(length),), (length + 1,))
    )
    assert torch.equal(c.scored.sum(1), batch.context["valid"].sum(1) + 1)
    assert torch.equal(c.context["prefix"], F.pad(c.target, (1, -1), value=END))
    assert same_text(*damage.rebuilt(c.x_t, c.target, c.context), batch.x, batch.context["valid"])
    assert c.seen.max() < V + len(agreed.specials)
    assert c.target.max() < V + agreed.written


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["random_spans", "poisson_spans", "geometric_spans", "block", "suffix"]),
    length=st.integers(1, 80), rate=st.floats(0, 1), mean=st.floats(1, 20), seed=st.integers(0, 2**30),
)  # fmt: skip
def test_noise_counts_are_exact(name, length, rate, mean, seed):
    batch = texts(6, length, seed)
    touched = ask(Damage(Constant(rate), V, wheres(mean)[name], Mixed(V), Touched()), batch, seed=seed).touched
    for n, hit in zip(batch.context["valid"].sum(1).tolist(), touched.sum(1).tolist(), strict=True):
        expected = round(n * rate)
        if name == "random_spans":
            expected = max(min(max(expected, 1 if rate else 0), n - 1), 0)
        assert hit == expected


def test_an_answer_may_be_any():
    """What a network writes is not what was asked: sentinels twice, or none, or the mask; the rest stays in order."""
    damage = Damage(Constant(0.5), V, Tokens(), sentinels(), Spans())
    source = torch.tensor([[1, FIRST, 2, FIRST + 1, 3, 0]])
    context = {"valid": torch.tensor([[True] * 5 + [False]])}
    for written, text in [
        ([FIRST, 4, 5, FIRST + 1, 6, END, 7], [1, 4, 5, 2, 6, 3]),
        ([9, FIRST + 1, 6, FIRST, 4, MASK, END], [1, 4, 2, 6, 3]),
        ([FIRST, 4, FIRST, 5, FIRST + 7, 8, 8], [1, 4, 5, 2, 3, 8, 8]),
        ([END, FIRST, 4], [1, 2, 3]),
    ]:
        said, there = damage.rebuilt(source, torch.tensor([written]), context)
        assert said[there].tolist() == text


# -- a row depends on itself alone


@pairs
def test_the_rate_0_shows_the_text(where, shown):
    batch = texts(16, 30)
    c = ask(made(where, shown, 0.0), batch)
    ok = c.context["valid"]
    assert same_text(c.seen, ok, batch.x, batch.context["valid"])
    assert not c.touched.any()


@pairs
def test_a_row_alone_equals_the_row_in_a_batch_and_padding_changes_nothing(where, shown):
    batch, r = texts(9, 30), keys(9)
    damage = made(where, shown)
    whole = fields(damage(batch, full(9, 1.0), r))
    for i in (0, 1, 8):
        one = Batch(batch.x[i : i + 1], batch.key[i : i + 1], {k: v[i : i + 1] for k, v in batch.context.items()})
        alone = fields(damage(one, full(1, 1.0), Keyed(r.key[i : i + 1])))
        assert all(torch.equal(alone[k][0], whole[k][i]) for k in alone if alone[k].ndim)
    longer = Batch(F.pad(batch.x, (0, 17)), batch.key, {k: F.pad(v, (0, 17)) for k, v in batch.context.items()})
    padded = fields(damage(longer, full(9, 1.0), r))
    for key, ok in (("seen", "valid"), ("target", "scored")):
        assert same_text(padded[key], padded[ok].bool(), whole[key], whole[ok].bool())
    assert torch.equal(padded["touched"][:, :30], whole["touched"])


@pairs
def test_input_is_not_changed_and_nothing_else_is_drawn(where, shown):
    batch, state = texts(9, 30), torch.get_rng_state()
    x, context = batch.x.clone(), {k: v.clone() for k, v in batch.context.items()}
    c = ask(made(where, shown), batch)
    c.seen.mul_(0)
    assert torch.equal(batch.x, x)
    assert all(torch.equal(batch.context[k], v) for k, v in context.items())
    assert torch.equal(state, torch.get_rng_state())
    assert (c.touched <= context["valid"]).all()


@pytest.mark.parametrize("shown", KEEPING.values(), ids=KEEPING)
def test_what_keeps_the_length_keeps_the_rest(shown):
    batch = texts(64, 40)
    c = ask(made(Words(), shown), batch)
    assert c.seen.shape == batch.x.shape
    assert (c.seen != batch.x).any()
    if not isinstance(shown, Typos | PermutedSentences):
        assert torch.equal(c.seen[~c.touched], batch.x[~c.touched])
    if isinstance(shown, PermutedTokens | PermutedSentences | Rotated):
        assert torch.equal(c.seen.sort(1).values, batch.x.sort(1).values)


def test_masking_tokens_is_token_mask():
    batch = texts(64, 40)
    ours = ask(Damage(Constant(0.3), V, Tokens(), Mixed(V, 0.2, 0.3), Touched()), batch)
    theirs = ask(TokenMask(Constant(0.3), V, 0.2, 0.3), batch)
    assert all(torch.equal(a, fields(theirs)[k]) for k, a in fields(ours).items())


def test_whole_words_sentences_and_entities_are_hit():
    batch = texts(32, 60)
    for where, key in ((Words(), "word"), (Sentences(), "sentence")):
        touched, number, valid = (
            ask(made(where, KEEPING["mask"]), batch).touched,
            batch.context[key],
            batch.context["valid"],
        )
        same = (number[:, 1:] == number[:, :-1]) & valid[:, 1:]
        assert torch.equal(touched[:, 1:][same], touched[:, :-1][same])
        assert 0.3 < touched[valid].double().mean() < 0.5
    touched = ask(made(Entities(), KEEPING["mask"]), batch).touched
    assert (touched <= batch.context["entity"]).all()
    assert touched.any()


def test_sentences_change_places_whole_and_a_document_is_rotated():
    x = torch.arange(12)[None].repeat(200, 1)
    sentence = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 3, 3, 3, 3])[None].repeat(200, 1)
    batch = Batch(x, torch.arange(200), {"sentence": sentence})
    seen = ask(Damage(Constant(1.0), V, Sentences(), PermutedSentences(), All()), batch).seen
    pieces = [(0, 1, 2), (3,), (4, 5, 6, 7), (8, 9, 10, 11)]
    orders = set()
    for row in seen.tolist():
        at = sorted(range(4), key=lambda i: row.index(pieces[i][0]))
        assert row == [token for i in at for token in pieces[i]]
        orders.add(tuple(at))
    assert len(orders) == 24
    seen = ask(Damage(Constant(1.0), V, Tokens(), Rotated(), All()), batch).seen
    assert torch.equal((seen - seen[:, :1]) % 12, x)
    assert seen[:, 0].unique().numel() == 12


# -- what is agreed


def test_combinations_without_sense_are_refused_with_a_way_out():
    level = Constant(0.15)
    for shown, asked, fix in [
        (Deleted(), All(), "asked=original"), (Infilled(V), Touched(), "asked=original"),
        (sentinels(), All(), "asked=original"), (Mixed(V), Spans(), "shown=sentinels"),
        (Typos(ALPHABET), All(), "asked=original"), (Mixed(V), Replaced(), "shown=swapped, permuted_tokens or rotated"),
    ]:  # fmt: skip
        with pytest.raises(Refused, match=fix):
            Damage(level, V, Tokens(), shown, asked)
    for shown, asked, got in [
        (Mixed(V, 0.0, 0.0), Spans(), "shown=mask"), (Mixed(V), Spans(), "shown=mixed"),
        (Mixed(V, 1.0, 0.0), Spans(), "shown=swapped"), (Infilled(V), Touched(), "shown=infilled"),
        (PermutedSentences(), Spans(), "shown=permuted_sentences"), (Typos(ALPHABET), All(), "shown=typos"),
    ]:  # fmt: skip
        with pytest.raises(Refused) as refused:
            Damage(level, V, Tokens(), shown, asked)
        assert refused.value.got == got
    plain = Spec("tokens", (40,), V)
    for where, key in ((Words(), "word"), (Sentences(), "sentence"), (Entities(), "entit")):
        with pytest.raises(Refused, match=key):
            Damage(level, V, where, Mixed(V), Touched()).accepts(plain)
    with pytest.raises(Refused, match=r"shown\.count=20"):
        Damage(level, V, Tokens(), Sentinels(V, 3), Spans()).accepts(plain)
    with pytest.raises(Refused, match="codec=character"):
        Typos(["a", "bc"])
    with pytest.raises(Refused, match="codec=character"):
        Typos([])
    with pytest.raises(Refused, match="vocabulary"):
        Damage(level, V + 1, Tokens(), Mixed(V), Touched()).accepts(plain)
    for bad in (lambda: RandomSpans(0.5), lambda: PoissonSpans(0.0), lambda: GeometricSpans(0.0),
                lambda: Sentinels(V, 0), lambda: Mixed(V, 0.6, 0.6), lambda: Typos(ALPHABET, case=-1.0)):  # fmt: skip
        with pytest.raises(Refused):
            bad()


def test_ids_of_special_tokens_in_the_data_are_refused():
    damage = Damage(Constant(0.15), V, Tokens(), sentinels(), Spans())
    for wrong in (FIRST, MASK, -1):
        with pytest.raises(Refused, match="clean text"):
            ask(damage, Batch(torch.tensor([[1, wrong, 2]]), torch.arange(1)))


def test_facts_say_what_is_written_compared_and_local():
    agreed = Damage(Constant(0.15), V, Tokens(), Mixed(V, 1.0, 0.0), Replaced()).accepts(spec(30))
    assert Compared in agreed.facts
    assert Written not in agreed.facts
    assert Local in Damage(Linear(), V, Tokens(), Mixed(V), All()).accepts(spec(30)).facts
    agreed = Damage(Constant(0.15), V, RandomSpans(), Sentinels(V, 100), Spans()).accepts(spec(512))
    assert Written in agreed.facts
    assert agreed.specials[:3] == ("[MASK]", "[END]", "[0]")
    assert agreed.written == len(agreed.specials) == 102
    assert {"valid", "prefix"} <= agreed.context
    assert not {"word", "sentence", "entity"} & agreed.context


def test_replaced_says_what_differs():
    batch = texts(200, 40)
    c = ask(Damage(Constant(0.5), V, Tokens(), Mixed(V, 1.0, 0.0), Replaced()), batch)
    assert torch.equal(c.target, c.seen != batch.x)
    assert torch.equal(c.scored, batch.context["valid"])
    assert c.target.any()
    assert (c.target <= c.touched).all()


# -- what is lost, hidden in the way of each


@pytest.mark.parametrize("shown", [sentinels(), Infilled(V), Deleted(), Mixed(V, 0.0, 0.0)], ids=type)
def test_what_is_lost_by_its_own_hand_is_hidden_as_it_hides_it(shown):
    batch = texts(20, 24)
    damage = Damage(Constant(0.3), V, RandomSpans(2.0), shown, Spans() if isinstance(shown, Sentinels) else Original())
    damage.accepts(spec(24))
    c, ok = ask(damage, batch), batch.context["valid"]
    seen, context = damage.hidden(batch.x, ok, c.touched, batch.context, keys(20))
    assert torch.equal(seen, c.x_t)
    assert torch.equal(context["valid"], c.context["valid"])
    assert same_text(*damage.rebuilt(seen, c.target, context), batch.x, ok)


def test_what_hides_nothing_shows_masks_and_a_mixture_tells_its_first_mode():
    batch, lost = texts(20, 24), ask(Damage(Constant(0.15), V, RandomSpans(), MASKED, Touched()), texts(20, 24)).touched
    ok = batch.context["valid"]
    typos = Damage(Constant(0.1), V, Tokens(), Typos(ALPHABET), Original())
    seen, context = typos.hidden(batch.x, ok, lost, batch.context, keys(20))
    assert torch.equal(seen == MASK, lost)
    assert torch.equal(seen[~lost], batch.x[~lost])
    assert context == batch.context
    mixture = ul2()
    alone, inner = mixture.members[0].hidden(batch.x, ok, lost, batch.context, keys(20))
    seen, context = mixture.hidden(batch.x, ok, lost, batch.context, keys(20))
    assert seen.shape == (20, *mixture.accepts(spec(24)).shape)
    assert (seen[:, 0] == V + 2 + 100).all()
    assert torch.equal(seen[:, 1 : alone.shape[1] + 1], alone)
    assert torch.equal(context["valid"].sum(1), inner["valid"].sum(1) + 1)


PLACES = torch.arange(60)


@pytest.mark.parametrize("asked, shown, lost, what", [
    (Spans(), Sentinels(V, 3), PLACES % 12 == 0, "room for 3 spans"),
    (Spans(), sentinels(), PLACES < 30, "to be written"), (Original(), Infilled(V), PLACES < 0, "to be seen"),
])  # fmt: skip
def test_more_than_there_is_room_for_is_refused(asked, shown, lost, what):
    batch = texts(4, 60)
    damage = Damage(Constant(0.1), V, Block(), shown, asked)
    damage.accepts(spec(60))
    with pytest.raises(Refused, match=what):
        damage.hidden(batch.x, batch.context["valid"], lost.expand(4, -1), batch.context, keys(4))
