"""Schedules of discrete steps: published products of 1 - beta, in a table.

Equal to the products at t = i / steps; between, log alpha is linear in t: so they are functions of continuous time too.
"""

import abc
import math

import torch
from torch import Tensor

from denoiselab.schedule.base import LEFT, Schedule
from denoiselab.spec import Refused


class Table(Schedule):
    """The products of 1 - beta; a subclass gives the betas, (steps,) float64."""

    @abc.abstractmethod
    def __init__(self, betas: Tensor):
        super().__init__()
        log_bar = torch.cat((betas.new_zeros(1), torch.log1p(-betas).cumsum(0)))
        self.register_buffer("log_bar", log_bar, persistent=False)
        self.steps, self.t_min = len(betas), 1 / len(betas)
        # Few steps of small betas leave much of x: sampling cannot start there.
        self.reaches_prior = log_bar[-1].exp().item() < LEFT

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
        low, high = self.log_bar[index], self.log_bar[index + 1]
        return (low + (high - low) * (at - left)) / 2  # torch.lerp's derivative takes milliseconds

    def alpha(self, t):
        return self.log_alpha(t).exp().to(t.dtype)

    def sigma(self, t):
        return (-torch.expm1(2 * self.log_alpha(t))).sqrt().to(t.dtype)


def checked(name: str, steps: int, first: float, last: float, published: str) -> None:
    if steps < 1 or not 0 < first <= last < 1:
        raise Refused(
            f"{name} needs steps >= 1 and 0 < first <= last < 1", f"steps={steps} first={first} last={last}",
            f"the published values are {published}",
        )  # fmt: skip


class LinearBeta(Table):
    """DDPM (Ho et al., 2020, arXiv:2006.11239): betas linear from `first` to `last` in `steps` steps."""

    def __init__(self, steps: int = 1000, first: float = 1e-4, last: float = 0.02):
        checked("linear_beta", steps, first, last, "steps=1000 first=1e-4 last=0.02")
        super().__init__(torch.linspace(first, last, steps, dtype=torch.float64))


class ScaledLinearBeta(Table):
    """Latent diffusion (Rombach et al., 2022, arXiv:2112.10752): square roots of the betas linear from that of `first`
    to that of `last`."""

    def __init__(self, steps: int = 1000, first: float = 0.00085, last: float = 0.012):
        checked("scaled_linear_beta", steps, first, last, "steps=1000 first=0.00085 last=0.012")
        super().__init__(torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square())


class CosineBeta(Table):
    """Improved DDPM (Nichol and Dhariwal, 2021, arXiv:2102.09672): the products are cos^2(pi / 2 (t + offset) / (1 +
    offset)), divided by their value at 0, and no beta is above `clip`."""

    def __init__(self, steps: int = 1000, offset: float = 0.008, clip: float = 0.999):
        if steps < 1 or not (0 <= offset <= 1 and 0 < clip < 1):
            raise Refused(
                "cosine_beta needs steps >= 1, an offset in [0, 1] and 0 < clip < 1", f"{steps=} {offset=} {clip=}",
                "the published values are steps=1000 offset=0.008 clip=0.999",
            )  # fmt: skip
        t = torch.arange(steps + 1, dtype=torch.float64) / steps
        bar = torch.cos((t + offset) / (1 + offset) * (math.pi / 2)).square()
        super().__init__((1 - bar[1:] / bar[:-1]).clamp(max=clip))
