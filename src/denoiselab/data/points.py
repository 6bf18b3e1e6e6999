"""Points: float32 (N, 2), from a curve with a little normal noise. The smallest data on which a sampler shows what it
does: two dimensions can be drawn."""

import abc

import torch
from torch import Tensor

from denoiselab.data.base import Codec, Data, Table, checked
from denoiselab.data.splits import SEED, finite, loaded
from denoiselab.randomness import Keyed, Random
from denoiselab.spec import Spec

SIZES = (10_000, 1_000, 1_000)


class Toy(Data):
    """Points of a known density, drawn once for all: 10,000 to train, 1,000 to validate, 1,000 to test."""

    def __init__(self, codec: Codec, batch_size: int, n: int | None = None, num_workers: int = 0):
        checked(batch_size, n, num_workers)
        self.codec, self.batch_size, self.n, self.num_workers = codec, batch_size, n, num_workers

    def load(self):
        tables = [Table(finite(self.draw(Keyed.of(SEED, split, torch.arange(size)), size), "points"))
                  for split, size in enumerate(SIZES)]  # fmt: skip
        return loaded(self.codec, Spec("points", (2,)), tuple(tables), self.n)

    @abc.abstractmethod
    def draw(self, random: Random, n: int) -> Tensor:
        """n points, (n, 2) float32."""


class Ring(Toy):
    """The unit circle, with noise of standard deviation 0.05 in both coordinates."""

    def draw(self, random, n):
        angle = 2 * torch.pi * random.child("angle").uniform((n, 1))
        return torch.cat((angle.cos(), angle.sin()), 1) + 0.05 * random.child("noise").normal((n, 2))


class Moons(Toy):
    """Two half circles that reach into each other, of about unit variance, with noise of standard deviation 0.05."""

    def draw(self, random, n):
        angle = torch.pi * random.child("angle").uniform((n, 1))
        lower = random.child("moon").uniform((n, 1)) < 0.5
        upper = torch.cat((angle.cos(), angle.sin()), 1)
        curve = torch.where(lower, torch.tensor([1.0, 0.5]) - upper, upper) - torch.tensor([0.5, 0.25])
        return curve * torch.tensor([1.15, 2.0]) + 0.05 * random.child("noise").normal((n, 2))
