"""Posteriors: draws, densities, divergences and means of one object tell the same story."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from denoiselab.posterior import Bernoulli, Categorical, Detected, Dirac, Gaussian, Kept, Known, Level, log_ndtr
from denoiselab.randomness import Keyed

V = 5
f64 = torch.float64
LOGITS = torch.tensor([[0.3, -1.0, -torch.inf, 2.0, 0.0], [5.0, 0.0, 1.0, -2.0, -torch.inf]], dtype=f64)
OTHERS = torch.tensor([[0.0, 1.0, -1.0, 2.5, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]], dtype=f64)
TOKENS = torch.tensor([3, 1])
MASK = torch.tensor([V, V])
HIDDEN = torch.tensor([False, True])
COINS = tuple(Bernoulli(torch.tensor(y, dtype=f64)) for y in ([0.4, -3.0], [-1.0, -2.0]))
SHARE = torch.tensor([0.3, 0.9], dtype=f64)


def without(x, logits):
    """The same logits, but never x."""
    return logits.masked_fill(F.one_hot(x, logits.shape[-1]).bool(), -torch.inf)


# Over tokens, two places (2,): each with a second one of its family, and the number of tokens there are.
TOKEN = {
    "categorical": (Categorical(LOGITS), Categorical(OTHERS), V),
    "unnormalized": (Categorical(LOGITS + 7), Categorical(OTHERS - 3), V),
    "known": (Known(TOKENS, V, f64), Known(TOKENS + 1, V, f64), V),
    "kept": (Kept(TOKENS, SHARE, Categorical(without(TOKENS, LOGITS))),
             Kept(TOKENS, 1 - SHARE, Categorical(without(TOKENS, OTHERS))), V),
    "kept_mask": (Kept(MASK, SHARE, Categorical(LOGITS)), Kept(MASK, 1 - SHARE, Categorical(OTHERS)), V + 1),
    "kept_sure": (Kept(MASK, torch.tensor([1.0, 0.0], dtype=f64), Categorical(LOGITS)),
                  Kept(MASK, SHARE, Categorical(OTHERS)), V + 1),
    "detected": (Detected(TOKENS, HIDDEN, COINS[0], Categorical(LOGITS)),
                 Detected(TOKENS, HIDDEN, COINS[1], Categorical(OTHERS)), V),
    "kept_known": (Kept(MASK, SHARE, Known(TOKENS, V, f64)), Kept(MASK, 1 - SHARE, Categorical(OTHERS)), V + 1),
}  # fmt: skip
# Over numbers, two places.
MEAN, VAR = torch.tensor([0.5, -2.0], dtype=f64), torch.tensor([0.04, 3.0], dtype=f64)
NUMBER = {
    "gaussian": (Gaussian(MEAN, VAR), Gaussian(MEAN + 1, VAR * 2)),
    "gaussian_shared_width": (Gaussian(MEAN, 0.3), Gaussian(MEAN, 0.6)),
    "dirac": (Dirac(MEAN), Dirac(MEAN + 1)),
}
COIN = {"bernoulli": COINS}
ALL = {name: pair[:2] for name, pair in (TOKEN | NUMBER | COIN).items()}

tokens = pytest.mark.parametrize("p, q, size", TOKEN.values(), ids=TOKEN)
numbers = pytest.mark.parametrize("p, q", NUMBER.values(), ids=NUMBER)
every = pytest.mark.parametrize("p, q", ALL.values(), ids=ALL)


def repeated(p, n):
    """The same belief about n rows."""
    fields = dict(vars(p))
    for name, value in fields.items():
        if isinstance(value, torch.Tensor) and value.ndim:
            fields[name] = value.expand(n, *value.shape)
        elif isinstance(value, (Bernoulli, Categorical, Known)):
            fields[name] = repeated(value, n)
    return type(p)(**fields)


def keys(n):
    return Keyed.of(11, torch.arange(n))


def token(i):
    return torch.full((2,), i)


# -- tokens


@tokens
def test_tokens_are_drawn_as_often_as_the_mean_says(p, q, size):
    n = 20000
    mean = p.mean
    assert mean.shape == (2, size)
    draws = F.one_hot(repeated(p, n).sample(keys(n)), size).double().mean(0)
    assert ((draws - mean).abs() <= 5 * (mean * (1 - mean) / n).sqrt()).all()
    assert (draws[mean == 0] == 0).all()


@tokens
def test_token_probabilities_add_up_and_are_the_mean(p, q, size):
    for belief in (p, q):
        log_prob = torch.stack([belief.log_prob(token(i)) for i in range(size)], -1)
        assert_close(log_prob.exp().sum(-1).to(f64), torch.ones(2, dtype=f64))
        assert_close(log_prob.exp().to(f64), belief.mean.to(f64))
        assert torch.equal(belief.log_mass(TOKENS, 0.1), belief.log_prob(TOKENS))


@tokens
def test_token_mode_is_most_likely(p, q, size):
    for belief in (p, q):
        most = belief.mean.gather(-1, belief.mode[:, None])[:, 0]
        sure = belief.share if isinstance(belief, Kept) else torch.zeros(())
        # Of Kept: x where that is more than half, else the best of the others.
        assert ((most == belief.mean.max(-1).values) | (sure <= 0.5)).all()


@tokens
def test_token_kl_is_its_definition(p, q, size):
    P, Q = p.mean.to(f64), q.mean.to(f64)
    assert_close(p.kl(q).to(f64), (torch.xlogy(P, P) - torch.xlogy(P, Q)).sum(-1))


# -- numbers


@pytest.mark.parametrize("name", ["gaussian", "gaussian_shared_width"])
def test_density_integrates_to_1_and_has_the_moments(name):
    p = NUMBER[name][0]
    y = torch.linspace(-20, 20, 40001, dtype=f64)[:, None]
    density = p.log_prob(y).exp()
    for f, want in ((y**0, 1.0), (y, p.mean), ((y - p.mean) ** 2, p.var)):
        got = torch.trapezoid(density * f, y, dim=0)
        assert_close(got, torch.as_tensor(want, dtype=f64).expand(2), rtol=1e-6, atol=1e-9)


@numbers
def test_masses_of_all_bins_add_up_to_1(p, q):
    bin = 0.125
    y = (torch.arange(-400, 401) * bin).to(f64)[:, None]
    assert_close(p.log_mass(y, bin).exp().sum(0).to(f64), torch.ones(2, dtype=f64), rtol=1e-6, atol=0)


def test_mass_of_a_small_bin_is_density_times_width():
    p = NUMBER["gaussian"][0]
    assert_close(p.log_mass(MEAN + 0.1, 1e-4), p.log_prob(MEAN + 0.1) + math.log(1e-4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [f64, torch.float32], ids=["float64", "float32"])
def test_mass_is_finite_far_out_and_at_no_width(dtype):
    for var in (VAR, torch.zeros(2, dtype=f64)):
        m, v = leaf(MEAN.to(dtype)), leaf(var.to(dtype))
        for ends in (None, (-1.0, 1.0)):
            mass = Gaussian(m, v).log_mass(MEAN.to(dtype) + 1e3, 0.1, ends)
            assert mass.isfinite().all()
            assert all(g.isfinite().all() for g in torch.autograd.grad(mass.sum(), (m, v)))
        assert Gaussian(m, v).log_prob(MEAN.to(dtype)).isfinite().all()


LEVELS = torch.linspace(-1, 1, 256, dtype=f64)[:, None]  # of pictures
BIN, ENDS = 2 / 255, (-1.0, 1.0)


@pytest.mark.parametrize("mean", [-3.0, -1.0, 0.0, 0.4, 1.003, 2.0])
@pytest.mark.parametrize("std", [1e-3, 0.01, 0.3, 1.0, 100.0])
def test_masses_of_all_levels_add_up_to_1_whatever_lies_beyond_the_ends(mean, std):
    for dtype, error in ((f64, 1e-12), (torch.float32, 1e-4)):  # of a level in float32, in units of std
        mass = Gaussian(torch.full((1,), mean, dtype=dtype), std**2).log_mass(LEVELS.to(dtype), BIN, ENDS)
        assert mass.dtype == dtype
        assert abs(mass.exp().sum().item() - 1) < error


@pytest.mark.parametrize("mean", [-3.0, 0.0, 0.4])
@pytest.mark.parametrize("std", [0.01, 0.3, 1.0, 100.0])
def test_masses_are_differences_of_the_normal_distribution(mean, std):
    """By scipy, each from the side where nothing cancels; far out as well, with all digits, in float32 too."""
    stats = pytest.importorskip("scipy.stats", reason="compares with scipy, which is not installed")
    low, high = (((LEVELS + side * BIN / 2 - mean) / std).numpy() for side in (-1, 1))
    low[0], high[-1] = -float("inf"), float("inf")
    low, high = np.where(high + low > 0, -high, low), np.where(high + low > 0, -low, high)
    far, near = stats.norm.logcdf(low), stats.norm.logcdf(high)
    want = torch.from_numpy(near + np.log(-np.expm1(far - near)))
    for dtype, error in ((f64, 1e-9), (torch.float32, 1e-5)):
        mass = Gaussian(torch.full((1,), mean, dtype=dtype), std**2).log_mass(LEVELS.to(dtype), BIN, ENDS)
        assert_close(mass.double(), want, rtol=error, atol=error)


def test_ends_change_what_lies_at_the_ends_alone():
    p = Gaussian(torch.full((1,), 0.7, dtype=f64), 0.1)
    with_ends, without = p.log_mass(LEVELS, BIN, ENDS), p.log_mass(LEVELS, BIN)
    assert torch.equal(with_ends[1:-1], without[1:-1])
    assert (with_ends[[0, -1]] > without[[0, -1]]).all()


def test_the_normal_tail_has_its_gradient():
    """Mills' ratio: -z < d log Phi / dz < -z - 1 / z, and no step where the series begins."""
    z = leaf(-torch.logspace(0, 12, 200, dtype=f64))
    (slope,) = torch.autograd.grad(log_ndtr(z).sum(), z)
    assert (slope >= -z).all()
    assert (slope <= -z - 1 / z).all()
    at = torch.tensor([-25.0 - 1e-9, -25.0 + 1e-9], dtype=f64)
    assert_close(*log_ndtr(at), rtol=0, atol=1e-7)
    assert torch.autograd.gradcheck(log_ndtr, leaf(torch.linspace(-40, 9, 50, dtype=f64)))


