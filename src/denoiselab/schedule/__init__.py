"""Schedules: time t in [0, 1] to the signal kept and the noise added. `base` has the theory."""

from denoiselab.schedule.base import LOUDEST, Schedule, match
from denoiselab.schedule.continuous import Constant, Cosine, Exploding, Geometric, Linear, LogLinear, Sigmoid
from denoiselab.schedule.table import CosineBeta, LinearBeta, ScaledLinearBeta, Table
from denoiselab.schedule.terminal import ZeroTerminalSNR

__all__ = [
    "LOUDEST", "Constant", "Cosine", "CosineBeta", "Exploding", "Geometric", "Linear", "LinearBeta", "LogLinear",
    "ScaledLinearBeta", "Schedule", "Sigmoid", "Table", "ZeroTerminalSNR", "match",
]  # fmt: skip
