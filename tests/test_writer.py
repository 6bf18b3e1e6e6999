"""Text that is written token by token: step by step it is what all at once says; padding and what comes later change
nothing; a small task is learned, and what is written is then right."""

import itertools
from functools import partial

import pytest
import torch
from common import Silence, keys
from torch import nn
from writing import TEXT, Lost, V, Whole

from denoiselab.architecture.adapters import Module
from denoiselab.architecture.base import Recomputed
from denoiselab.architecture.blocks import Cross
from denoiselab.architecture.decoder import Decoder
from denoiselab.architecture.encoder_decoder import EncoderDecoder
from denoiselab.architecture.mlp import MLP
from denoiselab.architecture.positions import Learned, Rotary, Sinusoidal, T5Relative, bucket
from denoiselab.architecture.transformer import Transformer
from denoiselab.corruption import Batch, TokenMask
from denoiselab.data.base import Loaded, Table
from denoiselab.data.batches import Batches, Once
from denoiselab.data.tokenizer import Character
from denoiselab.denoiser import Decodes, Logits, NextToken, Subs, TokenLogits
from denoiselab.evaluation.evaluate import Evaluation
from denoiselab.evaluation.metrics import TokenAccuracy
from denoiselab.grid import even
from denoiselab.module import DenoisingModule, Parts
from denoiselab.objective import CrossEntropy, Unit, Weighted
from denoiselab.optim import Constant
from denoiselab.posterior import Categorical, Chosen
from denoiselab.randomness import Keyed
from denoiselab.run.report import words
from denoiselab.sampler import Ancestral, Autoregressive, Loop, OneShot
from denoiselab.schedule import Constant as Level
from denoiselab.schedule import Linear
from denoiselab.spec import Refused, Spec, compose
from denoiselab.times import Stratified

B, S, T = 4, 6, 7
# A new way to write is an entry here.
PLANS = {
    "encoder_decoder": partial(EncoderDecoder, 16, 2, 2, 2),
    "encoder_decoder_t5": partial(EncoderDecoder, 16, 2, 2, 2, positions=T5Relative(8, 16)),
    "encoder_decoder_own": partial(EncoderDecoder, 16, 2, 2, 2, positions=Rotary(across=False)),
    "encoder_decoder_sinusoidal": partial(EncoderDecoder, 16, 2, 2, 2, positions=Sinusoidal()),
    "encoder_decoder_learned": partial(EncoderDecoder, 16, 2, 2, 2, positions=Learned()),
    "decoder": partial(Decoder, 16, 2, 2),
    "decoder_sinusoidal": partial(Decoder, 16, 2, 2, positions=Sinusoidal()),
    "decoder_learned": partial(Decoder, 16, 2, 2, positions=Learned()),
    "decoder_t5": partial(Decoder, 16, 2, 2, positions=T5Relative(8, 16)),
}
plans = pytest.mark.parametrize("plan", PLANS)


def agreed(corruption=None):
    return compose(TEXT, corruption or Whole(Level(0.3)), NextToken(), Logits())


def shaken(module):
    """Its weights far from where they began, so that every path counts."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return module.eval()


def built(plan, **more):
    architecture = PLANS[plan](**more)
    torch.manual_seed(1)
    return shaken(architecture.build(architecture.accepts(agreed())))


def question(seed=0):
    """x, its noise, where it is text, and a prefix."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randint(V + 2, (B, S), generator=source)
    prefix = torch.randint(V + 2, (B, T), generator=source)
    prefix[:, 0] = V + 1
    valid = torch.arange(S) < torch.tensor([[6], [3], [1], [0]])
    return x, torch.rand(B, generator=source), valid, prefix


@plans
@pytest.mark.parametrize("time", [False, True])
@torch.no_grad()
def test_steps_say_what_all_at_once_says(plan, time):
    network, (x, noise, valid, prefix) = built(plan, time=time), question()
    whole = network(x, noise, valid=valid, prefix=prefix)
    assert whole.shape == (B, T, V + 2)
    for writer in (network, Recomputed(network)):
        memory = writer.encode(x, noise, valid=valid)
        cache = writer.cache(memory, T)
        for i in range(T):
            said = writer.step(prefix[:, i], i, memory, cache)
            torch.testing.assert_close(said, whole[:, i], rtol=1e-5, atol=1e-5)
    assert torch.allclose(network(x, 1 - noise, valid=valid, prefix=prefix), whole) is not time


