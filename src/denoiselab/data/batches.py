"""Batches of a split, in memory: the training split for ever, others once.

Which samples are in batch k of training, and which key each has, is a function of (seed, k), so there is no position to
save. Worker processes take turns; indexing one tensor in memory outruns them.
"""

import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from denoiselab.corruption import Batch
from denoiselab.data.base import Table
from denoiselab.randomness import key
from denoiselab.spec import Refused


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
