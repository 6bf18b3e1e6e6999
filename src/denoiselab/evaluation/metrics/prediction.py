"""How well hidden tokens are told: perplexity and accuracy, at rates that are the same for all; and bounds of the
likelihood, by token and by character. Beside them what counting tokens does: a unigram model of the training text."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption import Batch, Compared, Corrupted, Corruption, TokenMask, Written
from denoiselab.corruption.tokens.pointwise import valid
from denoiselab.data.base import Loaded, Table
from denoiselab.data.batches import Once
from denoiselab.evaluation.metrics.base import Evidence, Metric, Value
from denoiselab.evaluation.metrics.likelihood import counted, shares
from denoiselab.evaluation.metrics.restored_text import texts
from denoiselab.objective import Likelihood
from denoiselab.schedule import Constant, Schedule
from denoiselab.spec import Refused, Spec

MASK = "[MASK]"


def masking(spec: Spec, who: Metric) -> Spec:
    """Of a denoiser that tells, in place, what a mask hides: others cannot be asked this question, and hear why."""
    spec, what = spec.of(("tokens",), who), f"{type(who).__name__} hides tokens, each behind a mask in its place"
    out = "leave this metric out; evaluation.damage asks all of one damage"
    if Written in spec.facts:
        raise Refused(what, "a network that writes a text of its own, without such places", out)
    if Compared in spec.facts:
        raise Refused(what, "a network that says yes or no of each token, and none in its place", out)
    if spec.specials[:1] != (MASK,):
        raise Refused(what, "a corruption without one: the network never saw it", f"{out}; or use shown=mask")
    return spec


def when(schedule: Schedule, rate: float) -> float:
    """The time at which sigma is nearest to a rate, for networks that are told; sigma rises with time."""
    low, high = schedule.t_min, schedule.t_max
    for _ in range(50):
        middle = (low + high) / 2
        if schedule.sigma(torch.tensor(middle, dtype=torch.float64)).item() < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


class Told(NamedTuple):
    """Nats of -log p of the right token and whether the likeliest is right, summed over n tokens."""

    nats: float
    right: float
    n: int

    def values(self, split: str, suffix: str = "") -> dict[str, Value]:
        nats, right = (total / self.n if self.n else math.nan for total in (self.nats, self.right))
        return {
            f"perplexity{suffix}": Value(math.exp(min(nats, 700.0)), self.n, split),
            f"masked_accuracy{suffix}": Value(right, self.n, split),
        }


@torch.no_grad()
def told(evidence: Evidence, corruption: Corruption, t: float, n: int) -> Told:
    """What the cell's denoiser says of tokens that a corruption hid, of the first n held-out samples; it is told t."""
    nats = right = count = 0.0
    for batch, random in shares(evidence, n, 11):
        time = torch.full((len(batch.x),), t, device=batch.x.device)
        c = corruption(batch, time, random)
        a, b, m = answered(evidence, c, time)
        nats, right, count = nats + a, right + b, count + m
    return Told(float(nats), float(right), int(count))


def answered(evidence: Evidence, c: Corrupted, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nats, right ones and number of the scored places."""
    assert evidence.module is not None, "the module is asked"
    belief = evidence.module.denoiser(c.x_t, t, seen=c.seen, **c.context)
    where = c.scored > 0
    return (-belief.log_prob(c.target))[where].double().sum(), (belief.mode == c.target)[where].sum(), where.sum()


class Perplexity(Metric):
    """`perplexity_R` and `masked_accuracy_R`: exp of the mean cross-entropy of hidden tokens, and the share told right,
    where a mask hides each token with probability R, of the first `n` held-out samples: one question for all cells that
    know a mask, whatever rate they were trained at. It is about masks alone: of cells that write (T5, BART, UL2), see
    none (typos, deletion, uniform noise) or say yes or no (replaced tokens) it is absent, and the run says why.
    `unigram_perplexity` and `unigram_accuracy` are those of training
    counts, which see no context."""

    def __init__(self, rates: Sequence[float] = (0.15, 0.5, 0.85), n: int = 256):
        counted(self, n=n)
        if not rates or not all(0 < rate <= 1 for rate in rates):
            raise Refused("Perplexity.rates are shares of the tokens that are hidden", rates, "give shares above 0")
        self.rates, self.n = [*rates], n

    def accepts(self, spec):
        return masking(spec, self)

    def __call__(self, evidence):
        assert evidence.module is not None, "the module is asked"
        split, found, corruption = evidence.split, {}, evidence.module.corruption
        for rate in self.rates:
            hides = TokenMask(Constant(rate), evidence.module.parts.spec.vocabulary).to(evidence.device)
            said = told(evidence, hides, when(corruption.schedule, rate), self.n)
            found |= said.values(split, f"_{rate:g}")
        return found | unigram(evidence.data, split, evidence.module.parts.spec.vocabulary)


def tokens(table: Table) -> Tensor:
    """All tokens of a split, without padding, (N,)."""
    return table.x[valid(Batch(table.x, table.x, table.context))]


def unigram(data: Loaded, split: str, vocabulary: int) -> dict[str, Value]:
    """Cross-entropy (nats), perplexity and accuracy of a split under the training split's counts, one added to each."""
    counts = torch.bincount(tokens(data.train), minlength=vocabulary).double() + 1
    held = tokens(data.split(split))
    nats = -(counts / counts.sum()).log()[held].mean().item()
    right = (held == counts.argmax()).double().mean().item()
    values = {"unigram": nats, "unigram_perplexity": math.exp(nats), "unigram_accuracy": right}
    return {name: Value(value, len(held), split) for name, value in values.items()}


class BitsPerCharacter(Metric):
    """The bound of -log p(x) that the objective is, of the first `n` held-out samples, as `nll_bound` in nats a token,
    `perplexity_bound`, its exponential, and `bits_per_character`: nats a token, times tokens a character of those
    samples, by ln 2. The last alone can be compared between tokenizers."""

    def __init__(self, n: int = 512):
        counted(self, n=n)
        self.n = n

    def accepts(self, spec):
        fix = "leave this metric out, or use an objective that is a bound, such as weight=elbo or objective=bound"
        spec = spec.of(("tokens",), self).needs(Likelihood, self, fix)
        return spec.refuses(Written, self, "leave this metric out: what is written is a part of the text")

    @torch.no_grad()
    def __call__(self, evidence):
        module, table = evidence.module, evidence.data.split(evidence.split).take(slice(self.n))
        assert module is not None, "the module is asked"
        total = count = 0.0
        for share in Once(table, evidence.batch_size):
            evidence.pulse()
            asked = module.examine(share.to(module.device))
            total, count = total + asked.cost.double().sum(), count + asked.count.double()
        nats = float(total / count)
        characters = sum(map(len, texts(evidence.data.codec, table.x, table.context.get("valid"))))
        values = {
            "nll_bound": nats,
            "perplexity_bound": math.exp(min(nats, 700.0)),
            "bits_per_character": nats * len(tokens(table)) / max(characters, 1) / math.log(2),
        }
        return {name: Value(value, len(table.x), evidence.split) for name, value in values.items()}
