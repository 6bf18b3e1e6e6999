"""Times: where in [0, 1] training draws t, for the places of a global batch; apart from the schedule.

Most laws of t are not reweighted: they are a choice of what counts. `Importance` is: its mean is that of even times.
"""

import abc
import math

import torch
from torch import Tensor, nn

from denoiselab.corruption import Additive
from denoiselab.schedule import Schedule
from denoiselab.spec import Refused

FARTHEST = 16.0  # of logits: beyond, t in float32 is 1
MOST = 2**20  # parts whose losses are kept


class Grid:
    """A fact: training times lie on a grid of i / steps."""


class Times(nn.Module, abc.ABC):
    """Draws t for the places (B,) of a global batch of `n`; with each its importance, 1 where t is uniform.

    The source is keyed by (seed, step, place): times do not depend on ranks. Buffers are the state.
    """

    @abc.abstractmethod
    def forward(self, place: Tensor, n: int, random) -> tuple[Tensor, Tensor]:
        """t and importance, each (B,), for places (B,) in 0 .. n - 1."""

    @abc.abstractmethod
    def accepts(self, spec): ...


class Learns(Times):
    """A fact: the times learn from the losses."""

    @abc.abstractmethod
    def learn(self, t: Tensor, loss: Tensor) -> None:
        """Takes the times as drawn and the losses of a whole global batch, both (n,) and by place, once a step."""


class Uniform(Times):
    """Independent and uniform."""

    def forward(self, place, n, random):
        t = random.uniform((len(place), 1))[:, 0]
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec


class Stratified(Times):
    """One draw in each of n equal parts of [0, 1]: the variance of the batch's mean falls (Kingma et al., 2021,
    arXiv:2107.00630, their low-discrepancy sampler)."""

    def forward(self, place, n, random):
        t = (place + random.uniform((len(place), 1))[:, 0]) / n
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec


class OnGrid(Times):
    """i / steps, i = 1 .. steps, uniform: DDPM's discrete times, and what a bound over `steps` needs."""

    def __init__(self, steps: int):
        super().__init__()
        if steps < 1:
            raise Refused("times.steps counts steps", steps, "give at least 1")
        self.steps = steps

    def forward(self, place, n, random):
        t = (1 + random.integers(self.steps, (len(place), 1))[:, 0]) / self.steps
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec.having(Grid)


class StratifiedGrid(Times):
    """i / steps, with one draw in each of n equal parts: where a bound is validated."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def forward(self, place, n, random):
        u = (place + random.uniform((len(place), 1))[:, 0]) / n
        t = ((u * self.steps).floor() + 1).clamp(max=self.steps) / self.steps
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec.having(Grid)


def near(mean: float, std: float, of: str, example: str) -> None:
    """Refuses a normal distribution of no times at all."""
    if not (abs(mean) <= FARTHEST and 0 < std <= FARTHEST):
        raise Refused(
            f"times.mean and times.std are those of {of}", f"mean={mean} std={std}",
            f"give a mean of -{FARTHEST:g} to {FARTHEST:g} and a std above 0, such as {example}",
        )  # fmt: skip


class LogitNormal(Times):
    """The logit of t is normal; the loss is not reweighted (Esser et al., 2024, arXiv:2403.03206)."""

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        super().__init__()
        near(mean, std, "the logit of t", "mean=0.0 std=1.0")
        self.mean, self.std = mean, std

    def forward(self, place, n, random):
        logit = self.mean + self.std * random.normal((len(place), 1))[:, 0]
        # Not torch.sigmoid, whose last bit depends on the place in the tensor: on the rank.
        t = logit.neg().exp().add(1).reciprocal()
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec


class KarrasLogNormal(Times):
    """log(sigma / alpha) is normal; not reweighted (Karras et al., 2022, arXiv:2206.00364, table 1)."""

    def __init__(self, schedule: Schedule, mean: float = -1.2, std: float = 1.2):
        super().__init__()
        near(mean, std, "the logarithm of the noise level", "mean=-1.2 std=1.2")
        self.schedule, self.mean, self.std = schedule, mean, std

    def forward(self, place, n, random):
        level = self.mean + self.std * random.normal((len(place), 1))[:, 0]
        t = self.schedule.time(-2 * level.double()).to(level.dtype)
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec.needs(Additive, self, "use times=uniform or stratified: with this corruption sigma is not known")


class CosineMapped(Times):
    """t = 1 - 1 / (tan(pi u / 2) + 1), u uniform: of the linear schedule, the log-SNR of the cosine one; not reweighted
    (Esser et al., 2024, arXiv:2403.03206)."""

    def forward(self, place, n, random):
        angle = random.uniform((len(place), 1))[:, 0].double() * (math.pi / 2)
        t = (angle.sin() / (angle.sin() + angle.cos())).float()
        return t, torch.ones_like(t)

    def accepts(self, spec):
        return spec


class Importance(Learns):
    """More where losses are large: the last `history` losses L are kept in each of `bins` equal parts of [0, 1], and a
    part is drawn in proportion to sqrt(mean L^2), or, in a share `uniform` of draws, evenly; reweighted. Even until all
    parts have their history (Nichol and Dhariwal, 2021, arXiv:2102.09672, section 3.3)."""

    def __init__(self, bins: int = 100, history: int = 10, uniform: float = 0.001):
        super().__init__()
        if not (1 <= bins <= MOST and 1 <= history <= MOST // bins):
            raise Refused(
                "times.bins are parts of [0, 1] and times.history the losses kept of each", f"{bins=} {history=}",
                f"give at least 1 of both, and {MOST:,} losses at most",
            )  # fmt: skip
        if not 0 < uniform <= 1:
            raise Refused("times.uniform is the share of even draws", uniform, "give more than 0, up to 1")
        self.bins, self.history, self.uniform = bins, history, uniform
        self.register_buffer("losses", torch.zeros(bins, history))
        self.register_buffer("seen", torch.zeros(bins, dtype=torch.int64))

    def density(self) -> Tensor:
        """Of t in each part, 1 where it is even; (bins,) float64."""
        size = self.losses.double().square().mean(1).sqrt()
        # Where nothing is lost, any density will do.
        size = size.clamp(min=1e-30) / size.clamp(min=1e-30).mean()
        return torch.where((self.seen >= self.history).all(), self.uniform + (1 - self.uniform) * size, 1.0)

    def forward(self, place, n, random):
        which, where = random.uniform((len(place), 2)).double().unbind(1)
        density = self.density()
        part = torch.searchsorted(density.cumsum(0), which * self.bins, right=True).clamp(max=self.bins - 1)
        return ((part + where) / self.bins).float(), (1 / density[part]).float()

    @torch.no_grad()
    def learn(self, t, loss):
        part = (t.double() * self.bins).long().clamp(0, self.bins - 1)
        part, order = part.sort(stable=True)
        every = torch.arange(self.bins, device=t.device)
        first, after = torch.searchsorted(part, every), torch.searchsorted(part, every, right=True)
        # The rings go on in the order of places; of one part's losses in a batch, the last ones stay.
        nth = torch.arange(len(t), device=t.device) - first[part]
        kept = nth >= (after - first)[part] - self.history
        slot = torch.where(kept, part * self.history + (self.seen[part] + nth) % self.history, self.losses.numel())
        losses = torch.cat((self.losses.flatten(), self.losses.new_zeros(1)))
        losses[slot] = loss[order].to(losses)
        self.losses.copy_(losses[:-1].view_as(self.losses))
        self.seen += after - first

    def accepts(self, spec):
        return spec.having(Learns)
