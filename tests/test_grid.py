"""Grids: from the end of time to 0, in as many steps as asked, under every schedule; levels as published."""

import pytest
import torch
from common import SCHEDULES, VARYING
from torch.testing import assert_close

from denoiselab.grid import even, karras, log_snr, quadratic
from denoiselab.schedule import Exploding, Linear, LinearBeta
from denoiselab.spec import Refused

GRIDS = {"even": even, "quadratic": quadratic, "karras": karras, "log_snr": log_snr}
LEVELS = VARYING | {"linear_beta_50": LinearBeta(50)}
ALL = SCHEDULES | LEVELS | {"exploding_little": Exploding(1e-3)}

every = pytest.mark.parametrize("schedule", ALL.values(), ids=ALL)
varying = pytest.mark.parametrize("schedule", LEVELS.values(), ids=LEVELS)


@every
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 5, 50, 1000])
def test_grids_fall_from_the_end_to_0(grid, schedule, steps):
    t = grid(schedule, steps)
    assert t.shape == (steps + 1,)
    assert t.dtype == torch.float64
    assert t[0] == schedule.t_max
    assert t[-1] == 0
    assert (t.diff() < 0).all()


def test_quadratic_is_even_in_square_roots():
    assert_close(quadratic(Linear(), 10).sqrt(), even(Linear(), 10), rtol=0, atol=1e-15)


@pytest.mark.parametrize("steps", [2, 5, 18, 50])
def test_karras_is_the_table_of_edm(steps):
    i = torch.arange(steps, dtype=torch.float64)
    table = (80 ** (1 / 7) + i / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert_close(80 * karras(Exploding(), steps)[:-1], table, rtol=1e-12, atol=1e-12)


def test_karras_is_diffusers():
    diffusers = pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")
    theirs = diffusers.EDMEulerScheduler()
    theirs.set_timesteps(20)
    assert_close((80 * karras(Exploding(), 20)).float(), theirs.sigmas, rtol=1e-5, atol=0)


@varying
def test_karras_has_even_roots_of_the_levels(schedule):
    """Within what the schedule has and what was asked; the first time is the prior's."""
    t = karras(schedule, 20, 5.0, 0.02, 30.0)
    roots = (schedule.log_snr(t[1:-1]) / -10).exp()
    gap = roots.diff().mean()
    assert_close(roots.diff(), gap.expand(18), rtol=1e-6, atol=1e-9)
    least, most = (schedule.log_snr(torch.tensor([schedule.t_min, schedule.t_max]).double()) / -2).exp().tolist()
    assert_close(roots[-1].item(), max(least, 0.02) ** (1 / 5), rtol=1e-6, atol=0)
    assert_close((roots[0] - gap).item(), min(most, 30.0) ** (1 / 5), rtol=1e-6, atol=0)


@varying
def test_log_snr_is_even_in_log_snr(schedule):
    t = log_snr(schedule, 20)
    gaps = schedule.log_snr(t[1:-1]).diff()
    assert_close(gaps, gaps.mean().expand(18), rtol=1e-6, atol=1e-9)
    assert_close(t[-2].item(), schedule.t_min, rtol=1e-6, atol=0)
    first = torch.tensor([schedule.t_max - schedule.t_min * schedule.terminal], dtype=torch.float64)
    assert_close(schedule.log_snr(t[1:2]) - schedule.log_snr(first), gaps[:1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("bad", [{"rho": 0.0}, {"low": 0.0}, {"low": 2.0, "high": 1.0}])
def test_levels_that_mean_nothing_are_refused(bad):
    with pytest.raises(Refused, match="karras"):
        karras(Linear(), 5, **bad)
