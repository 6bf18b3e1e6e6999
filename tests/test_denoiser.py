"""Denoisers: every parameterization, told the truth, predicts clean data; heads; MDLM's substitution."""

import pytest
import torch
from common import Says
from torch import nn
from torch.testing import assert_close

from denoiselab.corruption import Absorbing, Additive, Discrete, GaussianNoise, Generative, Terminal, TokenMask
from denoiselab.denoiser import (
    X0,
    Clipped,
    Epsilon,
    Karras,
    Large,
    Learned,
    LearnedLog,
    Logits,
    Mu,
    Point,
    Residual,
    Spread,
    Subs,
    Substituted,
    TokenLogits,
    Tokens,
    V,
    Velocity,
)  # fmt: skip
from denoiselab.schedule import Constant, Cosine, CosineBeta, Exploding, Linear, LinearBeta, ZeroTerminalSNR
from denoiselab.spec import Refused, Spec

f64 = torch.float64
N, VOCABULARY = 16, 6
SCHEDULES = {
    "linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta(), "exploding": Exploding(5.0),
    "constant": Constant(0.2),
}  # fmt: skip


def karras(alpha, sigma, x, z, std=0.5):
    """F of EDM, table 1, for x_t = alpha (x + (sigma / alpha) z)."""
    x_t, s = alpha * x + sigma * z, sigma / alpha
    c_skip, c_out = std**2 / (s**2 + std**2), s * std / (s**2 + std**2).sqrt()
    return (x - c_skip * x_t / alpha) / c_out


def betas_of(schedule):
    alpha = schedule.alpha(torch.arange(schedule.steps + 1, dtype=f64) / schedule.steps)
    return 1 - (alpha[1:] / alpha[:-1]) ** 2


# A parameterization, and what its network says when it says the truth.
PARAMETERIZATIONS = {
    "x0": (X0(), lambda a, b, x, z: x),
    "residual": (Residual(), lambda a, b, x, z: a * x + b * z - x),
    "epsilon": (Epsilon(), lambda a, b, x, z: z),
    "v": (V(), lambda a, b, x, z: a * z - b * x),
    "velocity": (Velocity(), lambda a, b, x, z: z - x),
    "karras": (Karras(), karras),
}
# Schedules that are tables, with their betas, float64.
TABLES = {
    "linear_beta": (LinearBeta(), torch.linspace(1e-4, 0.02, 1000, dtype=f64)),
    "linear_beta_20": (LinearBeta(20, 0.01, 0.6), torch.linspace(0.01, 0.6, 20, dtype=f64)),
    "cosine_beta": (CosineBeta(), betas_of(CosineBeta())),
    "zero_terminal_snr": (ZeroTerminalSNR(LinearBeta()), betas_of(ZeroTerminalSNR(LinearBeta()))),
}
HEADS = {"dirac": Point(), "large": Large(), "learned": Learned()}  # between certain and widest, whatever is said
EVERY_HEAD = HEADS | {"learned_log": LearnedLog(1000)}
IMAGE, TEXT = Spec("image", (3, 4, 4)), Spec("tokens", (9,), VOCABULARY)

parameterizations = pytest.mark.parametrize("plan, truth", PARAMETERIZATIONS.values(), ids=PARAMETERIZATIONS)
schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
tables = pytest.mark.parametrize("schedule, betas", TABLES.values(), ids=TABLES)


def sample(schedule, dtype=f64):
    g = torch.Generator().manual_seed(0)
    x, z = torch.randn(2, N, 3, 4, 4, generator=g, dtype=f64).to(dtype)
    t = (torch.rand(N, generator=g, dtype=f64) * 0.9 + 0.05).to(dtype)
    alpha, sigma = schedule.at(t, x)
    return x, z, t, alpha, sigma, alpha * x + sigma * z


def build(plan, schedule, f, head=None):
    return plan.build(Says(f), GaussianNoise(schedule), head or Point())


