"""Chains and mixtures of damage to text: they give back the text, and say what was touched."""

import pytest
import torch
from common import full, keys
from damage import MASK, V, ask, bart, fields, same_text, spec, texts, ul2
from product import content

from denoiselab import build
from denoiselab.corruption import Batch, Chain, Damage, Mixture
from denoiselab.corruption.tokens.asked import All, Original, Spans
from denoiselab.corruption.tokens.damage import Link
from denoiselab.corruption.tokens.shown import Infilled, Mixed, PermutedTokens, Rotated, Sentinels
from denoiselab.corruption.tokens.spans import PoissonSpans
from denoiselab.corruption.tokens.where import Block, Suffix, Tokens
from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant
from denoiselab.spec import Refused, Spec


@pytest.mark.parametrize("make", [bart, ul2])
def test_a_chain_and_a_mixture_give_back_the_text_and_rows_are_independent(make):
    corruption, batch, r = make(), texts(40, 30), keys(40)
    agreed = corruption.accepts(spec(30))
    c = corruption(batch, full(40, 1.0), r)
    whole = fields(c)
    assert (c.seen.shape[1:], c.target.shape[1:]) == (agreed.shape, agreed.target)
    assert c.seen.max() < V + len(agreed.specials)
    assert same_text(*corruption.rebuilt(c.x_t, c.target, c.context), batch.x, batch.context["valid"])
    for i in (0, 7, 39):
        one = Batch(batch.x[i : i + 1], batch.key[i : i + 1], {k: v[i : i + 1] for k, v in batch.context.items()})
        alone = fields(corruption(one, full(1, 1.0), Keyed(r.key[i : i + 1])))
        assert all(torch.equal(alone[k][0], whole[k][i]) for k in alone if alone[k].ndim)


def test_a_chain_of_one_link_is_damage():
    batch = texts(20, 30)
    one = Chain(V, [Link(Constant(0.3), PoissonSpans(), Infilled(V))], Original())
    a, b = (
        fields(ask(each, batch)) for each in (one, Damage(Constant(0.3), V, PoissonSpans(), Infilled(V), Original()))
    )
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_chain_knows_what_was_touched_in_the_clean_text():
    """Tokens change places, then some are masked: where the mask is seen, a token was touched wherever it came from."""
    x = torch.arange(40)[None].repeat(50, 1)
    chain = Chain(
        V, [Link(Constant(0.0), Tokens(), PermutedTokens()), Link(Constant(0.3), Block(), Mixed(V, 0.0, 0.0))], All()
    )
    c = ask(chain, Batch(x, torch.arange(50)))
    assert torch.equal(c.touched, c.seen == MASK)
    chain = Chain(
        V, [Link(Constant(1.0), Suffix(), Rotated()), Link(Constant(0.3), Block(), Mixed(V, 0.0, 0.0))], All()
    )
    assert ask(chain, Batch(x, torch.arange(50))).touched.all()


def test_members_of_a_mixture_are_drawn_by_their_shares_and_told_by_their_mode():
    n = 4000
    batch = Batch(torch.randint(V, (n, 32)), torch.arange(n))
    mixture = ul2()
    c = ask(mixture, batch)
    mode = c.seen[:, 0] - (V + 2 + 100)
    assert mixture.accepts(Spec("tokens", (32,), V)).specials[-3:] == ("[R]", "[S]", "[X]")
    for i, p in enumerate((0.5, 0.25, 0.25)):
        assert abs((mode == i).double().mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
    hit = c.touched.sum(1)
    assert (hit[mode == 0] == round(32 * 0.15)).all()
    assert (hit[mode == 1] == 8).all()
    assert c.touched[mode == 1, 24:].all()
    assert (hit[mode == 2] == 16).all()


# Tay et al., 2022, arXiv:2205.05131, table 1: mean span (None: a quarter of the text, in one piece), rate, mode.
UL2 = [(3, 0.15, "[R]"), (8, 0.15, "[R]"), (None, 0.25, "[S]"), (3, 0.5, "[X]"), (8, 0.5, "[X]"), (64, 0.15, "[X]"),
       (64, 0.5, "[X]")]  # fmt: skip


def test_the_shipped_mixture_is_the_published_one():
    mixture = build.make({"corruption": content("corruption", "ul2")}, "corruption", Spec("tokens", (512,), V))
    links = [member.links[0] for member in mixture.members]
    got = [(getattr(link.where, "mean", None), link.high, mode) for link, mode in zip(
        links, content("corruption", "ul2")["modes"], strict=True)]  # fmt: skip
    assert got == UL2
    assert [isinstance(link.where, Suffix) for link in links] == [mean is None for mean, *_ in UL2]
    assert all(isinstance(link.shown, Sentinels) for link in links)
    assert torch.allclose(mixture.ends.diff(), mixture.ends[:1])


def test_members_that_are_asked_otherwise_are_refused():
    def member(shown, asked):
        return Damage(Constant(0.15), V, Suffix(), shown, asked)

    for members in ([member(Sentinels(V, 10), Spans()), member(Sentinels(V, 9), Spans())],
                    [member(Sentinels(V, 10), Spans()), member(Infilled(V), Original())],
                    [member(Mixed(V), All())]):  # fmt: skip
        with pytest.raises(Refused, match="asked"):
            Mixture(V, members, [1.0] * len(members), ["[R]"] * len(members))
    with pytest.raises(Refused, match="share"):
        Mixture(V, [member(Sentinels(V, 10), Spans())], [1.0, 2.0], ["[R]"])
    with pytest.raises(Refused, match="link"):
        Chain(V, [], Original())
