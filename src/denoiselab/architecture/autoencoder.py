"""A convolutional autoencoder: pictures to smaller latents and back, for diffusion in what it learned.

Latents of a picture have mean 0 and variance 1 over all their places and channels, and in training Gaussian noise is
added to them: together a channel of limited power, through which only so much can be said. So latents fill the shell on
which standard normal numbers lie, near ones mean near pictures, and the decoder forgives the errors of a sampler. It
does what the KL term of Rombach et al. (2022, arXiv:2112.10752) does for their autoencoder, without a second loss.
"""

import abc

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.architecture.base import Architecture, halved, leaving_out, whole, zeroed
from denoiselab.spec import Refused

FEWEST = 4  # numbers of a latent: of fewer, mean 0 and variance 1 leave nothing


class Coder(nn.Module, abc.ABC):
    """A network that encodes and decodes. `shape`, (3,) int64, is of the pictures it was made for: a buffer, so that
    a checkpoint tells it."""

    shape: Tensor

    @abc.abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [-1, 1] to latents (B, c, h, w), without noise."""

    @abc.abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Latents to pictures."""


class Autoencoder(Architecture):
    """Residual blocks down to latents of `channels`, and up again; the time is not told.

    `width` channels times `multipliers`, one a resolution, each half the one above (odd sizes are rounded up): three
    make 7 x 7 latents of 28 x 28 pictures. `blocks` residual blocks a resolution; `noise` is the standard deviation of
    what training adds to the latents, whose own is 1."""

    def __init__(self, width: int = 32, multipliers: tuple[int, ...] = (1, 2), blocks: int = 1, channels: int = 2,
                 noise: float = 0.1, dropout: float = 0.0):  # fmt: skip
        multipliers = tuple(multipliers)
        if width % 8 or min((width, blocks, channels, *multipliers), default=0) < 1 or not multipliers:
            raise Refused(
                "Autoencoder needs a width that 8 divides, one multiplier a resolution, a block and a channel",
                f"width={width} multipliers={list(multipliers)} blocks={blocks} channels={channels}",
                "for example width=32 multipliers=[1,2] blocks=1 channels=2",
            )  # fmt: skip
        if not 0 <= noise < 10:
            raise Refused("architecture.noise is added to latents of variance 1", noise, "give 0 to 1, such as 0.1")
        self.width, self.multipliers, self.blocks, self.channels = width, multipliers, blocks, channels
        self.noise, self.dropout = float(noise), leaving_out(dropout)

    def accepts(self, spec):
        spec = whole(spec.of(("image",), self), self)
        halved(spec, len(self.multipliers) - 1, self)
        h, w = self.sizes(spec.shape)[-1]
        if self.channels * h * w < FEWEST:
            raise Refused(
                f"a latent has {FEWEST} numbers at least", f"{self.channels} channels of {h} x {w}",
                "raise architecture.channels, or use fewer multipliers",
            )  # fmt: skip
        return spec

    def sizes(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Height and width at each resolution, the picture's first."""
        found = [shape[1:]]
        for _ in self.multipliers[1:]:
            found.append(tuple(-(-side // 2) for side in found[-1]))
        return found

    def build(self, spec):
        return AutoencoderNetwork(spec.shape, (spec.given or spec.shape)[0], self)


class Block(nn.Module):
    """Norm, convolution, norm, convolution; added to its input."""

    def __init__(self, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(8, outputs), nn.SiLU(), nn.Dropout(dropout),
            zeroed(nn.Conv2d(outputs, outputs, 3, padding=1)),
        )  # fmt: skip
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        return self.skip(x) + self.layers(x)


class Up(nn.Module):
    """To twice the size, or one less, and a convolution."""

    def __init__(self, channels: int, size: tuple[int, int]):
        super().__init__()
        self.size, self.conv = size, nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, self.size, mode="nearest"))


class AutoencoderNetwork(Coder):
    def __init__(self, shape: tuple[int, ...], outputs: int, plan: Autoencoder):
        super().__init__()
        self.noise = plan.noise
        self.register_buffer("shape", torch.tensor(shape))
        widths, sizes = [plan.width * m for m in plan.multipliers], plan.sizes(shape)
        down: list[nn.Module] = [nn.Conv2d(shape[0], widths[0], 3, padding=1)]
        channels = widths[0]
        for i, width in enumerate(widths):
            if i:
                down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
            for _ in range(plan.blocks):
                down.append(Block(channels, width, plan.dropout))
                channels = width
        self.encoder = nn.Sequential(*down, *last(channels, plan.channels))
        up: list[nn.Module] = [nn.Conv2d(plan.channels, channels, 3, padding=1)]
        for i, width in reversed(list(enumerate(widths))):
            for _ in range(plan.blocks):
                up.append(Block(channels, width, plan.dropout))
                channels = width
            if i:
                up.append(Up(channels, sizes[i - 1]))
        self.decoder = nn.Sequential(*up, *last(channels, outputs))

    def encode(self, x):
        z = self.encoder(x)
        return F.layer_norm(z, z.shape[1:])

    def decode(self, z):
        return self.decoder(z)

    def forward(self, x, noise, **_):
        z = self.encode(x)
        # As dropout does: from the global generator, which training seeds at each step.
        return self.decode(z + self.noise * torch.randn_like(z) if self.training and self.noise else z)


def last(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
