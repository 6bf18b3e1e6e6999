"""Samplers: a denoiser and a start to a sample. `base` has the contract."""

from denoiselab.sampler.base import Generates, Loop, Move, OneShot, Past, Sampler, Step
from denoiselab.sampler.steps import DDIM, Ancestral, Euler, Heun

__all__ = [
    "DDIM", "Ancestral", "Euler", "Generates", "Heun", "Loop", "Move", "OneShot", "Past", "Sampler", "Step",
]  # fmt: skip
