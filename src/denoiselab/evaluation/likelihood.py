"""Likelihoods of held-out data, in nats a sample: the variational bound term by term, and the density of the flow.

Both are functions of a denoiser and its corruption, and of a `random` of which row b serves sample b alone. Bits a
dimension are nats / (d ln 2), d numbers or tokens a sample (`bits`).

Flow. With r = sqrt(alpha^2 + sigma^2), y = x_t / r and u = -asinh(alpha / sigma), the probability flow (Song et al.,
2021, arXiv:2011.13456, eq. 13) reads

    dy / du = alpha / r y - mean(x_t)

whatever the schedule: no derivative of alpha and sigma, and finite where alpha is 0. Where there is little noise u is
the log of sigma / alpha, in which the divergence of what varies less than the noise is constant; where there is much,
an angle. log p(y) falls along the flow by the divergence. It is followed from t_min to t_max, where the prior is known:
what is found is the density of data with the noise of t_min, sigma / alpha, added.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption import Batch, Markov, Reversible
from denoiselab.denoiser import Denoiser
from denoiselab.objective import Bound
from denoiselab.schedule import Schedule
from denoiselab.spec import Refused


def bits(nats: Tensor, dims: int) -> Tensor:
    """Nats a sample of -log p to bits a dimension."""
    return nats / (dims * math.log(2))


# -- the variational bound -----------------------------------------------------------------------------------


class Terms(NamedTuple):
    """The bound of -log p(x) of each sample, in nats: `prior + terms.sum(1)`."""

    terms: Tensor  # (B, T'), float64; column j is of the time (j + 1) / T' or, of T' < T looks, of those up to there
    prior: Tensor  # (B,), float64


@torch.no_grad()
def vlb_terms(denoiser: Denoiser, corruption: Markov, batch: Batch, steps: int, random, bin: float = 2 / 255,
              ends: Sequence[float] | None = None, looks: int | None = None) -> Terms:  # fmt: skip
    """The variational bound in `steps` steps (Ho et al., 2020, arXiv:2006.11239, eq. 5), a draw of x_t for each term.

    `bin` and `ends` are the objective `Bound`'s: of what data is rounded to, and for tokens not looked at. `looks`
    below `steps` takes one step of each of as many equal parts of [0, 1], drawn sample by sample, for its part: the
    sum stays an unbiased estimate. It is in units of the chain: fewer `steps` is another, looser bound.
    """
    looks = steps if looks is None else looks
    if not 1 <= looks <= steps:
        raise Refused("looks counts the steps that are looked at", looks, f"give 1 to {steps}")
    longest = round(1 / corruption.schedule.t_min)
    if steps > longest:
        raise Refused("steps counts those of the bound, the first of which must not be below t_min", steps,
                      f"give at most {longest}")  # fmt: skip
    bound, x = Bound(steps, bin, ends), batch.x
    kind = x.dtype if x.is_floating_point() else torch.float32
    found = []
    for j in range(looks):
        drawn = random.child(j)
        u = (j + drawn.child("time").uniform((len(x), 1))[:, 0].double()) / looks
        t = ((u * steps).floor() + 1).clamp(max=steps) / steps
        corrupted = corruption(batch, t.to(kind), drawn)
        belief = denoiser(corrupted.x_t, t, seen=corrupted.seen, **corrupted.context)
        cost = bound(belief, corrupted, t, corruption) * corrupted.scored
        found.append(cost.double().flatten(1).sum(1) / looks)
    prior = bound.prior(x, corruption)
    valid = batch.context.get("valid")
    prior = prior if valid is None else torch.where(valid, prior, 0.0)
    return Terms(torch.stack(found, 1), prior.double().flatten(1).sum(1))


# -- the probability flow ------------------------------------------------------------------------------------


def flow_log_prob(denoiser: Denoiser, corruption: Reversible, x: Tensor, steps: int, random,
                  probes: int | None = None, *, bin: float | None = None, **context: Tensor) -> Tensor:  # fmt: skip
    """log p(x) of clean x (B, *), additive noise, by the probability flow, in nats, (B,) float64 (Song et al., 2021,
    arXiv:2011.13456, appendix D.2; the divergence: Grathwohl et al., 2018, arXiv:1810.01367).

    `steps` of the classical Runge-Kutta method (four network calls each). The divergence is exact without `probes`
    (as many backward passes a call as x has dimensions) or Hutchinson's estimate by that many Rademacher vectors,
    drawn from `random`, the same all along. With `bin`, data is rounded to multiples of it: x is spread evenly over
    its bin, and the answer is a lower bound, in expectation, of the log probability of the bin (Theis et al., 2016,
    arXiv:1511.01844).
    """
    for what, count in {"steps": steps, "probes": 1 if probes is None else probes}.items():
        if count < 1:
            raise Refused(f"{what} of a flow is a count", count, "give at least 1")
    dims = x[0].numel()
    if bin is not None:
        x = x + (random.child("spread").uniform(x.shape).to(x) - 0.5) * bin
    places, far = path(corruption.schedule, steps, x.device)
    field = Field(denoiser, directions(x, random.child("probes"), probes), probes, context)
    first, last = places[0], places[-1]
    y, h = x * first.cos.to(x.dtype), far.to(x.dtype)
    log_p = torch.zeros(len(x), dtype=torch.float64, device=x.device) + dims * first.cos.log()
    for a, middle, b in zip(places[:-1:2], places[1::2], places[2::2], strict=True):
        k_1, d_1 = field(y, a)
        k_2, d_2 = field(y + h / 2 * k_1, middle)
        k_3, d_3 = field(y + h / 2 * k_2, middle)
        k_4, d_4 = field(y + h * k_3, b)
        y = y + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
        log_p = log_p + far / 6 * (d_1 + 2 * d_2 + 2 * d_3 + d_4)
    x_1 = y * last.r.to(x.dtype)
    log_p = log_p + corruption.prior(x_1).log_prob(x_1).double().flatten(1).sum(1) + dims * last.r.log()
    return log_p if bin is None else log_p + dims * math.log(bin)


class Place(NamedTuple):
    """A point of the path, each () float64."""

    t: Tensor
    cos: Tensor  # alpha / r
    r: Tensor


def path(schedule: Schedule, steps: int, device: torch.device) -> tuple[list[Place], Tensor]:
    """Ends and middles of `steps` moves from t_min to t_max, evenly in u, 2 steps + 1; and how far a move is."""
    ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64, device=device)
    alpha, sigma = schedule(ends)
    low, high = -(alpha / sigma).asinh()
    u = low + (high - low) * torch.linspace(0, 1, 2 * steps + 1, dtype=torch.float64, device=device)
    t = schedule.time(2 * (-u).sinh().clamp(min=1e-30).log()).clamp(*ends)
    alpha, sigma = schedule(t)
    r = (alpha**2 + sigma**2).sqrt()
    return [Place(*one) for one in zip(t, alpha / r, r, strict=True)], (high - low) / steps


def directions(x: Tensor, random, probes: int | None) -> list[Tensor]:
    """What the Jacobian is multiplied by, each of the shape of x: the axes, or as many Rademacher vectors."""
    if probes is None:
        axes = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
        return [axis.view(x.shape[1:]).expand_as(x) for axis in axes]
    return [(random.child(i).uniform(x.shape).to(x) < 0.5).to(x.dtype) * 2 - 1 for i in range(probes)]


class Field:
    """dy / du of the probability flow, and its divergence (B,) float64, at y and a place."""

    def __init__(self, denoiser: Denoiser, along: list[Tensor], probes: int | None, context):
        self.denoiser, self.along, self.context, self.divisor = denoiser, along, context, probes or 1

    def __call__(self, y: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            mean = self.denoiser(y * place.r.to(y.dtype), place.t, **self.context).mean
            slope = place.cos.to(y.dtype) * y - mean
            rows = torch.zeros(len(y), dtype=torch.float64, device=y.device)
            for i, v in enumerate(self.along):
                (turned,) = torch.autograd.grad(slope, y, v, retain_graph=i < len(self.along) - 1)
                rows = rows + (turned * v).double().flatten(1).sum(1)
        return slope.detach(), rows / self.divisor
