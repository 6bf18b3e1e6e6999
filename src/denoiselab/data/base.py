"""Data: what is learned from, in memory as uint8 or int64, indexed in batches.

A `Data` is a plan (where from, how much, in which batches); `load()` reads it and gives `Loaded`: three splits, the
`Spec` of a sample, the codec that encoded it, and a fingerprint of its content. Pictures are uint8 (N, C, H, W) at
rest, text int64 (N, L) right-padded with `valid` (N, L) in the context, points float32 (N, D), latents of pictures
float32 (N, C, H, W).

`Batches` serves the training split for ever: which samples are in batch k, and which key each has, is a function of
(seed, k), so there is no position to save. Worker processes take turns; indexing one tensor in memory outruns them.
"""

import abc
import hashlib
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from denoiselab.corruption import Batch, Corruption
from denoiselab.randomness import key
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
    uncut: Table | None = None  # the training split before data.n cut it: what an extractor is trained on
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
    training samples (None: all); `num_workers` processes cut batches (0: training's own), which changes nothing."""

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


class Share(NamedTuple):
    """A rank's share of a (micro-)batch: the samples, their places in the global batch, and its size."""

    batch: Batch
    place: Tensor  # (B,) int64
    n: int

    def to(self, device: torch.device) -> "Share":
        x, key, context = self.batch
        context = {name: value.to(device, non_blocking=True) for name, value in context.items()}
        batch = Batch(x.to(device, non_blocking=True), key.to(device, non_blocking=True), context)
        return Share(batch, self.place.to(device, non_blocking=True), self.n)


class Batches:
    """The training split, for ever; no length. Epoch e is a permutation keyed by (seed, e); the last batch of an epoch
    may be short. A global batch is dealt in turn to `accumulate` micro-batches of `ranks` ranks each. `position` is
    asked when iteration starts: how many optimizer steps were done before. `frozen` stays in epoch 0: with one batch an
    epoch, the same noise at every step. `num_workers` processes take turns.

    With `trim` a global batch of padded texts is dealt by length, the shortest to its first micro-batch, and places
    that are padding in all rows of a share are cut off: the same samples, keys and loss, and less arithmetic."""

    def __init__(self, table: Table, batch_size: int, seed: int, position: Callable[[], int] = lambda: 0,
                 accumulate: int = 1, rank: int = 0, ranks: int = 1, frozen: bool = False,
                 num_workers: int = 0, trim: bool = False):  # fmt: skip
        if len(table.x) < 1:
            raise Refused("training needs samples", "an empty training split", "give more data, or raise data.n")
        smallest = len(table.x) % batch_size or min(batch_size, len(table.x))
        if smallest < accumulate * ranks:
            raise Refused(
                "every rank and micro-batch needs a sample of each global batch",
                f"a batch of {smallest} for {ranks} ranks x {accumulate} micro-batches",
                "change data.batch_size or data.n, so that the last batch of an epoch is large enough",
            )
        self.table, self.batch_size, self.seed, self.position = table, batch_size, seed, position
        self.accumulate, self.rank, self.ranks, self.frozen = accumulate, rank, ranks, frozen
        self.num_workers = num_workers
        self.lengths = None
        if trim:
            if "valid" not in table.context:
                raise Refused("trim cuts off what is padding in a batch of texts", "data without padding",
                              "give trim=false, or data.layout=padded")  # fmt: skip
            valid = table.context["valid"]
            self.lengths = (valid * torch.arange(1, valid.shape[1] + 1)).amax(1).clamp(min=1)

    @property
    def per_epoch(self) -> int:
        return -(-len(self.table.x) // self.batch_size)

    def __iter__(self) -> Iterator[Share]:
        first = self.position() * self.accumulate
        if not self.num_workers:
            return self.cut(first)
        # A generator of its own: a loader draws a number when it starts, which training must not notice.
        return iter(DataLoader(Turns(self, first), batch_size=None, collate_fn=as_it_is, num_workers=self.num_workers,
                               multiprocessing_context="fork", generator=torch.Generator(),
                               worker_init_fn=deaf))  # fmt: skip

    def cut(self, k: int, stride: int = 1) -> Iterator[Share]:
        """This rank's shares of the micro-batches k, k + stride ..."""
        samples, epoch = torch.arange(len(self.table.x)), -1
        keys = order = samples
        while True:
            step, micro = divmod(k, self.accumulate)
            now, i = divmod(step, self.per_epoch)
            now = 0 if self.frozen else now
            if now != epoch:
                epoch = now
                keys = key(self.seed, 1, epoch, samples)
                order = key(self.seed, 2, epoch, samples).argsort(stable=True)
            chosen = order[i * self.batch_size : (i + 1) * self.batch_size]
            place = self.dealt(chosen, micro)
            yield self.share(chosen[place], keys, place, len(chosen))
            k += stride

    def dealt(self, chosen: Tensor, micro: int) -> Tensor:
        """The places of a global batch that are this rank's of a micro-batch."""
        if self.lengths is None:
            return torch.arange(self.ranks * micro + self.rank, len(chosen), self.ranks * self.accumulate)
        by_length = self.lengths[chosen].argsort(stable=True)
        return by_length.tensor_split(self.accumulate)[micro][self.rank :: self.ranks]

    def share(self, rows: Tensor, keys: Tensor, place: Tensor, n: int) -> Share:
        table = self.table.take(rows)
        if self.lengths is not None:
            table = table.first(int(self.lengths[rows].max()))
        return Share(Batch(table.x, keys[rows], table.context), place, n)


class Turns(IterableDataset):
    """What a worker process of `Batches` does: worker w of W cuts the micro-batches first + w, first + w + W ..."""

    def __init__(self, batches: Batches, first: int):
        self.batches, self.first = batches, first

    def __iter__(self):
        worker = get_worker_info()
        return self.batches.cut(self.first + worker.id, worker.num_workers)


def as_it_is(share: Share) -> Share:
    return share


def deaf(worker: int) -> None:
    """A signal to the whole group is for training, which still needs its workers to save; they end with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


class Once:
    """A split, once, in order: for validation. The key of a sample is its place, so every arm and seed sees the same.

    A list would be taken by Lightning for several loaders."""

    def __init__(self, table: Table, batch_size: int, rank: int = 0, ranks: int = 1):
        self.table, self.batch_size, self.rank, self.ranks = table, batch_size, rank, ranks

    def __len__(self) -> int:
        return -(-len(self.table.x) // self.batch_size)

    def __iter__(self) -> Iterator[Share]:
        n = len(self.table.x)
        for i in range(len(self)):
            place = torch.arange(i * self.batch_size, min((i + 1) * self.batch_size, n))[self.rank :: self.ranks]
            rows = self.table.take(place)
            yield Share(Batch(rows.x, place, rows.context), place, n)
