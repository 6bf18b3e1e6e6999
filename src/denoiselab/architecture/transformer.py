"""The Transformer encoder on tokens."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.architecture.base import AnyLength, Architecture, Features, Selective, Timeless, leaving_out, whole
from denoiselab.architecture.blocks import Block, looked_at, within
from denoiselab.architecture.conditioning import UNCONDITIONAL, Conditioning, Embedding
from denoiselab.architecture.positions import ROTARY, Positions
from denoiselab.spec import Refused, Spec


def shared(width: int, layers: int, heads: int, who: object) -> None:
    """Refuses sizes of which no Transformer can be made."""
    if min(width, heads) < 1 or layers < 0 or width % heads or (width // heads) % 2:
        raise Refused(
            f"{type(who).__name__} shares its width among heads of even size",
            f"width={width} layers={layers} heads={heads}", "for example width=128 layers=4 heads=4",
        )  # fmt: skip


class Transformer(Architecture):
    """A pre-norm encoder with tied embeddings (Vaswani et al., 2017, arXiv:1706.03762). It sees clean and special
    tokens, and gives logits of the clean ones, or what else is asked of each place.

    Padding (`valid` in the context) is not attended to, nor another document of the row (`segment`).
    """

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, time: bool = False, dropout: float = 0.0,
                 positions: Positions = ROTARY, conditioning: Conditioning = UNCONDITIONAL):  # fmt: skip
        shared(width, layers, heads, self)
        self.width, self.layers, self.heads, self.time = width, layers, heads, time
        self.dropout, self.positions, self.conditioning = leaving_out(dropout), positions, conditioning

    def accepts(self, spec):
        spec = self.conditioning.accepts(whole(spec.of(("tokens",), self), self))
        return spec.having(AnyLength, *[Timeless] * (not self.time))

    def build(self, spec):
        return TransformerNetwork(spec, self)


class Vocabulary(nn.Module):
    """Embeddings of all tokens, clean and special, that are also the weights of the answer's: its classes are the
    clean tokens and the special ones that are written (Press and Wolf, 2016, arXiv:1608.05859). What is asked in
    tokens' place has a head of its own: see `numbers`."""

    def __init__(self, spec: Spec, width: int):
        super().__init__()
        self.tokens = nn.Embedding(spec.vocabulary + len(spec.specials), width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.classes = asks_tokens(spec)
        self.bias = nn.Parameter(torch.zeros(self.classes)) if self.classes else None
        self.head = None if self.classes else numbers(width, spec.given[-1])

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        """Tokens (B, N) to (B, N, width); `vector` (B, width) joins each."""
        h = self.tokens(x)
        return h if vector is None else h + vector[:, None]

    def logits(self, h: Tensor) -> Tensor:
        if self.head is not None:
            return self.head(h)
        table = self.tokens.weight
        return F.linear(h, table if self.classes == len(table) else table[: self.classes], self.bias)


def asks_tokens(spec: Spec) -> int:
    """How many tokens the answer of each place is one of; 0 where something else is asked."""
    classes = spec.vocabulary + spec.written
    return classes if not spec.given or spec.given[-1] == classes else 0


def numbers(width: int, n: int) -> nn.Module:
    """A head of n numbers a place, as ELECTRA's of one (Clark et al., 2020, arXiv:2003.10555)."""
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, n))


class Encoder(nn.Module):
    """Blocks that look both ways, and a last norm: (B, N, width) to the same. `sequence` is the width of a text that
    is looked at too."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float, positions: Positions, length: int,
                 sequence: int = 0):  # fmt: skip
        super().__init__()
        self.positions = positions.build(heads, width // heads, length, causal=False)
        self.blocks = nn.ModuleList(Block(width, heads, sequence, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, h: Tensor, valid: Tensor | None, sequence: Tensor | None, mask: Tensor | None) -> Tensor:
        place = torch.arange(h.shape[1], device=h.device)
        turn, bias, added = self.positions(place, place)
        h = h if added is None else h + added
        if sequence is None:  # once for all layers
            valid, bias = None, looked_at(valid, bias)
        for block in self.blocks:
            h = block(h, valid=valid, sequence=sequence, mask=mask, turn=turn, bias=bias)
        return self.norm(h)


class Reader(Features):
    """What reads a text: a vocabulary, what joins each token, and an encoder, by the sizes of a plan."""

    def __init__(self, spec: Spec, plan: Architecture):
        super().__init__()
        self.vocabulary = Vocabulary(spec, plan.width)
        self.embed = Embedding(plan.time, plan.conditioning, spec, plan.width)
        self.encoder = Encoder(
            plan.width, plan.layers, plan.heads, plan.dropout, plan.positions, spec.shape[0], self.embed.sequence
        )

    def read(
        self, x: Tensor, noise: Tensor, look: Tensor | None, context: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, N) to (B, N, width), each looking at what it may, (B, N) or (B, N, N) bool; and the vector that
        joined each of them, (B, width)."""
        vector, sequence, mask = self.embed(noise, context)
        return self.encoder(self.vocabulary(x, vector), look, sequence, mask), vector


class TransformerNetwork(Selective, Reader):
    def forward(self, x, noise, **context):
        return self.vocabulary.logits(self.features(x, noise, **context))

    def some(self, x, noise, index, **context):
        return self.vocabulary.logits(self.features(x, noise, **context).flatten(0, 1)[index])

    def features(self, x: Tensor, noise: Tensor, *, valid: Tensor | None = None, segment: Tensor | None = None,
                 **context: Tensor) -> Tensor:  # fmt: skip
        """(B, L, width)."""
        return self.read(x, noise, within(segment, valid), context)[0]
