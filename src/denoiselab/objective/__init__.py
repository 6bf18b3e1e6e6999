"""Objectives: a belief and a question to a cost a place. `base` has the theory."""

from denoiselab.objective.base import Likelihood, Objective, places, scored
from denoiselab.objective.bound import Bound, Hybrid
from denoiselab.objective.cost import MAE, MSE, Cost, CrossEntropy, Huber, InNoise, InX, Scale
from denoiselab.objective.detection import Detection
from denoiselab.objective.weight import (
    EDM,
    ELBO,
    P2,
    MinSNR,
    OfV,
    OfVelocity,
    Sigmoid,
    Simple,
    SNRPlusOne,
    SoftMinSNR,
    TruncatedSNR,
    Unit,
    Weight,
)  # fmt: skip
from denoiselab.objective.weighted import Sum, Weighted

__all__ = [
    "EDM", "ELBO", "MAE", "MSE", "P2", "Bound", "Cost", "CrossEntropy", "Detection", "Huber", "Hybrid", "InNoise",
    "InX", "Likelihood", "MinSNR", "Objective", "OfV", "OfVelocity", "SNRPlusOne", "Scale", "Sigmoid", "Simple",
    "SoftMinSNR", "Sum", "TruncatedSNR", "Unit", "Weight", "Weighted", "places", "scored",
]  # fmt: skip
