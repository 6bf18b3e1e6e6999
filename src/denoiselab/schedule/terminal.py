"""A schedule whose end is nothing but noise, made of one that leaves a little."""

import torch

from denoiselab.schedule.base import Schedule
from denoiselab.spec import Refused, name

PLACES = 65  # times at which it is looked at whether the variance is preserved


class ZeroTerminalSNR(Schedule):
    """alpha of `inner`, which preserves the variance, shifted so that it ends at 0 and scaled so that it is as before
    at inner.t_min, the first step of a table (Lin et al., 2023, arXiv:2305.08891, algorithm 1). Before t_min it is
    inner's own."""

    terminal = True

    def __init__(self, inner: Schedule):
        super().__init__()
        alpha, sigma = inner(torch.linspace(0, 1, PLACES, dtype=torch.float64))
        fix = "choose another: schedule@schedule.inner=linear_beta, scaled_linear_beta, cosine_beta or log_linear"
        if inner.terminal:
            what = "zero_terminal_snr is for schedules that do not end at alpha 0 by themselves"
            raise Refused(what, name(inner), fix)
        if not ((alpha**2 + sigma**2 - 1).abs() < 1e-6).all():
            raise Refused("zero_terminal_snr needs an inner schedule with alpha^2 + sigma^2 = 1", name(inner), fix)
        self.inner, self.steps, self.t_min, self.t_max = inner, inner.steps, inner.t_min, inner.t_max
        ends = torch.tensor([inner.t_min, 1.0], dtype=torch.float64)
        (first, self.last), noise = inner.alpha(ends).tolist(), inner.sigma(ends)[0].item()
        self.scale = first / (first - self.last)
        # 1 - alpha is scale (1 - inner alpha), less this.
        self.less = self.last / (first - self.last) * noise**2 / (1 + first)

    def moved(self, t):
        """alpha of `inner`, and what becomes of it after t_min, where it is the smaller one; float64."""
        alpha = self.inner.alpha(t.double())
        return alpha, ((alpha - self.last) * self.scale).clamp(min=0)

    def alpha(self, t):
        return torch.minimum(*self.moved(t)).to(t.dtype)

    def sigma(self, t):
        before, after = self.moved(t)
        sigma = self.inner.sigma(t.double())
        # Near 0 alpha is 1 but for a few digits: 1 - alpha is taken from the inner sigma, which has them all.
        gone = self.scale * sigma**2 / (1 + before) - self.less
        own = before <= after
        gone = torch.where(own, 1.0, gone)
        return torch.where(own, sigma, (gone * (2 - gone)).sqrt()).to(t.dtype)
