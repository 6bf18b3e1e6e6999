"""Token corruptions. Severity sigma_t is the share of tokens hit; survival is 1 - sigma_t."""

from denoiselab.corruption.tokens.asked import All, Asked, Compared, Original, Replaced, Spans, Touched
from denoiselab.corruption.tokens.damage import Chain, Damage, Link, Text
from denoiselab.corruption.tokens.mixture import Mixture
from denoiselab.corruption.tokens.pointwise import Pointwise, TokenMask, TokenUniform, spoken, valid
from denoiselab.corruption.tokens.shown import (
    Deleted,
    Drawn,
    Generated,
    Infilled,
    Mixed,
    PermutedSentences,
    PermutedTokens,
    Rotated,
    Sentinels,
    Shown,
)  # fmt: skip
from denoiselab.corruption.tokens.spans import GeometricSpans, PoissonSpans, RandomSpans
from denoiselab.corruption.tokens.typos import Typos
from denoiselab.corruption.tokens.where import Block, Entities, Sentences, Suffix, Tokens, Where, Words

__all__ = [
    "All",
    "Asked",
    "Block",
    "Chain",
    "Compared",
    "Damage",
    "Deleted",
    "Drawn",
    "Entities",
    "Generated",
    "GeometricSpans",
    "Infilled",
    "Link",
    "Mixed",
    "Mixture",
    "Original",
    "PermutedSentences",
    "PermutedTokens",
    "Pointwise",
    "PoissonSpans",
    "RandomSpans",
    "Replaced",
    "Rotated",
    "Sentences",
    "Sentinels",
    "Shown",
    "Spans",
    "Suffix",
    "Text",
    "TokenMask",
    "TokenUniform",
    "Tokens",
    "Touched",
    "Typos",
    "Where",
    "Words",
    "spoken",
    "valid",
]  # fmt: skip
