"""One Transformer over a text that is read and the text that is written behind it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.architecture.base import AnyLength, Architecture, Writer, leaving_out, writing
from denoiselab.architecture.blocks import Block, Kept, looked_at, readable
from denoiselab.architecture.conditioning import UNCONDITIONAL, Conditioning, Embedding
from denoiselab.architecture.positions import ROTARY, Positions
from denoiselab.architecture.transformer import Vocabulary, shared
from denoiselab.spec import Refused, Spec


class Decoder(Architecture):
    """A pre-norm decoder over source and answer: the source is looked at both ways, the answer from left to right (the
    prefix LM of Liu et al., 2018, arXiv:1801.10198; Raffel et al., 2020, arXiv:1910.10683, section 3.2.1). The answer's
    places follow the last valid one of the source."""

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, time: bool = False, dropout: float = 0.0,
                 positions: Positions = ROTARY, conditioning: Conditioning = UNCONDITIONAL):  # fmt: skip
        shared(width, layers, heads, self)
        if layers < 1:
            raise Refused("architecture.layers look at what is read", layers, "give at least 1")
        if conditioning.sequence:
            fix = "use conditioning=none or label, or architecture=encoder_decoder"
            raise Refused("Decoder is told a vector, and no sequence", type(conditioning).__name__, fix)
        self.width, self.layers, self.heads, self.time = width, layers, heads, time
        self.dropout, self.positions, self.conditioning = leaving_out(dropout), positions, conditioning

    def accepts(self, spec):
        return self.conditioning.accepts(writing(spec, self)).having(AnyLength)

    def build(self, spec):
        return DecoderNetwork(spec, self)


class Source(NamedTuple):
    """What is known of a source."""

    kept: tuple[Kept, ...]  # of each layer
    valid: Tensor  # (B, S) bool
    vector: Tensor | None  # (B, width): of time and conditioning


class DecoderNetwork(Writer):
    def __init__(self, spec: Spec, plan: Decoder):
        super().__init__()
        self.vocabulary = Vocabulary(spec, plan.width)
        self.embed = Embedding(plan.time, plan.conditioning, spec, plan.width)
        length = spec.shape[0] + spec.target[0]
        self.positions = plan.positions.build(plan.heads, plan.width // plan.heads, length, causal=False)
        self.blocks = nn.ModuleList(Block(plan.width, plan.heads, dropout=plan.dropout) for _ in range(plan.layers))
        self.norm = nn.LayerNorm(plan.width)

    def forward(self, x, noise, *, prefix, valid=None, **context):
        valid, s, n = everywhere(x, valid), x.shape[1], x.shape[1] + prefix.shape[1]
        h = self.vocabulary(torch.cat((x, prefix), 1), self.embed(noise, context).vector)
        at, order = places(valid, prefix.shape[1]), torch.arange(n, device=x.device)
        turn, bias, added = self.positions(at, at)
        h = h if added is None else h + added
        answer = (order >= s) & (order <= order[:, None])  # what of the answer each place may look at
        look = answer | torch.nn.functional.pad(valid, (0, n - s))[:, None]
        bias = looked_at(look, bias)  # once for all layers
        for block in self.blocks:
            h = block(h, turn=turn, bias=bias)
        return self.vocabulary.logits(self.norm(h[:, s:]))

    def encode(self, x, noise, *, valid=None, **context):
        valid, vector, found = everywhere(x, valid), self.embed(noise, context).vector, []
        h, at = self.vocabulary(x, vector), torch.arange(x.shape[1], device=x.device)
        turn, bias, added = self.positions(at, at)
        h = h if added is None else h + added
        for block in self.blocks:
            found.append(Kept(*block.attention.turned(block.norm1(h), turn)[1:]))
            h = block(h, valid=valid, turn=turn, bias=bias)
        return Source(tuple(found), valid, vector)

    def cache(self, memory, length):
        return tuple(kept.longer(length) for kept in memory.kept)

    def step(self, token, place, memory, cache):
        s, at = memory.valid.shape[1], places(memory.valid, place + 1)
        look = torch.nn.functional.pad(memory.valid, (0, place + 1), value=True)
        turn, bias, added = self.positions(at[:, -1:], at)
        h = self.vocabulary(token[:, None], memory.vector)
        h = h if added is None else h + added
        for block, kept in zip(self.blocks, cache, strict=True):
            h = block.step(h, kept, s + place, valid=look, turn=turn, bias=bias)
        return self.vocabulary.logits(self.norm(h))[:, 0]


def everywhere(x: Tensor, valid: Tensor | None) -> Tensor:
    """What of a source may be looked at, (B, S) bool: in each row something."""
    return torch.ones_like(x, dtype=torch.bool) if valid is None else readable(valid)


def places(valid: Tensor, length: int) -> Tensor:
    """Of a source and `length` tokens of an answer, which follow what is valid of it: (B, S + length)."""
    (b, s), answer = valid.shape, torch.arange(length, device=valid.device)
    own = torch.arange(s, device=valid.device).expand(b, s)
    return torch.cat((own, valid.sum(1, keepdim=True) + answer), 1)