@parameterizations
@schedules
def test_the_truth_predicts_clean_data(plan, truth, schedule):
    x, z, t, alpha, sigma, x_t = sample(schedule)
    said = truth(alpha, sigma, x, z)
    assert_close(build(plan, schedule, lambda y, n: said)(x_t, t).mean, x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("other", PARAMETERIZATIONS)
@parameterizations
@schedules
def test_parameterizations_are_mutual_inverses(plan, truth, schedule, other):
    """Whatever one network says, right or wrong, another can say the same belief, and back."""
    _, _, t, alpha, sigma, x_t = sample(schedule)
    said = torch.randn(N, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=f64)
    x = build(plan, schedule, lambda y, n: said)(x_t, t).mean
    plan_2, truth_2 = PARAMETERIZATIONS[other]
    there = truth_2(alpha, sigma, x, (x_t - alpha * x) / sigma)
    x_2 = build(plan_2, schedule, lambda y, n: there)(x_t, t).mean
    back = truth(alpha, sigma, x_2, (x_t - alpha * x_2) / sigma)
    assert_close(x_2, x, rtol=1e-9, atol=1e-9)
    assert_close(back, said, rtol=1e-6, atol=1e-6)


@schedules
def test_karras_is_edms_preconditioning(schedule):
    """Input and target of the network have variance 1 for data of the given deviation, at all times."""
    std, t = 0.7, torch.linspace(0.05, 0.95, 19, dtype=f64)
    alpha, sigma = schedule(t)
    c = Karras(std).coefficients(t, alpha, sigma)
    assert_close(c.c_in**2 * (alpha**2 * std**2 + sigma**2), torch.ones_like(t))
    target = (1 - c.c_skip * alpha) ** 2 * std**2 + c.c_skip**2 * sigma**2
    assert_close(target / c.c_out**2, torch.ones_like(t))
    assert_close(c.c_noise, (sigma / alpha).log() / 4)


@schedules
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads_lie_between_certain_and_widest(schedule, head):
    x, _, t, alpha, sigma, x_t = sample(schedule)
    channels = head.accepts(IMAGE.having(Additive)).given[0]
    out = torch.randn(N, channels, 4, 4, generator=torch.Generator().manual_seed(1), dtype=f64) * 5
    belief = build(X0(), schedule, lambda y, n: out, head)(x_t, t)
    assert torch.equal(belief.mean, out[:, :3])
    widest = (sigma**2 / (alpha**2 + sigma**2)).expand_as(x)
    var = torch.as_tensor(belief.var, dtype=f64).expand_as(x)
    assert (var >= 0).all()
    assert (var <= widest).all()
    if isinstance(head, Large):
        assert_close(var, widest)
    if isinstance(head, Learned):
        assert_close(var, out[:, 3:].sigmoid() * widest)


@parameterizations
@pytest.mark.parametrize("head", EVERY_HEAD.values(), ids=EVERY_HEAD)
def test_mixing_is_float32_whatever_the_network_runs_in(plan, truth, head):
    x, z, t, alpha, sigma, x_t = sample(Cosine(), torch.float32)
    channels = head.accepts(IMAGE.having(Additive, Generative)).given[0]
    said = torch.cat((truth(alpha, sigma, x, z), torch.zeros_like(x)), 1)[:, :channels].bfloat16()
    belief = build(plan, Cosine(), lambda y, n: said, head)(x_t, t)
    exact = build(plan, Cosine(), lambda y, n: said.float(), head)(x_t, t)
    assert belief.mean.dtype == torch.float32
    assert torch.equal(belief.mean, exact.mean)
    text = Tokens(Says(lambda y, n: torch.zeros(*y.shape, VOCABULARY, dtype=torch.bfloat16)), Linear(), Logits())
    assert text(torch.zeros(2, 9, dtype=torch.int64), torch.ones(())).logits.dtype == torch.float32


# -- what a table of steps knows: the lines of DDPM and improved DDPM, with betas alone


class Published:
    """q(x_s | x_t, x) one step earlier, as in Ho et al. and in improved DDPM's code; all of shape (steps, 1)."""

    def __init__(self, betas):
        bar = (1 - betas).cumprod(0)
        before = torch.cat((torch.ones(1, dtype=f64), bar[:-1]))
        self.of_x = (before.sqrt() * betas / (1 - bar))[:, None]
        self.of_x_t = ((1 - betas).sqrt() * (1 - before) / (1 - bar))[:, None]
        variance = betas * (1 - before) / (1 - bar)
        self.least = torch.cat((variance[1:2], variance[1:])).log()[:, None]
        self.most = betas.log()[:, None]
        self.bar = bar[:, None]


def every_step(betas):
    """Of each step of a table t, x, x_t and the published coefficients."""
    n, published = len(betas), Published(betas)
    x, z = torch.randn(2, n, 3, generator=torch.Generator().manual_seed(0), dtype=f64)
    x_t = published.bar.sqrt() * x + (1 - published.bar).sqrt() * z
    return torch.arange(1, n + 1, dtype=f64) / n, x, x_t, published


@tables
@pytest.mark.parametrize("dtype, error", [(f64, 1e-11), (torch.float32, 2e-5)], ids=["float64", "float32"])
def test_mu_told_the_truth_predicts_clean_data(schedule, betas, dtype, error):
    t, x, x_t, published = every_step(betas)
    said = (published.of_x * x + published.of_x_t * x_t).to(dtype)
    belief = build(Mu(), schedule, lambda y, n: said)(x_t.to(dtype), t.to(dtype))
    assert belief.mean.dtype == dtype
    # In units of what is said: late steps tell little about x. A time in float32 is a little off the table.
    assert ((belief.mean - x).abs() * published.of_x).max() < error


@tables
def test_mu_and_what_was_added_say_the_same(schedule, betas):
    """Of any output, right or wrong: the mean of the way back is what mu says."""
    t, _, x_t, _ = every_step(betas)
    said = torch.randn(len(t), 3, generator=torch.Generator().manual_seed(1), dtype=f64)
    belief = build(Mu(), schedule, lambda y, n: said)(x_t, t)
    back = GaussianNoise(schedule).transition(t, t - 1 / schedule.steps)
    assert_close(back(x_t, belief).mean[1:], said[1:], rtol=1e-9, atol=1e-9)


@tables
def test_learned_log_is_improved_ddpm(schedule, betas):
    """Mean and variance of each move, the first step's variance that of the second; v far outside of [0, 1] too."""
    t, x, x_t, published = every_step(betas)
    v = torch.randn(len(t), 3, generator=torch.Generator().manual_seed(1), dtype=f64) * 2
    denoiser = build(X0(), schedule, lambda y, n: torch.cat((x, v), 1), LearnedLog(schedule.steps))
    back = GaussianNoise(schedule).transition(t, (t - 1 / schedule.steps).clamp(min=0))(x_t, denoiser(x_t, t))
    share = (v + 1) / 2
    want = share * published.most + (1 - share) * published.least
    assert_close(back.var.log(), want, rtol=0, atol=1e-8)
    assert_close(back.mean, published.of_x * x + published.of_x_t * x_t, rtol=1e-9, atol=1e-9)


def test_learned_log_in_float32_is_that_of_float64():
    schedule, betas = TABLES["linear_beta"]
    t, x, x_t, published = every_step(betas)
    v = torch.randn(len(t), 3, generator=torch.Generator().manual_seed(1), dtype=f64).clamp(-1, 1).float()
    denoiser = build(X0(), schedule, lambda y, n: torch.cat((x.float(), v), 1), LearnedLog(1000))
    belief = denoiser(x_t.float(), t.float())
    assert belief.var.dtype == torch.float32
    back = GaussianNoise(schedule).transition(t, (t - 1e-3).clamp(min=0))(x_t.float(), belief)
    share = (v + 1) / 2
    assert_close(back.var.log().double(), share * published.most + (1 - share) * published.least, rtol=0, atol=1e-4)


@pytest.mark.parametrize("head", [Point(), Large()], ids=["small", "large"])
def test_clipped_is_the_published_variance(head):
    """Small: that of the second step at the first; large is as it was."""
    schedule, betas = TABLES["linear_beta"]
    t, x, x_t, published = every_step(betas)
    denoiser = Clipped(build(X0(), schedule, lambda y, n: x, head), schedule, 1000)
    back = GaussianNoise(schedule).transition(t, (t - 1e-3).clamp(min=0))(x_t, denoiser(x_t, t))
    assert_close(back.var.log(), (published.least if isinstance(head, Point) else published.most).expand_as(x))
    assert torch.equal(denoiser(x_t, t).mean, x)


@parameterizations
def test_the_network_is_told_the_time_and_sees_what_is_seen(plan, truth):
    told = {}

    def network(y, noise):
        told.update(y=y, noise=noise)
        return torch.zeros_like(y)

    x, _, t, _, _, x_t = sample(Cosine())
    denoiser = build(plan, Cosine(), network)
    c = plan.coefficients(t, *Cosine()(t))
    c_in = torch.as_tensor(c.c_in, dtype=f64).expand(N)[:, None, None, None]
    denoiser(x_t, t)
    assert_close(told["y"], c_in * x_t)
    assert_close(told["noise"], c.c_noise)
    denoiser(x_t, t[0], seen=x)
    assert told["noise"].shape == (N,)
    assert_close(told["y"], plan.coefficients(t[0], *Cosine()(t[0])).c_in * x)


def test_a_denoiser_has_no_use_for_the_belief_before():
    _, z, t, _, _, x_t = sample(Cosine())
    denoiser = build(Epsilon(), Cosine(), lambda y, n: z)
    assert torch.equal(denoiser(x_t, t, previous=denoiser(x_t, t)).mean, denoiser(x_t, t).mean)


def test_context_reaches_the_network():
    class Labelled(nn.Module):
        def forward(self, x, noise, label):
            return x * 0 + label[:, None, None, None]

    _, _, t, _, _, x_t = sample(Cosine())
    denoiser = X0().build(Labelled(), GaussianNoise(Cosine()), Point())
    assert_close(denoiser(x_t, t, label=torch.arange(N)).mean[:, 0, 0, 0], torch.arange(N).double())


# -- text


def text_of(mask=VOCABULARY):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(VOCABULARY, (4, 9), generator=g)
    hidden = torch.rand(4, 9, generator=g) < 0.5
    return x, hidden, torch.where(hidden, mask, x), torch.randn(4, 9, VOCABULARY, generator=g)


def test_substitution_keeps_what_is_shown_and_believes_in_no_mask():
    x, hidden, x_t, logits = text_of()
    plain = TokenLogits().build(Says(lambda y, n: logits), TokenMask(Linear(), VOCABULARY), Logits())
    subs = Subs().build(Says(lambda y, n: logits), TokenMask(Linear(), VOCABULARY), Logits())
    t = torch.full((4,), 0.5)
    belief = subs(x_t, t)
    assert belief.mean.shape == (4, 9, VOCABULARY)
    assert torch.equal(belief.mode[~hidden], x[~hidden])
    assert (belief.log_prob(x)[~hidden] == 0).all()
    assert torch.equal(belief.mean[hidden], plain(x_t, t).mean[hidden])
    twice = Substituted(subs, VOCABULARY)(x_t, t)
    assert torch.equal(twice.mean, belief.mean)


def test_substitution_gives_no_gradient_where_nothing_is_hidden():
    x, hidden, x_t, logits = text_of()
    logits.requires_grad_()
    subs = Substituted(Tokens(Says(lambda y, n: logits), Linear(), Logits()), VOCABULARY)
    belief = subs(x_t, torch.ones(()))
    (belief.log_prob(x).sum() + belief.mean.square().sum()).backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[~hidden] == 0).all()
    assert (logits.grad[hidden] != 0).any()


