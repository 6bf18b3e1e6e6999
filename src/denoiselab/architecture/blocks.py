"""What several architectures are built of: attention, a Transformer's block, rotary positions."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Heads that begin with near places: the pairs that turn quickest, and the size of their biases. At distances 1, 2, 3
# scores are then 1, 3 and 5 less than at 0, in heads of size 32.
QUICK, NEAR = 4, 2.0


def rotary(length: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, size) of position times frequency (Su et al., 2021, arXiv:2104.09864); the first half
    of the sines has their sign, as `rotated` takes them."""
    frequency = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000) / size))
    angle = torch.outer(torch.arange(length).float(), frequency)
    return angle.cos().repeat(1, 2), torch.cat((-angle.sin(), angle.sin()), 1)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat((b, a), -1), sin)


class Attention(nn.Module):
    """Every place of h (B, N, width) looks at every other (Vaswani et al., 2017, arXiv:1706.03762), and at a text of
    `text` numbers a word if there is one: its keys and values join (GLIDE: Nichol et al., 2021, arXiv:2112.10741)."""

    def __init__(self, width: int, heads: int, text: int = 0):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.text = nn.Linear(text, 2 * width) if text else None

    def split(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, N, parts width) to `parts` of (B, heads, N, size)."""
        return projected.unflatten(-1, (parts, self.heads, -1)).transpose(1, 3).unbind(2)

    def forward(self, h: Tensor, valid: Tensor | None = None, sequence: Tensor | None = None,
                mask: Tensor | None = None, turn: tuple[Tensor, Tensor] | None = None,
                bias: Tensor | None = None) -> Tensor:  # fmt: skip
        """`valid` (B, N), or (B, N, N) a query, and `mask` (B, S) bool say what of h and of the text, `sequence`
        (B, S, its width), may be looked at; `turn` has the cosines and sines of rotary positions, and `bias`
        (*, heads, N, N) what distances add to the scores, or True where they count: the text has neither."""
        q, k, v = self.turned(h, turn)
        if self.text is not None:
            more_k, more_v = self.split(self.text(sequence), 2)
            k, v = torch.cat((k, more_k), 2), torch.cat((v, more_v), 2)
            valid = joined(valid, mask, h, sequence)
            bias = None if bias is None else F.pad(bias, (0, sequence.shape[1]))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=looked_at(valid, bias))
        return self.out(y.transpose(1, 2).flatten(2))

    def turned(self, h: Tensor, turn: tuple[Tensor, Tensor] | None) -> tuple[Tensor, ...]:
        """Queries, keys and values (B, heads, N, size)."""
        if turn is None:
            return self.split(self.qkv(h), 3)
        qk, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).split((2, 1), 2)
        return (*rotated(qk, *(a.unsqueeze(-3) for a in turn)).unbind(2), v.squeeze(2))

    def step(self, h: Tensor, kept: "Kept", place: int, valid: Tensor | None, turn: tuple[Tensor, Tensor] | None,
             bias: Tensor | None) -> Tensor:  # fmt: skip
        """One place more, h (B, 1, width), which looks at itself and at those before: its key and value are put into
        `kept` at `place`."""
        q, k, v = self.turned(h, turn)
        kept.keys[:, :, place : place + 1], kept.values[:, :, place : place + 1] = k, v
        k, v = kept.keys[:, :, : place + 1], kept.values[:, :, : place + 1]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=looked_at(valid, bias))
        return self.out(y.transpose(1, 2).flatten(2))


class Kept(NamedTuple):
    """What attention keeps of places, (B, heads, N, size) each."""

    keys: Tensor
    values: Tensor

    def longer(self, length: int) -> "Kept":
        """With room for `length` places more."""
        return Kept(*(F.pad(kept, (0, 0, 0, length)) for kept in self))


def joined(valid: Tensor | None, mask: Tensor | None, h: Tensor, sequence: Tensor) -> Tensor | None:
    """What of h and the text together may be looked at; None: all."""
    if valid is None and mask is None:
        return None
    valid = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device) if valid is None else valid
    mask = torch.ones(sequence.shape[:2], dtype=torch.bool, device=h.device) if mask is None else mask
    if valid.ndim == 3:
        mask = mask[:, None].expand(-1, valid.shape[1], -1)
    return torch.cat((valid, mask), -1)


def within(segment: Tensor | None, valid: Tensor | None) -> Tensor | None:
    """What each place may look at: what is `valid` (B, N), and where rows have segments, (B, N), of its own segment
    alone, (B, N, N); itself always, for attention must look at something."""
    if segment is None:
        return valid
    own = segment[:, :, None] == segment[:, None]
    if valid is None:
        return own
    return own & valid[:, None] | torch.eye(segment.shape[1], dtype=torch.bool, device=segment.device)


def looked_at(valid: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """What is added to scores (B, heads, Q, K), or True where they count: of `valid`, (B, K) or (B, Q, K) bool, and
    `bias`, (*, heads, Q, K); None: nothing."""
    if valid is None:
        return bias
    valid = valid[:, None, None] if valid.ndim == 2 else valid[:, None]
    return valid if bias is None else bias.masked_fill(~valid, -torch.inf)


def readable(valid: Tensor | None) -> Tensor | None:
    """`valid` (B, N), and all of a row in which nothing is: attention must look at something."""
    return None if valid is None else valid | ~valid.any(1, keepdim=True)


class Cross(nn.Module):
    """Every place of h (B, N, width) looks at a memory, which is projected once: `kept` of (B, S, width). `turn` has
    the cosines and sines of rotary positions, of h and of the memory each its own. With `near` the first half of the
    heads begin by looking at the places of the memory near their own: a diagonal to begin with, as in Deep Voice 3
    (Ping et al., 2017, arXiv:1710.07654), where positions are sinusoids and queries and keys begin alike."""

    def __init__(self, width: int, heads: int, near: bool = False):
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = (nn.Linear(width, n * width) for n in (1, 2, 1))
        if near:
            with torch.no_grad():
                for bias in (self.q.bias, self.kv.bias[:width]):
                    bias.view(heads, 2, -1)[: -(-heads // 2), :, :QUICK] = NEAR

    def kept(self, memory: Tensor, turn: tuple[Tensor, Tensor] | None = None) -> Kept:
        keys, values = self.kv(memory).unflatten(-1, (2, self.heads, -1)).transpose(1, 3).unbind(2)
        return Kept(keys if turn is None else rotated(keys, *turn), values)

    def queries(self, h: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        q = self.q(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return q if turn is None else rotated(q, *turn)

    def forward(self, h: Tensor, kept: Kept, valid: Tensor | None,
                turn: tuple[Tensor, Tensor] | None = None) -> Tensor:  # fmt: skip
        y = F.scaled_dot_product_attention(self.queries(h, turn), *kept, attn_mask=looked_at(valid, None))
        return self.out(y.transpose(1, 2).flatten(2))

    def weights(self, h: Tensor, kept: Kept, valid: Tensor | None,
                turn: tuple[Tensor, Tensor] | None = None) -> Tensor:  # fmt: skip
        """How much each place looks at each of the memory, (B, heads, N, S): in each row 1."""
        q = self.queries(h, turn)
        scores = q @ kept.keys.transpose(2, 3) / math.sqrt(q.shape[-1])
        return (scores if valid is None else scores.masked_fill(~valid[:, None, None], -torch.inf)).softmax(-1)


def silent(*last: nn.Linear) -> None:
    """Sets the last layers of residual branches to 0 (Zhang et al., 2019, arXiv:1901.09321): a network begins by
    passing its tokens on, which are small beside what branches would add."""
    for layer in last:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


class Block(nn.Module):
    """A pre-norm Transformer block on h (B, N, width)."""

    def __init__(self, width: int, heads: int, text: int = 0, dropout: float = 0.0):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, text)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, **attended) -> Tensor:
        h = h + self.drop(self.attention(self.norm1(h), **attended))
        return h + self.drop(self.down(F.gelu(self.up(self.norm2(h)))))

    def silence(self) -> None:
        silent(self.attention.out, self.down)

    def step(self, h: Tensor, kept: Kept, place: int, **attended) -> Tensor:
        """One place more: `Attention.step`."""
        h = h + self.drop(self.attention.step(self.norm1(h), kept, place, **attended))
        return h + self.drop(self.down(F.gelu(self.up(self.norm2(h)))))


class Read(NamedTuple):
    """What a block of a decoder looks at of a text that was read."""

    memory: Kept
    valid: Tensor | None  # (B, S) bool: what of it may be looked at
    turn: tuple[Tensor, Tensor] | None = None  # of those that look


class CrossBlock(nn.Module):
    """A pre-norm block of a decoder: h (B, N, width) looks at itself, then at a memory."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0, near: bool = False):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.cross = nn.LayerNorm(width), Cross(width, heads, near)
        self.norm3, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def silence(self) -> None:
        silent(self.attention.out, self.cross.out, self.down)

    def own(self, h: Tensor, **attended) -> Tensor:
        return h + self.drop(self.attention(self.norm1(h), **attended))

    def rest(self, h: Tensor, read: Read) -> Tensor:
        h = h + self.drop(self.cross(self.norm2(h), *read))
        return h + self.drop(self.down(F.gelu(self.up(self.norm3(h)))))

    def forward(self, h: Tensor, read: Read, **attended) -> Tensor:
        return self.rest(self.own(h, **attended), read)

    def step(self, h: Tensor, kept: Kept, place: int, read: Read, **attended) -> Tensor:
        return self.rest(h + self.attention.step(self.norm1(h), kept, place, **attended), read)

    def weights(self, h: Tensor, read: Read, **attended) -> Tensor:
        """Of `Cross`."""
        return self.cross.weights(self.norm2(self.own(h, **attended)), *read)
