"""Guidance: sampling that is pushed towards what was asked for. `base` has the contract."""

from denoiselab.guidance.base import Guidance, Unguided
from denoiselab.guidance.classifier import Classifier
from denoiselab.guidance.classifier_free import ClassifierFree

__all__ = ["Classifier", "ClassifierFree", "Guidance", "Unguided"]
