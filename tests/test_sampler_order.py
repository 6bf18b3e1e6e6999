"""Samplers: the order of convergence of each that draws nothing, on the oracle of a Gaussian; `-s` shows the table."""

import itertools

import pytest
import torch
from common import Silence, randn

from denoiselab.corruption import GaussianNoise
from denoiselab.grid import even
from denoiselab.oracle import Normal
from denoiselab.sampler import DDIM, Churn, DPMSolverPP, EDMHeun, Euler, Heun, Loop, UniPC
from denoiselab.schedule import Exploding, Linear, Schedule

f64 = torch.float64
# How much the error falls when the steps double, 2 to the power of the order: where moves are even in t, as far as 80
# of them show it, and where they are even in the log-SNR. UniPC's corrector adds one to its order.
ORDERS = {
    "ddim": (DDIM(), 2, 2), "euler": (Euler(), 2, 2), "heun": (Heun(), 4, 4), "edm": (Churn(EDMHeun()), None, 4),
    "dpm_solver_pp": (DPMSolverPP(), None, 4), "unipc_1": (UniPC(1), None, 4), "unipc": (UniPC(), None, 8),
}  # fmt: skip


class Preserving(Schedule):
    """DDPM's betas in continuous time: log alpha = -(0.1 t + 19.9 t^2 / 2) / 2."""

    def alpha(self, t):
        return (-(0.05 * t + 4.975 * t**2)).exp()

    def sigma(self, t):
        return (-torch.expm1(-(0.1 * t + 9.95 * t**2))).sqrt()


SMOOTH = {"preserving": Preserving(), "linear": Linear(), "exploding": Exploding(2.0)}
MEAN, STD = 0.3, 0.5


def flowed(schedule, x_t, t, s):
    """Where the probability flow of N(MEAN, STD^2) leads from t to s, in closed form."""
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    wide = (a_s**2 * STD**2 + s_s**2) / (a_t**2 * STD**2 + s_t**2)
    return a_s * MEAN + wide.sqrt() * (x_t - a_t * MEAN)


def errors(schedule, step, grids, end):
    """The largest error of samples along each grid, at its time number `end`."""
    gaussian, oracle = GaussianNoise(schedule), Normal(MEAN, STD, schedule)
    for grid in grids:
        x_t = randn(64, 1) * schedule.sigma(grid[0])
        moves = list(Loop(step, lambda _, n, grid=grid: grid, len(grid) - 1).moves(oracle, gaussian, x_t, Silence()))
        s, x_s, _ = moves[end]
        yield (x_s - flowed(schedule, x_t, grid[0], s)).abs().max().item()


def fits(key, schedule):
    return key != "edm" or not schedule.terminal


@pytest.mark.parametrize("name, schedule", SMOOTH.items(), ids=SMOOTH)
def test_error_falls_with_the_order_of_the_solver(name, schedule):
    """From t = 1 to 0 on even times. There the last moves are large in the log-SNR however many there are: what solves
    in it beats the first order, but reaches its own late."""
    table = {key: list(errors(schedule, step, [even(schedule, n) for n in (5, 10, 20, 40, 80)], -1))
             for key, (step, *_) in ORDERS.items() if fits(key, schedule)}  # fmt: skip
    print(f"\nerror on {name} at 5, 10, 20, 40, 80 steps")
    for key, found in table.items():
        print(f"  {key:14}", *(f"{e:.1e}" for e in found))
        ratios = [a / b for a, b in itertools.pairwise(found)]
        order = ORDERS[key][1]
        assert order is None or all(0.75 * order < r < 1.3 * order for r in ratios[-2:]), (key, ratios)
        assert order == 2 or all(a < b for a, b in zip(found, table["ddim"], strict=True)), key


@pytest.mark.parametrize("schedule", [Preserving(), Linear(), Exploding(10.0)], ids=SMOOTH)
def test_error_falls_with_the_order_of_the_solver_in_the_log_snr(schedule):
    ends = torch.tensor([0.9, 0.1], dtype=f64)  # between which no log-SNR is infinite

    def grid(n):
        t = schedule.time(torch.linspace(*schedule.log_snr(ends).tolist(), n + 1, dtype=f64))
        return torch.cat((ends[:1], t[1:], torch.zeros(1, dtype=f64)))

    for key, (step, _, order) in ORDERS.items():
        if fits(key, schedule):
            coarse, fine = errors(schedule, step, [grid(40), grid(80)], -2)
            assert 0.8 * order < coarse / fine < 1.3 * order, key
