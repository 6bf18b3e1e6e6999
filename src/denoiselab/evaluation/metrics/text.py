"""Metrics of tokens, place by place: how many were restored."""

from denoiselab.evaluation.metrics.base import RESTORES, Metric, Value
from denoiselab.evaluation.metrics.restoration import same_shape
from denoiselab.sampler import Generates


class TokenAccuracy(Metric):
    """`masked_accuracy`: share of the touched tokens that were restored right, those that were chosen and kept among
    them; n counts tokens."""

    def accepts(self, spec):
        return same_shape(spec.of(("tokens",), self).refuses(Generates, self, RESTORES), self)

    def __call__(self, evidence):
        right = (evidence.restored == evidence.clean)[evidence.touched]
        return {"masked_accuracy": Value(right.double().mean().item(), len(right), evidence.split)}
