"""Schedules: monotone, invertible, finite at their ends, and equal to what was published."""

import math

import pytest
import torch
from common import SCHEDULES, VARYING
from torch import nn
from torch.testing import assert_close

from denoiselab.schedule import (
    Constant,
    Cosine,
    CosineBeta,
    Exploding,
    Geometric,
    Linear,
    LinearBeta,
    LogLinear,
    ScaledLinearBeta,
    Sigmoid,
    ZeroTerminalSNR,
)  # fmt: skip
from denoiselab.spec import Refused

MOVING = VARYING | {
    "sigmoid_steep": Sigmoid(0.0, 3.0, 0.3), "zero_scaled": ZeroTerminalSNR(ScaledLinearBeta()),
    "zero_log_linear": ZeroTerminalSNR(LogLinear()),
}  # fmt: skip
ALL = SCHEDULES | MOVING | {"linear_beta_50": LinearBeta(50)}
PRESERVING = [name for name in MOVING if name not in ("linear", "exploding", "geometric")]
# Of 1000 betas; diffusers' name of each.
TABLES = {"linear": LinearBeta(), "scaled_linear": ScaledLinearBeta(), "squaredcos_cap_v2": CosineBeta()}

every = pytest.mark.parametrize("schedule", ALL.values(), ids=ALL)
varying = pytest.mark.parametrize("schedule", MOVING.values(), ids=MOVING)


def times(n=401, low=0.0, high=1.0):
    return torch.linspace(low, high, n, dtype=torch.float64)


@every
def test_alpha_never_rises_sigma_never_falls(schedule):
    t = times()
    assert (schedule.alpha(t).diff() <= 0).all()
    assert (schedule.sigma(t).diff() >= 0).all()
    assert (schedule.alpha(t) >= 0).all()
    assert (schedule.sigma(t) >= 0).all()


@varying
def test_snr_falls(schedule):
    assert (schedule.log_snr(times()).diff() < 0).all()


@varying
def test_severity_starts_at_0(schedule):
    zero = torch.zeros((), dtype=torch.float64)
    assert schedule.sigma(zero) == 0
    assert schedule.alpha(zero) == 1


@varying
def test_inverse_inverts(schedule):
    t = times(low=0.01, high=0.99)
    assert_close(schedule.time(schedule.log_snr(t)), t, rtol=0, atol=1e-9)


@varying
def test_rates_are_finite_differences(schedule):
    # Between the points of a table, where log alpha is smooth.
    t, h = (torch.arange(20, 980, 7).double() + 0.5) / 1000, 1e-6
    for rate, f in zip(schedule.rates(t), (schedule.alpha, schedule.sigma), strict=True):
        assert_close(rate, (f(t + h) - f(t - h)) / (2 * h), rtol=1e-6, atol=1e-8)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_shape_and_type_are_those_of_t(schedule, dtype, shape):
    t = torch.full(shape, 0.3, dtype=dtype)
    for a in (*schedule(t), *schedule.rates(t), schedule.log_snr(t), schedule.time(torch.zeros_like(t))):
        assert a.shape == shape
        assert a.dtype == dtype


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_log_snr_is_finite_at_both_ends(schedule, dtype):
    ends = torch.tensor([0.0, schedule.t_min, schedule.t_max, 1.0], dtype=dtype)
    assert schedule.log_snr(ends).isfinite().all()
    assert (schedule.alpha(ends) >= 0).all()


@every
def test_alpha_is_0_at_the_end_exactly_where_declared(schedule):
    nothing_left = schedule.alpha(torch.ones((), dtype=torch.float64)) < 1e-15
    assert bool(nothing_left) == schedule.terminal


@pytest.mark.parametrize("name", PRESERVING)
def test_variance_is_preserved(name):
    alpha, sigma = MOVING[name](times())
    assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-14)


def betas(schedule):
    """The share of variance that each step replaces, (1000,), and alpha^2 after it."""
    kept = schedule.alpha(torch.arange(1001).double() / 1000) ** 2
    return 1 - kept[1:] / kept[:-1], kept[1:]


def cosine_published(i):
    return math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2


