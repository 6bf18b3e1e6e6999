"""Likelihoods of held-out data, in bits a dimension: a bound, step by step, and the density of the flow.

Both ask the denoiser itself, many times: they are not in the standard evaluation. `denoiselab.evaluation.likelihood`
has the theory. Comparable with published values where the data is the same and not resized.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from denoiselab.corruption import Additive, Batch, Corruption, Generative, Markov
from denoiselab.data.base import Encoded, floating
from denoiselab.data.batches import Once
from denoiselab.denoiser import Clipped, Denoiser
from denoiselab.evaluation.likelihood import bits, flow_log_prob, vlb_terms
from denoiselab.evaluation.metrics.base import Evidence, Metric, Value
from denoiselab.evaluation.shown import Curve
from denoiselab.posterior import Dirac
from denoiselab.randomness import Keyed, key
from denoiselab.spec import CONTINUOUS, Refused, Spec

BIN, ENDS = 2 / 255, (-1.0, 1.0)  # of pictures in 256 levels
ADDS = "leave this metric out, or use corruption=gaussian"
REACHES = "leave this metric out, or use a schedule that ends in its prior, such as schedule=cosine"


def density(spec: Spec, who: Metric) -> Spec:
    """Of numbers with noise added, from data to a prior that is known."""
    spec = spec.refuses(Encoded, who, "leave this metric out: a density of latents is none of pictures")
    return spec.needs(Additive, who, ADDS).needs(Markov, who, ADDS).needs(Generative, who, REACHES)


def counted(who: Metric, **counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise Refused(f"{type(who).__name__}.{name} is a count", count, "give at least 1")


def shares(evidence: Evidence, n: int, tag: int) -> Iterator[tuple[Batch, Keyed]]:
    """The first n held-out samples in batches, each with a source of which row b serves sample b alone."""
    assert evidence.module is not None, "the module is asked"
    # A batch is asked so often that each question is a sign of life.
    hook = evidence.module.denoiser.register_forward_pre_hook(lambda *_: evidence.pulse())
    try:
        for share in Once(evidence.data.split(evidence.split).take(slice(n)), evidence.batch_size):
            x, keys, context = share.to(evidence.device).batch
            random = Keyed(key(evidence.seed, tag, share.place.to(evidence.device)))
            yield Batch(floating(x), keys, context), random
    finally:
        hook.remove()


def rounded(evidence: Evidence) -> bool:
    """Are held-out samples pictures in 256 levels, not points or latents?"""
    return evidence.data.split(evidence.split).x.dtype == torch.uint8


class BitsPerDim(Metric):
    """`nll_vlb`: the variational bound of -log2 p(x) a dimension of pictures in 256 levels, in `steps` steps, the mean
    over the first `n` held-out samples (Ho et al., 2020, arXiv:2006.11239, eq. 5); `nll_vlb_prior` is what of it the
    prior costs. `looks` below `steps` looks at as many of the steps, drawn sample by sample: an unbiased estimate for
    less (null: all). Fewer `steps` is another, looser bound.

    Also shows the terms at each time: samples/vlb_terms.png and .csv, in bits a dimension and a step. A belief that
    is certain of its mean has the variance that DDPM's small one has in its last move, as published.
    """

    def __init__(self, steps: int = 1000, looks: int | None = 100, n: int = 256):
        counted(self, steps=steps, looks=looks, n=n)
        if looks is not None and looks > steps:
            raise Refused("BitsPerDim.looks are some of the steps", f"looks={looks} of steps={steps}", "give fewer")
        self.steps, self.looks, self.n = steps, looks, n

    def accepts(self, spec):
        return density(spec.of(("image",), self), self)

    def __call__(self, evidence):
        if not rounded(evidence):
            got = f"samples of {evidence.data.split(evidence.split).x.dtype}"
            raise Refused(
                "nll_vlb is of pictures in 256 levels", got, "use codec=identity; nll_ode speaks of densities"
            )
        found: list[tuple[Tensor, Tensor]] = []
        for batch, random in shares(evidence, self.n, 9):
            corruption = evidence.module.corruption
            denoiser = wide(evidence.module.denoiser, corruption, batch, self.steps)
            terms = vlb_terms(denoiser, corruption, batch, self.steps, random, BIN, ENDS, self.looks)
            dims = batch.x[0].numel()
            found.append((bits(terms.terms, dims).cpu(), bits(terms.prior, dims).cpu()))
        each, prior = (torch.cat(column) for column in zip(*found, strict=True))
        looks, n, split = each.shape[1], len(each), evidence.split
        t = [(j + 1) / looks for j in range(looks)]
        a_step = (each.mean(0) * looks / self.steps).tolist()
        return {
            "nll_vlb": Value((prior + each.sum(1)).mean().item(), n, split),
            "nll_vlb_prior": Value(prior.mean().item(), n, split),
            "vlb_terms": Curve(t, {"term": a_step}, "t", "bits a dimension and a step", log=True),
        }


@torch.no_grad()
def wide(denoiser: Denoiser, corruption: Corruption, batch: Batch, steps: int) -> Denoiser:
    """A denoiser that gives rounded data a probability: certain of its mean, it is given a width in its last move."""
    one = torch.ones(1, device=batch.x.device)
    context = {name: value[:1] for name, value in batch.context.items()}
    certain = isinstance(denoiser(batch.x[:1], one, **context), Dirac)
    return Clipped(denoiser, corruption.schedule, steps) if certain else denoiser


class FlowBitsPerDim(Metric):
    """`nll_ode`: -log2 p(x) a dimension by the probability flow (Song et al., 2021, arXiv:2011.13456, section 4.3), the
    mean over the first `n` held-out samples. Pictures in 256 levels are spread evenly over their bins, so that it is an
    upper bound in expectation; of points and latents it is that of a density, and may be below 0. `steps` of
    Runge-Kutta, four network calls each; `probes` random vectors estimate the divergence (null: exact, a backward pass
    a dimension)."""

    def __init__(self, steps: int = 50, probes: int | None = 1, n: int = 64):
        counted(self, steps=steps, probes=probes, n=n)
        self.steps, self.probes, self.n = steps, probes, n

    def accepts(self, spec):
        return density(spec.of(CONTINUOUS, self), self)

    def __call__(self, evidence):
        found = []
        for batch, random in shares(evidence, self.n, 10):
            module, bin = evidence.module, BIN if rounded(evidence) else None
            log_p = flow_log_prob(module.denoiser, module.corruption, batch.x, self.steps, random, self.probes, bin=bin,
                                  **batch.context)  # fmt: skip
            found.append(bits(-log_p, batch.x[0].numel()).cpu())
        each = torch.cat(found)
        return {"nll_ode": Value(each.mean().item(), len(each), evidence.split)}
