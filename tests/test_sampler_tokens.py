"""Samplers of tokens, on the oracle: samples have the source's law, what is shown stays, a cache changes nothing."""

import pytest
import torch
from common import Says, keys

from denoiselab.architecture.base import Timeless
from denoiselab.corruption import TokenMask, TokenUniform
from denoiselab.denoiser import Denoiser, Logits, Subs, Substituted
from denoiselab.grid import even
from denoiselab.oracle import Chain, Texts
from denoiselab.posterior import Categorical
from denoiselab.randomness import Keyed
from denoiselab.sampler import Ancestral, AncestralCached, Blocks, Confident, Loop, Nucleus
from denoiselab.sampler.tokens import Sharpened
from denoiselab.schedule import Cosine, Linear
from denoiselab.spec import Refused, Spec

f64 = torch.float64
V, L, ONE = 3, 6, torch.ones((), dtype=torch.float64)
SAMPLERS = {
    "nucleus": lambda: Loop(Nucleus(Ancestral()), even, 60),
    "ancestral_cached": lambda: Loop(AncestralCached(), even, 60),
    "confident": lambda: Loop(Confident(), even, 6),
    "blocks": lambda: Blocks(Nucleus(Ancestral()), even, 90, 2),
    "blocks_of_cached": lambda: Blocks(AncestralCached(), even, 31, 4),
    "blocks_of_confident": lambda: Blocks(Confident(), even, 6, 4),
}
samplers = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)


class Counted(Denoiser):
    """Counts calls and rows."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls, self.rows = inner, 0, 0

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        self.calls, self.rows = self.calls + 1, self.rows + len(x_t)
        return self.inner(x_t, t)


class Anytime(Denoiser):
    """The exact belief under absorbing noise is no function of t; the oracle divides by what is impossible at t = 1,
    where a sampler of blocks, or of a template, sees tokens."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        return self.inner(x_t, torch.tensor(0.5, dtype=f64))


class Fixed(Denoiser):
    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        return Categorical(self.logits)


def source():
    g = torch.Generator().manual_seed(0)
    onward, first = (torch.rand(*shape, generator=g, dtype=f64) ** 2 for shape in ((V, V, V), (V, V)))
    return onward / onward.sum(2, keepdim=True), first / first.sum()


def exact(schedule=None):
    corruption = TokenMask(schedule or Linear(), V)
    return corruption, Substituted(Anytime(Chain(*source(), corruption)), V)


def law():
    """Every text of L tokens and its probability."""
    onward, first = source()
    texts = torch.cartesian_prod(*[torch.arange(V)] * L)
    return texts, first[texts[:, 0], texts[:, 1]] * onward[texts[:, :-2], texts[:, 1:-1], texts[:, 2:]].prod(1)


def distance(y, texts, p):
    """Total variation between samples and the law of texts."""
    place = (y * V ** torch.arange(L - 1, -1, -1)).sum(1)
    found = torch.zeros(len(texts), dtype=f64).scatter_add_(0, place, torch.ones(len(y), dtype=f64)) / len(y)
    return (found - p).abs().sum().item() / 2


def masked(n):
    return torch.full((n, L), V)


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])
@pytest.mark.parametrize("name", ["nucleus", "ancestral_cached", "blocks", "blocks_of_cached"])
def test_samples_of_the_exact_belief_have_the_law_of_the_source(name, schedule):
    """As near to it as exact samples of the same number are, but for two tokens revealed in one move."""
    n = 5000
    corruption, oracle = exact(schedule)
    texts, p = law()
    exactly = distance(texts[torch.multinomial(p, n, True, generator=torch.Generator().manual_seed(1))], texts, p)
    y = SAMPLERS[name]()(oracle, corruption, masked(n), ONE, keys(n))
    assert distance(y, texts, p) < exactly + 0.05
    # And that is a law of dependent tokens: tokens drawn apart are far from it.
    apart = Loop(Ancestral(), even, 1)(oracle, corruption, masked(n), ONE, keys(n))
    assert distance(apart, texts, p) > exactly + 0.1


