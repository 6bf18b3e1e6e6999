"""Objectives: the bound of a perfect belief is the entropy of the data; weights are what they claim; sums over parts of
a batch equal the whole."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from common import VARYING, Says, full, keys, randn
from torch.testing import assert_close

from denoiselab.corruption import Batch, Corrupted, GaussianNoise, TokenMask, TokenUniform
from denoiselab.denoiser import X0, Epsilon, Karras, Learned, LearnedLog, Point, V, Velocity
from denoiselab.objective import (
    EDM,
    ELBO,
    MAE,
    MSE,
    P2,
    Bound,
    CrossEntropy,
    Huber,
    Hybrid,
    InNoise,
    Likelihood,
    MinSNR,
    OfV,
    OfVelocity,
    Sigmoid,
    Simple,
    SNRPlusOne,
    SoftMinSNR,
    Sum,
    TruncatedSNR,
    Unit,
    Weighted,
    places,
    scored,
)  # fmt: skip
from denoiselab.oracle import Normal, Texts
from denoiselab.posterior import Categorical, Dirac
from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant, Cosine, Exploding, Linear, LinearBeta
from denoiselab.spec import Refused, Spec

f64 = torch.float64
VOCABULARY = 4
TERMINAL = {"linear": Linear(), "cosine": Cosine()}
TOKEN_CORRUPTIONS = {  # and how many tokens x_t has
    "token_mask": (lambda s: TokenMask(s, VOCABULARY), VOCABULARY + 1),
    "token_uniform": (lambda s: TokenUniform(s, VOCABULARY), VOCABULARY),
}
COSTS = {
    "mse": (MSE(), lambda a, b: F.mse_loss(a, b, reduction="none")),
    "mae": (MAE(), lambda a, b: F.l1_loss(a, b, reduction="none")),
    "huber": (Huber(0.3), lambda a, b: F.huber_loss(a, b, reduction="none", delta=0.3)),
}
# The pairs of papers: with its weight, the squared error of x is that of what the network says.
MATCHED = {
    "x0": (X0(), Unit(), lambda a, b, x, z: x),
    "epsilon": (Epsilon(), Simple(), lambda a, b, x, z: z),
    "v": (V(), OfV(), lambda a, b, x, z: a * z - b * x),
    "velocity": (Velocity(), OfVelocity(), lambda a, b, x, z: z - x),
}
# Weights as published, on the error of what the network says there: our weight, theirs of (SNR, -d log SNR / dt), and
# how much the error of x is of that error.
PUBLISHED = {
    "simple": (Simple(), lambda snr, speed: torch.ones_like(snr), "epsilon"),
    "truncated_snr": (TruncatedSNR(), lambda snr, speed: snr.clamp(min=1), "x"),
    "snr_plus_one": (SNRPlusOne(), lambda snr, speed: snr + 1, "x"),
    "snr_plus_one_of_v": (SNRPlusOne(), lambda snr, speed: torch.ones_like(snr), "v"),
    "min_snr_of_x": (MinSNR(), lambda snr, speed: snr.clamp(max=5), "x"),
    "min_snr_of_epsilon": (MinSNR(), lambda snr, speed: snr.clamp(max=5) / snr, "epsilon"),
    "min_snr_of_v": (MinSNR(3.0), lambda snr, speed: snr.clamp(max=3) / (snr + 1), "v"),
    "soft_min_snr": (SoftMinSNR(), lambda snr, speed: snr * 5 / (snr + 5), "x"),
    # In their code, of EDM's preconditioning: 1 / (sigma^2 + 1 / gamma).
    "soft_min_snr_of_sigma": (SoftMinSNR(4.0), lambda snr, speed: 1 / (1 / snr + 1 / 4), "x"),
    "p2": (P2(), lambda snr, speed: 1 / (1 + snr), "epsilon"),
    "p2_half": (P2(0.5, 2.0), lambda snr, speed: 1 / (2 + snr) ** 0.5, "epsilon"),
    "sigmoid": (Sigmoid(), lambda snr, speed: speed * torch.sigmoid(-1 - snr.log()), "epsilon"),
    "sigmoid_of_x": (Sigmoid(-3.0), lambda snr, speed: speed * math.exp(-3) * torch.sigmoid(snr.log() + 3), "x"),
}
IN_X = {"x": lambda snr: 1.0, "epsilon": lambda snr: snr, "v": lambda snr: snr + 1}


# -- the bound of the oracle is the entropy


def all_pairs(corruption, states, p, t):
    """Every (x, x_t) there can be, one token long, with its probability."""
    x, x_t = (a.flatten()[:, None] for a in torch.meshgrid(torch.arange(len(p)), torch.arange(states), indexing="ij"))
    zero = full(len(x), 0.0)
    likely = corruption.forth(zero, zero + t)(x).log_prob(x_t)[:, 0].exp()
    keep = likely * p[x[:, 0]] > 0
    x, x_t = x[keep], x_t[keep]
    yes = torch.ones_like(x, dtype=torch.bool)
    return (likely * p[:, None].expand(-1, states).flatten())[keep], Corrupted(x_t, x_t, x, yes, yes)


@pytest.mark.parametrize("make, states", TOKEN_CORRUPTIONS.values(), ids=TOKEN_CORRUPTIONS)
@pytest.mark.parametrize("schedule", TERMINAL.values(), ids=TERMINAL)
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_bound_of_the_oracle_is_the_entropy_of_tokens(make, states, schedule, steps):
    corruption = make(schedule)
    p = torch.tensor([0.7, 0.2, 0.1], dtype=f64)
    oracle = Texts(torch.arange(3)[:, None], p, corruption, VOCABULARY)
    bound, total = Bound(steps), 0.0
    for i in range(1, steps + 1):
        likely, c = all_pairs(corruption, states, p, i / steps)
        t = full(len(c.x_t), i / steps)
        total += (likely * bound(oracle(c.x_t, t), c, t, corruption)[:, 0]).sum() / steps
    total += (p[:, None] * bound.prior(torch.arange(3)[:, None], corruption)).sum()
    assert_close(total, -torch.xlogy(p, p).sum(), rtol=1e-6, atol=0)


def test_bound_of_dependent_tokens_falls_to_the_entropy():
    """A belief that is exact but token by token misses what is hidden in one move: half as much in twice the moves."""
    corruption, texts = TokenMask(Linear(), 2), torch.tensor([[0, 0, 0], [1, 1, 1], [0, 1, 1]])
    share = torch.tensor([0.5, 0.3, 0.2], dtype=f64)
    oracle = Texts(texts, share, corruption, 2)
    x, x_t = zip(*((x, x_t) for x in texts.tolist() for x_t in itertools.product(range(3), repeat=3)), strict=True)
    x, x_t = torch.tensor(x), torch.tensor(x_t)
    prior, gaps = share.repeat_interleave(27), []
    for steps in (8, 16, 32, 64):
        bound, total = Bound(steps), 0.0
        for i in range(1, steps + 1):
            t = full(len(x), i / steps)
            likely = corruption.forth(torch.zeros_like(t), t)(x).log_prob(x_t).sum(1).exp() * prior
            keep, yes = likely > 0, torch.ones_like(x, dtype=torch.bool)
            c = Corrupted(x_t[keep], x_t[keep], x[keep], yes[keep], yes[keep])
            cost = bound(oracle(c.x_t, t[keep]), c, t[keep], corruption).sum(1)
            total += (likely[keep] * cost).sum().item() / steps
        gaps.append(total + torch.xlogy(share, share).sum().item())
    print("\nbound - entropy at 8, 16, 32, 64 steps:", *(f"{g:.5f}" for g in gaps))
    assert all(g > 0 for g in gaps)
    assert all(1.8 < a / b < 2.2 for a, b in itertools.pairwise(gaps))


def gauss_hermite(n):
    """Nodes and weights of the expectation under a standard normal (Golub and Welsch, 1969)."""
    off = torch.arange(1, n, dtype=f64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, vectors[0] ** 2


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_bound_of_the_oracle_is_the_entropy_of_a_gaussian(steps):
    """In nats, of data rounded to a small bin; expectations by quadrature over data and noise."""
    std, bin, schedule = 0.5, 1e-3, LinearBeta()
    gaussian, oracle, bound = GaussianNoise(schedule), Normal(0.0, std, schedule), Bound(steps, bin)
    nodes, weights = gauss_hermite(60)
    w = torch.outer(weights, weights).flatten()
    x, z = (a.flatten()[:, None] for a in torch.meshgrid(std * nodes, nodes, indexing="ij"))
    total = (w[:, None] * bound.prior(x, gaussian)).sum()
    yes = torch.ones_like(x, dtype=torch.bool)
    for i in range(1, steps + 1):
        t = full(len(x), i / steps)
        alpha, sigma = schedule.at(t, x)
        x_t = alpha * x + sigma * z
        c = Corrupted(x_t, x_t, x, yes, yes)
        total += (w[:, None] * bound(oracle(x_t, t), c, t, gaussian)).sum() / steps
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2) - math.log(bin)
    assert_close(total.item(), entropy, rtol=0, atol=1e-4)


def test_ends_of_the_bound_take_what_lies_beyond():
    """In the last move alone; an end's value is likelier by it, a value between as likely as without."""
    schedule, x = LinearBeta(100, 1e-3, 0.2), torch.tensor([[-1.0, 0.2, 1.0]], dtype=f64)
    gaussian, x_t = GaussianNoise(schedule), x * 0.9
    for i in (1, 2):
        t = full(1, i / 100)
        c = Corrupted(x_t, x_t, x, x < 9, x < 9)
        belief = Normal(0.0, 1.0, schedule)(x_t, t)
        free, ended = (Bound(100, 0.01, ends)(belief, c, t, gaussian)[0] for ends in (None, (-1, 1)))
        if i == 1:
            assert torch.equal(ended, -100 * belief.log_mass(x, 0.01, (-1, 1))[0])
            assert (ended[[0, 2]] < free[[0, 2]]).all()
        assert ended[1] == free[1]
        assert i == 1 or torch.equal(ended, free)


