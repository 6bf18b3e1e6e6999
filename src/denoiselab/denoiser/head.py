"""Heads: the posterior around what the network says."""

import abc
from collections.abc import Callable

import torch
from torch import Tensor

from denoiselab.corruption import Additive, Compared, Generated, Generative
from denoiselab.denoiser.base import At, Spread, is_last
from denoiselab.posterior import Bernoulli, Categorical, Dirac, Gaussian, Posterior
from denoiselab.schedule import Schedule, match
from denoiselab.spec import CONTINUOUS, Refused, Spec


class Head(abc.ABC):
    """What is believed: `mean` mixes the network's output with x_t, `at` says where."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def __call__(self, out: Tensor, mean: Callable[[Tensor], Tensor], at: At) -> Posterior: ...


class Point(Head):
    """Certain of the mean; as a way back it gives DDPM's small variance."""

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self).having(given=spec.given or spec.shape)

    def __call__(self, out, mean, at):
        return Dirac(mean(out))


class Large(Head):
    """As wide as if x were standard normal: DDPM's large variance (Ho et al., 2020, arXiv:2006.11239)."""

    def accepts(self, spec):
        return spec.of(CONTINUOUS, self).needs(Additive, self, "use posterior=dirac").having(
            given=spec.given or spec.shape)  # fmt: skip

    def __call__(self, out, mean, at):
        center = mean(out)
        return Gaussian(center, at.widest().expand_as(center))


class Learned(Head):
    """Between small and large, as the second half of the network's channels says (after Nichol and Dhariwal, 2021,
    arXiv:2102.09672; the variance of the belief about x is interpolated linearly)."""

    def accepts(self, spec):
        return doubled(spec.of(CONTINUOUS, self).needs(Additive, self, "use posterior=dirac"))

    def __call__(self, out, mean, at):
        center, width = out.chunk(2, 1)
        return Gaussian(mean(center), width.sigmoid() * at.widest())


class LearnedLog(Head):
    """The published learned variance (Nichol and Dhariwal, 2021, arXiv:2102.09672, eq. 15): the move from t to
    s = t - 1 / steps has variance exp(v log beta + (1 - v) log beta~), beta that of q(x_t | x_s), beta~ that of
    q(x_s | x_t, x); v = (out + 1) / 2, of the second half of the network's channels, is not bounded.

    Of the move to 0, where beta~ is 0, that of the move before is taken. As a belief about x the variance is
    sigma_s^2 ((beta / beta~)^v - 1) / (alpha_s^2 f), f the share of sigma_t^2 added since s: small at v = 0, large at
    v = 1, and below small, with no meaning as a belief, where v < 0. A sampler of other steps interpolates between its
    own small and large.
    """

    def __init__(self, steps: int):
        if steps < 2:
            raise Refused("posterior.steps counts the steps whose variances are learned", steps, "give at least 2")
        self.steps = steps

    def accepts(self, spec):
        fix = "use posterior=dirac, or a schedule that ends in its prior"
        return doubled(spec.of(CONTINUOUS, self).needs(Additive, self, fix).needs(Generative, self, fix))

    def __call__(self, out, mean, at):
        center, width = out.chunk(2, 1)
        scale, ratio, last = (match(a.to(out.dtype), out) for a in self.plan(at.t.double(), at.schedule))
        return Gaussian(mean(center), scale * (torch.expm1((width + 1) / 2 * ratio) + last))

    def plan(self, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
        """scale, log(beta / beta~) and whether it is the move to 0, of the shape of t, float64."""
        last = is_last(t, self.steps)
        # To 0, as the move before: from 2 t to t.
        later, s = torch.where(last, (2 * t).clamp(max=1), t), torch.where(last, t, t - 1 / self.steps)
        share, alpha, sigma = schedule.fresh(later, s), schedule.alpha(s), schedule.sigma(s)
        scale = torch.where(last, share * sigma**2, sigma**2 / (alpha**2 * share))
        return scale, torch.where(last, -share.log(), 2 * (schedule.sigma(later) / sigma).log()), last.double()


def doubled(spec: Spec) -> Spec:
    """The network gives a width beside each number."""
    c, *rest = spec.given or spec.shape
    return spec.having(Spread, given=(2 * c, *rest))


class Judgement(Head):
    """Of each token whether it is another than it was: one logit a place."""

    def accepts(self, spec):
        if Generated not in spec.of(("tokens",), self).facts:
            spec.needs(Compared, self, "use posterior=categorical, or corruption=damage asked=replaced")
        return spec.having(given=(*spec.shape, 1))

    def __call__(self, out, mean, at):
        return Bernoulli(mean(out)[..., 0])


class Logits(Head):
    """One of the clean tokens, or of the special ones that are written, at each place."""

    def accepts(self, spec):
        for fact in (Compared, Generated):
            spec = spec.of(("tokens",), self).refuses(fact, self, "use posterior=bernoulli")
        return spec.having(given=(*(spec.target or spec.shape), spec.vocabulary + spec.written))

    def __call__(self, out, mean, at):
        return Categorical(mean(out))
