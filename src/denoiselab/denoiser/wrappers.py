"""Wrappers: a denoiser around another."""

import dataclasses

import torch
from torch import Tensor

from denoiselab.denoiser.base import Denoiser, Detects, is_last
from denoiselab.posterior import Categorical, Chosen, Detected, Gaussian
from denoiselab.schedule import Schedule, match


class Substituted(Denoiser):
    """MDLM's substitution (Sahoo et al., 2024, arXiv:2406.07524, section 3.2.3): a shown token is what it is, and
    nothing is a mask (the network has no logit for it)."""

    def __init__(self, inner: Denoiser, mask: int):
        super().__init__()
        self.inner, self.mask = inner, mask

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        belief = self.inner(x_t, t, seen=seen, previous=previous, **context)
        if isinstance(belief, Chosen):  # at places that are scored: all hidden
            return belief
        hidden = x_t == self.mask
        known = belief.at(torch.where(hidden, 0, x_t)).mean.log()
        return Categorical(torch.where(hidden[..., None], belief.logits, known))


class Detecting(Detects):
    """A `generator` (a belief about clean tokens) fills in what the mask hides, and a `discriminator` (a belief about
    each token, whether it is another than it was) reads that. What is drawn is a function of `dice`, (B, L) in [0, 1),
    of the context; without it the likeliest token is taken."""

    def __init__(self, generator: Denoiser, discriminator: Denoiser, mask: int):
        super().__init__()
        self.generator, self.discriminator, self.mask = generator, discriminator, mask

    def forward(self, x_t, t, *, seen=None, previous=None, asked=None, dice: Tensor | None = None, **context):
        seen = x_t if seen is None else seen
        guess = self.generator(seen, t, **context)
        with torch.no_grad():
            drawn = guess.mode if dice is None else guess.quantile(dice)
            hidden = seen == self.mask
            filled = torch.where(hidden, drawn, seen)
        return Detected(filled, hidden, self.discriminator(filled, t, **context), guess)


class Bounded(Denoiser):
    """A belief about numbers whose mean is held within -most to most, as the samples of DDPM were made (Ho et al.,
    2020, arXiv:2006.11239): where little is left of x, a small error of epsilon is a large one of x."""

    def __init__(self, inner: Denoiser, most: float):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        belief = self.inner(x_t, t, seen=seen, previous=previous, **context)
        return dataclasses.replace(belief, mean=belief.mean.clamp(-self.most, self.most))


class Clipped(Denoiser):
    """A belief about numbers whose variance, in the last of `steps` moves, is at least that of q(x_s | x_t, x) in the
    move before: DDPM's small variance as it was published, with which rounded data has a likelihood (Ho et al., 2020,
    arXiv:2006.11239; Nichol and Dhariwal, 2021, arXiv:2102.09672)."""

    def __init__(self, inner: Denoiser, schedule: Schedule, steps: int):
        super().__init__()
        self.inner, self.schedule, self.steps = inner, schedule, steps

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        belief = self.inner(x_t, t, seen=seen, previous=previous, **context)
        now = t.double()
        second = self.schedule.fresh((2 * now).clamp(max=1), now) * self.schedule.sigma(now) ** 2
        least = torch.where(is_last(now, self.steps), second, 0.0)
        var = torch.as_tensor(belief.var, dtype=x_t.dtype, device=x_t.device)
        return Gaussian(belief.mean, torch.maximum(var, match(least.to(x_t.dtype), x_t)).expand_as(belief.mean))
