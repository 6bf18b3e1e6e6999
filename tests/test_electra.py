"""ELECTRA: a generator fills in what is hidden, a discriminator says which tokens are replaced; each learns from its
own question alone, and a row costs what it costs alone."""

import pytest
import torch
import torch.nn.functional as F
from common import keys

from denoiselab.architecture.transformer import Transformer
from denoiselab.corruption import Batch, Damage, Generated, TokenMask
from denoiselab.corruption.tokens import All, Drawn, Original, Replaced, Spans, Tokens, Touched
from denoiselab.denoiser import Detects, Electra, Judgement, Logits, TokenLogits
from denoiselab.objective import CrossEntropy, Detection, Unit, Weighted
from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant
from denoiselab.spec import Refused, Spec, compose

V, L, B = 7, 12, 6
TEXT = Spec("tokens", (L,), V, context=frozenset({"valid"}))
SMALL = Transformer(8, 1, 2)


def damage(asked=None, rate=0.5):
    return Damage(Constant(rate), V, Tokens(), Drawn(V), asked or All())


def built(asked=None):
    """The corruption and an ELECTRA, its weights far from where they began."""
    corruption, plan, head = damage(asked), Electra(SMALL), Judgement()
    agreed = compose(TEXT, corruption, plan, head, Transformer(16, 1, 2), Detection())
    torch.manual_seed(0)
    denoiser = plan.build(Transformer(16, 1, 2).build(agreed), corruption, head, agreed)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return corruption, denoiser


def texts(n=B):
    x = torch.randint(V, (n, L), generator=torch.Generator().manual_seed(0))
    valid = torch.arange(L) < torch.tensor([[12], [9], [1], [12], [5], [12]])[:n]
    return Batch(x.masked_fill(~valid, 0), torch.arange(n), {"valid": valid})


def asked(corruption, denoiser, batch):
    t = torch.full((len(batch.x),), 0.5)
    c = corruption(batch, t, keys(len(batch.x)))
    belief = denoiser(c.x_t, t, seen=c.seen, **c.context)
    return c, belief, Detection(50.0)(belief, c, t, corruption) * c.scored


def test_what_is_drawn_stands_where_tokens_were_hit_and_nowhere_else():
    corruption, denoiser = built()
    batch = texts()
    c, belief, _ = asked(corruption, denoiser, batch)
    assert torch.equal(belief.hidden, c.touched)
    assert torch.equal(belief.seen[~c.touched], batch.x[~c.touched])
    assert belief.seen.max() < V
    assert (belief.seen != batch.x)[c.touched].any()
    assert belief.replaced.logit.shape == (B, L)
    # The same dice, the same draws; without dice the likeliest.
    again = denoiser(c.x_t, torch.full((B,), 0.5), **c.context)
    assert torch.equal(again.seen, belief.seen)
    plain = denoiser(c.x_t, torch.full((B,), 0.5), valid=c.context["valid"])
    assert torch.equal(plain.seen, torch.where(c.touched, belief.guess.mode, batch.x))


