"""The U-Net of diffusion models on pictures."""

import torch
import torch.nn.functional as F
from torch import nn

from denoiselab.architecture.base import Architecture, TimeEmbedding, leaving_out, whole, zeroed
from denoiselab.spec import Refused


class UNet(Architecture):
    """Residual blocks with scale-shift time conditioning and attention at the lowest resolution (Ronneberger et al.,
    2015, arXiv:1505.04597; Dhariwal and Nichol, 2021, arXiv:2105.05233).

    `width` channels times `multipliers`, one a resolution, each half the one above (odd sizes are rounded up); `blocks`
    residual blocks a resolution.
    """

    def __init__(self, width: int = 32, multipliers: tuple[int, ...] = (1, 2, 2), blocks: int = 1, heads: int = 4,
                 attention: bool = True, time: bool = True, dropout: float = 0.0):  # fmt: skip
        multipliers = tuple(multipliers)
        if width % 8 or min((width, blocks, *multipliers), default=0) < 1 or not multipliers:
            raise Refused(
                "UNet needs a width that 8 divides, one multiplier a resolution, and a block",
                f"width={width} multipliers={list(multipliers)} blocks={blocks}",
                "for example width=32 multipliers=[1,2,2] blocks=1",
            )  # fmt: skip
        if attention and (heads < 1 or width * multipliers[-1] % heads):
            raise Refused(
                "UNet shares its channels at the lowest resolution among heads",
                f"{width * multipliers[-1]} channels, heads={heads}", "give a divisor, such as heads=4",
            )  # fmt: skip
        self.width, self.multipliers, self.blocks, self.heads = width, multipliers, blocks, heads
        self.attention, self.time, self.dropout = attention, time, leaving_out(dropout)

    def accepts(self, spec):
        spec = whole(spec.of(("image",), self), self)
        halvings = len(self.multipliers) - 1
        if min(spec.shape[1:]) < 2**halvings:
            raise Refused(
                f"UNet halves the picture {halvings} times", f"pictures of {spec.shape[1]} x {spec.shape[2]}",
                f"use at most {min(spec.shape[1:]).bit_length()} multipliers",
            )  # fmt: skip
        return spec

    def build(self, spec):
        return UNetNetwork(spec.shape[0], (spec.given or spec.shape)[0], self)


class Residual(nn.Module):
    """Norm, convolution, norm scaled and shifted by the time, convolution; added to its input."""

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, outputs), zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.told = nn.Linear(embedding, 2 * outputs) if embedding else None
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, e):
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.told is not None:
            scale, shift = self.told(e)[:, :, None, None].chunk(2, 1)
            h = torch.addcmul(h + shift, h, scale)
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Every pixel looks at every other (Vaswani et al., 2017, arXiv:1706.03762)."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv = nn.GroupNorm(8, channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x):
        qkv = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        h = F.scaled_dot_product_attention(*qkv.unbind(1))
        return x + self.out(h.transpose(-1, -2).flatten(1, 2).view_as(x))


class UNetNetwork(nn.Module):
    def __init__(self, inputs: int, outputs: int, plan: UNet):
        super().__init__()
        widths = [plan.width * m for m in plan.multipliers]
        embedding = 4 * plan.width if plan.time else 0
        self.time = nn.Sequential(TimeEmbedding(embedding), nn.SiLU()) if plan.time else None

        def block(a, b):
            return Residual(a, b, embedding, plan.dropout)

        self.first = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels, skips = widths[0], []
        for i, width in enumerate(widths):
            for _ in range(plan.blocks):
                self.down.append(block(channels, width))
                channels = width
                skips.append(channels)
            if i < len(widths) - 1:
                self.down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
        look = Attention(channels, plan.heads) if plan.attention else nn.Identity()
        self.middle1, self.look, self.middle2 = block(channels, channels), look, block(channels, channels)
        for i, width in reversed(list(enumerate(widths))):
            for _ in range(plan.blocks):
                self.up.append(block(channels + skips.pop(), width))
                channels = width
            if i:
                self.up.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.last = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), zeroed(nn.Conv2d(channels, outputs, 3, padding=1))
        )

    def forward(self, x, noise, **_):
        e = None if self.time is None else self.time(noise)
        h, skips = self.first(x), []
        for part in self.down:
            if isinstance(part, Residual):
                h = part(h, e)
                skips.append(h)
            else:
                h = part(h)
        h = self.middle2(self.look(self.middle1(h, e)), e)
        for part in self.up:
            if isinstance(part, Residual):
                h = part(torch.cat((h, skips.pop()), 1), e)
            else:
                # To the size of the next skip: odd sizes come back as they were.
                h = part(F.interpolate(h, skips[-1].shape[2:], mode="nearest"))
        return self.last(h)