# -- what fits what

ACCEPTED = {
    "x0": (X0(), IMAGE),
    "residual": (Residual(), IMAGE),
    "epsilon": (Epsilon(), IMAGE.having(Additive)),
    "v": (V(), IMAGE.having(Additive, Terminal)),
    "velocity": (Velocity(), IMAGE.having(Additive, Terminal)),
    "karras": (Karras(), IMAGE.having(Additive)),
    "mu": (Mu(), IMAGE.having(Additive, Discrete)),
    "mu_terminal": (Mu(), IMAGE.having(Additive, Discrete, Terminal)),
    "logits": (TokenLogits(), TEXT),
    "subs": (Subs(), TEXT.having(Absorbing)),
    "dirac": (Point(), IMAGE),
    "large": (Large(), IMAGE.having(Additive)),
    "learned": (Learned(), IMAGE.having(Additive)),
    "learned_log": (LearnedLog(9), IMAGE.having(Additive, Generative)),
    "categorical": (Logits(), TEXT),
}
REFUSED = {
    "epsilon_terminal": (Epsilon(), IMAGE.having(Additive, Terminal)),
    "epsilon": (Epsilon(), IMAGE),
    "v": (V(), IMAGE),
    "velocity": (Velocity(), IMAGE),
    "karras": (Karras(), IMAGE),
    "mu": (Mu(), IMAGE.having(Discrete)),
    "mu_continuous": (Mu(), IMAGE.having(Additive)),
    "large": (Large(), IMAGE),
    "learned": (Learned(), IMAGE),
    "learned_log": (LearnedLog(9), IMAGE.having(Generative)),
    "learned_log_endless": (LearnedLog(9), IMAGE.having(Additive)),
    "x0_text": (X0(), TEXT),
    "logits_image": (TokenLogits(), IMAGE),
    "subs": (Subs(), TEXT),
    "categorical_image": (Logits(), IMAGE),
}


@pytest.mark.parametrize("part, spec", ACCEPTED.values(), ids=ACCEPTED)
def test_what_fits_is_accepted(part, spec):
    agreed = part.accepts(spec)
    assert agreed.facts >= spec.facts
    assert agreed.shape == spec.shape


@pytest.mark.parametrize("part, spec", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(part, spec):
    with pytest.raises(Refused) as refused:
        part.accepts(spec)
    assert "use " in refused.value.fix or "choose " in refused.value.fix


def test_heads_say_what_the_network_must_give():
    assert Point().accepts(IMAGE).given == (3, 4, 4)
    assert Learned().accepts(IMAGE.having(Additive)).given == (6, 4, 4)
    assert Spread in Learned().accepts(IMAGE.having(Additive)).facts
    assert LearnedLog(9).accepts(IMAGE.having(Additive, Generative)).given == (6, 4, 4)
    assert Spread in LearnedLog(9).accepts(IMAGE.having(Additive, Generative)).facts
    assert Logits().accepts(TEXT).given == (9, VOCABULARY)