@numbers
def test_numbers_are_drawn_with_mean_and_variance(p, q):
    n = 40000
    draws = repeated(p, n).sample(keys(n))
    var = torch.as_tensor(p.var, dtype=f64)
    assert ((draws.mean(0) - p.mean).abs() <= 5 * (var / n).sqrt()).all()
    assert ((draws.var(0) - var).abs() <= 5 * var * (2 / n) ** 0.5).all()


def test_gaussian_kl_is_torchs():
    (p, q), normal = NUMBER["gaussian"], torch.distributions.Normal
    want = torch.distributions.kl_divergence(normal(p.mean, p.var.sqrt()), normal(q.mean, q.var.sqrt()))
    assert_close(p.kl(q), want)


def test_coin():
    p, q = COIN["bernoulli"]
    n, dist = 20000, torch.distributions.Bernoulli
    draws = repeated(p, n).sample(keys(n)).double().mean(0)
    assert ((draws - p.mean).abs() <= 5 * (p.mean * (1 - p.mean) / n).sqrt()).all()
    want = torch.distributions.kl_divergence(dist(logits=p.logit), dist(logits=q.logit))
    assert_close(p.kl(q), want)
    yes, no = torch.tensor([True, True]), torch.tensor([False, False])
    assert_close(p.log_prob(yes).exp() + p.log_prob(no).exp(), torch.ones(2, dtype=f64))
    assert torch.equal(p.mode, p.mean > 0.5)
    assert torch.equal(p.at(yes).sample(keys(2)), yes)
    assert torch.equal(p.at(no).sample(keys(2)), no)