PUBLISHED = {
    "linear": torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64),
    "scaled_linear": torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2,
    "squaredcos_cap_v2": torch.tensor(
        [min(1 - cosine_published(i + 1) / cosine_published(i), 0.999) for i in range(1000)], dtype=torch.float64
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_published(name):
    schedule, want = TABLES[name], PUBLISHED[name]
    found, kept = betas(schedule)
    assert_close(found, want, rtol=1e-8, atol=0)
    assert_close(kept, (1 - want).cumprod(0), rtol=1e-11, atol=0)
    assert_close(schedule.sigma(torch.arange(1, 1001).double() / 1000) ** 2, 1 - kept, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_diffusers(name):
    """Theirs are summed in float32."""
    diffusers = pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")
    ends = {"beta_start": 0.00085, "beta_end": 0.012} if name == "scaled_linear" else {}
    reference = diffusers.DDPMScheduler(1000, beta_schedule=name, **ends)
    found, kept = betas(TABLES[name])
    assert_close(found.float(), reference.betas, rtol=2e-6, atol=1e-7)
    assert_close(kept.float(), reference.alphas_cumprod, rtol=3e-5, atol=0)


@pytest.mark.parametrize("name", TABLES)
def test_zero_terminal_snr_is_diffusers(name):
    """On float64 betas, to the rounding of their products."""
    pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")
    from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr

    schedule, want = ZeroTerminalSNR(TABLES[name]), rescale_zero_terminal_snr(PUBLISHED[name])
    found, kept = betas(schedule)
    assert_close(found, want, rtol=1e-7, atol=1e-12)
    assert_close(kept, (1 - want).cumprod(0), rtol=1e-9, atol=1e-15)
    assert schedule.terminal
    assert_close(kept[:1], betas(TABLES[name])[1][:1], rtol=1e-15, atol=0)


@pytest.mark.parametrize("inner", [Linear(), Cosine(), Sigmoid(), ZeroTerminalSNR(LinearBeta()), Exploding(),
                                   Geometric(), Constant(0.1)], ids=lambda s: type(s).__name__)  # fmt: skip
def test_zero_terminal_snr_of_what_ends_so_or_grows_is_refused(inner):
    with pytest.raises(Refused, match="zero_terminal_snr"):
        ZeroTerminalSNR(inner)


@pytest.mark.parametrize("start, end, tau", [(-3.0, 3.0, 1.0), (0.0, 3.0, 0.3), (-40.0, 2.0, 1.0)])
def test_sigmoid_is_published(start, end, tau):
    """A ratio of differences of sigmoids, which loses digits where they are alike."""
    t = times()
    first, last, here = (torch.sigmoid(torch.as_tensor(a, dtype=torch.float64) / tau)
                         for a in (start, end, t * (end - start) + start))  # fmt: skip
    alpha, sigma = Sigmoid(start, end, tau)(t)
    assert_close(alpha**2, (last - here) / (last - first), rtol=0, atol=1e-12)
    assert_close(sigma**2, (here - first) / (last - first), rtol=0, atol=1e-12)


def test_log_linear_is_linear_where_it_is_published():
    """From log-SNR 13.3 to -5, less the level at 0."""
    t, schedule = times(), LogLinear()
    inverse = (-schedule.log_snr(t[1:])).exp() + math.exp(-13.3)
    assert_close(inverse.log(), -13.3 + 18.3 * t[1:], rtol=0, atol=1e-12)
    assert_close(schedule.log_snr(t[-1]).item(), -5.0, rtol=0, atol=1e-4)


def test_geometric_is_the_marginal_of_its_equation():
    """The variance is the integral of d sigma^2 / dt of the published level low (high / low)^t."""
    t = times()
    level = 0.01 * 5000**t
    assert_close(Geometric().sigma(t) ** 2, level**2 - 0.01**2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_says_its_steps_and_what_is_continuous_has_none(table):
    assert table.steps == ZeroTerminalSNR(table).steps == 1000
    assert Cosine().steps is ZeroTerminalSNR(LogLinear()).steps is None


@every
def test_rates_are_finite_wherever_times_are_drawn(schedule):
    ends = torch.tensor([schedule.t_min, schedule.t_max])
    assert all(rate.isfinite().all() for rate in schedule.rates(ends))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_table_stays_exact_whatever_the_network_is_cast_to(dtype):
    exact, schedule = LinearBeta().log_bar, LinearBeta()
    nn.ModuleDict({"schedule": schedule, "network": nn.Linear(2, 2)}).to(dtype)
    assert schedule.log_bar.dtype == torch.float64
    assert torch.equal(schedule.log_bar, exact)
    assert torch.equal(schedule.alpha(times()), LinearBeta().alpha(times()))


def test_table_is_no_part_of_a_checkpoint():
    assert not LinearBeta().state_dict()


def test_cosine_and_linear_are_their_formulas():
    t = times()
    assert_close(Linear()(t), (1 - t, t), rtol=0, atol=0)
    assert_close(Cosine()(t), ((t * torch.pi / 2).cos(), (t * torch.pi / 2).sin()), rtol=0, atol=1e-15)
    assert_close(Exploding(3.0)(t), (torch.ones_like(t), 3 * t), rtol=0, atol=0)