def test_draws_have_the_generators_law():
    corruption, denoiser = built()
    n = 4000
    one = texts()
    batch = Batch(one.x[:1].expand(n, -1), torch.arange(n), {"valid": one.context["valid"][:1].expand(n, -1)})
    t, x_t = torch.full((n,), 0.5), torch.full((n, L), V)
    dice = corruption(batch, t, keys(n)).context["dice"]
    with torch.no_grad():
        belief = denoiser(x_t, t, dice=dice)
    p = belief.guess.mean[0]
    drawn = F.one_hot(belief.seen, V).float().mean(0)
    assert ((drawn - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 1e-6).all()


def test_the_cost_is_the_generators_and_fifty_times_the_discriminators():
    """Where rows have as many tokens hit: the sum of two means, as published."""
    corruption, denoiser = built()
    batch = texts()
    batch = batch._replace(context={"valid": torch.ones(B, L, dtype=torch.bool)})
    t = torch.full((B,), 0.5)
    c = corruption(batch, t, keys(B))
    touched = torch.arange(L).expand(B, L) % 3 == 0
    c = c._replace(touched=touched, x_t=torch.where(touched, V, batch.x), seen=torch.where(touched, V, batch.x))
    belief = denoiser(c.x_t, t, **c.context)
    objective = Detection(50.0)
    got = (objective(belief, c, t, corruption) * c.scored).sum() / objective.count(c)
    guessed = F.cross_entropy(belief.guess.logits[touched], batch.x[touched])
    judged = F.binary_cross_entropy_with_logits(belief.replaced.logit, (belief.seen != batch.x).float())
    torch.testing.assert_close(got, guessed + 50 * judged)


@pytest.mark.parametrize("question", [All(), Touched()])
def test_each_network_learns_from_its_own_question_alone(question):
    corruption, denoiser = built(question)
    batch = texts()
    c, belief, cost = asked(corruption, denoiser, batch)
    assert (cost[~c.context["valid"]] == 0).all()
    assert (cost[c.scored > 0] > 0).all()
    belief.replaced.log_prob(belief.seen != c.target).sum().backward()
    assert all(p.grad is None for p in denoiser.generator.parameters())
    assert all(p.grad is not None for p in denoiser.discriminator.parameters())
    denoiser.zero_grad(set_to_none=True)
    belief = denoiser(c.x_t, torch.full((B,), 0.5), **c.context)
    belief.guess.log_prob(c.target).sum().backward()
    assert all(p.grad is not None for p in denoiser.generator.parameters())
    assert all(p.grad is None for p in denoiser.discriminator.parameters())


def test_a_row_alone_costs_what_it_costs_in_a_batch():
    corruption, denoiser = built()
    batch = texts()
    whole = asked(corruption, denoiser, batch)[2]
    for i in range(B):
        own = Batch(batch.x[i : i + 1], batch.key[i : i + 1], {"valid": batch.context["valid"][i : i + 1]})
        c = corruption(own, torch.full((1,), 0.5), Keyed.of(0, own.key))
        belief = denoiser(c.x_t, torch.full((1,), 0.5), **c.context)
        cost = Detection(50.0)(belief, c, torch.full((1,), 0.5), corruption) * c.scored
        torch.testing.assert_close(cost[0], whole[i], rtol=1e-4, atol=1e-4)


def test_a_network_that_is_asked_for_one_number_has_a_head_of_its_own():
    agreed = TEXT.having(given=(L, 1), specials=("[MASK]",))
    network = SMALL.build(SMALL.accepts(agreed))
    x = torch.randint(V + 1, (3, L), generator=torch.Generator().manual_seed(0))
    said = network(x, torch.zeros(3))
    assert said.shape == (3, L, 1)
    assert network.some(x, torch.zeros(3), torch.tensor([0, 5])).shape == (2, 1)
    said.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    tokens = SMALL.build(TEXT.having(given=(L, V), specials=("[MASK]",)))
    assert tokens(x, torch.zeros(3)).shape == (3, L, V)
    sizes = [sum(p.numel() for p in n.parameters()) for n in (network, tokens)]
    assert sizes[0] - sizes[1] == 8 * 8 + 8 + 8 + 1 - V


def test_what_does_not_go_together_is_refused():
    agreed = damage().accepts(TEXT)
    assert Generated in agreed.facts
    assert "dice" in agreed.context
    for part, fix in [(TokenLogits(), "electra"), (Logits(), "bernoulli")]:
        with pytest.raises(Refused, match=fix):
            part.accepts(agreed)
    with pytest.raises(Refused, match="shown=generated"):
        Electra(SMALL).accepts(TokenMask(Constant(0.15), V).accepts(TEXT))
    detects = compose(agreed, Electra(SMALL), Judgement())
    assert Detects in detects.facts
    with pytest.raises(Refused, match="objective=electra"):
        Weighted(CrossEntropy(), Unit()).accepts(detects)
    with pytest.raises(Refused, match="parameterization=electra"):
        Detection().accepts(TEXT)
    with pytest.raises(Refused, match=r"objective\.weight"):
        Detection(0.0)
    for question, fix in ((Spans(), "asked=all"), (Original(), "asked=all"), (Replaced(), "shown=generated")):
        with pytest.raises(Refused, match=fix):
            damage(question)