@plans
@torch.no_grad()
def test_a_row_alone_is_the_row_in_a_batch(plan):
    network, (x, noise, valid, prefix) = built(plan), question()
    together = network(x, noise, valid=valid, prefix=prefix)
    for i in range(B):
        one = slice(i, i + 1)
        alone = network(x[one], noise[one], valid=valid[one], prefix=prefix[one])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-5, atol=1e-5)


@plans
@torch.no_grad()
def test_padding_changes_nothing(plan):
    """Neither what stands there nor how much of it there is."""
    network, (x, noise, valid, prefix) = built(plan), question()
    some = slice(0, 3)  # the last row has no text: it is looked at as it is
    x, noise, valid, prefix = x[some], noise[some], valid[some], prefix[some]
    whole = network(x, noise, valid=valid, prefix=prefix)
    other = torch.where(valid, x, (x + 1) % V)
    assert not torch.equal(other, x)
    assert torch.equal(network(other, noise, valid=valid, prefix=prefix), whole)
    short = network(x[1:2, :3], noise[1:2], prefix=prefix[1:2])
    torch.testing.assert_close(short[0], whole[1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(network(other, noise, prefix=prefix), network(x, noise, prefix=prefix))


@plans
@torch.no_grad()
def test_a_later_token_changes_no_earlier_answer(plan):
    network, (x, noise, valid, prefix) = built(plan), question()
    whole = network(x, noise, valid=valid, prefix=prefix)
    for i in range(T):
        other = prefix.clone()
        other[:, i] = (other[:, i] + 1) % (V + 2)
        changed = network(x, noise, valid=valid, prefix=other)
        torch.testing.assert_close(changed[:, :i], whole[:, :i], rtol=1e-5, atol=1e-6)
        # And it changes the answer at its own place and at those behind.
        assert ((changed[:, i:] - whole[:, i:]).abs().amax((0, 2)) > 1e-4).all()


@plans
@torch.no_grad()
def test_the_whole_of_the_source_is_looked_at_and_its_order_known(plan):
    network, (x, noise, _, prefix) = built(plan), question()
    whole = network(x, noise, prefix=prefix)
    for i in range(S):
        other = x.clone()
        other[:, i] = (other[:, i] + 1) % V
        assert not torch.allclose(network(other, noise, prefix=prefix), whole)
    assert not torch.allclose(network(x.flip(1), noise, prefix=prefix), whole)


@plans
def test_every_weight_learns(plan):
    network, (x, noise, valid, prefix) = built(plan, time=True), question()
    network(x, noise, valid=valid, prefix=prefix).square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("plan", ["encoder_decoder", "encoder_decoder_t5"])
def test_what_is_attended_to_are_shares_of_what_is_valid(plan):
    network, (x, noise, valid, prefix) = built(plan), question()
    weights = network.attended(x, noise, valid=valid, prefix=prefix)
    assert weights.shape == (2, B, 2, T, S)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, B, 2, T))
    assert not weights[:, :3].transpose(-1, -2).transpose(2, 3)[:, ~valid[:3]].any()
    assert weights.std() > 0.01


