"""Grids: where sampling looks. A grid is a function of (schedule, steps) and numbers of its own to steps + 1 decreasing
times, float64, from the schedule's t_max, where the prior is, to 0.

Levels are sigma / alpha. Grids of levels look between those that the schedule has at t_min and near t_max; where it has
one alone, or none of those asked for, they are even.
"""

import torch
from torch import Tensor

from denoiselab.schedule import Schedule
from denoiselab.spec import Refused


def even(schedule: Schedule, steps: int) -> Tensor:
    """Evenly spaced times."""
    return torch.linspace(schedule.t_max, 0, steps + 1, dtype=torch.float64)


def quadratic(schedule: Schedule, steps: int) -> Tensor:
    """Square roots evenly spaced: denser near 0 (Song et al., 2021, arXiv:2010.02502)."""
    return torch.linspace(schedule.t_max**0.5, 0, steps + 1, dtype=torch.float64).square()


def karras(schedule: Schedule, steps: int, rho: float = 7.0, low: float = 0.002, high: float = 80.0) -> Tensor:
    """Levels from `high` to `low` whose roots of order `rho` are evenly spaced (Karras et al., 2022, arXiv:2206.00364,
    eq. 5)."""
    if not (rho > 0 and 0 < low < high):
        raise Refused("grid=karras needs rho > 0 and 0 < low < high", f"{rho=} {low=} {high=}", "give 7, 0.002 and 80")
    most, least = (schedule.log_snr(ends(schedule)) / -2).exp().tolist()
    high, low = (min(max(level, least), most) for level in (high, low))
    roots = torch.linspace(high ** (1 / rho), low ** (1 / rho), steps, dtype=torch.float64)
    return through(schedule, -2 * rho * roots.log())


def log_snr(schedule: Schedule, steps: int) -> Tensor:
    """The log-SNR evenly spaced, to that of t_min (Lu et al., 2022, arXiv:2206.00927). Where it is infinite at t_max,
    it begins with that of t_max - t_min: as far from the end as t_min is from 0."""
    bounds = ends(schedule)
    bounds[0] -= schedule.t_min * schedule.terminal
    return through(schedule, torch.linspace(*schedule.log_snr(bounds).tolist(), steps, dtype=torch.float64))


def ends(schedule: Schedule) -> Tensor:
    """t_max and t_min, where the schedule's tables lie."""
    device = next((table.device for table in schedule.buffers()), None)
    return torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64, device=device)


def through(schedule: Schedule, log_snr: Tensor) -> Tensor:
    """The times of rising log-SNRs (steps,), the first of them t_max, and 0."""
    if not (log_snr.diff() > 0).all():
        return even(schedule, len(log_snr))
    begin = ends(schedule)[:1]
    return torch.cat((begin, schedule.time(log_snr.to(begin))[1:], torch.zeros_like(begin)))