# -- all


@every
def test_kl_is_0_of_itself_and_not_of_another(p, q):
    assert_close(p.kl(p).double(), torch.zeros(2, dtype=f64), rtol=0, atol=1e-12)
    assert (p.kl(q) > 0).any()
    assert (p.kl(q) >= 0).all()


@every
def test_a_row_alone_is_drawn_as_in_a_batch(p, q):
    r = keys(64)
    whole = repeated(p, 64).sample(r)
    assert torch.equal(whole[5:6], repeated(p, 1).sample(Keyed(r.key[5:6])))
    assert torch.equal(whole, repeated(p, 64).sample(r))


@pytest.mark.parametrize("name", ["categorical", "known", "gaussian", "dirac"])
def test_at_is_certain(name):
    p, x = ALL[name][0], TOKENS if name in TOKEN else MEAN + 3
    sure = p.at(x)
    assert torch.equal(sure.sample(keys(2)), x)
    assert torch.equal(sure.mode, x)
    assert (sure.log_prob(x) == 0).all()
    assert (sure.log_prob(x + 1) == -torch.inf).all()
    assert_close(sure.kl(p), -p.log_prob(x))


def test_kept_at_keeps_its_share():
    p = TOKEN["kept_mask"][0].at(TOKENS)
    assert_close(p.log_prob(MASK).exp(), SHARE)
    assert_close(p.log_prob(TOKENS).exp(), 1 - SHARE)