def test_blocks_of_one_token_are_exact():
    """A belief in one token at a time is the chain rule."""
    n = 5000
    corruption, oracle = exact()
    texts, p = law()
    y = Blocks(Ancestral(), even, L, 1)(oracle, corruption, masked(n), ONE, keys(n))
    exactly = distance(texts[torch.multinomial(p, n, True, generator=torch.Generator().manual_seed(1))], texts, p)
    assert distance(y, texts, p) < exactly + 0.03


@pytest.mark.parametrize("name", ["confident", "blocks_of_confident"])
def test_the_surest_first_makes_likelier_texts_than_all_at_once(name):
    n = 4000
    corruption, oracle = exact()
    _, p = law()
    place = lambda y: p[(y * V ** torch.arange(L - 1, -1, -1)).sum(1)].log().mean().item()  # noqa: E731
    y = SAMPLERS[name]()(oracle, corruption, masked(n), ONE, keys(n))
    at_once = Loop(Ancestral(), even, 1)(oracle, corruption, masked(n), ONE, keys(n))
    assert place(y) > place(at_once) + 0.1


def test_the_number_unmasked_follows_the_schedule_and_the_surest_are_first():
    corruption = TokenMask(Cosine(), 2)
    logits = torch.zeros(1, 10, 2, dtype=f64)
    logits[0, :, 0] = torch.arange(10) + 1.0  # the later the surer
    loop = Loop(Confident(choice=0.0, temperature=0.05), even, 5)
    for s, x_s, _ in loop.moves(Fixed(logits), corruption, torch.full((1, 10), 2), keys(1)):
        left = int(10 * float(corruption.schedule.sigma(s)) + 1e-6)
        assert (x_s[0, :left] == 2).all()
        assert (x_s[0, left:] == 0).all()


@samplers
@pytest.mark.parametrize("known", [[0], [1, 4], [0, 1, 2, 3, 5]])
def test_what_is_known_stays_and_the_rest_has_the_conditional_law(make, known):
    n = 2000
    corruption, oracle = exact()
    texts, p = law()
    text = torch.tensor([1, 0, 2, 1, 1, 0])
    shown = torch.zeros(L, dtype=torch.bool)
    shown[known] = True
    y = make()(oracle, corruption, torch.where(shown, text, masked(n)), ONE, keys(n))
    assert torch.equal(y[:, shown], text[shown].expand(n, -1))
    assert (y < V).all()
    fits = (texts == text)[:, shown].all(1)
    p = torch.where(fits, p, 0.0) / p[fits].sum()
    if len(known) == 5:  # one token is drawn of its own law, in whatever order
        for token in range(V):
            share = p[texts[:, 4] == token].sum()
            assert abs((y[:, 4] == token).double().mean() - share) < 5 * (share * (1 - share) / n) ** 0.5


@samplers
def test_a_sample_alone_equals_the_sample_in_a_batch(make):
    corruption, oracle = exact()
    r = keys(12)
    whole = make()(oracle, corruption, masked(12), ONE, r)
    for i in (0, 5, 11):
        assert torch.equal(make()(oracle, corruption, masked(1), ONE, Keyed(r.key[i : i + 1])), whole[i : i + 1])


@samplers
def test_calls_are_counted(make):
    corruption, oracle = exact()
    denoiser, sampler = Counted(oracle), make()
    sampler(denoiser, corruption, masked(3), ONE, keys(3))
    assert denoiser.calls <= sampler.calls
    assert denoiser.calls == sampler.calls or "Cached" in type(sampler.step).__name__
    assert sampler.calls == sampler.steps


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.7, 0.8)])
def test_a_cache_changes_no_sample_and_saves_calls(temperature, top_p):
    corruption, oracle = exact()
    plain, cached, n = Counted(oracle), Counted(oracle), 8
    a = Loop(Nucleus(Ancestral(), temperature, top_p), even, 100)(plain, corruption, masked(n), ONE, keys(n))
    b = Loop(AncestralCached(temperature, top_p), even, 100)(cached, corruption, masked(n), ONE, keys(n))
    assert torch.equal(a, b)
    assert plain.rows == 100 * n
    assert cached.rows <= n * (L + 1)  # a row changes as often as it has tokens


