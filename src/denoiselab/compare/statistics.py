"""What a few seeds say: means, intervals, paired differences, effects of axes. Numbers in, numbers out.

Student's distribution is taken from scipy.special: scipy.stats has the same and takes a second to import."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.95
DRAWS = 10_000  # of a bootstrap


def quantile(p: float, degrees: float) -> float:
    """Of Student's t."""
    return float(special.stdtrit(degrees, p))


def two_sided(t: float, degrees: float) -> float:
    """The probability of a t at least as far from zero."""
    return float(2 * special.stdtr(degrees, -abs(t)))


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
    half = quantile((1 + LEVEL) / 2, n - 1) * std / math.sqrt(n)
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
    """Over the seeds that both have; effect and p are nan where there are fewer than two, or where the differences are
    equal but for rounding."""
    seeds = [seed for seed in arm if seed in baseline]
    if not seeds:
        return Difference(Mean(math.nan, math.nan, math.nan, math.nan, 0), math.nan, math.nan)
    gaps = np.array([arm[seed] - baseline[seed] for seed in seeds])
    mean = interval(gaps)
    rounding = 8 * np.finfo(float).eps * max(abs(arm[seed]) + abs(baseline[seed]) for seed in seeds)
    if len(gaps) < 2 or not mean.std > rounding:
        return Difference(mean, math.nan, math.nan)
    effect = mean.value / mean.std
    return Difference(mean, effect, two_sided(effect * math.sqrt(mean.n), mean.n - 1))


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


class Rank(NamedTuple):
    """Spearman's rank correlation (1904) of a numeric axis and the value, its p under independence by Student's t
    (rough for fewer than ten values), and n."""

    rho: float
    p: float
    n: int


def number(setting: str) -> float | None:
    """A setting as a number, if it is a finite one."""
    try:
        value = float(setting)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def ranks(cells: Sequence[Mapping[str, str]], values: Sequence[float], axes: Sequence[str]) -> dict[str, Rank]:
    """Of each axis whose settings are all numbers. It sees a trend in one direction alone: an axis with its best in the
    middle can have none."""
    found = {}
    for axis in axes:
        x = [number(cell[axis]) for cell in cells]
        if None not in x and len(set(x)) > 1 and len(set(values)) > 1:
            found[axis] = spearman(x, values)
    return found


def spearman(x: Sequence[float], y: Sequence[float]) -> Rank:
    n, rho = len(x), float(np.clip(np.corrcoef(ranking(x), ranking(y))[0, 1], -1, 1))
    if n < 3:
        return Rank(rho, math.nan, n)
    return Rank(rho, two_sided(rho * math.sqrt((n - 2) / (1 - rho**2)), n - 2) if abs(rho) < 1 else 0.0, n)


def ranking(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1; what is equal shares the mean of its ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def levels(cells: Sequence[Mapping[str, str]], values: Sequence[float], axes: Sequence[str],
           interval: Interval = student) -> dict[str, dict[str, Mean]]:  # fmt: skip
    """The main effect of each axis: the mean over all runs at each of its levels. The interval holds the spread that
    the other axes and the seeds make."""
    found = {}
    for axis in axes:
        of: dict[str, list[float]] = {}
        for cell, value in zip(cells, values, strict=True):
            of.setdefault(cell[axis], []).append(value)
        found[axis] = {level: interval(of[level]) for level in ordered(of)}
    return found


def ordered(settings: Iterable[str]) -> list[str]:
    """Numbers by size, else words by the alphabet."""
    settings = list(settings)
    numeric = all(number(setting) is not None for setting in settings)
    return sorted(settings, key=(lambda s: (number(s), s)) if numeric else str)


def balanced(cells: Sequence[Mapping[str, str]], axes: Sequence[str]) -> bool:
    """Is it a full factorial design, with as many runs in every cell?"""
    counts = Counter(tuple(cell[axis] for axis in axes) for cell in cells)
    full = math.prod(len({cell[axis] for cell in cells}) for axis in axes)
    return len(counts) == full and len(set(counts.values())) == 1


class Effects(NamedTuple):
    """What the axes do to a metric. No share is told of an axis with about as many settings as runs, as a random search
    has: it would account for everything."""

    shares: dict[str, float]
    levels: dict[str, dict[str, Mean]]
    ranks: dict[str, Rank]
    balanced: bool
    left: int  # values that are not finite, and no part of this


def effects(cells: Sequence[Mapping[str, str]], values: Sequence[float], axes: Sequence[str],
            interval: Interval = student) -> Effects:  # fmt: skip
    kept = [(cell, value) for cell, value in zip(cells, values, strict=True) if math.isfinite(value)]
    if not kept:
        return Effects({}, {}, {}, False, len(values))
    cells, finite = zip(*kept, strict=True)
    repeated = [axis for axis in axes if 2 * len({cell[axis] for cell in cells}) <= len(cells)]
    return Effects(shares(cells, finite, repeated), levels(cells, finite, axes, interval), ranks(cells, finite, axes),
                   balanced(cells, axes), len(values) - len(kept))  # fmt: skip
