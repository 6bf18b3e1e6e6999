"""Randomness is an argument.

A random source gives `normal(shape)`, `uniform(shape)`, `integers(high, shape)` with the batch as first axis, and
`child(name)`, an independent source. `Keyed`: row b is a function of its own key, so a sample alone equals the same
sample in a batch, on any rank, after any restart; and element i of a row does not depend on how long the row is
(padding changes nothing). What varies (seed, epoch, sample) lives in the key, a tensor; what is structure (the name of
a child) lives in the salt, a Python integer: `child` launches no kernel.

Draws are float32 on the keys' device. Bits and uniforms are equal on every device; normals to rounding (log and cos
differ between devices and under `torch.compile`).

References:
    Salmon et al., 2011, Parallel random numbers: as easy as 1, 2, 3 (counter-based generators).
    Steele et al., 2014, Fast splittable pseudorandom number generators (splitmix64's finalizer).
    Box and Muller, 1958, A note on the generation of random normal deviates.
"""

import abc
import math
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 2**64 / golden ratio, as int64
FIRST, SECOND = -4658895280553007687, -7723592293110705685  # splitmix64's multipliers, as int64


def mix_(h: Tensor) -> Tensor:
    """In place: a bijection of int64 in which every input bit moves every output bit. The masks make `>>` logical."""
    h ^= (h >> 30).bitwise_and_(0x3FFFFFFFF)
    h *= FIRST
    h ^= (h >> 27).bitwise_and_(0x1FFFFFFFFF)
    h *= SECOND
    h ^= (h >> 31).bitwise_and_(0x1FFFFFFFF)
    return h


def signed(h: int) -> int:
    """The int64 of the same 64 bits."""
    return ((h + 2**63) & (2**64 - 1)) - 2**63


def mix_int(h: int) -> int:
    """`mix_` of a Python integer: on scalars fifty times faster than tensors."""
    h &= 2**64 - 1
    h = ((h ^ (h >> 30)) * FIRST) & (2**64 - 1)
    h = ((h ^ (h >> 27)) * SECOND) & (2**64 - 1)
    return signed(h ^ (h >> 31))


def key(*parts: int | Tensor) -> int | Tensor:
    """Absorbs integers and (B,) int64 tensors one after the other: an int while all parts are, else a (B,) tensor."""
    k: int | Tensor = 0
    for part in parts:
        if isinstance(k, int) and isinstance(part, int):
            k = mix_int(k * GOLDEN + part)
        else:
            k = mix_((signed(k * GOLDEN) if isinstance(k, int) else k * GOLDEN) + part)
    return k


@lru_cache(65536)
@torch.compiler.assume_constant_result
def salted(salt: int, name: str | int) -> int:
    return int.from_bytes(blake2b(f"{salt}/{name}".encode(), digest_size=8).digest(), "little", signed=True)


@lru_cache(64)
def counter(n: int, device: torch.device) -> Tensor:
    """1 .. n, hashed, not multiplied: Inductor folds index * constant past int64. Not to be changed in place."""
    return mix_(torch.arange(1, n + 1, device=device))


def below(words: Tensor, limit: Tensor | float) -> Tensor:
    """words < limit, rounded, of int32 that are less than 2**31 apart: by their difference's sign, since on a CPU a
    comparison that gives bools costs five times as much as an operation within int32."""
    limit = limit.round().int() if isinstance(limit, Tensor) else round(limit)
    return ((words - limit) >> 31).bool()


class Random(abc.ABC):
    @abc.abstractmethod
    def words(self, shape) -> Tensor:
        """32 random bits each, int32, of `shape` with the batch first."""

    @abc.abstractmethod
    def uniform(self, shape) -> Tensor:
        """Uniform over [0, 1), of `shape` with the batch first."""

    @abc.abstractmethod
    def normal(self, shape) -> Tensor:
        """Standard normal, of `shape` with the batch first."""

    @abc.abstractmethod
    def child(self, name: str | int) -> "Random":
        """An independent source of the same keys."""

    def integers(self, high: int | Tensor, shape) -> Tensor:
        """Uniform over 0 .. high - 1, to 2**-31; high, an int or int64, at most 2**32, broadcasts against `shape`."""
        return (self.words(shape) & 0x7FFFFFFF).long().mul_(high).bitwise_right_shift_(31)

    def chance(self, p: Tensor, shape) -> Tensor:
        """True with the probability p in [0, 1], to 2**-31; never at 0, always at 1. p broadcasts against `shape`."""
        return below(self.words(shape) >> 1, p.double() * 2.0**31 - 2.0**30)


@dataclass(frozen=True)
class Keyed(Random):
    """Row b is a function of `key[b]`, (B,) int64, and of the path of children alone."""

    key: Tensor
    salt: int = 0

    @classmethod
    def of(cls, *parts: Tensor | int) -> "Keyed":
        """The source of (seed, epoch, sample) or any other mix of integers and (B,) tensors, one tensor at least."""
        return cls(key(*parts))

    def child(self, name):
        return Keyed(self.key, salted(self.salt, name))

    def bits(self, n: int) -> Tensor:
        return mix_((self.key + self.salt)[:, None] + counter(n, self.key.device))

    def words(self, shape):
        n = math.prod(shape[1:])
        return self.bits((n + 1) // 2).view(torch.int32)[:, :n].reshape(shape)

    def uniform(self, shape):
        return (self.words(shape) & 0xFFFFFF).float().mul_(2**-24)

    def normal(self, shape):
        # Cosines and sines lie in blocks of 64 side by side: element i never depends on the length of the row.
        n = math.prod(shape[1:])
        length, angle = self.words((len(self.key), -(-n // 128), 2, 64)).unbind(2)
        radius = (length & 0x7FFFFFFF).float().add_(0.5).mul_(2**-31).log_().mul_(-2).sqrt_()
        angle = angle.float().mul_(torch.pi * 2**-31)
        return torch.cat((angle.cos().mul_(radius), angle.sin_().mul_(radius)), -1).flatten(1)[:, :n].reshape(shape)


@dataclass(frozen=True)
class Stream(Random):
    """One `torch.Generator` for the whole batch: fastest, and reproducible only as a whole."""

    generator: torch.Generator

    def child(self, name):
        return self

    def words(self, shape):
        source = self.generator
        return torch.randint(-(2**31), 2**31, shape, generator=source, device=source.device, dtype=torch.int32)

    def uniform(self, shape):
        return torch.rand(shape, generator=self.generator, device=self.generator.device)

    def normal(self, shape):
        return torch.randn(shape, generator=self.generator, device=self.generator.device)
