"""Oracles: equal to Bayes, spelled out."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from denoiselab.corruption import Batch, TokenMask, TokenUniform
from denoiselab.oracle import Chain, Normal, Points, Texts
from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant, Cosine, Exploding, Linear, LinearBeta

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
