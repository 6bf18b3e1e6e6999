"""Corruptions: clean x and a time t to what the network sees and is asked. `base` has the theory."""

from denoiselab.corruption.base import (
    Absorbing,
    Additive,
    Batch,
    Corrupted,
    Corruption,
    Degrading,
    Discrete,
    Generative,
    Local,
    Markov,
    Reversible,
    Terminal,
    Written,
    corrupted,
    everywhere,
)  # fmt: skip
from denoiselab.corruption.degradation import Degradation, Operator
from denoiselab.corruption.gaussian import GaussianNoise
from denoiselab.corruption.pixel import SaltAndPepper
from denoiselab.corruption.tokens import Chain, Compared, Damage, Generated, Mixture, Pointwise, TokenMask, TokenUniform

__all__ = [
    "Absorbing", "Additive", "Batch", "Chain", "Compared", "Corrupted", "Corruption", "Damage", "Degradation",
    "Degrading", "Discrete", "GaussianNoise", "Generated", "Generative", "Local", "Markov", "Mixture", "Operator",
    "Pointwise", "Reversible", "SaltAndPepper", "Terminal", "TokenMask", "TokenUniform", "Written", "corrupted",
    "everywhere",
]  # fmt: skip
