"""Learning curves: the columns of a run's metrics.jsonl, and what a metric was at a budget that all runs reach."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoiselab.run import record

# What a curve can be drawn against. Multiply-adds are of the whole training so far, forward and backward: two
# floating-point operations each.
X = ("step", "samples", "tokens", "multiply_adds", "seconds")


@dataclass(frozen=True)
class Curve:
    """A metric as it was recorded: `y[i]` at `x["step"][i]`, `x["samples"][i]` ..., in the order of steps."""

    x: Mapping[str, np.ndarray]
    y: np.ndarray

    def reach(self, x: str) -> float:
        """The largest x at which it was recorded; nan where this x was not."""
        return float(self.x[x][-1]) if x in self.x and len(self.y) else math.nan

    def at(self, x: str, budget: float) -> float:
        """The last value recorded at or before a budget; nan where there is none."""
        index = int(np.searchsorted(self.x[x], budget, side="right")) - 1
        return float(self.y[index]) if index >= 0 else math.nan


def read(folder: Path) -> dict[str, Curve]:
    """The curves in a run's folder by metric."""
    blocks: dict[tuple, list[tuple]] = {}
    for row in lines(folder / "metrics.jsonl"):
        blocks.setdefault(tuple(row), []).append(tuple(row.values()))
    tables = {keys: np.array(block, float) for keys, block in blocks.items()}  # None becomes nan
    names = dict.fromkeys(key for keys in tables for key in keys if key not in X)
    return {name: joined(name, {keys: table for keys, table in tables.items() if name in keys}) for name in names}


def lines(path: Path) -> list[dict]:
    """The whole file at once, which is several times as fast as line by line; that names the lines that are damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    try:
        rows = json.loads("[" + text[: text.rfind("\n") + 1].rstrip("\n").replace("\n", ",") + "]")
        if all(type(row["step"]) is int for row in rows):
            return rows
    except (ValueError, TypeError, LookupError):
        pass
    return record.read(path)


def joined(name: str, tables: dict[tuple, np.ndarray]) -> Curve:
    """One metric of the blocks of lines that have it."""
    shared = [key for key in X if all(key in keys for keys in tables)]
    if len(tables) == 1:
        [(keys, table)] = tables.items()
        return Curve({key: table[:, keys.index(key)] for key in shared}, table[:, keys.index(name)])
    columns = {key: np.concatenate([table[:, keys.index(key)] for keys, table in tables.items()])
               for key in (*shared, name)}  # fmt: skip
    order = np.argsort(columns["step"], kind="stable")
    return Curve({key: columns[key][order] for key in shared}, columns[name][order])


def budget(curves: Iterable[Curve], x: str) -> float:
    """The largest x that all of the curves reach; nan where none has it."""
    reached = [end for end in (curve.reach(x) for curve in curves) if not math.isnan(end)]
    return min(reached, default=math.nan)


def thinned(length: int, most: int) -> np.ndarray:
    """The indices of at most `most` points, evenly spread, both ends among them: the same for curves alike in length,
    so that seeds stay matched."""
    return np.unique(np.round(np.linspace(0, length - 1, min(length, most))).astype(int))
