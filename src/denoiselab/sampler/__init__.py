"""Samplers: a denoiser and a start to a sample. `base` has the contract."""

from denoiselab.sampler.autoregressive import Autoregressive
from denoiselab.sampler.base import Generates, Loop, Move, OneShot, Past, Sampler, Step
from denoiselab.sampler.beam import Beam
from denoiselab.sampler.cold import Cold, ColdNaive
from denoiselab.sampler.edm import Churn, EDMHeun
from denoiselab.sampler.multistep import DPMSolverPP, DPMSolverPPSDE, UniPC
from denoiselab.sampler.steps import DDIM, Ancestral, AncestralMean, Euler, Heun
from denoiselab.sampler.tokens import AncestralCached, Blocks, Confident, Nucleus
from denoiselab.sampler.wrap import Inpaint, Restart

__all__ = [
    "DDIM", "Ancestral", "AncestralCached", "AncestralMean", "Autoregressive", "Beam", "Blocks", "Churn", "Cold",
    "ColdNaive", "Confident", "DPMSolverPP", "DPMSolverPPSDE", "EDMHeun", "Euler", "Generates", "Heun", "Inpaint",
    "Loop", "Move", "Nucleus", "OneShot", "Past", "Restart", "Sampler", "Step", "UniPC",
]  # fmt: skip
