"""Metrics of text: how much of it is new, and how much was restored."""

from denoiselab.evaluation.metrics.base import MAKES, RESTORES, Metric, Value
from denoiselab.evaluation.metrics.restoration import same_shape
from denoiselab.sampler import Generates


class Distinct(Metric):
    """Share of pairs of neighboring tokens that differ from all others, `distinct_2` (Li et al., 2016,
    arXiv:1510.03055): near 0 where a sampler repeats itself. It falls with the amount of text: compare values of the
    same n alone."""

    def accepts(self, spec):
        return spec.of(("tokens",), self).needs(Generates, self, MAKES)

    def __call__(self, evidence):
        assert evidence.samples is not None, "a sampler that generates gives samples"
        pairs = evidence.samples.unfold(1, 2, 1).flatten(0, 1)
        share = len(pairs.unique(dim=0)) / max(len(pairs), 1)
        return {"distinct_2": Value(share, len(evidence.samples), evidence.split)}


class TokenAccuracy(Metric):
    """`masked_accuracy`: share of the touched tokens that were restored right, those that were chosen and kept among
    them; n counts tokens."""

    def accepts(self, spec):
        return same_shape(spec.of(("tokens",), self).refuses(Generates, self, RESTORES), self)

    def __call__(self, evidence):
        right = (evidence.restored == evidence.clean)[evidence.touched]
        return {"masked_accuracy": Value(right.double().mean().item(), len(right), evidence.split)}
