"""Oracles: equal to Bayes, spelled out."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from denoiselab.corruption import Batch, TokenMask, TokenUniform
from denoiselab.data.markov import source
from denoiselab.evaluation.likelihood import vlb_terms
from denoiselab.objective import ELBO, CrossEntropy, Weighted
from denoiselab.oracle import Chain, Normal, Points, Texts
from denoiselab.posterior import Categorical
from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant, Cosine, Exploding, Linear, LinearBeta, LogLinear

f64 = torch.float64
SCHEDULES = {"linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta(), "exploding": Exploding(5.0)}
V = 3
CORRUPTIONS = {
    "token_mask": (TokenMask(Cosine(), V), lambda k, x, j: k * (x == j) + (1 - k) * (j == V)),
    "token_uniform": (TokenUniform(Cosine(), V), lambda k, x, j: k * (x == j) + (1 - k) / V),
}
DATA = torch.tensor([[0.0, 1.0], [-1.0, 0.3], [0.7, -0.7]], dtype=f64)

schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
times = pytest.mark.parametrize("t", [torch.tensor(0.6, dtype=f64), torch.tensor([0.2, 0.5, 0.7, 1.0], dtype=f64)])


@schedules
@times
def test_points_are_bayes(schedule, t):
    x_t = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=f64)
    alpha, sigma = (a.expand(4) for a in schedule(t))
    for i, mean in enumerate(Points(DATA, schedule)(x_t, t).mean):
        w = torch.stack([torch.exp(-((x_t[i] - alpha[i] * x) ** 2).sum() / (2 * sigma[i] ** 2)) for x in DATA])
        assert_close(mean, (w[:, None] * DATA).sum(0) / w.sum())


@schedules
def test_points_end_in_one_of_them_and_begin_in_their_mean(schedule):
    near, far = torch.tensor(1e-4, dtype=f64), torch.tensor(1.0, dtype=f64)
    assert_close(Points(DATA, schedule)(DATA + 1e-6, near).mean, DATA)
    if schedule.terminal:
        assert_close(Points(DATA, schedule)(DATA, far).mean, DATA.mean(0).expand(3, 2))


def test_points_take_pictures():
    pictures = DATA.view(3, 1, 1, 2)
    t = torch.tensor([0.3, 0.6, 0.9], dtype=f64)
    flat = Points(DATA, Linear())(DATA + 0.1, t).mean
    assert torch.equal(Points(pictures, Linear())(pictures + 0.1, t).mean.flatten(1), flat)


@schedules
@times
def test_normal_is_bayes(schedule, t):
    mean, std = 0.3, 0.5
    x_t = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=f64)
    belief = Normal(mean, std, schedule)(x_t, t)
    alpha, sigma = (a.expand(4)[:, None, None] for a in schedule(t))
    x = torch.linspace(mean - 8 * std, mean + 8 * std, 20001, dtype=f64)
    density = torch.exp(-((x - mean) ** 2) / (2 * std**2) - (x_t[..., None] - alpha * x) ** 2 / (2 * sigma**2))
    density = density / density.sum(-1, keepdim=True)
    center = (density * x).sum(-1)
    assert_close(belief.mean, center, rtol=1e-6, atol=1e-9)
    assert_close(belief.var, (density * (x - center[..., None]) ** 2).sum(-1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("t", [0.2, 0.7, 1.0])
def test_texts_are_bayes(name, t):
    corruption, likely = CORRUPTIONS[name]
    texts = torch.tensor([[0, 1], [1, 2], [2, 2], [0, 2]])
    share = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=f64)
    kept = float(1 - corruption.schedule.sigma(torch.tensor(t, dtype=f64)))
    states = V + 1 if name == "token_mask" else V
    for x_t in itertools.product(range(states), repeat=2):
        p = torch.tensor([s * likely(kept, a, x_t[0]) * likely(kept, b, x_t[1])
                          for (a, b), s in zip(texts.tolist(), share.tolist(), strict=True)], dtype=f64)  # fmt: skip
        if p.sum() < 1e-12:  # no text leads there
            continue
        want = torch.stack([torch.stack([p[texts[:, i] == v].sum() for v in range(V)]) for i in range(2)]) / p.sum()
        belief = Texts(texts, share, corruption, V)(torch.tensor([x_t]), torch.tensor(t, dtype=f64))
        assert_close(belief.mean[0], want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "corruption, t",
    [(TokenMask(Linear(), 3), 0.5), (TokenUniform(Linear(), 3), 0.6), (TokenMask(Constant(0.3), 3, 0.2, 0.3), 1.0)],
)
def test_chain_is_the_enumerated_posterior(corruption, t):
    """Of all texts of five tokens, each place asked as it is scored and the others as they are shown."""
    v, length = 3, 5
    g = torch.Generator().manual_seed(0)
    onward, first = (torch.rand(*shape, generator=g, dtype=torch.float64) for shape in ((v, v, v), (v, v)))
    onward, first = onward / onward.sum(2, keepdim=True), first / first.sum()
    texts = torch.cartesian_prod(*[torch.arange(v)] * length)
    prior = first[texts[:, 0], texts[:, 1]] * onward[texts[:, :-2], texts[:, 1:-1], texts[:, 2:]].prod(1)
    n = 40
    times = torch.full((n,), t, dtype=torch.float64)
    x_t = corruption(Batch(texts[:n], torch.arange(n)), times, Keyed.of(0, torch.arange(n))).x_t
    belief = Chain(onward, first, corruption)(x_t, times).mean
    shown, asked = corruption.evidence(x_t, times)
    said = shown[:, torch.arange(length), texts].double()  # (n, texts, places)
    for place in range(length):
        own = asked[:, place, texts[:, place]]
        others = said[:, :, [j for j in range(length) if j != place]].prod(2)
        joint = prior * own * others
        exact = torch.stack([joint[:, texts[:, place] == c].sum(1) for c in range(v)], 1)
        assert torch.allclose(belief[:, place], exact / exact.sum(1, keepdim=True), rtol=0, atol=1e-12)


# -- the bound of the exact conditional is the entropy of the Markov corpus

LENGTH = 6
ABSORBING = {"linear": Linear(), "cosine": Cosine(), "log_linear": LogLinear(high=1e2)}  # all but 5e-5 is hidden at 1


def windows(n):
    return source().sample(Keyed.of(5, torch.arange(n)), n, LENGTH)


def exact(corruption):
    return Chain(source().transition, source().stationary, corruption)


def masked_elbo(schedule, n):
    """The continuous bound of n windows, nats each, at a time each, evenly spread."""
    corruption, x, r = TokenMask(schedule, 27), windows(n), Keyed.of(6, torch.arange(n))
    t = ((torch.arange(n, dtype=f64) + r.uniform((n, 1))[:, 0]) / n).clamp(min=1e-4)
    c = corruption(Batch(x, r.key), t, r.child("noise"))
    cost = Weighted(CrossEntropy(), ELBO())(exact(corruption)(c.x_t, t), c, t, corruption)
    return torch.where(c.scored, cost, 0.0).sum(1)


@pytest.mark.parametrize("schedule", ABSORBING.values(), ids=ABSORBING)
def test_the_masked_bound_of_the_exact_conditional_is_the_entropy_of_the_markov_corpus(schedule):
    """And so the same under every schedule: weight and schedule change together."""
    each, entropy = masked_elbo(schedule, 6000), source().block_entropy(LENGTH)
    error = each.std().item() / len(each) ** 0.5
    print(f"\n{each.mean():.3f} +- {error:.3f} nats, entropy {entropy:.3f}")
    assert abs(each.mean().item() - entropy) < 4 * error
    assert error < 0.04 * entropy


def test_weight_and_schedule_together_leave_the_bound_of_every_sample_unchanged():
    """A share hidden, d sigma, costs the same whatever time a schedule gives it: cost / sigma'(t) is no function of the
    schedule."""
    n, levels = 60, torch.linspace(0.05, 0.95, 60, dtype=f64)
    found = []
    for schedule in ABSORBING.values():
        low, high = torch.zeros_like(levels), torch.ones_like(levels)
        for _ in range(80):  # the time of each level, by halving
            t = (low + high) / 2
            below = schedule.sigma(t) < levels
            low, high = torch.where(below, t, low), torch.where(below, high, t)
        corruption, r = TokenMask(schedule, 27), Keyed.of(6, torch.arange(n))
        c = corruption(Batch(windows(n), r.key), t, r)
        cost = Weighted(CrossEntropy(), ELBO())(exact(corruption)(c.x_t, t), c, t, corruption)
        found.append((c.x_t, torch.where(c.scored, cost, 0.0).sum(1) / schedule.rates(t)[1]))
    for x_t, cost in found[1:]:
        assert torch.equal(x_t, found[0][0])
        assert_close(cost, found[0][1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])
@pytest.mark.parametrize("make", [TokenMask, TokenUniform])
def test_the_discrete_bound_of_the_exact_conditional_nears_the_entropy_of_the_markov_corpus(make, schedule):
    """In 1000 steps, of which some are looked at: what two tokens that change in one step have of each other is 1/1000
    of what all have."""
    n = 1000
    corruption = make(schedule, 27)
    found = vlb_terms(exact(corruption), corruption, Batch(windows(n), torch.arange(n)), 1000,
                      Keyed.of(6, torch.arange(n)), looks=10)  # fmt: skip
    # Of each window it is what the source says of it, but for chance: less of that than between windows.
    entropy, above = source().block_entropy(LENGTH), found.prior + found.terms.sum(1) + source().log_prob(windows(n))
    error = above.std().item() / n**0.5
    print(f"\n{above.mean():.3f} +- {error:.3f} nats above, of {entropy:.3f}")
    assert abs(above.mean().item()) < 4 * error + 0.003 * entropy
    assert error < 0.04 * entropy


def test_a_wrong_belief_costs_more_than_the_entropy():
    """The mean of all windows in the place of the conditional: the bound is above by what tokens say of each other."""
    corruption, n = TokenMask(Linear(), 27), 1000
    apart = Categorical(source().stationary.sum(0).log().expand(n, LENGTH, 27))
    r = Keyed.of(6, torch.arange(n))
    t = (torch.arange(n, dtype=f64) + 0.5) / n
    c = corruption(Batch(windows(n), r.key), t, r)
    cost = Weighted(CrossEntropy(), ELBO())(apart, c, t, corruption)
    each = torch.where(c.scored, cost, 0.0).sum(1)
    assert each.mean().item() > source().block_entropy(LENGTH) + 4 * each.std().item() / n**0.5
