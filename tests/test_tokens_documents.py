"""Damage to rows of several documents stays in each of them."""

import pytest
import torch
import torch.nn.functional as F
from common import full, keys
from damage import ALPHABET, KEEPING, SHOWN, V, ask, bart, spec, texts, ul2, wheres

from denoiselab.corruption import Damage
from denoiselab.corruption.tokens import All, Mixed, RandomSpans, Sentinels, Spans, Touched, Typos
from denoiselab.schedule import Constant
from denoiselab.spec import Refused


def packed(n, length, seed=0):
    """Ragged rows of several documents, two of them of one token."""
    batch = texts(n, length, seed)
    g = torch.Generator().manual_seed(seed + 1)
    valid = batch.context["valid"]
    new = (torch.rand(n, length, generator=g) < 0.2) & valid
    new[:, 0] = False
    new[:, 3:6] = valid[:, 3:6]
    segment = new.cumsum(1)
    segment = torch.where(valid, segment, segment.masked_fill(~valid, -1).amax(1, keepdim=True) + 1)
    kept = dict(batch.context)
    for key in ("word", "sentence"):
        other = (kept[key][:, 1:] != kept[key][:, :-1]) | (segment[:, 1:] != segment[:, :-1])
        kept[key] = F.pad(other.cumsum(1), (1, 0))
    return batch._replace(context={**kept, "segment": segment})


def documents(batch):
    """Each document, as a row of its own, and its place: (row, first, last)."""
    for i, (valid, segment) in enumerate(zip(batch.context["valid"], batch.context["segment"], strict=True)):
        for number in segment[valid].unique().tolist():
            places = ((segment == number) & valid).nonzero()[:, 0]
            yield i, int(places[0]), int(places[-1]) + 1


@pytest.mark.parametrize("shown", KEEPING)
@pytest.mark.parametrize("where", wheres())
def test_no_damage_crosses_documents_of_a_row(where, shown):
    """Each document of a row is shown with its own tokens alone."""
    batch, part = packed(30, 40), KEEPING[shown]
    typos = Typos(ALPHABET, *[0.0] * 7, transposition=1.0)
    c = ask(Damage(Constant(0.6), V, wheres()[where], typos if shown == "typos" else part, All()), batch)
    moves = not isinstance(part, Mixed)
    for i, a, b in documents(batch):
        before, after = batch.x[i, a:b], c.seen[i, a:b]
        if moves:
            assert torch.equal(before.sort().values, after.sort().values)
        if shown not in ("typos", "permuted_sentences"):  # which move what lies between
            assert torch.equal(after[~c.touched[i, a:b]], before[~c.touched[i, a:b]])


@pytest.mark.parametrize("where", ["block", "suffix", "words", "sentences", "entities"])
def test_a_document_is_hit_in_pieces_of_its_own(where):
    batch = packed(200, 40)
    ok = batch.context["valid"]
    hit = wheres()[where](ok, full(200, 0.5), 50, batch.context, keys(200)).touched
    apart = []
    for i, a, b in documents(batch):
        own = hit[i, a:b]
        runs = int((own & ~F.pad(own, (1, -1))).sum())
        if where in ("block", "suffix"):
            assert own.sum() == round((b - a) * 0.5)  # half to even, as torch rounds
            assert runs <= 1
            assert where == "block" or own[b - a - int(own.sum()) :].all()
        elif b < 40 and ok[i, b] and (where != "entities" or batch.context["entity"][i, b - 1 : b + 1].all()):
            apart.append(bool(hit[i, b - 1]) != bool(hit[i, b]))
    assert where in ("block", "suffix") or 0.3 < sum(apart) / len(apart) < 0.7  # drawn apart


@pytest.mark.parametrize("shown", ["permuted_tokens", "permuted_sentences", "rotated"])
def test_one_document_a_row_is_damaged_as_text_without_documents(shown):
    batch = texts(30, 40)
    one = batch._replace(context={**batch.context, "segment": (~batch.context["valid"]).long()})
    for where in wheres().values():
        damage = Damage(Constant(0.6), V, where, SHOWN[shown], All())
        assert torch.equal(ask(damage, batch).seen, ask(damage, one).seen)


def test_what_is_written_of_several_documents_is_refused():
    several = spec(30).having(context=["segment"])
    for damage in (Damage(Constant(0.15), V, RandomSpans(), Sentinels(V, 100), Spans()), bart(), ul2()):
        with pytest.raises(Refused, match=r"data\.layout=padded"):
            damage.accepts(several)
    assert "segment" in Damage(Constant(0.15), V, RandomSpans(), Mixed(V), Touched()).accepts(several).context
