"""The Transformer encoder on tokens."""

import torch
import torch.nn.functional as F
from torch import nn

from denoiselab.architecture.base import Architecture, Features, leaving_out, whole
from denoiselab.architecture.blocks import Block, rotary
from denoiselab.architecture.conditioning import UNCONDITIONAL, Conditioning, Embedding
from denoiselab.spec import Refused, Spec


class Transformer(Architecture):
    """A pre-norm encoder with rotary positions and tied embeddings (Vaswani et al., 2017, arXiv:1706.03762; Su et al.,
    2021, arXiv:2104.09864). It sees clean and special tokens, and gives logits of the clean ones.

    Padding (`valid` in the context) is not attended to.
    """

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, time: bool = False, dropout: float = 0.0,
                 conditioning: Conditioning = UNCONDITIONAL):  # fmt: skip
        if min(width, heads) < 1 or layers < 0 or width % heads or (width // heads) % 2:
            raise Refused(
                "Transformer shares its width among heads of even size", f"width={width} layers={layers} heads={heads}",
                "for example width=128 layers=4 heads=4",
            )  # fmt: skip
        self.width, self.layers, self.heads, self.time = width, layers, heads, time
        self.dropout, self.conditioning = leaving_out(dropout), conditioning

    def accepts(self, spec):
        return self.conditioning.accepts(whole(spec.of(("tokens",), self), self))

    def build(self, spec):
        return TransformerNetwork(spec, self)


class TransformerNetwork(Features):
    def __init__(self, spec: Spec, plan: Transformer):
        super().__init__()
        self.vocabulary = spec.vocabulary
        self.tokens = nn.Embedding(spec.vocabulary + len(spec.specials), plan.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.embed = Embedding(plan.time, plan.conditioning, spec, plan.width)
        self.blocks = nn.ModuleList(
            Block(plan.width, plan.heads, self.embed.sequence, plan.dropout) for _ in range(plan.layers)
        )
        self.norm, self.bias = nn.LayerNorm(plan.width), nn.Parameter(torch.zeros(spec.vocabulary))
        cos, sin = rotary(spec.shape[0], plan.width // plan.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x, noise, **context):
        h = self.features(x, noise, **context)
        return F.linear(h, self.tokens.weight[: self.vocabulary], self.bias)

    def features(self, x, noise, *, valid=None, **context):
        h, (vector, sequence, mask) = self.tokens(x), self.embed(noise, context)
        if vector is not None:
            h = h + vector[:, None]
        turn = tuple(a[: x.shape[1]].to(h.dtype) for a in (self.cos, self.sin))
        for block in self.blocks:
            h = block(h, valid=valid, sequence=sequence, mask=mask, turn=turn)
        return self.norm(h)
