"""Agreement with the papers' own lines and with diffusers, to float error: move by move, and whole samples."""

import itertools
import math

import pytest
import torch
from common import Says, full, keys, randn, ring
from torch.testing import assert_close

from denoiselab.corruption import GaussianNoise
from denoiselab.denoiser import Epsilon, LearnedLog, Point, Velocity
from denoiselab.grid import even, quadratic
from denoiselab.oracle import Points
from denoiselab.posterior import Dirac, Gaussian
from denoiselab.sampler import DDIM, Euler, Heun, Loop
from denoiselab.schedule import Cosine, Exploding, Linear, LinearBeta

f64 = torch.float64
ONE = torch.ones((), dtype=f64)


@pytest.mark.parametrize("schedule", [Linear(), Exploding(20.0)], ids=["linear", "exploding"])
def test_euler_is_ddim_where_alpha_and_sigma_are_straight(schedule):
    gaussian, oracle, start = GaussianNoise(schedule), Points(ring(5), schedule), randn(16, 2) * schedule.sigma(ONE)
    one, two = (Loop(step, even, 10).moves(oracle, gaussian, start, keys(4)) for step in (Euler(), DDIM()))
    for (_, a, _), (_, b, _) in zip(one, two, strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_heun_is_edm():
    """The lines of EDM's sampler (Karras et al., 2022, algorithm 1), from sigma 80 to 0."""
    schedule = Exploding(80.0)
    gaussian, oracle, x = GaussianNoise(schedule), Points(ring(5), schedule), randn(16, 2) * 80
    ours = [x_s for _, x_s, _ in Loop(Heun(), quadratic, 12).moves(oracle, gaussian, x, keys(4))]
    sigmas = schedule.sigma(quadratic(schedule, 12))
    denoise = lambda y, sigma: oracle(y, sigma / 80).mean  # noqa: E731
    for i, (now, then) in enumerate(itertools.pairwise(sigmas)):
        slope = (x - denoise(x, now)) / now
        later = x + (then - now) * slope
        if then > 0:
            slope_2 = (later - denoise(later, then)) / then
            later = x + (then - now) * (0.5 * slope + 0.5 * slope_2)
        x = later
        assert_close(ours[i], x, rtol=1e-9, atol=1e-9)


def diffusers(scheduler, **options):
    """A scheduler of diffusers', with its tables in float64."""
    library = pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")
    reference = getattr(library, scheduler)(1000, **options)
    reference.betas = torch.linspace(1e-4, 0.02, 1000, dtype=f64)
    reference.alphas = 1 - reference.betas
    reference.alphas_cumprod = reference.alphas.cumprod(0)
    return reference


DDIM_OPTIONS = {"clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_moves_are_diffusers_ddim(eta):
    reference = diffusers("DDIMScheduler", **DDIM_OPTIONS)
    reference.set_timesteps(50)
    schedule, n = LinearBeta(), 50
    gaussian = GaussianNoise(schedule)
    x_t, eps, z = randn(3, 4, 3, 5, 5)
    for i, at in enumerate(reference.timesteps):
        t, s = full(4, 1 - i / n), full(4, 1 - (i + 1) / n)
        alpha, sigma = schedule.at(t, x_t)
        kernel = gaussian.transition(t, s, eta)(x_t, Dirac((x_t - sigma * eps) / alpha))
        ours = kernel.mean + kernel.var.sqrt() * z
        theirs = reference.step(eps, at, x_t, eta=eta, variance_noise=z).prev_sample
        assert_close(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_whole_ddim_sample_is_diffusers(clip):
    n, schedule = 20, LinearBeta()
    # With what is clipped, diffusers goes on with the epsilon that it makes of it if asked to.
    reference = diffusers("DDIMScheduler", **DDIM_OPTIONS | {"clip_sample": clip is not None})
    reference.set_timesteps(n)
    start = randn(4, 3, 5, 5)
    network = lambda y, noise: torch.tanh(y * (1 + noise[:, None, None, None]))  # noqa: E731
    denoiser = Epsilon().build(Says(network), GaussianNoise(schedule), Point())
    ours = Loop(DDIM(), even, n, clip)(denoiser, GaussianNoise(schedule), start, ONE, keys(4))
    x = start
    for at in reference.timesteps:
        said = network(x, full(4, (at.item() + 1) / 1000))
        x = reference.step(said, at, x, use_clipped_model_output=clip is not None).prev_sample
    assert_close(ours, x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_moves_are_diffusers_ddpm(variance):
    reference = diffusers("DDPMScheduler", clip_sample=False, variance_type=variance)
    schedule = LinearBeta()
    gaussian = GaussianNoise(schedule)
    x_t, eps = randn(2, 4, 3, 5, 5)
    for at in (0, 1, 10, 500, 998, 999):
        t, s = full(4, (at + 1) / 1000), full(4, at / 1000)
        alpha, sigma = schedule.at(t, x_t)
        mean = (x_t - sigma * eps) / alpha
        # DDPM's large variance is as wide a belief as a standard normal x allows.
        belief = Dirac(mean) if variance == "fixed_small" else Gaussian(mean, sigma.expand_as(x_t) ** 2)
        kernel = gaussian.transition(t, s)(x_t, belief)
        theirs = reference.step(eps, at, x_t, generator=torch.Generator().manual_seed(at)).prev_sample
        z = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(at), dtype=f64) if at else 0.0
        assert_close(kernel.mean + kernel.var.sqrt() * z, theirs, rtol=0, atol=1e-9)


def test_learned_variance_is_diffusers_learned_range():
    """Of all steps but the first, where diffusers draws nothing and names no variance."""
    reference = diffusers("DDPMScheduler", clip_sample=False, variance_type="learned_range")
    schedule = LinearBeta()
    gaussian = GaussianNoise(schedule)
    x_t, eps, width = randn(3, 4, 3, 5, 5)
    said = torch.cat((eps, width), 1)
    denoiser = Epsilon().build(Says(lambda y, noise: said), gaussian, LearnedLog(1000))
    for at in (1, 2, 10, 500, 998, 999):
        t, s = full(4, (at + 1) / 1000), full(4, at / 1000)
        kernel = gaussian.transition(t, s)(x_t, denoiser(x_t, t))
        theirs = reference.step(said, at, x_t, generator=torch.Generator().manual_seed(at)).prev_sample
        z = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(at), dtype=f64)
        assert_close(kernel.mean + kernel.var.sqrt() * z, theirs, rtol=0, atol=1e-9)


def test_whole_flow_sample_is_diffusers():
    n = 20
    library = pytest.importorskip("diffusers", reason="compares with diffusers, which is not installed")
    reference = library.FlowMatchEulerDiscreteScheduler(1000, shift=1.0)
    reference.set_timesteps(sigmas=[1 - i / n for i in range(n)])
    start = randn(4, 3, 5, 5)
    network = lambda y, noise: torch.tanh(y * (1 + noise[:, None, None, None].double()))  # noqa: E731
    denoiser = Velocity().build(Says(network), GaussianNoise(Linear()), Point())
    ours = Loop(Euler(), even, n)(denoiser, GaussianNoise(Linear()), start, ONE, keys(4))
    x = start
    for at in reference.timesteps:
        x = reference.step(network(x, (at / 1000).expand(4)), at, x).prev_sample
    assert_close(ours, x.double(), rtol=1e-5, atol=1e-5)  # theirs is float32


def test_ddim_variance_grows_with_eta():
    t, s = full(1, 0.7), full(1, 0.4)
    gaussian, x = GaussianNoise(Cosine()), randn(1, 3)
    small = [gaussian.transition(t, s, eta)(x, Dirac(x)).var for eta in (0.0, 0.5, 1.0)]
    assert small[0] == 0
    assert_close(small[1] / small[2], torch.full_like(small[1], 0.25))
    assert math.isclose(small[2].item(), gaussian.transition(t, s)(x, Dirac(x)).var.item())
