"""Likelihoods: of data whose law is known they are what theory says, in any number of steps."""

import math

import pytest
import torch
from common import Says, keys, randn
from torch.testing import assert_close

from denoiselab.corruption import Batch, GaussianNoise, TokenMask, TokenUniform
from denoiselab.denoiser import X0, Clipped, Denoiser, Logits, Point, TokenLogits
from denoiselab.evaluation.likelihood import bits, flow_log_prob, vlb_terms
from denoiselab.oracle import Normal, Texts
from denoiselab.posterior import Dirac, Gaussian
from denoiselab.randomness import Keyed
from denoiselab.schedule import Cosine, Exploding, Linear, LinearBeta
from denoiselab.spec import Refused

f64 = torch.float64
BIN, ENDS = 2 / 255, (-1.0, 1.0)  # of pictures
LEVELS = torch.linspace(-1, 1, 256, dtype=f64)
SCHEDULES = {"linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta(), "exploding": Exploding(80.0)}

schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


class Nodes:
    """A source whose normal draws are nodes of a quadrature, the same for whoever asks; uniform ones are 1 / 2."""

    def __init__(self, z):
        self.z = z

    def child(self, name):
        return self

    def normal(self, shape):
        return self.z.expand(shape)

    def uniform(self, shape):
        return torch.full(shape, 0.5, dtype=f64)


def gauss_hermite(n):
    """Nodes and weights of the expectation under a standard normal (Golub and Welsch, 1969)."""
    off = torch.arange(1, n, dtype=f64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, vectors[0] ** 2


# -- the bound


def expected(denoiser, schedule, x, share, steps, **options):
    """The bound in nats, expected over values x with their shares, and over noise by quadrature."""
    nodes, weights = gauss_hermite(40)
    x, z = (a.flatten()[:, None] for a in torch.meshgrid(x, nodes, indexing="ij"))
    batch = Batch(x, torch.arange(len(x)))
    found = vlb_terms(denoiser, GaussianNoise(schedule), batch, steps, Nodes(z), **options)
    assert found.terms.shape == (len(x), steps)
    return (torch.outer(share, weights).flatten() * (found.prior + found.terms.sum(1))).sum().item()


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_bound_of_a_gaussian_is_its_discretized_entropy(steps):
    """Values in 256 levels, each with the mass of its bin; the exact posterior knows of no levels, which costs little
    where a bin is small."""
    std = 0.2
    mass = Gaussian(torch.zeros((), dtype=f64), std**2).log_mass(LEVELS, BIN, ENDS)
    bound = expected(Normal(0.0, std, LinearBeta()), LinearBeta(), LEVELS, mass.exp(), steps, bin=BIN, ends=ENDS)
    assert_close(bound, -(mass.exp() * mass).sum().item(), rtol=0, atol=1e-6)


def test_bound_in_one_step_is_its_closed_form():
    """KL to the prior, and -log of the mass that a standard normal gives each level: nothing of x is left at t = 1."""
    std, share = 1.0, torch.full((256,), 1 / 256, dtype=f64)
    bound = expected(Normal(0.0, std, Linear()), Linear(), LEVELS, share, 1, bin=BIN, ends=ENDS)
    mass = Gaussian(torch.zeros((), dtype=f64), std**2).log_mass(LEVELS, BIN, ENDS)
    assert_close(bound, -mass.mean().item(), rtol=0, atol=1e-9)


def test_bound_of_a_belief_in_nothing_is_8_bits():
    """256 tokens, all alike: one is revealed once, at whatever time."""
    n, length, corruption = 200, 100, TokenMask(Linear(), 256)
    x = torch.randint(256, (n, length), generator=torch.Generator().manual_seed(0))
    nothing = TokenLogits().build(Says(lambda y, noise: torch.zeros(*y.shape, 256)), corruption, Logits())
    for steps in (1, 4):
        found = vlb_terms(nothing, corruption, Batch(x, torch.arange(n)), steps, keys(n))
        assert (found.prior == 0).all()
        each = bits(found.prior + found.terms.sum(1), length)
        # How often a token is masked: the mean of the binomial's draws.
        assert abs(each.mean().item() - 8) < 5 * each.std().item() / n**0.5 + 1e-6


@pytest.mark.parametrize("make", [TokenMask, TokenUniform])
def test_bound_of_the_oracle_is_the_entropy_of_tokens(make):
    n, p = 20_000, torch.tensor([0.7, 0.2, 0.1], dtype=f64)
    corruption = make(Linear(), 3)
    x = torch.repeat_interleave(torch.arange(3), (n * p).round().long())[:, None]
    oracle = Texts(torch.arange(3)[:, None], p, corruption, 3)
    found = vlb_terms(oracle, corruption, Batch(x, torch.arange(n)), 5, keys(n))
    each = found.prior + found.terms.sum(1)
    assert abs(each.mean().item() + torch.xlogy(p, p).sum().item()) < 5 * each.std().item() / n**0.5


def test_a_look_at_some_steps_is_an_unbiased_estimate():
    n, schedule = 4000, LinearBeta()
    batch = Batch(randn(n, 1) * 0.5, torch.arange(n))
    ask = lambda looks: vlb_terms(  # noqa: E731
        Normal(0.0, 0.5, schedule), GaussianNoise(schedule), batch, 30, keys(n), looks=looks)  # fmt: skip
    whole, some = ask(None), ask(7)
    assert some.terms.shape == (n, 7)
    each = some.terms.sum(1) - whole.terms.sum(1)
    assert abs(each.mean().item()) < 5 * each.std().item() / n**0.5
    assert torch.equal(ask(30).terms, whole.terms)


def test_padding_and_what_is_not_scored_count_nothing():
    corruption, length = TokenMask(Linear(), 4), 6
    x = torch.randint(4, (8, length), generator=torch.Generator().manual_seed(0))
    denoiser = TokenLogits().build(Says(lambda y, noise: torch.zeros(*y.shape, 4)), corruption, Logits())
    valid = torch.arange(length) < 3
    batch = Batch(torch.where(valid, x, 0), torch.arange(8), {"valid": valid.expand(8, length)})
    padded = vlb_terms(denoiser, corruption, batch, 3, keys(8))
    short = vlb_terms(denoiser, corruption, Batch(x[:, :3], torch.arange(8)), 3, keys(8))
    assert torch.equal(padded.terms, short.terms)
    assert torch.equal(padded.prior, short.prior)


def test_clipped_gives_a_certain_belief_a_likelihood():
    """With the floor alone each value that is off by more than a bin costs 40 bits."""
    schedule, n = LinearBeta(100, 1e-3, 0.2), 64
    gaussian, x = GaussianNoise(schedule), (randn(n, 3) * 25).round().clamp(-127, 128) / 127.5
    near = X0().build(Says(lambda y, noise: x + 2 * BIN), gaussian, Point())
    found = [vlb_terms(d, gaussian, Batch(x, torch.arange(n)), 100, keys(n), ends=ENDS).terms
             for d in (near, Clipped(near, schedule, 100))]  # fmt: skip
    assert torch.equal(found[0][:, 1:], found[1][:, 1:])
    assert_close(found[0][:, 0], torch.full((n,), -3 * math.log(1e-12), dtype=f64))
    assert (found[1][:, 0] < 3 * 6).all()


@pytest.mark.parametrize("steps, looks", [(4, 5), (4, 0), (1001, None)])
def test_steps_that_cannot_be_are_refused(steps, looks):
    schedule, batch = LinearBeta(), Batch(randn(2, 1), torch.arange(2))
    with pytest.raises(Refused):
        vlb_terms(Normal(0.0, 0.5, schedule), GaussianNoise(schedule), batch, steps, keys(2), looks=looks)


# -- the flow


def ends_of(schedule, mean, std):
    """alpha, and mean and deviation of x_t, at t_min and t_max, for data N(mean, std^2)."""
    alpha, sigma = schedule(torch.tensor([schedule.t_min, schedule.t_max], dtype=f64))
    return alpha, alpha * mean, (alpha**2 * std**2 + sigma**2).sqrt()


@schedules
def test_flow_of_a_gaussian_is_its_closed_form(schedule):
    """The flow of a Gaussian is a line: density of the prior where it leads to, times its slope. It is the density of
    the data where little noise is in it at t_min and the prior is right."""
    mean, std, x = 0.3, 0.5, torch.linspace(-1.5, 2, 8, dtype=f64)[:, None].expand(8, 3)
    gaussian = GaussianNoise(schedule)
    log_p = flow_log_prob(Normal(mean, std, schedule), gaussian, x, 100, keys(8))
    assert log_p.shape == (8,)
    (first, _), center, width = ends_of(schedule, mean, std)
    x_1 = center[1] + width[1] / width[0] * (first * x - center[0])
    want = gaussian.prior(x_1).log_prob(x_1).sum(1) + 3 * (first * width[1] / width[0]).log()
    assert_close(log_p, want, rtol=0, atol=2e-6)
    if schedule.terminal:
        assert_close(log_p, Gaussian(torch.full_like(x, mean), std**2).log_prob(x).sum(1), rtol=0, atol=3e-4)


class Mixture(Denoiser):
    """The mean of data that is one of N(means, std^2), means (K, D), with shares (K,)."""

    def __init__(self, means, share, std, schedule):
        super().__init__()
        self.means, self.share, self.std, self.schedule = means, share, std, schedule

    def log_each(self, x, alpha, sigma):
        var = alpha**2 * self.std**2 + sigma**2
        square = (x[:, None] - alpha * self.means).square().sum(2)
        return self.share.log() - square / (2 * var) - x.shape[1] / 2 * (2 * math.pi * var).log()

    def log_prob(self, x, alpha, sigma):
        return self.log_each(x, alpha, sigma).logsumexp(1)

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        alpha, sigma = self.schedule(t)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        each = self.means + gain * (x_t[:, None] - alpha * self.means)
        return Dirac((self.log_each(x_t, alpha, sigma).softmax(1)[..., None] * each).sum(1))


def mixture(schedule, dims, dtype=f64):
    means = torch.tensor([[-0.6, 0.4], [0.5, 0.5], [0.1, -0.7]], dtype=dtype)[:, :dims]
    return Mixture(means, torch.tensor([0.5, 0.3, 0.2], dtype=dtype), 0.15, schedule)


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])
def test_flow_of_a_mixture_is_its_density(schedule):
    """Elements are not independent: the divergence is one of a matrix. With the noise of t_min, on the data's scale."""
    exact = mixture(schedule, 2)
    x = randn(50, 2) * 0.5
    alpha, sigma = schedule(torch.tensor(schedule.t_min, dtype=f64))
    want = exact.log_prob(x, torch.ones_like(alpha), sigma / alpha)
    errors = [(flow_log_prob(exact, GaussianNoise(schedule), x, steps, keys(50)) - want).abs().max().item()
              for steps in (50, 100)]  # fmt: skip
    print(f"\nerror of log p at 50 and 100 steps: {errors[0]:.1e} {errors[1]:.1e}")
    assert errors[1] < 1e-4
    assert errors[1] < errors[0] / 8


