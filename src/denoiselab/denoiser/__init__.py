"""Denoisers: what the network says, turned into a posterior about clean data. `base` has the theory."""

from denoiselab.denoiser.base import At, Decodes, Denoiser, Detects, Spread
from denoiselab.denoiser.continuous import (
    X0,
    Coefficients,
    Continuous,
    Epsilon,
    Karras,
    Mu,
    OfCoefficients,
    Residual,
    V,
    Velocity,
)  # fmt: skip
from denoiselab.denoiser.head import Head, Judgement, Large, Learned, LearnedLog, Logits, Point
from denoiselab.denoiser.parameterization import Parameterization
from denoiselab.denoiser.tokens import Electra, NextToken, Replaced, Subs, TokenLogits, Tokens, Writing
from denoiselab.denoiser.wrappers import Bounded, Clipped, Detecting, Substituted

__all__ = [
    "X0", "At", "Bounded", "Clipped", "Coefficients", "Continuous", "Decodes", "Denoiser", "Detecting", "Detects",
    "Electra", "Epsilon", "Head", "Judgement", "Karras", "Large", "Learned", "LearnedLog", "Logits", "Mu", "NextToken",
    "OfCoefficients", "Parameterization", "Point", "Replaced", "Residual", "Spread", "Subs", "Substituted",
    "TokenLogits", "Tokens", "V", "Velocity", "Writing",
]  # fmt: skip
