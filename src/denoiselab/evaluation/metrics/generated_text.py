"""Metrics of generated text: how much of it is new, and how probable it is under a source that is known."""

import math

import torch
from torch import Tensor

from denoiselab.data.markov import ALPHABET, source
from denoiselab.evaluation.metrics.base import MAKES, Metric, Value
from denoiselab.sampler import Generates
from denoiselab.spec import Refused, Spec


def written(spec: Spec, who: Metric) -> Spec:
    """Of new text."""
    return spec.of(("tokens",), who).needs(Generates, who, MAKES)


class Distinct(Metric):
    """Share of n-grams of tokens that differ from all others, `distinct_1` to `distinct_N` (Li et al., 2016,
    arXiv:1510.03055): near 0 where a sampler repeats itself. It falls with the amount of text: compare values of the
    same n alone."""

    def __init__(self, longest: int = 3):
        if longest < 1:
            raise Refused("Distinct.longest counts the tokens of an n-gram", longest, "give at least 1")
        self.longest = longest

    def accepts(self, spec):
        return written(spec, self)

    def __call__(self, evidence):
        assert evidence.samples is not None, "a sampler that generates gives samples"
        x = evidence.samples
        sizes = range(1, min(self.longest, x.shape[1]) + 1)
        shares = {n: distinct(x.unfold(1, n, 1).flatten(0, 1)) for n in sizes}
        return {f"distinct_{n}": Value(share, len(x), evidence.split) for n, share in shares.items()}


def distinct(grams: Tensor) -> float:
    """Share of rows (N, n) that differ."""
    return len(grams.unique(dim=0)) / max(len(grams), 1)


class SelfRepetition(Metric):
    """Share of the n-grams of a sample that it has said before, the mean over samples: `seq_rep_N`, 1 - distinct
    n-grams / n-grams (Welleck et al., 2020, arXiv:1908.04319, section 3). Compare samples of the same length alone, and
    with what held-out text of that length has: `seq_rep_N_data`."""

    def __init__(self, n: int = 4):
        if n < 1:
            raise Refused("SelfRepetition.n counts the tokens of an n-gram", n, "give at least 1")
        self.n = n

    def accepts(self, spec):
        if written(spec, self).shape[0] < self.n:
            raise Refused("SelfRepetition looks at n tokens", f"n={self.n} of {spec.shape[0]}", "give a smaller n")
        return spec

    def __call__(self, evidence):
        assert evidence.samples is not None, "a sampler that generates gives samples"
        pairs = {"": evidence.samples, "_data": evidence.clean}
        return {f"seq_rep_{self.n}{of}": Value(repetition(x, self.n), len(x), evidence.split)
                for of, x in pairs.items()}  # fmt: skip


def repetition(x: Tensor, n: int) -> float:
    """seq-rep-n of texts (N, L), the mean."""
    return 1 - sum(distinct(row.unfold(0, n, 1)) for row in x) / max(len(x), 1)


class EntropyGap(Metric):
    """`entropy_gap`: cross-entropy of generated text under the exact source of data=markov, less the entropy of its
    windows, nats a token. 0 for samples of the source; above where text is impossible or odd, below where a sampler
    says only what is probable (a low temperature)."""

    def accepts(self, spec):
        return written(spec, self)

    def __call__(self, evidence):
        data = evidence.data
        if data.entropy is None:
            raise Refused("EntropyGap needs text of a known source", "data whose entropy is not known",
                          "leave this metric out, or use data=markov")  # fmt: skip
        known = {c: i for i, c in enumerate(ALPHABET)}
        said = data.codec.decode(evidence.samples)
        if strange := {c for text in said for c in text} - set(known):
            raise Refused("EntropyGap reads the source's characters", "".join(sorted(strange)), "leave this metric out")
        gap = entropy_gap(torch.tensor([[known[c] for c in text] for text in said]))
        return {"entropy_gap": Value(gap, len(said), evidence.split)}


def entropy_gap(ids: Tensor) -> float:
    """Of texts (N, L), L >= 2, of ids in the order of the alphabet; nats a token."""
    length = ids.shape[1]
    gap = (-source().log_prob(ids).mean().item() - source().block_entropy(length)) / length
    return gap if math.isfinite(gap) else math.nan