@schedules
def test_density_of_the_flow_integrates_to_1(schedule):
    x = torch.linspace(-3, 3, 1201, dtype=f64)[:, None]
    log_p = flow_log_prob(mixture(schedule, 1), GaussianNoise(schedule), x, 60, keys(len(x)))
    assert_close(torch.trapezoid(log_p.exp(), x[:, 0]).item(), 1.0, rtol=0, atol=1e-3)


class Even(Denoiser):
    """The mean of data that is uniform over [-end, end], elements independent: that of a truncated normal."""

    def __init__(self, end, schedule):
        super().__init__()
        self.end, self.schedule = end, schedule

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        alpha, sigma = self.schedule(t)
        center, width = x_t / alpha, sigma / alpha
        low, high = (-self.end - center) / width, (self.end - center) / width
        density = torch.exp(-low.square() / 2) - torch.exp(-high.square() / 2)
        mass = (torch.special.ndtr(high) - torch.special.ndtr(low)) * math.sqrt(2 * math.pi)
        return Dirac(center + width * density / mass)


def test_flow_of_uniform_noise_is_8_bits():
    """Of values in 256 levels, all alike, spread over their bins; off the edges, which the noise of t_min softens."""
    schedule, x = LinearBeta(), LEVELS[20:-20].view(-1, 4)
    log_p = flow_log_prob(Even(256 / 255, schedule), GaussianNoise(schedule), x, 60, keys(len(x)), bin=BIN)
    assert_close(bits(-log_p, 4), torch.full((len(x),), 8.0, dtype=f64), rtol=0, atol=1e-4)


