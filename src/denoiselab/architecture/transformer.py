"""The Transformer encoder on tokens."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from denoiselab.architecture.base import Architecture, TimeEmbedding, leaving_out, whole
from denoiselab.spec import Refused


class Transformer(Architecture):
    """A pre-norm encoder with rotary positions and tied embeddings (Vaswani et al., 2017, arXiv:1706.03762; Su et al.,
    2021, arXiv:2104.09864). It sees clean and special tokens, and gives logits of the clean ones.

    Padding (`valid` in the context) is not attended to.
    """

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, time: bool = False, dropout: float = 0.0):
        if min(width, heads) < 1 or layers < 0 or width % heads or (width // heads) % 2:
            raise Refused(
                "Transformer shares its width among heads of even size", f"width={width} layers={layers} heads={heads}",
                "for example width=128 layers=4 heads=4",
            )  # fmt: skip
        self.width, self.layers, self.heads, self.time = width, layers, heads, time
        self.dropout = leaving_out(dropout)

    def accepts(self, spec):
        return whole(spec.of(("tokens",), self), self)

    def build(self, spec):
        return TransformerNetwork(spec.vocabulary, spec.specials, spec.shape[0], self)


def rotary(length: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (length, size) of position times frequency."""
    frequency = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000) / size))
    angle = torch.outer(torch.arange(length).float(), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotated(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Block(nn.Module):
    def __init__(self, plan: Transformer):
        super().__init__()
        w = plan.width
        self.heads, self.dropout = plan.heads, plan.dropout
        self.norm1, self.qkv, self.out = nn.LayerNorm(w), nn.Linear(w, 3 * w), nn.Linear(w, w)
        self.norm2, self.up, self.down = nn.LayerNorm(w), nn.Linear(w, 4 * w), nn.Linear(4 * w, w)
        self.drop = nn.Dropout(plan.dropout)

    def forward(self, h, cos, sin, mask):
        q, k, v = self.qkv(self.norm1(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotated(q, cos, sin), rotated(k, cos, sin), v, attn_mask=mask)
        h = h + self.drop(self.out(y.transpose(1, 2).flatten(2)))
        return h + self.drop(self.down(F.gelu(self.up(self.norm2(h)))))


class TransformerNetwork(nn.Module):
    def __init__(self, vocabulary: int, specials: int, length: int, plan: Transformer):
        super().__init__()
        self.vocabulary = vocabulary
        self.tokens = nn.Embedding(vocabulary + specials, plan.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.time = TimeEmbedding(plan.width) if plan.time else None
        self.blocks = nn.ModuleList(Block(plan) for _ in range(plan.layers))
        self.norm, self.bias = nn.LayerNorm(plan.width), nn.Parameter(torch.zeros(vocabulary))
        cos, sin = rotary(length, plan.width // plan.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x, noise, *, valid=None, **_):
        h = self.tokens(x)
        if self.time is not None:
            h = h + self.time(noise)[:, None]
        mask = None if valid is None else valid[:, None, None, :]
        cos, sin = (a[: x.shape[1]].to(h.dtype) for a in (self.cos, self.sin))
        for block in self.blocks:
            h = block(h, cos, sin, mask)
        return F.linear(self.norm(h), self.tokens.weight[: self.vocabulary], self.bias)
