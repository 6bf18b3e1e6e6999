"""A multilayer perceptron on all of x at once: for points, small pictures and short texts."""

import math

import torch
from torch import nn

from denoiselab.architecture.base import Architecture, leaving_out, whole, zeroed
from denoiselab.architecture.conditioning import UNCONDITIONAL, Conditioning, Embedding
from denoiselab.spec import Refused, Spec


class MLP(Architecture):
    """`layers` residual blocks of `width`. Pictures are flattened, tokens embedded with `embedding` numbers each."""

    def __init__(self, width: int = 256, layers: int = 3, embedding: int = 16, time: bool = True, dropout: float = 0.0,
                 conditioning: Conditioning = UNCONDITIONAL):  # fmt: skip
        if min(width, embedding) < 1 or layers < 0:
            raise Refused(
                "MLP needs width and embedding of at least 1", f"width={width} layers={layers} embedding={embedding}",
                "for example width=256 layers=3 embedding=16",
            )  # fmt: skip
        self.width, self.layers, self.embedding, self.time = width, layers, embedding, time
        self.dropout, self.conditioning = leaving_out(dropout), conditioning

    def accepts(self, spec):
        spec = whole(spec.of(("points", "image", "tokens"), self), self)
        size = math.prod(spec.given or spec.shape) * self.width
        if size > 2**27:
            raise Refused(
                "MLP joins every input to every output", f"{size:,} weights in its last layer alone",
                "use architecture=unet for pictures or transformer for text, or smaller data",
            )  # fmt: skip
        return self.conditioning.accepts(spec)

    def build(self, spec):
        into = (
            nn.Sequential(nn.Embedding(spec.vocabulary + len(spec.specials), self.embedding), nn.Flatten())
            if spec.vocabulary
            else nn.Flatten()
        )
        inputs = math.prod(spec.shape) * (self.embedding if spec.vocabulary else 1)
        return MLPNetwork(into, inputs, spec, self)


class MLPNetwork(nn.Module):
    def __init__(self, into: nn.Module, inputs: int, spec: Spec, plan: MLP):
        super().__init__()
        self.into, self.given = into, spec.given or spec.shape
        self.first = nn.Linear(inputs, plan.width)
        self.embed = Embedding(plan.time, plan.conditioning, spec, plan.width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(plan.width), nn.Linear(plan.width, 2 * plan.width), nn.SiLU(), nn.Dropout(plan.dropout),
                zeroed(nn.Linear(2 * plan.width, plan.width)),
            )
            for _ in range(plan.layers)
        )  # fmt: skip
        self.last = nn.Sequential(nn.LayerNorm(plan.width), nn.Linear(plan.width, math.prod(self.given)))

    def forward(self, x: torch.Tensor, noise: torch.Tensor, **context) -> torch.Tensor:
        h = self.first(self.into(x))
        vector = self.embed(noise, context).vector
        if vector is not None:
            h = h + vector
        for block in self.blocks:
            h = h + block(h)
        return self.last(h).unflatten(1, self.given)
