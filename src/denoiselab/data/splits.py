"""What all data sets share: where files lie, splits that stay, and the way from tables to `Loaded`.

A split is a function of the number of samples alone: the same on every machine, seed and day. Where the publisher has
split, his test split stands.
"""

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
    if n is not None and n > len(train.x):
        raise Refused(
            "data.n keeps the first n training samples", f"{n} of {len(train.x)}",
            f"give at most {len(train.x)}, or null for all",
        )  # fmt: skip
    return Loaded(codec.accepts(spec), train.take(slice(n)), val, test, codec, uncut=train, **more)


def located(path: str | None, below: str | None, argument: str, source: str,
            holds: Callable[[Path], bool]) -> Path | None:  # fmt: skip
    """Where a data set lies: `path`, given as data.`argument`, else `below` in the folder $DENOISELAB_DATA; None if
    neither is set. Raises `Refused`, naming the `source` where it can be fetched, if what is there does not hold it.
    """
    home = os.environ.get("DENOISELAB_DATA")
    if path is not None:
        at, why = Path(path).expanduser(), f"data.{argument}"
    elif below and home:
        at, why = Path(home).expanduser() / below, "$DENOISELAB_DATA"
    else:
        return None
    if not holds(at):
        there = "a folder" if at.is_dir() else "a file" if at.exists() else "nothing"
        give = f"give data.{argument}=PATH"
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
