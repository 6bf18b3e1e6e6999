"""What several architectures are built of: attention, a Transformer's block, rotary positions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rotary(length: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, size) of position times frequency (Su et al., 2021, arXiv:2104.09864)."""
    frequency = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000) / size))
    angle = torch.outer(torch.arange(length).float(), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


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
                segment: Tensor | None = None) -> Tensor:  # fmt: skip
        """`valid` (B, N) and `mask` (B, S) bool say what of h and of the text, `sequence` (B, S, its width), may be
        looked at; nothing looks from one `segment` (B, N) into another; `turn` has the cosines and sines of rotary
        positions, which the text has none of."""
        q, k, v = self.split(self.qkv(h), 3)
        if turn is not None:
            q, k = rotated(q, *turn), rotated(k, *turn)
        if self.text is not None:
            more_k, more_v = self.split(self.text(sequence), 2)
            k, v = torch.cat((k, more_k), 2), torch.cat((v, more_v), 2)
            valid = joined(valid, mask, h, sequence)
        seen = None if valid is None else valid[:, None]
        if segment is not None:
            seen = apart(segment, seen, k.shape[2])
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None if seen is None else seen[:, None])
        return self.out(y.transpose(1, 2).flatten(2))


def apart(segment: Tensor, seen: Tensor | None, keys: int) -> Tensor:
    """What each place may look at, (B, N, keys): what is `seen` (B, 1, keys) of its own segment (B, N), and itself; of
    the text behind the N places all that is seen."""
    n = segment.shape[1]
    own = F.pad(segment[:, :, None] == segment[:, None], (0, keys - n), value=True)
    return own if seen is None else own & seen | torch.eye(n, keys, dtype=torch.bool, device=segment.device)


def joined(valid: Tensor | None, mask: Tensor | None, h: Tensor, sequence: Tensor) -> Tensor | None:
    """What of h and the text together may be looked at; None: all."""
    if valid is None and mask is None:
        return None
    valid = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device) if valid is None else valid
    mask = torch.ones(sequence.shape[:2], dtype=torch.bool, device=h.device) if mask is None else mask
    return torch.cat((valid, mask), 1)


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