@torch.no_grad()
def test_of_source_and_answer_the_distance_counts_alone():
    """Rotary across: the same text further on in both, the same look."""
    torch.manual_seed(0)
    cross, h, memory = shaken(Cross(16, 2)), torch.randn(1, 5, 16), torch.randn(1, 6, 16)
    across = Rotary().across(2, 8, 20)
    looks = []
    for of, at in ((0, 0), (9, 9), (4, 13), (0, 9)):
        queries, keys = (across(place, place).turn for place in (torch.arange(5) + of, torch.arange(6) + at))
        looks.append(cross.weights(h, cross.kept(memory, keys), None, queries))
    torch.testing.assert_close(looks[0], looks[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(looks[2], looks[3], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(looks[0], looks[2], atol=1e-2)
    assert Rotary(across=False).across(2, 8, 20) is None


@torch.no_grad()
def test_a_writer_begins_by_looking_at_the_place_where_it_writes():
    """Half of its heads do."""
    torch.manual_seed(0)
    network = EncoderDecoder(128, 1, 1, 4).build(EncoderDecoder().accepts(agreed()))
    x, noise, _, prefix = question()
    weights = network.attended(x, noise, prefix=prefix)[0, :, :, :S]  # (B, heads, S, S)
    near = weights.diagonal(dim1=-2, dim2=-1).mean((0, 2))
    assert (near[:2] > 0.4).all()
    assert (near[2:] < 0.3).all()


def test_buckets_are_those_of_t5():
    transformers = pytest.importorskip("transformers", reason="the library is not here")
    theirs = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket
    distance = torch.arange(-300, 301)
    for causal, (buckets, most) in itertools.product((True, False), ((32, 128), (8, 20))):
        expected = theirs(distance, not causal, buckets, most)
        assert torch.equal(bucket(distance, buckets, most, causal), expected)


@torch.no_grad()
def test_an_encoder_with_relative_positions_knows_distances_alone():
    spec = compose(Spec("tokens", (9,), V), TokenMask(Linear(), V), TokenLogits(), Logits())
    network = shaken(Transformer(16, 2, 2, positions=T5Relative(8, 16)).build(spec))
    x = torch.arange(9)[None] % V
    valid, noise = torch.arange(9)[None] < 5, torch.zeros(1)
    moved = torch.cat((x[:, 7:], x[:, :7]), 1), torch.cat((valid[:, 7:], valid[:, :7]), 1)
    said, again = network(x, noise, valid=valid)[:, :5], network(moved[0], noise, valid=moved[1])[:, 2:7]
    torch.testing.assert_close(said, again, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(network(x.flip(1), noise), network(x, noise).flip(1))


# -- cells ---------------------------------------------------------------------------------------------------------


def table(n, seed=0):
    source = torch.Generator().manual_seed(seed)
    valid = torch.arange(S) < torch.randint(2, S + 1, (n, 1), generator=source)
    return Table(torch.where(valid, torch.randint(V, (n, S), generator=source), 0), {"valid": valid})


def module(corruption, plan="encoder_decoder", smoothing=0.0, sampler=None):
    times, objective, architecture = Stratified(), Weighted(CrossEntropy(smoothing), Unit()), PLANS[plan]()
    spec = compose(TEXT, corruption, NextToken(), Logits(), architecture, times, objective)
    torch.manual_seed(0)
    denoiser = NextToken().build(architecture.build(spec), corruption, Logits())
    sampler = sampler or Autoregressive()
    sampler.accepts(spec)
    return DenoisingModule(Parts(spec, corruption, denoiser, times, objective, sampler),
                           partial(torch.optim.AdamW, lr=1e-2), Constant(), 0)  # fmt: skip


def asked(made, share, step=0):
    when = Keyed.of(1, step, share.place)
    return made.ask(share, made.times, when, Keyed.of(2, step, share.batch.key))


@pytest.mark.parametrize("corrupt", [Whole, Lost])
@pytest.mark.parametrize("accumulate, ranks", [(1, 2), (2, 1), (2, 3)])
def test_tokens_weigh_alike_whatever_the_padding_and_the_shares(corrupt, accumulate, ranks):
    """The loss is the sum over the tokens that are asked by their number: over ranks and micro-batches too."""
    made, data = module(corrupt(Level(0.4))).eval(), table(12)
    [whole] = itertools.islice(Batches(data, 12, 0), 1)
    one = asked(made, whole)
    lengths = one.corrupted.scored.sum(1)
    assert lengths.unique().numel() > 1
    assert one.count == lengths.sum()
    assert not one.cost[~one.corrupted.scored].any()
    by_hand = sum(one.belief.log_probs[i, j, one.corrupted.target[i, j]]
                  for i in range(12) for j in range(int(lengths[i])))  # fmt: skip
    torch.testing.assert_close(one.cost.sum(), -by_hand, rtol=1e-5, atol=1e-5)
    shares = [asked(made, share) for r in range(ranks)
              for share in itertools.islice(Batches(data, 12, 0, accumulate=accumulate, rank=r, ranks=ranks),
                                            accumulate)]  # fmt: skip
    assert sum(share.count for share in shares) == one.count
    torch.testing.assert_close(sum(share.cost.sum() for share in shares), one.cost.sum(), rtol=1e-5, atol=1e-5)


def test_smoothing_is_that_of_torch():
    logits, x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([[0, 1, 2, 3, 0]] * 3)
    for smoothing in (0.0, 0.1, 0.7):
        expected = nn.functional.cross_entropy(logits.mT, x, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(CrossEntropy(smoothing)(Categorical(logits), x, 1.0), expected)
    with pytest.raises(Refused, match="smoothing"):
        CrossEntropy(1.0)
    with pytest.raises(Refused, match="likelihood"):
        compose(TEXT, TokenMask(Linear(), V), CrossEntropy(0.1))


def learned(plan, corruption, steps=250):
    """A module that has learned texts whose tokens rise by one: what is missing can be told."""
    n = 8 * V
    data = Table((torch.arange(n)[:, None] + torch.arange(S)) % V, {"valid": torch.ones(n, S, dtype=torch.bool)})
    made = module(corruption, plan)
    optimizer = made.optimizer(made.parameters())
    for step, share in enumerate(itertools.islice(Batches(data, n, 0), steps)):
        answer = asked(made, share, step)
        (answer.cost.sum() / answer.count).backward()
        optimizer.step()
        optimizer.zero_grad()
    return made.eval(), data


@pytest.mark.parametrize("plan, steps", [("encoder_decoder", 250), ("decoder_t5", 700)])
def test_a_small_task_is_learned_and_what_is_written_is_right(plan, steps):
    made, data = learned(plan, Lost(Level(0.4)), steps)
    [share] = Once(data, len(data.x))
    c = made.examine(share).corrupted
    written = Autoregressive()(
        made.denoiser, made.corruption, c.x_t, torch.full((len(c.x_t),), 0.5), Silence(), **c.context
    )
    whole, there = made.corruption.rebuilt(c.x_t, written, c.context)
    known = (c.x_t < V).any(1)
    assert known.sum() > 40
    assert (whole == data.x)[known].float().mean() > 0.95
    assert there.all()
    # What follows the first end is the end.
    ended = (written == V + 1).cumsum(1) > 0
    assert (written[ended] == V + 1).all()


def test_a_text_is_evaluated_and_shown_whole():
    made, data = learned("encoder_decoder", Lost(Level(0.4)), 200)
    codec = Character("abcdefg").fit("abcdefg")
    loaded = Loaded(TEXT, data, data, data, codec)
    evaluation = Evaluation([TokenAccuracy()], samples=5, batch_size=2)
    assert evaluation.fitting(made.parts.agreed) == []
    found = evaluation(made, loaded)
    evidence = found.evidence
    assert torch.equal(evidence.clean, data.x[:5])
    for name in ("clean", "restored", "valid", "restored_valid", "touched"):
        assert getattr(evidence, name).shape == (5, S), name
    assert evidence.x_t_valid.shape == evidence.x_t.shape
    assert (evidence.restored == evidence.clean).float().mean() > 0.8
    assert 0 < found.values["test/loss"].value < 1
    shown = words(loaded, evidence.x_t, made.parts.spec.specials, evidence.x_t_valid)
    assert all(len(word) == 1 or word == "[MASK]" for row in shown for word in row)
    assert "[MASK]" in {word for row in shown for word in row}


@pytest.mark.parametrize("plan", [TokenLogits(), Subs()], ids=["logits", "subs"])
def test_a_head_at_what_is_scored_alone_learns_the_same(plan):
    """Losses and gradients are those of a head at all places; where nothing is scored both are 0."""
    corruption, architecture = TokenMask(Linear(), V), Transformer(16, 2, 2)
    times, objective = Stratified(), Weighted(CrossEntropy(), Unit())
    spec = compose(TEXT, corruption, plan, Logits(), architecture, times, objective)
    network = shaken(architecture.build(spec))
    denoiser = plan.build(network, corruption, Logits())
    batch, t = Batch(table(9).x, torch.arange(9), table(9).context), torch.linspace(0, 1, 9)
    c = corruption(batch, t, keys(9))
    for scored in (c.scored, torch.zeros_like(c.scored)):
        found = []
        for more in ({}, {"asked": scored}):
            belief = denoiser(c.x_t, t, **c.context, **more)
            cost = objective(belief, c, t, corruption) * scored
            network.zero_grad()
            cost.sum().backward()
            found.append((cost, *(p.grad.clone() for p in network.parameters())))
        assert isinstance(belief, Chosen)
        for whole, some in zip(*found, strict=True):
            torch.testing.assert_close(some, whole, rtol=1e-4, atol=1e-5)
        assert torch.equal(belief.mode, denoiser(c.x_t, t, **c.context).mode) or plan.__class__ is Subs
    assert found[1][0].shape == c.target.shape


# -- what is written -----------------------------------------------------------------------------------------------


class Known(Decodes):
    """The same belief at every place but for a row's own shift; the end at place `last`."""

    def __init__(self, logits, last=T):
        super().__init__()
        self.logits, self.last, self.asked = logits, last, 0

    def forward(self, x_t, t, **context):
        raise AssertionError("all places were asked at once")

    def encode(self, x_t, t, **context):
        assert "prefix" not in context or context["prefix"] is not None
        return x_t

    def cache(self, memory, length):
        return None

    def decode(self, token, place, memory, cache):
        self.asked += 1
        logits = self.logits.expand(len(token), -1).clone()
        if place >= self.last:
            logits[:, V + 1] = 1e4
        return Categorical(logits)


LOGITS = torch.tensor([3.0, 2.5, 2.0, 0.0, -1.0, -2.0, -3.0, -torch.inf, -torch.inf])


def wrote(sampler, n=400, last=T, longest=T, first=0):
    corruption, denoiser = Whole(Level(0.3), length=longest - 1), Known(LOGITS, last)
    written = sampler(denoiser, corruption, torch.zeros(n, S, dtype=torch.int64), torch.ones(n), keys(n))
    return written[first:], denoiser.asked


def test_at_temperature_0_nothing_is_drawn():
    corruption = Whole(Level(0.3))
    x = torch.zeros(3, S, dtype=torch.int64)
    written = Autoregressive()(Known(LOGITS, 4), corruption, x, torch.ones(3), Silence())
    assert written.tolist() == [[0, 0, 0, 0, V + 1, V + 1, V + 1]] * 3


def test_tokens_are_drawn_as_they_are_believed():
    for temperature in (0.5, 1.0, 3.0):
        written, _ = wrote(Autoregressive(temperature))
        share = torch.stack([(written == i).float().mean() for i in range(V + 2)])
        expected = (LOGITS / temperature).softmax(-1)
        assert (share - expected).abs().max() < 5 * (0.25 / written.numel()) ** 0.5


@pytest.mark.parametrize("more, allowed", [
    ({"top_k": 1}, {0}), ({"top_k": 3}, {0, 1, 2}), ({"top_k": 100}, set(range(7))), ({"top_p": 0.4}, {0}),
    ({"top_p": 0.6}, {0, 1}), ({"top_p": 0.8, "top_k": 2}, {0, 1}), ({"top_p": 1e-6}, {0}),
])  # fmt: skip
def test_what_is_unlikely_is_left_out(more, allowed):
    written, _ = wrote(Autoregressive(1.0, **more))
    found = set(written.unique().tolist())
    assert found <= allowed
    assert found == allowed or len(allowed) == 7


def test_a_row_alone_is_written_as_in_a_batch():
    sampler, corruption, x = Autoregressive(1.0), Whole(Level(0.3)), torch.zeros(6, S, dtype=torch.int64)
    together = sampler(Known(LOGITS), corruption, x, torch.ones(6), keys(6))
    assert len(together.unique(dim=0)) > 1
    for i in range(6):
        alone = sampler(Known(LOGITS), corruption, x[:1], torch.ones(1), Keyed(keys(6).key[i : i + 1]))
        assert torch.equal(alone[0], together[i])


def test_it_stops_when_all_have_ended_and_pulses_on_the_way():
    beats = []
    corruption, denoiser = Whole(Level(0.3), length=99), Known(LOGITS, last=20)
    x = torch.zeros(2, S, dtype=torch.int64)
    written = Autoregressive()(denoiser, corruption, x, torch.ones(2), Silence(), lambda: beats.append(1))
    assert written.shape == (2, 100)
    assert (written[:, 20:] == V + 1).all()
    assert denoiser.asked == 32
    assert len(beats) == 2


@pytest.mark.parametrize("arguments", [
    {"temperature": -1.0}, {"top_k": 0, "temperature": 1.0}, {"top_p": 0.0, "temperature": 1.0},
    {"top_p": 1.5, "temperature": 1.0}, {"top_k": 3}, {"top_p": 0.9},
])  # fmt: skip
def test_a_sampler_that_cannot_be_is_refused(arguments):
    with pytest.raises(Refused):
        Autoregressive(**arguments)


# -- what fits what ------------------------------------------------------------------------------------------------

WRITTEN = compose(TEXT, Whole(Level(0.3)))
IN_PLACE = compose(TEXT, TokenMask(Linear(), V))
REFUSED = {
    "logits": (lambda: TokenLogits(), WRITTEN, "parameterization=autoregressive"),
    "subs": (lambda: Subs(), WRITTEN, "parameterization=autoregressive"),
    "transformer": (lambda: Transformer(16, 1, 2), WRITTEN, "architecture=encoder_decoder"),
    "mlp": (lambda: MLP(8), WRITTEN, "architecture=encoder_decoder"),
    "next_token": (lambda: NextToken(), IN_PLACE, "parameterization=logits"),
    "encoder_decoder": (lambda: EncoderDecoder(16, 1, 1, 2), IN_PLACE, "architecture=transformer"),
    "decoder": (lambda: Decoder(16, 1, 2), IN_PLACE, "architecture=transformer"),
    "autoregressive": (lambda: Autoregressive(), IN_PLACE, "parameterization=autoregressive"),
    "one_shot": (lambda: OneShot(), compose(WRITTEN, NextToken()), "sampler=autoregressive"),
    "ancestral": (lambda: Loop(Ancestral(), even, 2), compose(WRITTEN, NextToken()), "fix"),
    "accuracy": (lambda: TokenAccuracy(), WRITTEN._replace(target=TEXT.shape), "Written"),
    "blind_module": (lambda: Module(Blind), compose(WRITTEN, NextToken(), Logits()), "prefix"),
}


class Blind(nn.Module):
    """Knows of no prefix."""

    def forward(self, x, noise):
        return torch.zeros(len(x), T, V + 2)


class Bag(nn.Module):
    """A network of a user's that writes: the sum of what it saw and of the prefix so far."""

    def __init__(self, vocabulary, given):
        super().__init__()
        self.tokens, self.last = nn.Embedding(vocabulary + 2, 5), nn.Linear(5, given[-1])

    def forward(self, x, noise, *, prefix, valid):
        source = (self.tokens(x) * valid[..., None]).sum(1, keepdim=True)
        return self.last(source + self.tokens(prefix).cumsum(1))


@pytest.mark.parametrize("make, spec, word", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_a_way_out(make, spec, word):
    with pytest.raises(Refused) as caught:
        make().accepts(spec)
    assert word in str(caught.value)


@torch.no_grad()
def test_a_network_of_yours_writes_too():
    spec, (x, noise, valid, prefix) = agreed(), question()
    network = shaken(Module(Bag).build(Module(Bag).accepts(spec)))
    whole = network(x, noise, valid=valid, prefix=prefix, unheard_of=x)
    memory = network.encode(x, noise, valid=valid, unheard_of=x)
    cache = network.cache(memory, T)
    for i in range(T):
        torch.testing.assert_close(network.step(prefix[:, i], i, memory, cache), whole[:, i])


def test_a_denoiser_says_what_its_network_says():
    corruption = Whole(Level(0.3))
    denoiser = NextToken().build(built("encoder_decoder"), corruption, Logits())
    assert isinstance(denoiser, Decodes)
    x, _, valid, prefix = question()
    t = torch.tensor(0.5)
    with torch.no_grad():
        belief = denoiser(x, t, valid=valid, prefix=prefix)
        memory = denoiser.encode(x, t, valid=valid, prefix=prefix)
        cache = denoiser.cache(memory, T)
        for i in range(T):
            step = denoiser.decode(prefix[:, i], i, memory, cache)
            torch.testing.assert_close(step.logits, belief.logits[:, i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [
    lambda: EncoderDecoder(16, 2, 0, 2), lambda: EncoderDecoder(15), lambda: Decoder(16, 0, 2),
    lambda: T5Relative(2), lambda: T5Relative(7), lambda: T5Relative(32, 16),
])  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(make):
    with pytest.raises(Refused):
        make()


def test_the_corruptions_of_these_tests_give_back_the_text():
    data = table(20)
    batch = Batch(data.x, torch.arange(20), data.context)
    for corruption in (Whole(Level(0.5)), Lost(Level(0.5))):
        c = corruption(batch, torch.ones(20), keys(20))
        x, there = corruption.rebuilt(c.x_t, c.target, c.context)
        assert torch.equal(there, data.context["valid"])
        assert torch.equal(torch.where(there, x, 0), data.x)
