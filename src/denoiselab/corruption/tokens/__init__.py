"""Token corruptions. Severity sigma_t is the share of tokens hit; survival is 1 - sigma_t."""

from denoiselab.corruption.tokens.pointwise import Pointwise, TokenMask, TokenUniform, spoken, valid

__all__ = ["Pointwise", "TokenMask", "TokenUniform", "spoken", "valid"]
