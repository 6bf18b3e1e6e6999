"""Denoisers: every parameterization, told the truth, predicts clean data; heads; MDLM's substitution."""

import pytest
import torch
from common import Says
from torch import nn
from torch.testing import assert_close

from denoiselab.corruption import Absorbing, Additive, GaussianNoise, Terminal, TokenMask
from denoiselab.denoiser import (
    X0,
    Epsilon,
    Karras,
    Large,
    Learned,
    Logits,
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
from denoiselab.schedule import Constant, Cosine, Exploding, Linear, LinearBeta
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


# A parameterization, and what its network says when it says the truth.
PARAMETERIZATIONS = {
    "x0": (X0(), lambda a, b, x, z: x),
    "residual": (Residual(), lambda a, b, x, z: a * x + b * z - x),
    "epsilon": (Epsilon(), lambda a, b, x, z: z),
    "v": (V(), lambda a, b, x, z: a * z - b * x),
    "velocity": (Velocity(), lambda a, b, x, z: z - x),
    "karras": (Karras(), karras),
}
HEADS = {"dirac": Point(), "large": Large(), "learned": Learned()}
IMAGE, TEXT = Spec("image", (3, 4, 4)), Spec("tokens", (9,), VOCABULARY)

parameterizations = pytest.mark.parametrize("plan, truth", PARAMETERIZATIONS.values(), ids=PARAMETERIZATIONS)
schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
heads = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)


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
@heads
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
@heads
def test_mixing_is_float32_whatever_the_network_runs_in(plan, truth, head):
    x, z, t, alpha, sigma, x_t = sample(Cosine(), torch.float32)
    channels = head.accepts(IMAGE.having(Additive)).given[0]
    said = torch.cat((truth(alpha, sigma, x, z), torch.zeros_like(x)), 1)[:, :channels].bfloat16()
    belief = build(plan, Cosine(), lambda y, n: said, head)(x_t, t)
    exact = build(plan, Cosine(), lambda y, n: said.float(), head)(x_t, t)
    assert belief.mean.dtype == torch.float32
    assert torch.equal(belief.mean, exact.mean)
    text = Tokens(Says(lambda y, n: torch.zeros(*y.shape, VOCABULARY, dtype=torch.bfloat16)), Linear(), Logits())
    assert text(torch.zeros(2, 9, dtype=torch.int64), torch.ones(())).logits.dtype == torch.float32


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
    "logits": (TokenLogits(), TEXT),
    "subs": (Subs(), TEXT.having(Absorbing)),
    "dirac": (Point(), IMAGE),
    "large": (Large(), IMAGE.having(Additive)),
    "learned": (Learned(), IMAGE.having(Additive)),
    "categorical": (Logits(), TEXT),
}
REFUSED = {
    "epsilon_terminal": (Epsilon(), IMAGE.having(Additive, Terminal)),
    "epsilon": (Epsilon(), IMAGE),
    "v": (V(), IMAGE),
    "velocity": (Velocity(), IMAGE),
    "karras": (Karras(), IMAGE),
    "large": (Large(), IMAGE),
    "learned": (Learned(), IMAGE),
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
    assert Logits().accepts(TEXT).given == (9, VOCABULARY)