def test_probes_estimate_the_divergence():
    """Exact where elements are independent; else right on average, and less scattered the more there are."""
    schedule, n = Cosine(), 500
    ask = lambda denoiser, probes, x: flow_log_prob(  # noqa: E731
        denoiser, GaussianNoise(schedule), x, 20, keys(len(x)), probes)  # fmt: skip
    x = randn(20, 3)
    normal = Normal(0.0, 0.5, schedule)
    assert_close(ask(normal, 1, x), ask(normal, None, x), rtol=0, atol=1e-9)
    x = torch.full((n, 2), 0.1, dtype=f64)
    off = [ask(mixture(schedule, 2), probes, x) - ask(mixture(schedule, 2), None, x) for probes in (1, 8)]
    for each in off:
        assert abs(each.mean().item()) < 5 * each.std().item() / n**0.5
    assert 2 < off[0].std() / off[1].std() < 4


def test_flow_in_float32_is_that_of_float64():
    schedule, x = Cosine(), randn(40, 2) * 0.5
    exact, near = (flow_log_prob(mixture(schedule, 2, x.dtype), GaussianNoise(schedule), x, 50, keys(40))
                   for x in (x, x.float()))  # fmt: skip
    assert exact.dtype == near.dtype == f64
    assert_close(near, exact, rtol=0, atol=5e-3)


