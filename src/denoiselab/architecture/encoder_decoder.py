"""A Transformer that reads a text and writes another, token by token."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.architecture.base import AnyLength, Architecture, Attends, Writer, leaving_out, writing
from denoiselab.architecture.blocks import CrossBlock, Kept, Read, looked_at, readable
from denoiselab.architecture.conditioning import UNCONDITIONAL, Conditioning
from denoiselab.architecture.positions import ROTARY, Positions
from denoiselab.architecture.transformer import Reader, shared
from denoiselab.spec import Refused, Spec


class EncoderDecoder(Architecture):
    """A pre-norm encoder of what is seen and a causal decoder that looks at it (Vaswani et al., 2017,
    arXiv:1706.03762), one table of embeddings for both and for the answer. `layers` read, `decoder_layers` write."""

    def __init__(self, width: int = 128, layers: int = 4, decoder_layers: int = 4, heads: int = 4, time: bool = False,
                 dropout: float = 0.0, positions: Positions = ROTARY,
                 conditioning: Conditioning = UNCONDITIONAL):  # fmt: skip
        shared(width, layers, heads, self)
        if decoder_layers < 1:
            raise Refused("architecture.decoder_layers look at what is read", decoder_layers, "give at least 1")
        self.width, self.layers, self.decoder_layers, self.heads = width, layers, decoder_layers, heads
        self.time, self.dropout, self.positions = time, leaving_out(dropout), positions
        self.conditioning = conditioning

    def accepts(self, spec):
        return self.conditioning.accepts(writing(spec, self)).having(AnyLength)

    def build(self, spec):
        return EncoderDecoderNetwork(spec, self)


class Memory(NamedTuple):
    """What is known of a source."""

    read: tuple[Kept, ...]  # of each layer of the decoder
    valid: Tensor | None  # (B, S) bool
    vector: Tensor | None  # (B, width): of time and conditioning


class EncoderDecoderNetwork(Writer, Attends, Reader):
    def __init__(self, spec: Spec, plan: EncoderDecoder):
        super().__init__(spec, plan)
        size = plan.width // plan.heads
        self.positions = plan.positions.build(plan.heads, size, spec.target[0], causal=True)
        self.across = plan.positions.across(plan.heads, size, max(spec.shape[0], spec.target[0]))
        near = self.across is not None
        self.blocks = nn.ModuleList(
            CrossBlock(plan.width, plan.heads, plan.dropout, near) for _ in range(plan.decoder_layers)
        )
        self.norm = nn.LayerNorm(plan.width)
        for block in (*self.encoder.blocks, *self.blocks):
            block.silence()

    def encode(self, x, noise, *, valid=None, **context):
        valid = readable(valid)
        h, vector = self.read(x, noise, valid, context)
        turn = self.turned(torch.arange(x.shape[1], device=x.device))
        return Memory(tuple(block.cross.kept(h, turn) for block in self.blocks), valid, vector)

    def features(self, x, noise, *, valid=None, prefix=None, **context):
        return self.read(x, noise, readable(valid), context)[0]

    def forward(self, x, noise, *, prefix, **context):
        memory = self.encode(x, noise, **context)
        h, reads, attended = self.begun(prefix, memory)
        for block, read in zip(self.blocks, reads, strict=True):
            h = block(h, read, **attended)
        return self.vocabulary.logits(self.norm(h))

    def turned(self, place: Tensor) -> tuple[Tensor, Tensor] | None:
        """How queries or keys between source and answer are turned."""
        return None if self.across is None else self.across(place, place).turn

    def begun(self, prefix: Tensor, memory: Memory) -> tuple[Tensor, list[Read], dict]:
        """The embedded prefix, what of the source each layer looks at, and who of the prefix may look at whom."""
        place = torch.arange(prefix.shape[1], device=prefix.device)
        turn, bias, added = self.positions(place, place)
        before, h = (place <= place[:, None])[None], self.vocabulary(prefix, memory.vector)
        reads = self.reads(memory, place)
        return h if added is None else h + added, reads, {"turn": turn, "bias": looked_at(before, bias)}

    def reads(self, memory: Memory, place: Tensor) -> list[Read]:
        turn = self.turned(place)
        return [Read(kept, memory.valid, turn) for kept in memory.read]

    def cache(self, memory, length):
        empty = Kept(*(kept[:, :, :0] for kept in memory.read[0]))
        return tuple(empty.longer(length) for _ in self.blocks)

    def step(self, token, place, memory, cache):
        at = torch.arange(place + 1, device=token.device)
        turn, bias, added = self.positions(at[-1:], at)
        h = self.vocabulary(token[:, None], memory.vector)
        h = h if added is None else h + added
        for block, kept, read in zip(self.blocks, cache, self.reads(memory, at[-1:]), strict=True):
            h = block.step(h, kept, place, read, valid=None, turn=turn, bias=bias)
        return self.vocabulary.logits(self.norm(h))[:, 0]

    @torch.no_grad()
    def attended(self, x: Tensor, noise: Tensor, *, prefix: Tensor, **context: Tensor) -> Tensor:
        """How much each place of the answer looks at each of the source, (layers, B, heads, T, S)."""
        memory, found = self.encode(x, noise, **context), []
        h, reads, attended = self.begun(prefix, memory)
        for block, read in zip(self.blocks, reads, strict=True):
            found.append(block.weights(h, read, **attended))
            h = block(h, read, **attended)
        return torch.stack(found)
