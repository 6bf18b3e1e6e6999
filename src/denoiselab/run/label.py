"""How a run is called where many are looked at: by what was varied. Imports no torch.

In a sweep it is what the driver says (the two environment variables of `told`, which a launcher hands on): the words of
the cell are its name, and the sweep's folder is its group. A run by itself is named by what was typed of it.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import reduce
from typing import NamedTuple

from denoiselab.run.identity import NEITHER
from denoiselab.run.secrets import HIDDEN, redacted

SWEEP, CELL = "DENOISELAB_SWEEP", "DENOISELAB_CELL"
AXIS = "axis/"  # before the name of each axis, among the columns of a dashboard
LONGEST = 120  # letters of a name
TAG = 64  # and of a tag


class Label(NamedTuple):
    """`axes` maps what was varied, as a flat name, to its value."""

    name: str
    group: str | None = None
    job: str = "train"
    axes: Mapping[str, object] = {}

    @property
    def tags(self) -> list[str]:
        """`schedule=cosine`, a tag an axis; what is too long for a tag is left out."""
        tags = [f"{axis.removeprefix(AXIS)}={value}" for axis, value in self.axes.items()]
        return [tag for tag in tags if len(tag) <= TAG]


def told(sweep: str, words: str) -> dict[str, str]:
    """What the driver of a sweep says to the job of a cell, in its environment."""
    return {SWEEP: sweep, CELL: words}


def of(config: Mapping, overrides: Iterable[str], scored: bool = False) -> Label:
    """The label of a run with this configuration, of which that was typed; `scored`: it was trained before."""
    words = dict(split(word) for word in map(redacted, overrides) if "=" in word and HIDDEN not in word)
    words = {key: value for key, value in words.items() if not silent(key)}
    said, sweep = os.environ.get(CELL), os.environ.get(SWEEP)
    if said is not None:
        words = {key: value for key, value in words.items() if varied(key, value, said)}
    flat, plain = names(words), redacted(config)
    axes = {AXIS + flat[key].replace(".", "/"): typed(plain, key, value) for key, value in words.items()}
    shown = said or " ".join(f"{flat[key]}={value}" for key, value in sorted(words.items())) or str(config["name"])
    return Label(shown[:LONGEST], sweep, "score" if scored else "train", axes)


def names(keys: Iterable[str]) -> dict[str, str]:
    """Key to its last word, or to the whole where several keys end alike."""
    keys = list(keys)
    last = Counter(key.rpartition(".")[2] for key in keys)
    return {key: leaf if last[leaf := key.rpartition(".")[2]] == 1 else key for key in keys}


def axes(cells: Iterable[str]) -> list[str]:
    """The axes of a sweep by the words of its cells, as `Label.axes` calls them."""
    keys = dict.fromkeys(word.partition("=")[0] for words in cells for word in words.split() if "=" in word)
    return [AXIS + key.replace(".", "/") for key in keys]


def split(word: str) -> tuple[str, str]:
    key, _, value = word.lstrip("+").partition("=")
    return key, value


def silent(key: str) -> bool:
    """Does it change no result? An arm's name stands for what does."""
    path = key.partition("@")[0].replace("/", ".")
    return path != "arm" and any(fnmatchcase(path, p) or fnmatchcase(path, f"{p}.*") for p in NEITHER)


def varied(key: str, value: str, words: str) -> bool:
    """Is it among the words of the cell?"""
    return any(f" {name}={value} " in f" {words} " for name in (key, key.rpartition(".")[2]))


def typed(config: Mapping, key: str, word: str) -> object:
    """The value of an override: a number where the configuration has one there, else what was typed."""
    with suppress(LookupError, TypeError):
        value = reduce(lambda node, name: node[name], key.split("."), config)
        if isinstance(value, int | float | str):
            return value
    with suppress(ValueError):
        value = json.loads(word)
        return value if isinstance(value, int | float) else word
    return word