@pytest.mark.parametrize("ends", [(1.0, -1.0), (0.0, 0.0), (0.0,), (-1.0, float("nan"))])
def test_ends_that_do_not_rise_are_refused(ends):
    with pytest.raises(Refused, match="ends"):
        Bound(10, ends=ends)


# -- closed forms


def question(corruption, n=64, length=12, seed=0):
    x = torch.randint(VOCABULARY, (n, length), generator=torch.Generator().manual_seed(seed))
    t = torch.randint(2, 10, (n,), generator=torch.Generator().manual_seed(seed)).double() / 10
    return corruption(Batch(x, torch.arange(n)), t, keys(n)), t


@pytest.mark.parametrize("schedule", TERMINAL.values(), ids=TERMINAL)
def test_masked_bound_is_its_closed_form(schedule):
    """T KL = T (sigma_t - sigma_s) / sigma_t times the cross-entropy where masked, 0 elsewhere."""
    corruption = TokenMask(schedule, VOCABULARY)
    c, t = question(corruption)
    belief = Categorical(randn(64, 12, VOCABULARY))
    for steps in (10, 100, 1000):
        hit_t, hit_s = schedule.sigma(t)[:, None], schedule.sigma(t - 1 / steps)[:, None]
        want = steps * (hit_t - hit_s) / hit_t * -belief.log_prob(c.target) * c.touched
        assert_close(Bound(steps)(belief, c, t, corruption), want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("schedule", TERMINAL.values(), ids=TERMINAL)
def test_elbo_weight_is_the_bounds_limit(schedule):
    corruption = TokenMask(schedule, VOCABULARY)
    c, t = question(corruption)
    belief = Categorical(randn(64, 12, VOCABULARY))
    limit = Weighted(CrossEntropy(), ELBO())(belief, c, t, corruption) * c.scored
    off = [(Bound(n)(belief, c, t, corruption) * c.scored - limit).abs().max().item() for n in (10**3, 10**4, 10**5)]
    print("\noff the limit at 1e3, 1e4, 1e5 steps:", *(f"{o:.1e}" for o in off))
    assert off[-1] < 1e-4 * limit.max()
    if not isinstance(schedule, Linear):  # where sigma is linear, the bound is its limit in any number of steps
        assert off[0] > 5 * off[1] > 25 * off[2]


def test_uniform_bound_is_the_matrices_of_d3pm():
    """Equations 3 and 4 of Austin et al., spelled out, with the belief mixed over x."""
    corruption = TokenUniform(Linear(), VOCABULARY)
    n, length, eye = 16, 7, torch.eye(VOCABULARY, dtype=f64)
    x = torch.randint(VOCABULARY, (n, length), generator=torch.Generator().manual_seed(0))
    t = full(n, 0.6)
    c = corruption(Batch(x, torch.arange(n)), t, keys(n))
    belief = Categorical(randn(n, length, VOCABULARY))
    to_s, to_t, s_to_t = (k * eye + (1 - k) / VOCABULARY for k in (0.5, 0.4, 0.4 / 0.5))
    want = torch.zeros(n, length, dtype=f64)
    for i, j in itertools.product(range(n), range(length)):
        seen = c.x_t[i, j]
        way_back = s_to_t[:, seen] * to_s / to_t[:, seen][:, None]  # row: x, column: x_s
        true, mixed = way_back[x[i, j]], belief.mean[i, j] @ way_back
        want[i, j] = (true * (true / mixed).log()).sum()
    assert_close(Bound(10)(belief, c, t, corruption), 10 * want, rtol=1e-8, atol=1e-10)


# -- costs and weights


@pytest.mark.parametrize("cost, reference", COSTS.values(), ids=COSTS)
def test_costs_are_torchs(cost, reference):
    a, b = randn(4, 5, seed=1), randn(4, 5, seed=2)
    assert_close(cost(Dirac(a), b, 1.0), reference(a, b))
    assert_close(cost(Dirac(a), b, 0.3), reference(a / 0.3, b / 0.3))


def test_cross_entropy_is_torchs():
    logits, x = randn(4, 6, VOCABULARY), torch.randint(VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(0))
    want = F.cross_entropy(logits.transpose(1, 2), x, reduction="none")
    assert_close(CrossEntropy()(Categorical(logits), x, 1.0), want)


@pytest.mark.parametrize("plan, weight, truth", MATCHED.values(), ids=MATCHED)
@pytest.mark.parametrize("schedule", [Linear(), Cosine(), LinearBeta(), Exploding(), Constant(0.2)], ids=type)
def test_weighted_error_of_x_is_the_error_of_what_is_said(plan, weight, truth, schedule):
    x, z, out = randn(3, 32, 2, 3, 3)
    t = torch.linspace(0.05, 0.95, 32, dtype=f64)
    corruption = GaussianNoise(schedule)
    alpha, sigma = schedule.at(t, x)
    c = Corrupted(alpha * x + sigma * z, x, x, x > -9, x > -9)
    belief = plan.build(Says(lambda y, n: out), corruption, Point())(c.x_t, t)
    ours = Weighted(MSE(), weight)(belief, c, t, corruption)
    assert_close(ours, (out - truth(alpha, sigma, x, z)) ** 2, rtol=1e-8, atol=1e-9)


def test_edm_weight_makes_the_networks_error_count_alike_at_all_times():
    t, schedule = torch.linspace(0.01, 1, 100, dtype=f64), Exploding()
    for std in (0.5, 1.0):
        c_out = Karras(std).coefficients(t, *schedule(t)).c_out
        assert_close(EDM(std)(schedule, t) * c_out**2, torch.ones_like(t))


@pytest.mark.parametrize("schedule", VARYING.values(), ids=VARYING)
@pytest.mark.parametrize("weight, theirs, said", PUBLISHED.values(), ids=PUBLISHED)
def test_weights_are_published(weight, theirs, said, schedule):
    t, h = (torch.arange(20, 980, 7, dtype=f64) + 0.5) / 1000, 1e-6  # between the points of a table
    snr, speed = schedule.log_snr(t).exp(), (schedule.log_snr(t - h) - schedule.log_snr(t + h)) / (2 * h)
    assert_close(weight(schedule, t), theirs(snr, speed) * IN_X[said](snr), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("schedule", VARYING.values(), ids=VARYING)
@pytest.mark.parametrize("weight", [w for w, _, _ in PUBLISHED.values()], ids=PUBLISHED)
def test_weights_are_finite_and_not_negative_at_the_ends(weight, schedule):
    """In float32, the last time before the end included."""
    almost = torch.nextafter(torch.tensor(schedule.t_max), torch.tensor(0.0))
    t = torch.stack((torch.tensor(schedule.t_min), almost, torch.tensor(schedule.t_max)))
    found = weight(schedule, t)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert (found >= 0).all()


@pytest.mark.parametrize("schedule", VARYING.values(), ids=VARYING)
def test_the_sigmoid_weight_is_the_same_integral_under_every_schedule(schedule):
    """Over the log-SNR, of an error that is a function of it alone: what the schedule changes is where it looks."""
    t = torch.linspace(0, 1, 100_001, dtype=f64)[1:-1]
    level = schedule.log_snr(t)
    inside = (level > -4) & (level < 4)
    error = torch.where(inside, (1 + level.cos()) / level.exp(), 0.0)
    found = (Sigmoid(1.0)(schedule, t) * error).mean() * (1 - 1e-5)
    level = torch.linspace(-4, 4, 100_001, dtype=f64)
    want = (torch.sigmoid(1 - level) * (1 + level.cos())).mean() * 8
    assert_close(found, want, rtol=2e-3, atol=0)


def test_a_sigmoid_weight_of_a_level_that_stands_still_is_refused():
    spec = GaussianNoise(Constant(0.2)).accepts(Spec("points", (2,)))
    with pytest.raises(Refused, match="Sigmoid needs Generative"):
        Sigmoid().accepts(spec)


def test_elbo_weight_is_1_over_t_of_the_linear_schedule():
    t = torch.linspace(0.01, 1, 100, dtype=f64)
    assert_close(ELBO()(Linear(), t), 1 / t)


# -- counts, and sums over parts


def test_counts():
    x = torch.zeros(2, 5, dtype=torch.int64)
    valid = torch.arange(5) < torch.tensor([[5], [2]])
    asked = torch.zeros(2, 5, dtype=torch.bool)
    c = Corrupted(x, x, x, asked, asked, {"valid": valid})
    assert scored(c) == 0
    assert places(c) == 7
    asked = asked.clone()
    asked[0, :3] = True
    assert scored(c._replace(scored=asked * 0.3)) == 3  # how much is not how many
    assert places(c._replace(context={})) == 10
    c = c._replace(scored=asked)
    assert Weighted(CrossEntropy(), Unit()).count(c) == 3
    assert Weighted(CrossEntropy(), ELBO()).count(c) == Bound(9).count(c) == 7


SUMMED = {
    "cross_entropy": (TokenMask(Linear(), VOCABULARY), Weighted(CrossEntropy(), Unit())),
    "bert": (TokenMask(Linear(), VOCABULARY, 0.1, 0.1), Weighted(CrossEntropy(), Unit())),
    "elbo": (TokenMask(Linear(), VOCABULARY), Weighted(CrossEntropy(), ELBO())),
    "bound_masked": (TokenMask(Linear(), VOCABULARY), Bound(10)),
    "bound_uniform": (TokenUniform(Linear(), VOCABULARY), Bound(10)),
}


@pytest.mark.parametrize("corruption, objective", SUMMED.values(), ids=SUMMED)
def test_sums_over_ranks_and_micro_batches_are_the_whole(corruption, objective):
    """Total over count, both summed over parts of any size; a mean of means is another number."""
    n, length = 64, 20
    g = torch.Generator().manual_seed(0)
    valid = torch.arange(length) < torch.randint(2, length + 1, (n, 1), generator=g)
    x = torch.where(valid, torch.randint(VOCABULARY, (n, length), generator=g), 0)
    t = torch.randint(1, 11, (n,), generator=g).double() / 10
    embedding, weight = randn(VOCABULARY + 1, 8), randn(8, VOCABULARY, seed=1).requires_grad_()
    r = keys(n)

    def part(i):
        batch = Batch(x[i], r.key[i], {"valid": valid[i]})
        c = corruption(batch, t[i], Keyed(r.key[i]))
        cost = objective(Categorical(embedding[c.x_t] @ weight), c, t[i], corruption) * c.scored
        (gradient,) = torch.autograd.grad(cost.sum(), weight)
        return cost.sum().detach(), gradient, objective.count(c)

    total, gradient, count = part(slice(0, n))
    parts = [part(i) for i in (slice(0, 10), slice(10, 32), slice(32, 40), slice(40, n))]
    totals, gradients, counts = (sum(a) for a in zip(*parts, strict=True))
    assert counts == count
    assert_close(totals / counts, total / count)
    assert_close(gradients / counts, gradient / count, rtol=1e-9, atol=1e-9)
    assert abs(sum(a / k for a, _, k in parts) / 4 - total / count) > 1e-4


@pytest.mark.parametrize("head", [Learned(), LearnedLog(100)], ids=["learned", "learned_log"])
def test_hybrid_teaches_the_width_alone(head):
    """The mean's gradient is the main objective's, to the bit; the width has one of its own."""
    schedule, n = LinearBeta(100, 1e-3, 0.2), 32
    gaussian, t = GaussianNoise(schedule), torch.arange(2, 34).double() / 100
    c = gaussian(Batch(randn(n, 2), torch.arange(n)), t, keys(n))
    out = randn(n, 4, seed=1).requires_grad_()
    main = Weighted(MSE(), Simple())
    gradients = []
    for objective in (main, Hybrid(main, Bound(100, 0.01), 1.0)):
        belief = Epsilon().build(Says(lambda y, noise: out), gaussian, head)(c.x_t, t)
        gradients.append(torch.autograd.grad(objective(belief, c, t, gaussian).sum(), out)[0])
    assert torch.equal(gradients[0][:, :2], gradients[1][:, :2])
    assert (gradients[0][:, 2:] == 0).all()
    assert (gradients[1][:, 2:] != 0).all()


def test_a_cost_in_noise_is_that_of_epsilon():
    """The residual of x, divided by sigma / alpha, is the residual of epsilon: a Huber cost in it is one of epsilon."""
    schedule, x = LinearBeta(), randn(16, 3)
    t = torch.linspace(0.05, 0.95, 16, dtype=f64)
    alpha, sigma = schedule.at(t, x)
    noise, said = randn(16, 3, seed=1), randn(16, 3, seed=2)
    x_t = alpha * x + sigma * noise
    belief = Dirac((x_t - sigma * said) / alpha)
    corrupted = Corrupted(x_t, x_t, x, torch.ones_like(x) > 0, torch.ones_like(x) > 0)
    cost = Weighted(Huber(0.5), Unit(), InNoise())(belief, corrupted, t, GaussianNoise(schedule))
    error = (said - noise).abs()
    assert_close(cost, torch.where(error < 0.5, error**2 / 2, 0.5 * (error - 0.25)))


def test_a_sum_is_the_sum_of_its_terms():
    """Costs and gradients; count and the times of validation are the first's."""
    schedule, out = LinearBeta(), randn(16, 3, seed=1).requires_grad_()
    gaussian, t = GaussianNoise(schedule), torch.arange(1, 17).double() / 20
    c = gaussian(Batch(randn(16, 3), torch.arange(16)), t, keys(16))
    terms = [Weighted(MSE(), Simple()), Weighted(MAE(), Unit())]
    whole = Sum(terms, [1.0, 0.1])(Dirac(out), c, t, gaussian)
    assert_close(whole, terms[0](Dirac(out), c, t, gaussian) + 0.1 * terms[1](Dirac(out), c, t, gaussian))
    mixed = Sum([Bound(10), Weighted(CrossEntropy(), Unit())], [1.0, 0.5])
    x = torch.zeros(2, 5, dtype=torch.int64)
    none = torch.zeros(2, 5, dtype=torch.bool)
    assert mixed.count(Corrupted(x, x, x, none, none)) == 10
    assert isinstance(mixed.held_out(), type(Bound(10).held_out()))


def test_a_sum_asks_all_and_is_no_bound():
    tokens = TokenMask(Linear(), VOCABULARY).accepts(Spec("tokens", (6,), VOCABULARY))
    elbo, unit = Weighted(CrossEntropy(), ELBO()), Weighted(CrossEntropy(), Unit())
    assert Likelihood in elbo.accepts(tokens).facts
    assert Likelihood not in Sum([elbo, unit], [1.0, 1.0]).accepts(tokens).facts
    with pytest.raises(Refused, match="MAE is for"):
        Sum([elbo, Weighted(MAE(), Unit())], [1.0, 1.0]).accepts(tokens)
    with pytest.raises(Refused, match="Bound needs Grid"):
        Sum([elbo, Bound(10)], [1.0, 1.0]).accepts(tokens)


@pytest.mark.parametrize("shares", [[], [1.0], [1.0, 0.0], [1.0, -1.0], [1.0, 0.1, 0.1], [1.0, float("nan")]])
def test_shares_that_mean_nothing_are_refused(shares):
    with pytest.raises(Refused, match="shares"):
        Sum([Weighted(MSE(), Unit()), Weighted(MAE(), Unit())], shares)