@pytest.mark.parametrize("probes", [None, 2])
def test_a_sample_alone_has_the_likelihood_that_it_has_in_a_batch(probes):
    schedule, n = Cosine(), 16
    gaussian, x, r = GaussianNoise(schedule), randn(n, 2), keys(n)
    flow = lambda i: flow_log_prob(  # noqa: E731
        mixture(schedule, 2), gaussian, x[i], 5, Keyed(r.key[i]), probes, bin=0.1)  # fmt: skip
    bound = lambda i: vlb_terms(  # noqa: E731
        Normal(0.0, 0.5, schedule), gaussian, Batch(x[i], torch.arange(n)[i]), 5, Keyed(r.key[i]), looks=3)  # fmt: skip
    one, every = slice(3, 4), slice(None)
    assert torch.equal(flow(one), flow(every)[one])
    assert torch.equal(bound(one).terms, bound(every).terms[one])
    assert torch.equal(bound(one).prior, bound(every).prior[one])


def test_context_reaches_the_denoiser_and_weights_get_no_gradient():
    class Labelled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones((), dtype=f64))

        def forward(self, x, noise, label):
            return self.scale * label[:, None].double()

    schedule, x = Cosine(), torch.zeros(2, 1, dtype=f64)
    denoiser = X0().build(Labelled(), GaussianNoise(schedule), Point())
    log_p = flow_log_prob(denoiser, GaussianNoise(schedule), x, 30, keys(2), label=torch.tensor([0, 1]))
    assert log_p[0] > log_p[1] + 1
    assert not log_p.requires_grad
    assert denoiser.network.scale.grad is None


@pytest.mark.parametrize("steps, probes", [(0, 1), (5, 0)])
def test_counts_below_1_are_refused(steps, probes):
    with pytest.raises(Refused):
        flow_log_prob(mixture(Cosine(), 1), GaussianNoise(Cosine()), randn(2, 1), steps, keys(2), probes)