@pytest.mark.parametrize("name", ["categorical", "unnormalized", "kept", "kept_mask", "gaussian", "dirac", "bernoulli"])
def test_lerp_ends_where_it_should(name):
    p, q = ALL[name]
    if isinstance(p, Kept):  # of kernels with the same times, and so the same share
        q = Kept(q.x, p.share, q.other)
    assert_close(p.lerp(q, 0.0).mean, p.mean)
    assert_close(p.lerp(q, 1.0).mean, q.mean)
    assert not p.lerp(q, 0.4).mean.isnan().any()
    # Guidance goes beyond: from q away from p, further than q.
    assert not torch.allclose(p.lerp(q, 2.0).mean, q.mean)


def test_lerp_of_what_is_impossible_to_both_stays_impossible():
    p = Categorical(Known(TOKENS, V, f64).mean.log())
    for w in (0.0, 0.3, 1.0, 3.0):
        assert_close(p.lerp(p, w).mean, p.mean)


def test_lerp_of_categoricals_is_guidances_product():
    p, q = Categorical(OTHERS), Categorical(OTHERS.flip(-1))
    product = q.mean**3 / p.mean**2
    assert_close(p.lerp(q, 3.0).mean, product / product.sum(-1, keepdim=True))


def test_known_kept_and_categorical_agree_where_they_mean_the_same():
    known, sure = Known(TOKENS, V, f64), Categorical(Known(TOKENS, V, f64).mean.log())
    kept = Kept(TOKENS, torch.ones(2, dtype=f64), Categorical(OTHERS))
    for p in (sure, kept):
        assert_close(p.mean, known.mean)
        assert torch.equal(p.mode, known.mode)
        assert torch.equal(p.sample(keys(2)), known.sample(keys(2)))


# -- gradients


def leaf(x):
    return x.clone().requires_grad_()


GRADIENTS = {
    "gaussian_log_prob": lambda m, v: Gaussian(m, v).log_prob(MEAN + 1),
    "gaussian_log_mass": lambda m, v: Gaussian(m, v).log_mass(MEAN + 0.1, 0.1),
    "gaussian_log_mass_far": lambda m, v: Gaussian(m, v).log_mass(MEAN + 9, 0.1),
    "gaussian_log_mass_ends": lambda m, v: Gaussian(m, v).log_mass(MEAN + 0.1, 0.1, (-9.0, 0.6)),
    "gaussian_sample": lambda m, v: Gaussian(m, v).sample(keys(2)),
    "gaussian_kl_to": lambda m, v: Gaussian(MEAN, VAR).kl(Gaussian(m + 1, v)),
}


