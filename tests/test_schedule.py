"""Schedules: monotone, invertible, finite at their ends, and equal to what was published."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from denoiselab.schedule import Constant, Cosine, Exploding, Linear, LinearBeta

VARYING = {"linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta(), "exploding": Exploding()}
SCHEDULES = VARYING | {"constant": Constant(0.15), "constant_0": Constant(0.0), "linear_beta_50": LinearBeta(50)}

every = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
varying = pytest.mark.parametrize("schedule", VARYING.values(), ids=VARYING)


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


@pytest.mark.parametrize("name", ["linear_beta", "cosine"])
def test_variance_is_preserved(name):
    alpha, sigma = SCHEDULES[name](times())
    assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-14)


def test_linear_beta_is_published():
    steps = 1000
    alpha, sigma = LinearBeta()(torch.arange(steps + 1).double() / steps)
    betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)
    bar = (1 - betas).cumprod(0)
    assert_close(alpha[1:] ** 2, bar, rtol=1e-12, atol=0)
    assert_close(sigma[1:] ** 2, 1 - bar, rtol=1e-12, atol=1e-15)
    assert_close(1 - (alpha[1:] / alpha[:-1]) ** 2, betas, rtol=1e-9, atol=0)


def test_linear_beta_is_diffusers():
    diffusers = pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")
    reference = diffusers.DDPMScheduler(1000, beta_schedule="linear")
    alpha, _ = LinearBeta()(torch.arange(1001).double() / 1000)
    assert_close((1 - (alpha[1:] / alpha[:-1]) ** 2).float(), reference.betas, rtol=1e-6, atol=0)
    assert_close((alpha[1:] ** 2).float(), reference.alphas_cumprod, rtol=2e-5, atol=0)  # theirs is summed in float32


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
