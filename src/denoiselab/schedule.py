"""Schedules: time t in [0, 1] to the signal kept, alpha_t, and the noise added, sigma_t.

Gaussian corruptions read both: x_t = alpha_t x + sigma_t z. All others read the severity sigma_t in [0, 1] alone: the
share of tokens masked, of pixels hit. So `Constant(0.15)` is additive noise of 0.15 to one and BERT's rate to the
other. alpha never rises, sigma never falls; both have the shape of t, which may be () or (B,). `t_min` and `t_max`
bound where losses and beliefs are finite; a schedule that ignores time has t_min = t_max = 1.

Everything else is derived here, once: log-SNR, its inverse, rates. Where in [0, 1] training draws is said by `times`,
where sampling looks by a `grid` (denoiselab.times).
"""

import abc

import torch
from torch import Tensor, nn

from denoiselab.spec import Refused

LOUDEST = 1e6  # of noise scales: their fourth power is a float32 still


def match(a: Tensor, x: Tensor) -> Tensor:
    """Appends unit axes to `a`, shape (B,) or (), so that it broadcasts against `x`, shape (B, *)."""
    return a.reshape(a.shape + (1,) * (x.ndim - 1)) if a.ndim else a


class Schedule(nn.Module, abc.ABC):
    """alpha and sigma as functions of t; a new schedule is these two methods and three facts."""

    t_min: float = 1e-3
    t_max: float = 1.0
    terminal: bool = False  # is alpha_1 = 0: is nothing left of x at the end?
    reaches_prior: bool = True  # does t = 1 look like the prior, so that sampling may start there?
    steps: int | None = None  # how many discrete steps it is a table of; None: continuous

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
        """The inverse of `log_snr`, by bisection: sixty halvings, no branch on data."""
        low, high = torch.zeros_like(log_snr), torch.ones_like(log_snr)
        for _ in range(60):
            middle = (low + high) / 2
            later = self.log_snr(middle) > log_snr
            low, high = torch.where(later, middle, low), torch.where(later, high, middle)
        return (low + high) / 2

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """d alpha / dt and d sigma / dt, by forward-mode differentiation."""
        rise, fall = torch.func.jvp(self.forward, (t,), (torch.ones_like(t),))[1]
        # A tangent of shape () comes back as float64 where a Python number was a factor.
        return rise.to(t.dtype), fall.to(t.dtype)


class Constant(Schedule):
    """One level at all times: what makes a diffusion model a classical denoiser.

    `level` is a noise scale for additive noise (25 / 127.5 is sigma 25 of 255), a share in [0, 1] for all others.
    """

    t_min = 1.0
    reaches_prior = False

    def __init__(self, level: float):
        super().__init__()
        if not 0 <= level <= LOUDEST:
            raise Refused("schedule.level is a noise scale or a share", level, f"give a level of 0 to {LOUDEST:g}")
        self.level = level

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return torch.full_like(t, self.level)


class Linear(Schedule):
    """alpha = 1 - t, sigma = t: rectified flow (Liu et al., 2022, arXiv:2209.03003; Lipman et al., 2022,
    arXiv:2210.02747); for tokens MDLM's log-linear schedule (Sahoo et al., 2024, arXiv:2406.07524)."""

    terminal = True

    def alpha(self, t):
        return 1 - t

    def sigma(self, t):
        return t


class Cosine(Schedule):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2), in continuous time without offset or clip (after Nichol and
    Dhariwal, 2021, arXiv:2102.09672; this form: Salimans and Ho, 2022, arXiv:2202.00512)."""

    terminal = True

    def alpha(self, t):
        # alpha(1) in float32 is -4e-8 otherwise.
        return torch.cos(t * (torch.pi / 2)).clamp(min=0)

    def sigma(self, t):
        return torch.sin(t * (torch.pi / 2))


class LinearBeta(Schedule):
    """DDPM (Ho et al., 2020, arXiv:2006.11239): betas linear from `first` to `last` in `steps` steps.

    Equal to the published products at t = i / steps; between, log alpha is linear in t.
    """

    def __init__(self, steps: int = 1000, first: float = 1e-4, last: float = 0.02):
        super().__init__()
        if steps < 1 or not 0 < first <= last < 1:
            raise Refused(
                "linear_beta needs steps >= 1 and 0 < first <= last < 1", f"steps={steps} first={first} last={last}",
                "the published values are steps=1000 first=1e-4 last=0.02",
            )  # fmt: skip
        betas = torch.linspace(first, last, steps, dtype=torch.float64)
        log_bar = torch.cat((betas.new_zeros(1), torch.log1p(-betas).cumsum(0)))
        self.register_buffer("log_bar", log_bar, persistent=False)
        self.steps, self.t_min = steps, 1 / steps
        # Few steps of small betas leave much of x: sampling cannot start there.
        self.reaches_prior = log_bar[-1].exp().item() < 0.01

    def _apply(self, fn, recurse=True):
        # The table stays float64 to the bit whatever the network is cast to: only its device follows.
        exact = self.log_bar
        super()._apply(fn, recurse)
        self.log_bar = exact.to(self.log_bar.device)
        return self

    def log_alpha(self, t):
        at = (t.double() * self.steps).clamp(0, self.steps)
        left = at.detach().floor().clamp(max=self.steps - 1)
        index = left.long()
        return torch.lerp(self.log_bar[index], self.log_bar[index + 1], at - left) / 2

    def alpha(self, t):
        return self.log_alpha(t).exp().to(t.dtype)

    def sigma(self, t):
        return (-torch.expm1(2 * self.log_alpha(t))).sqrt().to(t.dtype)


class Exploding(Schedule):
    """EDM (Karras et al., 2022, arXiv:2206.00364): alpha 1, sigma = high t."""

    def __init__(self, high: float = 80.0):
        super().__init__()
        if not 0 < high <= LOUDEST:
            raise Refused("schedule.high is the noise scale at t = 1", high, f"give more than 0, up to {LOUDEST:g}")
        self.high = high

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return self.high * t
