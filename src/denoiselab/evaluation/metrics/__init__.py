"""Metrics, by what they look at: each speaks about some cells and gives named values, curves, pictures."""

from denoiselab.evaluation.metrics.agreement import Agreement
from denoiselab.evaluation.metrics.base import Evidence, Metric, Value
from denoiselab.evaluation.metrics.by_time import LossByTime
from denoiselab.evaluation.metrics.distribution import (
    DensityCoverage,
    FrechetDistance,
    KernelDistance,
    PrecisionRecall,
    frechet_distance,
)
from denoiselab.evaluation.metrics.likelihood import BitsPerDim, FlowBitsPerDim
from denoiselab.evaluation.metrics.neighbor import NearestNeighbor
from denoiselab.evaluation.metrics.restoration import PSNR, SSIM, psnr
from denoiselab.evaluation.metrics.text import Distinct, TokenAccuracy

__all__ = [
    "PSNR", "SSIM", "Agreement", "BitsPerDim", "DensityCoverage", "Distinct", "Evidence", "FlowBitsPerDim",
    "FrechetDistance",
    "KernelDistance", "LossByTime", "Metric", "NearestNeighbor", "PrecisionRecall", "TokenAccuracy", "Value",
    "frechet_distance", "psnr",
]  # fmt: skip
