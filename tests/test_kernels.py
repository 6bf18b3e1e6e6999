"""Kernels: draws have the marginals that theory says; the way back from the truth is Bayes, forth after s is t."""

import pytest
import torch
from common import full, keys
from torch.testing import assert_close

from denoiselab.corruption import Batch, Degradation, GaussianNoise, TokenMask, TokenUniform
from denoiselab.corruption.operators import BlockMask, Blur, Fade, Pixelate, Snow
from denoiselab.posterior import Dirac, Gaussian, Known
from denoiselab.schedule import Cosine, Exploding, Linear, LinearBeta

V = 7
f64 = torch.float64
TEXT = torch.randint(V, (4, 19), generator=torch.Generator().manual_seed(0))
PICTURE = torch.rand(4, 3, 9, 7, generator=torch.Generator().manual_seed(0), dtype=f64) * 2 - 1
OPERATORS = {"blur": Blur([]), "pixelate": Pixelate([]), "fade": Fade(), "block_mask": BlockMask(), "snow": Snow()}
# The Markov ones of text, with how many tokens there are in x_t.
MARKOV_TOKENS = {"token_mask": (lambda s: TokenMask(s, V), V + 1), "token_uniform": (lambda s: TokenUniform(s, V), V)}
MARKOV = {name: make for name, (make, _) in MARKOV_TOKENS.items()} | {"gaussian": GaussianNoise}
SCHEDULES = {"linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta()}
NOISES = SCHEDULES | {"exploding": Exploding(5.0)}
MOVES = [(0.9, 0.5), (0.5, 0.49), (1.0, 0.3), (0.2, 0.0), (1.0, 0.0)]

token_markov = pytest.mark.parametrize("make, states", MARKOV_TOKENS.values(), ids=MARKOV_TOKENS)
schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
noises = pytest.mark.parametrize("schedule", NOISES.values(), ids=NOISES)


def marginal(corruption, t, states):
    """q(x_t | x) for all x and x_t, as a matrix."""
    zero, one = full(states, 0.0), torch.arange(states)[:, None]
    return padded(corruption.forth(zero, zero + t)(one).mean[:, 0].double(), states)


def padded(p, states):
    return torch.nn.functional.pad(p, (0, states - p.shape[-1]))


@noises
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_gaussian_draws_have_their_marginal(schedule, t):
    n = 40000
    x = torch.tensor([1.5, -0.3], dtype=f64)
    gaussian, t = GaussianNoise(schedule), full(n, t)
    x_t = gaussian(Batch(x.expand(n, 2), torch.arange(n)), t, keys(n)).x_t
    alpha, sigma = (a[0] for a in schedule(t))
    assert ((x_t.mean(0) - alpha * x).abs() <= 5 * sigma / n**0.5 + 1e-12).all()
    assert ((x_t.var(0) - sigma**2).abs() <= 5 * sigma**2 * (2 / n) ** 0.5 + 1e-12).all()
    forth = gaussian.forth(torch.zeros_like(t), t)(x.expand(n, 2))
    assert_close(forth.mean[0], alpha * x, rtol=0, atol=1e-12)
    assert_close(forth.var.expand(n, 1)[0, 0], sigma**2, rtol=1e-9, atol=1e-12)


@token_markov
@schedules
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_token_draws_have_their_marginal(make, states, schedule, t):
    n, corruption = 20000, make(schedule)
    x = torch.tensor([[2, 0]]).expand(n, 2)
    x_t = corruption(Batch(x, torch.arange(n)), full(n, t), keys(n)).x_t
    want = marginal(corruption, t, states)[[2, 0]]
    got = torch.nn.functional.one_hot(x_t, states).double().mean(0)
    assert ((got - want).abs() <= 5 * (want * (1 - want) / n).sqrt() + 1e-9).all()
    # Also of the kernel's own draws.
    drawn = corruption.forth(full(n, 0.0), full(n, t))(x).sample(keys(n, 5))
    got = torch.nn.functional.one_hot(drawn, states).double().mean(0)
    assert ((got - want).abs() <= 5 * (want * (1 - want) / n).sqrt() + 1e-9).all()


@noises
@pytest.mark.parametrize("noise", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("t, s", MOVES)
def test_gaussian_transition_of_the_truth_has_the_marginal(schedule, noise, t, s):
    gaussian, x = GaussianNoise(schedule), torch.full((1, 1), 1.5, dtype=f64)
    t, s = full(1, t), full(1, s)
    (a_t, s_t), (a_s, s_s) = schedule.at(t, x), schedule.at(s, x)
    back = gaussian.transition(t, s, noise)
    p = back(a_t * x, Dirac(x))
    slope = back(a_t * x + 1, Dirac(x)).mean - p.mean
    assert_close(p.mean, a_s * x, rtol=0, atol=1e-12)
    assert_close(slope**2 * s_t**2 + p.var, s_s**2, rtol=1e-9, atol=1e-12)


@noises
@pytest.mark.parametrize("t, s", [(t, s) for t, s in MOVES if s > 0])
def test_gaussian_transition_is_bayes(schedule, t, s):
    """q(x_s | x_t, x) is proportional to q(x_t | x_s) q(x_s | x): precisions add up."""
    gaussian, x, x_t = GaussianNoise(schedule), torch.full((1, 1), 1.5, dtype=f64), torch.full((1, 1), -0.7, dtype=f64)
    t, s = full(1, t), full(1, s)
    a_s, s_s = schedule.at(s, x)
    forth = gaussian.forth(s, t)
    near = forth(torch.ones_like(x))
    slope = near.mean - forth(torch.zeros_like(x)).mean
    precision = 1 / s_s**2 + slope**2 / near.var
    back = gaussian.transition(t, s)(x_t, Dirac(x))
    assert_close(back.var, 1 / precision, rtol=1e-8, atol=0)
    assert_close(back.mean, (a_s * x / s_s**2 + slope * x_t / near.var) / precision, rtol=1e-8, atol=1e-12)


@noises
@pytest.mark.parametrize("t, s", MOVES)
def test_gaussian_forth_after_s_has_the_marginal(schedule, t, s):
    gaussian, x = GaussianNoise(schedule), torch.full((1, 1), 1.5, dtype=f64)
    t, s = full(1, t), full(1, s)
    (a_t, s_t), (a_s, s_s) = schedule.at(t, x), schedule.at(s, x)
    forth = gaussian.forth(s, t)(a_s * x)
    assert_close(forth.mean, a_t * x, rtol=0, atol=1e-12)
    assert_close((a_t / a_s) ** 2 * s_s**2 + forth.var, s_t**2, rtol=1e-9, atol=1e-12)


def test_a_belief_that_has_a_width_widens_the_way_back():
    """By the law of total variance, and to the mean changes nothing."""
    gaussian, t, s = GaussianNoise(Cosine()), full(1, 0.7), full(1, 0.4)
    x_t, x, var = (torch.full((1, 1), a, dtype=f64) for a in (0.3, 1.5, 0.2))
    back = gaussian.transition(t, s)
    sure, unsure = back(x_t, Dirac(x)), back(x_t, Gaussian(x, var))
    slope = back(x_t, Dirac(x + 1)).mean - sure.mean
    assert torch.equal(sure.mean, unsure.mean)
    assert_close(unsure.var, sure.var + slope**2 * var)


@token_markov
@schedules
@pytest.mark.parametrize("t, s", MOVES)
def test_token_transition_is_bayes_and_has_the_marginal(make, states, schedule, t, s):
    corruption = make(schedule)
    at_t, at_s = marginal(corruption, t, states), marginal(corruption, s, states)
    x_s, x_t = torch.arange(states)[:, None], torch.arange(states)[:, None]
    onward = padded(corruption.forth(full(states, s), full(states, t))(x_s).mean[:, 0].double(), states)  # x_s, x_t
    for x in range(V):
        truth = Known(torch.full((states, 1), x), V, f64)
        back = corruption.transition(full(states, t), full(states, s))(x_t, truth).mean[:, 0]
        back = padded(back, states)  # x_t, x_s
        there = at_t[x] > 0
        assert_close((at_t[x][there] @ back[there]), at_s[x], rtol=0, atol=1e-12)
        bayes = (onward * at_s[x][:, None]).T
        bayes = bayes[there] / bayes[there].sum(1, keepdim=True)
        assert_close(back[there], bayes, rtol=0, atol=1e-9)


@token_markov
@schedules
@pytest.mark.parametrize("t, s", MOVES)
def test_token_forth_after_s_has_the_marginal(make, states, schedule, t, s):
    corruption = make(schedule)
    onward = corruption.forth(full(states, s), full(states, t))(torch.arange(states)[:, None]).mean[:, 0]
    at_s, at_t = marginal(corruption, s, states), marginal(corruption, t, states)
    assert_close((at_s @ padded(onward, states).double())[:V], at_t[:V], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MARKOV)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_nothing_is_left_at_the_end(name, schedule):
    """Under a schedule that leaves nothing, the corruption at t = 1 is its prior."""
    corruption = MARKOV[name](SCHEDULES[schedule])
    x = TEXT if name in MARKOV_TOKENS else PICTURE
    last = corruption.forth(full(4, 0.0), full(4, 1.0))(x).kl(corruption.prior(x))
    assert_close(last.double(), torch.zeros(x.shape, dtype=f64), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", MARKOV)
def test_prior_is_like_what_it_is_like(name):
    corruption = MARKOV[name](Linear())
    like = TEXT if name in MARKOV_TOKENS else PICTURE.float()
    drawn = corruption.prior(like).sample(keys(4))
    assert drawn.shape == like.shape
    assert drawn.dtype == like.dtype


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("t, s", MOVES)
def test_degradation_transition_of_the_truth_is_the_degradation(operator, name, t, s):
    degradation = Degradation(SCHEDULES[name], operator)
    t, s = full(4, t), full(4, s)
    c = degradation(Batch(PICTURE, torch.arange(4)), t, keys(4))
    back = degradation.transition(t, s)(c.x_t, Dirac(PICTURE), **c.context)
    assert torch.equal(back.mean, degradation.degrade(s)(PICTURE, **c.context))
    assert torch.equal(back.sample(keys(4)), back.mean)
