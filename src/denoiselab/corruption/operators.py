"""Operators of degradations: how a picture (B, C, H, W) gets worse as the severity goes from 0 to 1.

`Blur` and `Pixelate` average: matrices along rows and columns whose rows sum to 1, so that the mean of each channel is
kept, and is all that is left at severity 1. `Fade` ends in gray. `BlockMask` and `Snow` hit places one by one: what is
hit at a severity is hit at every higher one.
"""

import abc
import functools
import math

import torch
from torch import Tensor

from denoiselab.corruption.base import Generative, Local
from denoiselab.corruption.degradation import Operator
from denoiselab.posterior import Dirac, Level
from denoiselab.schedule import match
from denoiselab.spec import Refused, Spec


def nothing(x: Tensor) -> Tensor:
    """What is drawn where nothing is random."""
    return x.new_zeros(len(x), 0)


# -- averages: all that is left is the mean of each channel ----------------------------------------------------


class Averages(Operator):
    """Weighted means along columns and rows. `levels` are those of `Spec`, told by the data: the cold start is a normal
    draw of the channels' means, on it noise of standard deviation `noise`: where all pixels are alike, nothing else
    tells them apart (published as breaking the symmetry, with 0.002)."""

    levels: list[list[float]]
    noise: float

    @abc.abstractmethod
    def weights(self, severity: Tensor, n: int, side: int) -> Tensor:
        """(B, n, n) float64 for severities (B,) float64: how much of each of n pixels is in each; `side` is the longer
        side of the picture."""

    def draw(self, x, random):
        return nothing(x)

    def plan(self, severity):
        exact = severity.double().reshape(-1)

        @functools.cache
        def matrices(h: int, w: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            return tuple(self.weights(exact, n, max(h, w)).to(dtype) for n in (h, w))

        def average(x: Tensor, drawn: Tensor) -> Tensor:
            s = match(severity.to(x.dtype), x)
            some = along(*matrices(*x.shape[-2:], x.dtype), x)
            # Exact where nothing is averaged, and where all is.
            return torch.where(s <= 0, x, torch.where(s >= 1, x.mean((-2, -1), keepdim=True), some))

        return average

    def touched(self, x, severity, drawn):
        return (match(severity, x) > 0).expand_as(x)

    def start(self, like):
        levels = torch.tensor(self.levels, dtype=torch.float64).to(like)
        return Level(levels[:, 0, None, None].expand_as(like), levels[:, 1:], self.noise)

    def accepts(self, spec):
        spec = spec.of(("image",), self)
        if not self.levels:  # no data: nothing is known of its means
            return spec
        if len(self.levels) != spec.shape[0] or {len(row) for row in self.levels} != {1 + spec.shape[0]}:
            raise Refused(
                "corruption.operator.levels has a row of 1 + C numbers for each of C channels",
                f"{[len(row) for row in self.levels]} numbers for {spec.shape[0]} channels",
                "leave it out: the data says it",
            )  # fmt: skip
        return spec.having(Generative)


def along(rows: Tensor, columns: Tensor, x: Tensor) -> Tensor:
    """rows @ x @ columns^T for matrices of each sample, or one for all: (B or 1, H, H), (B or 1, W, W)."""
    n, c, h, w = x.shape
    # Each sample a product of its own: so it is the same alone and in a batch. Never in half precision.
    with torch.autocast(x.device.type, enabled=False):
        y = torch.bmm(rows.expand(n, h, h), x.transpose(1, 2).reshape(n, h, c * w)).view(n, h, c, w)
        return torch.bmm(y.transpose(1, 2).reshape(n, c * h, w), columns.mT.expand(n, w, w)).view(n, c, h, w)


@functools.lru_cache(32)
def cosines(n: int, device: torch.device) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of n points, (n, n) float64: frequencies in rows."""
    place = torch.arange(n, dtype=torch.float64, device=device)
    wave = torch.cos(place[:, None] * (place + 0.5) * (math.pi / n)) * math.sqrt(2 / n)
    wave[0] /= math.sqrt(2)
    return wave


def positive(value: float, what: str) -> float:
    if not 0 < value <= 1e3:
        raise Refused(what, value, "give more than 0, up to 1000")
    return value


class Blur(Averages):
    """Gaussian blur of a standard deviation of width * side * s / (1 - s) pixels at severity s, `side` the longer side:
    `width` is that at severity 1/2, as a share of the side.

    The heat equation with reflecting borders, for any time up to infinity: cosine coefficients times exp(-std^2 f^2 /
    2), f = pi k / n (Rissanen et al., 2022, arXiv:2206.13397; Hoogeboom and Salimans, 2022, arXiv:2209.05557).
    """

    def __init__(self, levels: list[list[float]], width: float = 0.1, noise: float = 0.002):
        self.levels, self.noise = levels, at_least_0(noise)
        self.width = positive(width, "corruption.operator.width is the blur at severity 1/2, as a share of the side")

    def weights(self, severity, n, side):
        basis = cosines(n, severity.device)
        std = self.width * side * severity / (1 - severity)
        frequency = torch.arange(n, dtype=torch.float64, device=severity.device) * (math.pi / n)
        kept = torch.exp(-((std[:, None] * frequency) ** 2) / 2)
        kept = torch.where(frequency == 0, 1.0, kept)  # also where std is infinite
        return torch.bmm((basis.mT * kept[:, None]), basis.expand(len(kept), n, n))


class Pixelate(Averages):
    """Square cells, each its mean, of side 2^level: level ceil(L s) at severity s, where 2^L is the first power of two
    that holds the longer side. So level 0 is at severity 0 alone, each of the levels 1 to L has an equal share of the
    severities, and level L is one cell. Cells start at the upper left; each is a union of those of the level before."""

    def __init__(self, levels: list[list[float]], noise: float = 0.002):
        self.levels, self.noise = levels, at_least_0(noise)

    def weights(self, severity, n, side):
        level = (severity * max((side - 1).bit_length(), 1)).ceil().long()
        cell = torch.arange(n, device=severity.device) // (1 << level)[:, None]
        same = (cell[:, :, None] == cell[:, None]).double()
        return same / same.sum(-1, keepdim=True)


def at_least_0(noise: float) -> float:
    if not 0 <= noise <= 1:
        raise Refused("corruption.operator.noise is the standard deviation of a cold start's noise", noise,
                      "give 0 to 1; published is 0.002")  # fmt: skip
    return noise


# -- what ends in one value ------------------------------------------------------------------------------------


class Fade(Operator):
    """(1 - s) x: to gray, which is 0. Its cold start is certain, so that all new samples are one."""

    def draw(self, x, random):
        return nothing(x)

    def plan(self, severity):
        return lambda x, drawn: match((1 - severity).to(x.dtype), x) * x

    def touched(self, x, severity, drawn):
        return (match(severity, x) > 0).expand_as(x)

    def start(self, like):
        return Dirac(torch.zeros_like(like))

    def accepts(self, spec):
        return spec.of(("image", "points"), self).having(Generative)


class BlockMask(Operator):
    """A square around a random pixel is 0. It grows by the same number of pixels with each bit of severity, until at 1
    it holds the whole picture. Its cold start is certain; new samples differ by where the square lies."""

    def draw(self, x, random):
        """How far from the square's center each pixel is, (B, 1, H, W), so that it is hit from that severity on."""
        n, (h, w) = len(x), x.shape[-2:]
        row, column = random.integers(h, (n, 1)), random.child("column").integers(w, (n, 1))
        down = (torch.arange(h, device=x.device) - row).abs()
        right = (torch.arange(w, device=x.device) - column).abs()
        far = torch.maximum(down[:, :, None], right[:, None])
        # From above 0 to below 1: no pixel is hit at severity 0, and each at 1.
        return ((far + 0.5) / (far.amax((1, 2), keepdim=True) + 1))[:, None].to(x.dtype)

    def plan(self, severity):
        return lambda x, drawn: torch.where(drawn < match(severity.to(drawn.dtype), x), 0.0, x)

    def touched(self, x, severity, drawn):
        return (drawn < match(severity.to(drawn.dtype), x)).expand_as(x)

    def start(self, like):
        return Dirac(torch.zeros_like(like))

    def accepts(self, spec):
        return spec.of(("image",), self).having(Generative, Local)


class Snow(Operator):
    """Snow falls until all is white, which is 1: at severity s about a share s of the pixels is hit, in streaks.

    Like the snow of Hendrycks and Dietterich (2019, arXiv:1903.12261), with which cold diffusion was published, a layer
    of noise is blurred along a direction within 45 degrees of the vertical and cut at a threshold. Unlike it, the
    picture below is not whitened, and the threshold falls until nothing of it is left: so there is a cold start. It is
    certain; new samples differ by the layer.

    Args:
        length: standard deviation of the streaks, in pixels.
        soft: the edge of a flake: severity from the first trace at a pixel to white, as a share of all.
    """

    def __init__(self, length: float = 2.0, soft: float = 0.2):
        self.length = positive(length, "corruption.operator.length is that of the streaks, in pixels")
        if not 0 < soft <= 1:
            raise Refused("corruption.operator.soft is a share of the severities", soft, "give more than 0, up to 1")
        self.soft = soft

    def draw(self, x, random):
        """When it snows at each pixel, (B, 1, H, W), uniform over [0, 1]."""
        n, (h, w) = len(x), x.shape[-2:]
        reach = min(math.ceil(2 * self.length), h)
        steps = torch.arange(-reach, reach + 1, device=x.device)
        noise = random.normal((n, h + 2 * reach, w + 2 * reach + 1))
        lean = (random.child("lean").uniform((n, 1)) * 2 - 1) * steps + reach  # columns to the right, at each step down
        left = lean.floor()
        share = (lean - left)[:, :, None, None]
        columns = left.long()[:, :, None, None] + torch.arange(w, device=x.device).expand(h, w)
        total = square = torch.zeros((), device=x.device)
        for k, weight in enumerate(torch.exp(-((steps / self.length) ** 2) / 2)):
            rows = noise[:, k : k + h]
            for offset, part in ((0, weight * (1 - share[:, k])), (1, weight * share[:, k])):
                total = total + part * rows.gather(2, columns[:, k] + offset)
                square = square + part**2
        # No pixel of the noise is taken twice: the sum is normal, and its distribution function uniform.
        return torch.special.ndtr(total / square.sqrt())[:, None].to(x.dtype)

    def cover(self, x, severity, drawn):
        """How much of each pixel is snow, (B, 1, H, W)."""
        s = match(severity.to(drawn.dtype), x)
        return torch.where(s >= 1, 1.0, ((s * (1 + self.soft) - drawn) / self.soft).clamp(0, 1))

    def plan(self, severity):
        def snowed(x: Tensor, drawn: Tensor) -> Tensor:
            a = self.cover(x, severity, drawn)
            return torch.where(a >= 1, 1.0, x + a * (1 - x))

        return snowed

    def touched(self, x, severity, drawn):
        return (self.cover(x, severity, drawn) > 0).expand_as(x)

    def start(self, like):
        return Dirac(torch.ones_like(like))

    def accepts(self, spec: Spec) -> Spec:
        return spec.of(("image",), self).having(Generative, Local)
