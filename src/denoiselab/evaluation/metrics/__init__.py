"""Metrics, by what they look at: each speaks about some cells and gives named values, curves, pictures."""

from denoiselab.evaluation.metrics.agreement import Agreement
from denoiselab.evaluation.metrics.base import Evidence, Metric, Value
from denoiselab.evaluation.metrics.by_time import LossByTime
from denoiselab.evaluation.metrics.context import ClozeByDistance, SentenceOrder
from denoiselab.evaluation.metrics.distribution import (
    DensityCoverage,
    FrechetDistance,
    KernelDistance,
    PrecisionRecall,
    frechet_distance,
)
from denoiselab.evaluation.metrics.generated_text import Distinct, EntropyGap, SelfRepetition
from denoiselab.evaluation.metrics.inside import CrossAttention, MemoryUse
from denoiselab.evaluation.metrics.likelihood import BitsPerDim, FlowBitsPerDim
from denoiselab.evaluation.metrics.neighbor import NearestNeighbor
from denoiselab.evaluation.metrics.prediction import BitsPerCharacter, Perplexity
from denoiselab.evaluation.metrics.probe import LinearProbe
from denoiselab.evaluation.metrics.restoration import PSNR, SSIM, psnr
from denoiselab.evaluation.metrics.restored_text import TextErrors
from denoiselab.evaluation.metrics.text import TokenAccuracy

__all__ = [
    "PSNR", "SSIM", "Agreement", "BitsPerCharacter", "BitsPerDim", "ClozeByDistance", "CrossAttention",
    "DensityCoverage", "Distinct", "EntropyGap", "Evidence", "FlowBitsPerDim",
    "FrechetDistance",
    "KernelDistance", "LinearProbe", "LossByTime", "MemoryUse", "Metric", "NearestNeighbor", "Perplexity",
    "PrecisionRecall", "SelfRepetition", "SentenceOrder", "TextErrors", "TokenAccuracy", "Value",
    "frechet_distance", "psnr",
]  # fmt: skip
