"""How a Transformer knows where a token stands.

A `Positions` is a plan: it builds `module(of, at) -> Placed` from the places of queries, (Q,) or (B, Q) int64, and of
keys likewise. `Rotary` and `T5Relative` know distances alone, `Sinusoidal` and `Learned` places. Keys are turned when
they are computed, by the places that they had as queries: so a key that is kept needs no second look.

A text that is written looks at one that is read, too: `across` is what that attention knows of places. A correction
stands about where the mistake stood, so what counts is the distance between the two places.
"""

import abc
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.architecture.blocks import rotary
from denoiselab.spec import Refused

BEGUN = 0.02  # standard deviation of embeddings at the start


class Placed(NamedTuple):
    """What attention needs of places."""

    turn: tuple[Tensor, Tensor] | None  # cosines and sines of the queries, (Q, size) or (B, 1, Q, size)
    bias: Tensor | None  # what is added to scores, (heads, Q, K) or (B, heads, Q, K)
    added: Tensor | None = None  # to the embeddings of queries, (Q, width) or (B, Q, width)


class Positions(abc.ABC):
    @abc.abstractmethod
    def build(self, heads: int, size: int, length: int, causal: bool) -> nn.Module:
        """For places below `length`; `causal`: no query looks at what comes after it."""

    def across(self, heads: int, size: int, length: int) -> nn.Module | None:
        """For queries of one text and keys of another, both at places below `length`; its `turn` is for both. None:
        nothing is known of them."""
        return None


class Rotary(Positions):
    """Queries and keys are turned by angles that grow with the place (Su et al., 2021, arXiv:2104.09864); with `across`
    those of a text that looks at another too, each by its place in its own text."""

    def __init__(self, across: bool = True):
        self.turns_across = across

    def build(self, heads, size, length, causal):
        return Turns(size, length)

    def across(self, heads, size, length):
        return Turns(size, length) if self.turns_across else None


ROTARY = Rotary()


class Turns(nn.Module):
    def __init__(self, size: int, length: int):
        super().__init__()
        cos, sin = rotary(length, size)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, of: Tensor, at: Tensor) -> Placed:
        cos, sin = self.cos[of], self.sin[of]
        return Placed((cos, sin) if of.ndim == 1 else (cos[:, None], sin[:, None]), None)


class T5Relative(Positions):
    """A learned number a head for each bucket of distances, added to the scores and shared by all layers: near
    distances have buckets of their own, far ones share them, up to `distance` (T5: Raffel et al., 2020,
    arXiv:1910.10683, section 2.1)."""

    def __init__(self, buckets: int = 32, distance: int = 128):
        if buckets < 4 or buckets % 2 or distance <= buckets // 2:
            raise Refused(
                "T5Relative shares buckets among distances, half of them before and half behind",
                f"buckets={buckets} distance={distance}", "for example buckets=32 distance=128",
            )  # fmt: skip
        self.buckets, self.distance = buckets, distance

    def build(self, heads, size, length, causal):
        return Biases(heads, self.buckets, self.distance, causal)


def bucket(distance: Tensor, buckets: int, most: int, causal: bool) -> Tensor:
    """The bucket of each distance, key's place less query's, as T5 was published; what comes after the query shares
    that of 0 if `causal`."""
    after = torch.zeros_like(distance)
    if causal:
        far = (-distance).clamp(min=0)
    else:
        buckets //= 2
        after, far = (distance > 0).long() * buckets, distance.abs()
    exact = buckets // 2
    log = (far.float().clamp(min=1) / exact).log() / math.log(most / exact) * (buckets - exact)
    return after + torch.where(far < exact, far, (exact + log.long()).clamp(max=buckets - 1))


class Biases(nn.Module):
    def __init__(self, heads: int, buckets: int, distance: int, causal: bool):
        super().__init__()
        self.buckets, self.distance, self.causal = buckets, distance, causal
        self.table = nn.Embedding(buckets, heads)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, of: Tensor, at: Tensor) -> Placed:
        distance = at[..., None, :] - of[..., :, None]
        bias = self.table(bucket(distance, self.buckets, self.distance, self.causal))
        return Placed(None, bias.movedim(-1, -3).contiguous())


class Sinusoidal(Positions):
    """Sines and cosines of the place, added to the embeddings of texts read and written (Vaswani et al., 2017,
    arXiv:1706.03762, section 3.5), where embeddings are sqrt(width) times larger: here the sum is as much smaller."""

    def build(self, heads, size, length, causal):
        return Waves(heads * size, length)


class Waves(nn.Module):
    def __init__(self, width: int, length: int):
        super().__init__()
        cos, sin = rotary(length, width)
        wave = torch.stack((sin[:, width // 2 :], cos[:, : width // 2]), -1).flatten(1)
        self.register_buffer("wave", wave * BEGUN, persistent=False)

    def forward(self, of: Tensor, at: Tensor) -> Placed:
        return Placed(None, None, self.wave[of])


class Learned(Positions):
    """An embedding of each place, added to those of the tokens (BERT: Devlin et al., 2018, arXiv:1810.04805; BART:
    Lewis et al., 2019, arXiv:1910.13461): the text that is read and the one that is written each have a table."""

    def build(self, heads, size, length, causal):
        return Places(heads * size, length)


class Places(nn.Module):
    def __init__(self, width: int, length: int):
        super().__init__()
        self.table = nn.Embedding(length, width)
        nn.init.normal_(self.table.weight, std=BEGUN)

    def forward(self, of: Tensor, at: Tensor) -> Placed:
        return Placed(None, None, self.table(of))