@pytest.mark.parametrize("f", GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_reach_mean_and_width(f):
    m, v = leaf(MEAN), leaf(VAR)
    f(m, v).sum().backward()
    for x in (m, v):
        assert x.grad.isfinite().all()
        assert (x.grad != 0).all()
    assert torch.autograd.gradcheck(f, (leaf(MEAN), leaf(VAR)))


@pytest.mark.parametrize(
    "make", [Categorical, lambda y: Kept(MASK, SHARE, Categorical(y))], ids=["categorical", "kept"]
)
def test_gradients_reach_logits(make):
    true = make(OTHERS + 1 + torch.eye(V, dtype=f64)[:2])
    for f in (lambda y: make(y).log_prob(TOKENS), lambda y: true.kl(make(y))):
        y = leaf(OTHERS)
        f(y).sum().backward()
        assert (y.grad != 0).all()
        assert torch.autograd.gradcheck(f, leaf(OTHERS))


def test_impossible_tokens_have_no_nan_in_their_gradient():
    y = leaf(OTHERS)
    belief = Categorical(torch.where(torch.tensor([[True], [False]]), y, Known(TOKENS, V, f64).mean.log()))
    (belief.log_prob(TOKENS).sum() + Known(TOKENS, V, f64).kl(belief).sum()).backward()
    assert y.grad.isfinite().all()
    assert (y.grad[1] == 0).all()


def test_spread_detaches_the_mean_alone():
    m, v = leaf(MEAN), leaf(VAR)
    p = Gaussian(m, v).spread()
    assert torch.equal(p.mean, m)
    assert torch.equal(p.var, v)
    p.log_prob(MEAN + 1).sum().backward()
    assert m.grad is None
    assert (v.grad != 0).all()
    assert not Dirac(m).spread().mean.requires_grad


# -- levels


def test_a_level_is_one_a_channel_correlated_and_noise_on_it():
    n, noise = 20000, 0.05
    mean, factor = torch.tensor([0.3, -0.2], dtype=f64), torch.tensor([[0.4, 0.0], [0.3, 0.1]], dtype=f64)
    flat, noisy = (Level(mean[:, None, None].expand(n, 2, 3, 2), factor, w).sample(keys(n)) for w in (0.0, noise))
    assert torch.equal(flat, flat[..., :1, :1].expand_as(flat))
    level = flat[..., 0, 0]
    cov = factor @ factor.T
    assert_close(level.mean(0), mean, rtol=0, atol=5 * 0.4 / n**0.5)
    assert_close(torch.cov(level.T), cov, rtol=0, atol=5 * 0.16 * (2 / n) ** 0.5)
    rest = (noisy - flat) / noise
    assert abs(rest.mean()) < 5 / rest.numel() ** 0.5
    assert abs(rest.var() - 1) < 5 * (2 / rest.numel()) ** 0.5
    assert abs((rest[..., 0, 0] * rest[..., 2, 1]).mean()) < 5 / (2 * n) ** 0.5


def test_a_level_has_the_densities_of_its_elements():
    mean, factor = torch.zeros(1, 2, 3, 2, dtype=f64), torch.tensor([[0.4, 0.0], [0.3, 0.1]], dtype=f64)
    level, x = Level(mean, factor, 0.2), torch.full((1, 2, 3, 2), 0.3, dtype=f64)
    alone = Gaussian(mean, torch.tensor([0.16 + 0.04, 0.1 + 0.04], dtype=f64)[:, None, None])
    assert_close(level.log_prob(x), alone.log_prob(x))
    assert_close(level.log_mass(x, 0.1), alone.log_mass(x, 0.1))
    assert_close(level.kl(Gaussian(x, 0.5)), alone.kl(Gaussian(x, 0.5)))
    assert_close(level.lerp(Dirac(x), 0.5).mean, x / 2)
    assert torch.equal(level.at(x).mean, x)
