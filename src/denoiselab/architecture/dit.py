"""The diffusion Transformer on pictures."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.architecture.base import Architecture, leaving_out, whole, zeroed
from denoiselab.architecture.blocks import Attention
from denoiselab.architecture.conditioning import UNCONDITIONAL, Conditioning, Embedding
from denoiselab.spec import Refused, Spec


class DiT(Architecture):
    """A Transformer on squares of `patch` x `patch` pixels; what is told scales, shifts and gates each of its blocks,
    which start as the identity (adaLN-Zero: Peebles and Xie, 2022, arXiv:2212.09748).

    A text joins the keys and values of attention. Without time and conditioning scales, shifts and gates are learned
    numbers.
    """

    def __init__(self, width: int = 128, layers: int = 6, heads: int = 4, patch: int = 2, ratio: int = 4,
                 time: bool = True, dropout: float = 0.0, conditioning: Conditioning = UNCONDITIONAL):  # fmt: skip
        if min(width, layers, heads, patch, ratio) < 1 or width % heads or width % 4:
            raise Refused(
                "DiT shares a width that 4 divides among heads, and needs a layer, a patch and a ratio",
                f"width={width} layers={layers} heads={heads} patch={patch} ratio={ratio}",
                "for example width=128 layers=6 heads=4 patch=2 ratio=4",
            )  # fmt: skip
        self.width, self.layers, self.heads, self.patch, self.ratio = width, layers, heads, patch, ratio
        self.time, self.dropout, self.conditioning = time, leaving_out(dropout), conditioning

    def accepts(self, spec):
        spec = whole(spec.of(("image",), self), self)
        sides = spec.shape[1:]
        if any(side % self.patch for side in sides):
            raise Refused(
                f"DiT cuts the picture into squares of {self.patch} x {self.patch}",
                f"pictures of {sides[0]} x {sides[1]}",
                f"use architecture.patch={largest(sides, self.patch)}, pictures of another size, or architecture=unet",
            )  # fmt: skip
        return self.conditioning.accepts(spec)

    def build(self, spec):
        return DiTNetwork(spec, self)


def largest(sides: tuple[int, ...], below: int) -> int:
    """The largest patch below another that divides both sides."""
    return max(patch for patch in range(1, below) if not math.gcd(*sides) % patch)


def places(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines (rows * columns, width) of the place of each patch: half the width for its row, half for its
    column."""
    frequency = torch.exp(torch.arange(width // 4) * (-math.log(10_000) / (width // 4)))
    waves = [torch.outer(torch.arange(n).float(), frequency) for n in (rows, columns)]
    row, column = (torch.cat((w.sin(), w.cos()), 1) for w in waves)
    row, column = row[:, None].expand(-1, columns, -1), column[None].expand(rows, -1, -1)
    return torch.cat((row, column), 2).flatten(0, 1)


class Tell(nn.Module):
    """`parts` times (B, 1, width) of the vector that is told; learned numbers (1, 1, width) where there is none. They
    start as 0."""

    def __init__(self, inputs: int, width: int, parts: int):
        super().__init__()
        self.parts = parts
        self.told = zeroed(nn.Linear(inputs, parts * width)) if inputs else None
        self.learned = None if inputs else nn.Parameter(torch.zeros(1, parts * width))

    def forward(self, vector: Tensor | None) -> tuple[Tensor, ...]:
        told = self.learned if self.told is None else self.told(vector)
        return told[:, None].chunk(self.parts, 2)


def xavier(module: nn.Module) -> nn.Module:
    """Its linear layers start as published (Glorot and Bengio, 2010)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return module


def modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, h, 1 + scale)


class DiTBlock(nn.Module):
    def __init__(self, plan: DiT, told: int, text: int):
        super().__init__()
        w = plan.width
        # The norms' own scales and shifts are those that are told.
        self.norm1, self.norm2 = (nn.LayerNorm(w, 1e-6, elementwise_affine=False) for _ in range(2))
        self.attention, self.tell = xavier(Attention(w, plan.heads, text)), Tell(told, w, 6)
        self.up, self.down = xavier(nn.Linear(w, plan.ratio * w)), xavier(nn.Linear(plan.ratio * w, w))
        self.drop = nn.Dropout(plan.dropout)

    def forward(self, h: Tensor, vector: Tensor | None, sequence: Tensor | None, mask: Tensor | None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.tell(vector)
        y = self.attention(modulated(self.norm1(h), shift1, scale1), sequence=sequence, mask=mask)
        h = torch.addcmul(h, gate1, self.drop(y))
        y = self.down(F.gelu(self.up(modulated(self.norm2(h), shift2, scale2)), approximate="tanh"))
        return torch.addcmul(h, gate2, self.drop(y))


class DiTNetwork(nn.Module):
    def __init__(self, spec: Spec, plan: DiT):
        super().__init__()
        w, p = plan.width, plan.patch
        channels, (rows, columns) = spec.shape[0], (side // p for side in spec.shape[1:])
        self.patch, self.grid = p, (rows, columns)
        self.outputs = (spec.given or spec.shape)[0]
        self.embed = Embedding(plan.time, plan.conditioning, spec, w)
        self.first = xavier(nn.Linear(channels * p * p, w))
        self.register_buffer("places", places(rows, columns, w), persistent=False)
        self.blocks = nn.ModuleList(DiTBlock(plan, self.embed.width, self.embed.sequence) for _ in range(plan.layers))
        self.norm, self.tell = nn.LayerNorm(w, 1e-6, elementwise_affine=False), Tell(self.embed.width, w, 2)
        self.last = zeroed(nn.Linear(w, self.outputs * p * p))

    def forward(self, x, noise, **context):
        vector, *text = self.embed(noise, context)
        vector = None if vector is None else F.silu(vector)
        p, (rows, columns) = self.patch, self.grid
        h = x.reshape(len(x), -1, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        h = self.first(h) + self.places
        for block in self.blocks:
            h = block(h, vector, *text)
        h = self.last(modulated(self.norm(h), *self.tell(vector)))
        h = h.unflatten(1, self.grid).unflatten(3, (self.outputs, p, p))
        return h.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
