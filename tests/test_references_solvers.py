"""Multistep solvers and EDM's sampler agree with the papers' own lines and with diffusers: move by move, whole samples
of a network that is a function."""

import itertools
import sys
import warnings

import pytest
import torch
from common import Says, keys, randn, ring
from torch.testing import assert_close

from denoiselab.corruption import GaussianNoise
from denoiselab.denoiser import Epsilon, Point
from denoiselab.grid import even, quadratic
from denoiselab.oracle import Points
from denoiselab.randomness import Random
from denoiselab.sampler import DDIM, Ancestral, Churn, DPMSolverPP, DPMSolverPPSDE, EDMHeun, Loop, UniPC
from denoiselab.schedule import Cosine, Exploding, Linear, LinearBeta

f64 = torch.float64
ONE = torch.ones((), dtype=f64)


class Drawn(Random):
    """The same draws for us and for them: those of move i are number i."""

    def __init__(self, shape, number=0):
        self.shape, self.number = shape, number

    def normal(self, shape=None):
        return randn(*self.shape, seed=100 + self.number)

    uniform = words = normal

    def child(self, name):
        return Drawn(self.shape, name if isinstance(name, int) else self.number)


def network(y, noise):
    return torch.tanh(y * (1 + noise.reshape(-1, 1, 1, 1)))


def epsilon(schedule):
    return Epsilon().build(Says(network), GaussianNoise(schedule), Point())


class Double:
    """torch to a module of theirs, whose float32 is float64."""

    float32 = f64

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture
def diffusers(monkeypatch):
    """A function of (scheduler, n, options): a scheduler of diffusers' on the published betas that calculates in
    float64, and the times of its moves in [0, 1], the last of them 0."""
    library = pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")

    def make(name, n, **options):
        kind = getattr(library, name)
        with warnings.catch_warnings(action="ignore"):  # of numpy, about how they call it
            reference = kind(1000, beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing", **options)
            reference.set_timesteps(n)
        monkeypatch.setattr(sys.modules[kind.__module__], "torch", Double())
        # Whole times, rounded where n does not divide 1000: ours follow.
        times = [(at + 1) / 1000 for at in dict.fromkeys(reference.timesteps.tolist())]
        grid = torch.tensor([*times, 0.0], dtype=f64)
        alpha, sigma = LinearBeta()(grid)
        reference.sigmas = sigma / alpha
        return reference, grid

    return make


# The name of diffusers' scheduler, its options, ours.
SOLVERS = {
    "dpm_solver_pp_1": ("DPMSolverMultistepScheduler", {"solver_order": 1}, DPMSolverPP(1)),
    "dpm_solver_pp": ("DPMSolverMultistepScheduler", {"solver_order": 2}, DPMSolverPP(2)),
    "dpm_solver_pp_3": ("DPMSolverMultistepScheduler", {"solver_order": 3}, DPMSolverPP(3)),
    "dpm_solver_pp_sde_1": ("DPMSolverMultistepScheduler", {"solver_order": 1, "algorithm_type": "sde-dpmsolver++"},
                            DPMSolverPPSDE(1)),
    "dpm_solver_pp_sde": ("DPMSolverMultistepScheduler", {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"},
                          DPMSolverPPSDE(2)),
    "unipc_1": ("UniPCMultistepScheduler", {"solver_order": 1}, UniPC(1)),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}, UniPC(2)),
    "unipc_3": ("UniPCMultistepScheduler", {"solver_order": 3}, UniPC(3)),
}  # fmt: skip


