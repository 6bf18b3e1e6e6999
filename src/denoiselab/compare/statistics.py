"""What a few seeds say: means, intervals, paired differences, effects of axes. Numbers in, numbers out."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
DRAWS = 10_000  # of a bootstrap


class Mean(NamedTuple):
    """A mean, the ends of its 95 % interval (nan where there is one value), the standard deviation, and n."""

    value: float
    low: float
    high: float
    std: float
    n: int

    @property
    def half(self) -> float:
        """Half of a symmetric interval."""
        return (self.high - self.low) / 2


Interval = Callable[[Sequence[float]], Mean]


def student(values: Sequence[float]) -> Mean:
    """Student's t interval of the mean of independent normal values."""
    x = np.asarray(values, float)
    n, mean = len(x), float(x.mean())
    if n < 2:
        return Mean(mean, math.nan, math.nan, math.nan, n)
    std = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * std / math.sqrt(n)
    return Mean(mean, mean - half, mean + half, std, n)


def bootstrap(values: Sequence[float]) -> Mean:
    """The percentile bootstrap of the mean (Efron, 1979), from a fixed seed. Too narrow for fewer than about ten
    values."""
    x = np.asarray(values, float)
    plain = student(x)
    if plain.n < 2:
        return plain
    draws = np.random.default_rng(0).choice(x, (DRAWS, len(x))).mean(1)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return plain._replace(low=float(low), high=float(high))


INTERVALS: Mapping[str, Interval] = {"student": student, "bootstrap": bootstrap}


class Difference(NamedTuple):
    """Of an arm to a baseline: the mean of the paired differences and its interval, Cohen's d of pairs (mean / standard
    deviation of the differences), the p of the paired t test."""

    mean: Mean
    effect: float
    p: float


def paired(arm: Mapping[object, float], baseline: Mapping[object, float], interval: Interval = student) -> Difference:
    """Over the seeds that both have; nan where there are fewer than two."""
    seeds = [seed for seed in arm if seed in baseline]
    if not seeds:
        return Difference(Mean(math.nan, math.nan, math.nan, math.nan, 0), math.nan, math.nan)
    gaps = np.array([arm[seed] - baseline[seed] for seed in seeds])
    mean = interval(gaps)
    if len(gaps) < 2 or not mean.std > 0:
        return Difference(mean, math.nan, math.nan)
    return Difference(mean, mean.value / mean.std, float(stats.ttest_1samp(gaps, 0).pvalue))


def shares(cells: Sequence[Mapping[str, str]], values: Sequence[float], axes: Sequence[str]) -> dict[str, float]:
    """The share of the variance of `values` that each axis, and each pair of axes beyond the two, accounts for: sums of
    squares between the means of levels over the total (eta squared; of a full factorial design they add up with the
    rest to 1; of another they are only descriptive)."""
    y = np.asarray(values, float)
    total = ((y - y.mean()) ** 2).sum()
    if not total > 0:
        return {}

    def between(names: tuple[str, ...]) -> float:
        levels: dict[tuple, list[float]] = {}
        for cell, value in zip(cells, y, strict=True):
            levels.setdefault(tuple(cell[name] for name in names), []).append(value)
        return sum(len(v) * (np.mean(v) - y.mean()) ** 2 for v in levels.values())

    alone = {axis: between((axis,)) for axis in axes}
    found = {axis: float(square / total) for axis, square in alone.items()}
    for a, b in combinations(axes, 2):
        found[f"{a} x {b}"] = float(max(between((a, b)) - alone[a] - alone[b], 0.0) / total)
    return found
