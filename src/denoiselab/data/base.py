"""Data: what is learned from, in memory as uint8 or int64, indexed in batches.

A `Data` is a plan (where from, how much, in which batches); `load()` reads it and gives `Loaded`: three splits, the
`Spec` of a sample, the codec that encoded it, and a fingerprint of its content. Pictures are uint8 (N, C, H, W) at
rest, text int64 (N, L) right-padded with `valid` (N, L) in the context, points float32 (N, D), latents of pictures
float32 (N, C, H, W).
"""

import abc
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.corruption import Corruption
from denoiselab.spec import Refused, Spec

SPLITS = ("train", "val", "test")
ALONG = ("valid", "word", "sentence", "segment", "entity")  # of the context of text: one a token


class Table(NamedTuple):
    """Samples of one split: x (N, *) at rest, and per-sample tensors (N, ...)."""

    x: Tensor
    context: Mapping[str, Tensor] = {}

    def take(self, index: Tensor | slice) -> "Table":
        return Table(self.x[index], {k: v[index] for k, v in self.context.items()})

    def first(self, length: int) -> "Table":
        """Of texts the first `length` tokens."""
        context = {k: v[:, :length] if k in ALONG else v for k, v in self.context.items()}
        return Table(self.x[:, :length], context)


class Codec(abc.ABC):
    """Encodes raw data once, decodes for grids, metrics and restoring."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """The spec of encoded samples, given that of raw ones; raises `Refused`."""

    @abc.abstractmethod
    def encode(self, raw) -> Tensor:
        """What is learned from, of raw data: of a text its ids, of pictures (N, C, H, W) themselves or latents."""

    @abc.abstractmethod
    def decode(self, x: Tensor):
        """Samples as a person reads them: uint8 pictures (N, C, H, W), a list of strings, or points as they are."""


class Encoded:
    """A fact: samples are latents of pictures, whose distances mean little; their codec decodes them."""


class Identity(Codec):
    """Pictures and points as they are."""

    def accepts(self, spec):
        if spec.kind == "tokens":
            raise Refused("text needs a tokenizer", "codec=identity", "use codec=character, byte or bpe")
        return spec.having(ends=(-1.0, 1.0)) if spec.kind == "image" else spec

    def encode(self, raw):
        return raw

    def decode(self, x):
        if x.ndim < 4 or x.dtype == torch.uint8:
            return x
        return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class Captions(abc.ABC):
    """What pictures are said to show: `caption` (N, S) and `caption_valid` in the context, in words and back."""

    attributes: Mapping[str, int]  # what of a caption can be checked, and how many values it has

    @abc.abstractmethod
    def spoken(self, context: Mapping[str, Tensor]) -> list[str]:
        """The captions of a context as text."""

    @abc.abstractmethod
    def written(self, texts: list[str]) -> dict[str, Tensor]:
        """The context of texts; raises `Refused` where one cannot be said."""

    @abc.abstractmethod
    def truth(self, context: Mapping[str, Tensor]) -> Tensor:
        """What is true of pictures with these captions, (N, attributes) int64."""


@dataclass(frozen=True)
class Loaded:
    """Data in memory."""

    spec: Spec
    train: Table
    val: Table
    test: Table
    codec: Codec
    entropy: float | None = None  # exact lower bound of a likelihood, nats a token, where the source is known
    oracle: Callable[[Corruption], nn.Module] | None = None  # the exact denoiser of a pointwise corruption, likewise
    uncut: Table | None = None  # the training split before data.n cut it: what a classifier that guides is trained on
    unfolded: "Loaded | None" = None  # where val is a fold: the data before, whose `uncut` an extractor is trained on
    captions: Captions | None = None  # where samples have captions; `truth` (N, attributes) is in the context then
    notes: list[str] = field(default_factory=list)  # what was skipped or replaced, for the user
    raw: "Loaded | None" = None  # where samples are latents: the pictures that they are of
    coder: str = ""  # and the digest of the weights that encoded them

    @property
    def seen(self) -> "Loaded":
        """The data as it was before it was encoded: what samples that were decoded are compared with."""
        return self.raw or self

    def split(self, name: str) -> Table:
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def fingerprint(self) -> str:
        """SHA-256 of the content of all splits, 16 hexadecimal digits: what a run's identity knows of its data. Of
        latents: of the pictures and the weights, for the last bits of latents are another machine's own."""
        if self.raw is not None:
            return hashlib.sha256(f"{self.raw.fingerprint()} {self.coder}".encode()).hexdigest()[:16]
        digest = hashlib.sha256()
        for split in SPLITS:
            table = self.split(split)
            for name, tensor in [("x", table.x), *sorted(table.context.items())]:
                digest.update(f"{split} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy()))
        return digest.hexdigest()[:16]


class Data(abc.ABC):
    """Where samples come from. `batch_size` is the global batch, over ranks and accumulation; `n` keeps the first n
    training samples (None: all); `num_workers` processes cut batches (0: training's own), which changes nothing. Every
    data set takes data.folds and data.fold too, by denoiselab.data.folds."""

    batch_size: int
    n: int | None
    num_workers: int

    @abc.abstractmethod
    def load(self) -> Loaded:
        """Reads everything; raises `Refused` for what a user can mend."""


def checked(batch_size: int, n: int | None, num_workers: int) -> None:
    """Refuses sizes that mean nothing; every `Data` calls it when it is made."""
    if num_workers < 0:
        raise Refused("data.num_workers counts processes that cut batches", num_workers, "give 0 or more")
    if batch_size < 1:
        raise Refused("data.batch_size counts samples of the global batch", batch_size, "give at least 1")
    if n is not None and n < 1:
        raise Refused("data.n keeps the first n training samples", n, "give at least 1, or null for all")


def floating(x: Tensor) -> Tensor:
    """As networks take it: pictures of uint8 to float32 in [-1, 1], all else as it is."""
    return x.float().div_(127.5).sub_(1) if x.dtype == torch.uint8 else x
