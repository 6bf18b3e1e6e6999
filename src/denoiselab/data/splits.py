"""What all data sets share: where files lie, splits that stay, and the way from tables to `Loaded`.

A split is a function of the number of samples alone: the same on every machine, seed and day. Where the publisher has
split, his test split stands.
"""

import math
import operator
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from denoiselab.data.base import Codec, Loaded, Table
from denoiselab.randomness import key
from denoiselab.spec import Refused, Spec

SEED = 20_201_231  # of splits and of procedural data: no knob, for then two runs would mean two data sets


def order(n: int) -> Tensor:
    """The permutation of n samples that every split starts from, (n,) int64."""
    return key(SEED, 0, torch.arange(n)).argsort(stable=True)


def parts(n: int, who: str) -> tuple[Tensor, Tensor, Tensor]:
    """Train, val and test of n unsplit samples: 80, 10 and 10 %, one at least, each in the order of the samples."""
    if n < 3:
        raise Refused(f"{who} is split into train, val and test, one sample each at least", n, "give 3 or more")
    held = max(n // 10, 1)
    test, val, train = order(n).split([held, held, n - 2 * held])
    return train.sort().values, val.sort().values, test.sort().values


def loaded(codec: Codec, spec: Spec, splits: tuple[Table, Table, Table], n: int | None, **more) -> Loaded:
    """The end of every `load`: the codec is asked, the training split cut to its first n."""
    train, val, test = splits
    agreed, few = cut(codec.accepts(spec), train, n)
    return Loaded(agreed, few, val, test, codec, uncut=train, **more)


def cut(spec: Spec, train: Table, n: int | None) -> tuple[Spec, Table]:
    """The first n samples to train on, and what the spec knows of them; raises `Refused` where there are fewer."""
    if n is not None and n > len(train.x):
        raise Refused(
            "data.n keeps the first n training samples", f"{n} of {len(train.x)}",
            f"give at most {len(train.x)}, or null for all",
        )  # fmt: skip
    few = train.take(slice(n))
    if spec.kind == "image" and few.x.dtype == torch.uint8:
        spec = spec._replace(levels=levels(few.x))
    return spec, few


def levels(x: Tensor) -> tuple[tuple[float, ...], ...]:
    """What `Spec.levels` is of pictures (N, C, H, W) uint8, taken to [-1, 1]. In whole numbers up to the last division:
    the same to the bit on every machine."""
    n, pixels = len(x), x[0, 0].numel()
    # By numpy: torch's sum of uint8 into int64 takes fifty times as long.
    sums = x.flatten(2).numpy().sum(2, dtype="int64").T.tolist()
    totals, scale = [sum(channel) for channel in sums], n * pixels
    cov = [[(n * sum(map(operator.mul, a, b)) - s * t) / scale**2 / 127.5**2
            for b, t in zip(sums, totals, strict=True)] for a, s in zip(sums, totals, strict=True)]  # fmt: skip
    means = [(2 * total - 255 * scale) / (255 * scale) for total in totals]
    return tuple((mean, *row) for mean, row in zip(means, cholesky(cov), strict=True))


def cholesky(cov: list[list[float]]) -> list[list[float]]:
    """The lower factor of a covariance, of any rank: channels that are alike have none of their own."""
    size = range(len(cov))
    factor = [[0.0] * len(cov) for _ in size]
    for i in size:
        for j in range(i + 1):
            rest = cov[i][j] - sum(factor[i][k] * factor[j][k] for k in range(j))
            if i == j:
                factor[i][i] = math.sqrt(rest) if rest > 1e-9 else 0.0
            elif factor[j][j]:
                factor[i][j] = rest / factor[j][j]
    return factor


def located(path: str | None, below: str | None, argument: str, source: str,
            holds: Callable[[Path], bool], other: str = "") -> Path | None:  # fmt: skip
    """Where a data set lies: `path`, given as data.`argument`, else `below` in the folder $DENOISELAB_DATA; None if
    neither is set. Raises `Refused` if what is there does not hold it, naming the `source` where it can be fetched, or
    `other` data that a file is in the place of a folder, or a folder in that of a file."""
    home = os.environ.get("DENOISELAB_DATA")
    if path is not None:
        at, why = Path(path).expanduser(), f"data.{argument}"
    elif below and home:
        at, why = Path(home).expanduser() / below, "$DENOISELAB_DATA"
    else:
        return None
    if not holds(at):
        there = "a folder" if at.is_dir() else "a file" if at.exists() else "nothing"
        give = f"give data.{argument}={'FILE' if argument == 'path' else 'FOLDER'}"
        if path is not None and other and at.exists():
            give += f"; or {other}={path}"
        raise Refused(
            f"{why} says that data lies at {at}", f"{there} is there",
            f"fetch it from {source}, and {give}" if source else give,
        )  # fmt: skip
    return at


def finite(x: Tensor, what: str) -> Tensor:
    """Refuses what is not a number: one such value in a batch makes all weights so."""
    bad = (~x.isfinite()).sum().item()
    if bad:
        raise Refused(f"NaN or infinite {what}", f"{bad} of {x.numel()} values", "mend or remove them")
    return x
