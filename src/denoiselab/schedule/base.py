"""Schedules: time t in [0, 1] to the signal kept, alpha_t, and the noise added, sigma_t.

Gaussian corruptions read both: x_t = alpha_t x + sigma_t z. All others read the severity sigma_t in [0, 1] alone: the
share of tokens masked, of pixels hit. So `Constant(0.15)` is additive noise of 0.15 to one and BERT's rate to the
other. alpha never rises, sigma never falls; both have the shape of t, which may be () or (B,). `t_min` and `t_max`
bound where losses and beliefs are finite; a schedule that ignores time has t_min = t_max = 1.

Everything else is derived here, once: log-SNR, its inverse, rates. Where in [0, 1] training draws is said by `times`,
where sampling looks by a `grid`.
"""

import abc

import torch
from torch import Tensor, nn

LOUDEST = 1e6  # of noise scales: their fourth power is a float32 still
LEFT = 0.01  # of the SNR at t = 1: with less, the end looks like the prior
DIGITS = 15  # of a time, in base 16: 60 bits


def match(a: Tensor, x: Tensor) -> Tensor:
    """Appends unit axes to `a`, shape (B,) or (), so that it broadcasts against `x`, shape (B, *)."""
    return a.reshape(a.shape + (1,) * (x.ndim - 1)) if a.ndim else a


class Schedule(nn.Module, abc.ABC):
    """alpha and sigma as functions of t; a new schedule is these two methods and a few facts."""

    steps: int | None = None  # of which it is a table; None: continuous
    t_min: float = 1e-3
    t_max: float = 1.0
    terminal: bool = False  # is alpha_1 = 0: is nothing left of x at the end?
    reaches_prior: bool = True  # does t = 1 look like the prior, so that sampling may start there?

    @abc.abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The signal kept, of the shape of t."""

    @abc.abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The noise added, or the severity; of the shape of t."""

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.alpha(t), self.sigma(t)

    def at(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma, broadcasting against x."""
        return match(self.alpha(t), x), match(self.sigma(t), x)

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha^2 / sigma^2), kept finite where alpha or sigma is 0: differences are never inf - inf."""
        return 2 * (self.alpha(t).clamp(min=1e-30).log() - self.sigma(t).clamp(min=1e-30).log())

    def fresh(self, t: Tensor, s: Tensor) -> Tensor:
        """The share of sigma_t^2 that was added between s and t."""
        return -torch.expm1(self.log_snr(t) - self.log_snr(s))

    def time(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`, digit by digit in base 16: no branch on data, and a quarter of the calls of
        bisection."""
        low, inner = torch.zeros_like(log_snr), torch.arange(1, 16, dtype=log_snr.dtype, device=log_snr.device)
        for i in range(1, DIGITS + 1):
            later = self.log_snr(low[..., None] + inner * 16.0**-i) > log_snr[..., None]
            low = low + later.sum(-1) * 16.0**-i
        return low + 0.5 * 16.0**-DIGITS

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """d alpha / dt and d sigma / dt, by forward-mode differentiation."""
        rise, fall = torch.func.jvp(self.forward, (t,), (torch.ones_like(t),))[1]
        # A tangent of shape () comes back as float64 where a Python number was a factor.
        return rise.to(t.dtype), fall.to(t.dtype)