def test_a_belief_at_a_temperature_and_its_nucleus_are_what_they_say():
    p = torch.tensor([[[0.5, 0.25, 0.15, 0.1], [0.1, 0.2, 0.3, 0.4]]], dtype=f64)
    said = lambda *how: Sharpened(Fixed(p.log()), *how)(torch.zeros(1, 2), ONE).mean  # noqa: E731
    assert torch.allclose(said(0.5, 1.0), p**2 / (p**2).sum(-1, keepdim=True))
    assert torch.allclose(said(1.0, 1.0), p)
    cut = torch.tensor([[[0.5, 0.25, 0.0, 0.0], [0.0, 0.0, 0.3, 0.4]]], dtype=f64)
    assert torch.allclose(said(1.0, 0.7), cut / cut.sum(-1, keepdim=True))
    assert torch.equal(said(1.0, 1e-9).argmax(-1), p.argmax(-1))
    assert torch.allclose(said(1.0, 1e-9).amax(-1), torch.ones(1, 2, dtype=f64))


def test_uniform_noise_is_sharpened_too():
    corruption, n = TokenUniform(Linear(), 4), 500
    texts, share = torch.tensor([[0, 1, 2], [3, 0, 3]]), torch.tensor([0.9, 0.1], dtype=f64)
    oracle, r = Texts(texts, share, corruption, 4), keys(n)
    start = corruption.prior(torch.zeros(n, 3, dtype=torch.int64)).sample(r.child("prior"))
    y = Loop(Nucleus(Ancestral(), top_p=0.7), even, 30)(oracle, corruption, start, ONE, r)
    assert (y == texts[0]).all(1).double().mean() > 0.9


def test_what_does_not_fit_is_refused():
    tokens = TokenMask(Linear(), V).accepts(Spec("tokens", (L,), V))
    told, uniform = tokens, TokenUniform(Linear(), V).accepts(Spec("tokens", (L,), V))
    loop = Loop(AncestralCached(), even, 3)
    with pytest.raises(Refused, match="Timeless"):
        loop.accepts(told)
    assert loop.accepts(tokens.having(Timeless))
    for step in (AncestralCached(), Confident()):
        with pytest.raises(Refused, match="Absorbing"):
            step.accepts(uniform.having(Timeless))
    with pytest.raises(Refused, match="Absorbing"):
        Blocks(Ancestral(), even, 6, 2).accepts(uniform)
    fixed = TokenMask(Linear(), V, 0.1, 0.1).accepts(Spec("tokens", (L,), V))  # no way back: ancestral does not fit
    for sampler in (Blocks(Ancestral(), even, 6, 2), loop, Confident()):
        with pytest.raises(Refused, match="use sampler=one_shot"):
            sampler.accepts(fixed)
    with pytest.raises(Refused, match="3 blocks, 2 steps"):
        Blocks(Ancestral(), even, 2, 2).accepts(tokens)
    with pytest.raises(Refused, match="autoregressive, of what is written"):
        Nucleus(Ancestral()).accepts(Spec("tokens", (L,), V))
    with pytest.raises(Refused, match="for tokens"):
        Nucleus(Ancestral()).accepts(Spec("points", (2,)))


@pytest.mark.parametrize("make, said", [
    (lambda: Nucleus(Ancestral(), temperature=0.0), "temperature"), (lambda: AncestralCached(top_p=0.0), "top_p"),
    (lambda: Confident(top_p=1.1), "top_p"), (lambda: Confident(choice=-1.0), "choice"),
    (lambda: Blocks(Ancestral(), even, 4, 0), "size"), (lambda: Blocks(Ancestral(), even, 0, 4), "steps"),
])  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(make, said):
    with pytest.raises(Refused, match=said):
        make()


@samplers
def test_single_precision_and_networks_do(make):
    """Logits of a network, in float32, where the mask is no class."""
    corruption = TokenMask(Linear(), V)
    network = Says(lambda x, noise: torch.nn.functional.one_hot(x.roll(1, 1).clamp(max=V - 1), V).float())
    y = make()(Subs().build(network, corruption, Logits()), corruption, masked(4), torch.ones(4), keys(4))
    assert ((y >= 0) & (y < V)).all()