@pytest.mark.parametrize("name, options, step", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("n", [1, 2, 5, 14])
def test_whole_samples_are_diffusers_move_by_move(name, options, step, n, diffusers):
    """Few moves: from 15 on diffusers' DPM-Solver++ of order 3 has its full order in the last move but one."""
    schedule, x = LinearBeta(), randn(4, 3, 5, 5)
    reference, grid = diffusers(name, n, **options)
    random = Drawn(x.shape)
    ours = Loop(step, lambda schedule, n: grid, n).moves(epsilon(schedule), GaussianNoise(schedule), x, random)
    for i, (at, (_, x_s, _)) in enumerate(zip(reference.timesteps, ours, strict=True)):
        noise = {"variance_noise": random.child(i).normal()} if "algorithm_type" in options else {}
        x = reference.step(network(x, grid[i]), at, x, **noise).prev_sample
        assert x.dtype == f64
        assert_close(x_s, x, rtol=1e-9, atol=1e-9)


def test_edm_heun_is_diffusers_heun(diffusers):
    schedule, n, x = LinearBeta(), 10, randn(4, 3, 5, 5)
    reference, grid = diffusers("HeunDiscreteScheduler", n)
    first, *middle, last = reference.sigmas
    reference.sigmas = torch.stack((first, *(a for level in middle for a in (level, level)), last))
    ours = list(Loop(EDMHeun(), lambda schedule, n: grid, n).moves(
        epsilon(schedule), GaussianNoise(schedule), x, keys(4)))  # fmt: skip
    y = x / schedule.alpha(grid[0])
    for i, at in enumerate(reference.timesteps):
        told = grid[(i + 1) // 2]
        y = reference.step(network(reference.scale_model_input(y, at), told), at, y).prev_sample
        if i % 2 or i == 2 * n - 2:  # they count each half
            s, x_s, _ = ours[i // 2]
            assert y.dtype == f64
            assert_close(x_s, schedule.alpha(s) * y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name, step", [("EulerDiscreteScheduler", DDIM()),
                                        ("EulerAncestralDiscreteScheduler", Ancestral())])  # fmt: skip
def test_ddim_and_ancestral_are_diffusers_euler_in_the_noise_level(name, step, diffusers):
    schedule, n, x = LinearBeta(), 10, randn(4, 3, 5, 5)
    reference, grid = diffusers(name, n)
    ours = Loop(step, lambda schedule, n: grid, n).moves(
        epsilon(schedule), GaussianNoise(schedule), x, Drawn(x.shape))  # fmt: skip
    y = x / schedule.alpha(grid[0])
    for i, (at, (s, x_s, _)) in enumerate(zip(reference.timesteps, ours, strict=True)):
        eps = network(reference.scale_model_input(y, at), grid[i])
        y = reference.step(eps, at, y, generator=torch.Generator().manual_seed(100 + i)).prev_sample
        assert y.dtype == f64
        assert_close(x_s, schedule.alpha(s) * y, rtol=1e-9, atol=1e-9)


# S_churn, S_min, S_max, S_noise: theirs for CIFAR-10 and ImageNet, and one that is cut off.
CHURNS = [(0.0, 0.0, 1e6, 1.0), (30.0, 0.01, 1.0, 1.007), (40.0, 0.05, 50.0, 1.003), (80.0, 0.0, 1e6, 1.0)]


@pytest.mark.parametrize("s_churn, s_min, s_max, s_noise", CHURNS)
def test_edm_is_its_algorithm(s_churn, s_min, s_max, s_noise):
    """Karras et al., 2022, algorithm 2, line by line, with the same draws; but nothing goes beyond t = 1."""
    schedule, n, x = Exploding(80.0), 18, 80 * randn(16, 2)
    gaussian, oracle, random = GaussianNoise(schedule), Points(ring(5), schedule), Drawn(x.shape)
    step = Churn(EDMHeun(), s_churn, s_min, s_max, s_noise)
    ours = [x_s for _, x_s, _ in Loop(step, quadratic, n).moves(oracle, gaussian, x, random)]
    denoise = lambda y, level: oracle(y, level / 80).mean  # noqa: E731
    for i, (now, then) in enumerate(itertools.pairwise(schedule.sigma(quadratic(schedule, n)))):
        gamma = min(s_churn / n, 2**0.5 - 1) if s_min <= now <= s_max else 0.0
        eps = s_noise * random.child(i).normal()
        hat = (now + gamma * now).clamp(max=80)
        x_hat = x + (hat**2 - now**2).sqrt() * eps
        slope = (x_hat - denoise(x_hat, hat)) / hat
        x = x_hat + (then - hat) * slope
        if then:
            slope_2 = (x - denoise(x, then)) / then
            x = x_hat + (then - hat) * (slope / 2 + slope_2 / 2)
        assert_close(ours[i], x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "schedule", [Linear(), Cosine(), LinearBeta(), Exploding(20.0)], ids=lambda s: type(s).__name__
)
def test_the_first_orders_are_ddim_and_ancestral(schedule):
    """Also where alpha is 0 at the start."""
    gaussian, oracle, x = GaussianNoise(schedule), Points(ring(5), schedule), randn(16, 2) * schedule.sigma(ONE)
    for one, two in ((DDIM(), DPMSolverPP(1)), (Ancestral(), DPMSolverPPSDE(1))):
        ours, theirs = (Loop(step, even, 6).moves(oracle, gaussian, x, Drawn(x.shape)) for step in (one, two))
        for (_, a, _), (_, b, _) in zip(ours, theirs, strict=True):
            assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_unipc_in_its_first_moves_from_no_signal():
    """Where alpha is 0 the corrector is the trapezoidal rule in alpha / sigma, and is not looked back on."""
    schedule, x = Linear(), randn(16, 2)
    gaussian, oracle = GaussianNoise(schedule), Points(ring(5), schedule)
    (_, first, m_0), (_, second, m_1), *_ = Loop(UniPC(), even, 4).moves(oracle, gaussian, x, keys(16))
    assert_close(first, 0.75 * x + 0.25 * m_0.mean, rtol=1e-9, atol=1e-9)
    corrected = 0.75 * x + 0.25 * (m_0.mean + m_1.mean) / 2
    assert_close(second, corrected * 0.5 / 0.75 + m_1.mean * (0.5 - 0.25 * 0.5 / 0.75), rtol=1e-9, atol=1e-9)
