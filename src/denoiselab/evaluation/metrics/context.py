"""How far a network looks: does it know the order of sentences, and what is a hidden token worth as its nearest visible
neighbors move away?

A damage that is undone from next to the hole (single tokens) can be learned without either; spans, and sentences out of
order, cannot. Beside each other for cells that differ in their damage alone, these two answer which damage teaches
long-range order.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from denoiselab.corruption.tokens.pointwise import valid
from denoiselab.evaluation.metrics.base import Evidence, Metric, Value
from denoiselab.evaluation.metrics.likelihood import counted, shares
from denoiselab.evaluation.metrics.prediction import masking, when
from denoiselab.evaluation.shown import Curve
from denoiselab.spec import Refused


class SentenceOrder(Metric):
    """`sentence_order`: share of held-out texts of which the model's pseudo-log-likelihood, each token told from all
    others (Salazar et al., 2020, arXiv:1910.14659), prefers the first two sentences in their order to the swapped
    ones; 0.5 is chance, a tie counts half. A call for each token: `n` texts."""

    def __init__(self, n: int = 16):
        counted(self, n=n)
        self.n = n

    def accepts(self, spec):
        spec = masking(spec, self)
        if "sentence" not in spec.context:
            raise Refused("SentenceOrder swaps sentences", "data that does not know its sentences",
                          "leave this metric out, or use data whose context has `sentence`")  # fmt: skip
        return spec

    @torch.no_grad()
    def __call__(self, evidence):
        right = n = 0.0
        for batch, _ in shares(evidence, self.n, 14):
            there = valid(batch)
            for x, sentence, text in zip(batch.x, batch.context["sentence"], there, strict=True):
                if (pair := halves(x[text], sentence[text])) is None:
                    continue
                first, second = pair
                kept, swapped = (pll(evidence, torch.cat(order), len(x)) for order in (pair, (second, first)))
                right, n = right + (1.0 if kept > swapped else 0.5 if kept == swapped else 0.0), n + 1
        if not n:
            raise Refused("SentenceOrder needs texts of two sentences", "none has two", "raise data.length")
        return {"sentence_order": Value(right / n, int(n), evidence.split)}


def halves(x: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor] | None:
    """The first two sentences of a text (L,), None where there are not two."""
    numbers = sentence.unique(sorted=True)
    return (x[sentence == numbers[0]], x[sentence == numbers[1]]) if len(numbers) > 1 else None


def pll(evidence: Evidence, x: Tensor, length: int) -> float:
    """Pseudo-log-likelihood of a text (m,), padded to `length`, in nats."""
    spec, m, total = evidence.module.parts.spec, len(x), 0.0
    row = torch.cat((x, x.new_zeros(length - m)))
    there = torch.arange(length, device=x.device) < m
    for places in torch.arange(m, device=x.device).split(evidence.batch_size):
        hidden = torch.arange(length, device=x.device) == places[:, None]
        log_p = asked(
            evidence, row.expand(len(places), -1), hidden, spec.vocabulary, {"valid": there.expand_as(hidden)}
        )
        total += log_p[hidden].double().sum().item()
    return total


def asked(evidence: Evidence, x: Tensor, hidden: Tensor, mask: int, context: dict[str, Tensor],
          best: bool = False) -> Tensor:  # fmt: skip
    """log p of each token of x (B, L), or whether the likeliest is it, where `hidden` are masked."""
    module = evidence.module
    rate = float(hidden.double().mean())
    t = torch.full((len(x),), when(module.corruption.schedule, rate), device=x.device)
    belief = module.denoiser(torch.where(hidden, mask, x), t, **context)
    return belief.mode == x if best else belief.log_prob(x)


class ClozeByDistance(Metric):
    """Accuracy at a masked token as a function of d, how far away the nearest visible token is: all places nearer than
    d are masked. d = 1 is a single masked token; at a distance that the model makes no use of the curve has fallen to
    what counting tokens gives. The same places for all d, one a text, of the first `n` held-out texts:
    samples/cloze_by_distance.png and .csv; `cloze_D` is the last value."""

    def __init__(self, distances: Sequence[int] = (1, 2, 3, 5, 8, 16), n: int = 256):
        counted(self, n=n)
        if not distances or min(distances) < 1 or sorted(set(distances)) != list(distances):
            raise Refused("ClozeByDistance.distances rise from 1", distances, "for example [1,2,4,8]")
        self.distances, self.n = list(distances), n

    def accepts(self, spec):
        return masking(spec, self)

    @torch.no_grad()
    def __call__(self, evidence):
        mask, right, n = evidence.module.parts.spec.vocabulary, [0.0] * len(self.distances), 0
        for batch, random in shares(evidence, self.n, 15):
            there = valid(batch)
            # A place of the text, evenly drawn: the first of a random order of its places.
            chosen = torch.where(there, random.uniform(batch.x.shape), -1.0).argmax(1)
            far = (torch.arange(batch.x.shape[1], device=batch.x.device) - chosen[:, None]).abs()
            for i, d in enumerate(self.distances):
                hit = asked(evidence, batch.x, (far < d) & there, mask, dict(batch.context), best=True)
                right[i] += hit.gather(1, chosen[:, None]).double().sum().item()
            n += len(batch.x)
        share = [hits / n if n else math.nan for hits in right]
        curve = Curve(self.distances, {"accuracy": share}, "distance of the nearest visible token", "accuracy")
        last = Value(share[-1], n, evidence.split)
        return {"cloze_by_distance": curve, f"cloze_{self.distances[-1]}": last}
