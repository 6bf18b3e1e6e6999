"""Which hyperparameter matters, where settings are as many as runs (a random or Bayesian search): how much worse a
random forest foretells runs that it has not seen when the settings of one axis are shuffled among them.

    lost = (error with the axis shuffled - error) / variance,      R2 = 1 - error / variance

errors squared, over all runs, each foretold by a forest that saw none of its arm (five folds; seeds of an arm stay
together). Lost is about twice the share of the variance that the axis makes alone, and 0 where it makes none; axes that
go together share what they have. Nothing is to be read from it where R2 is near zero or below.

Breiman, 2001, Random forests; Fisher, Rudin and Dominici, 2019, arXiv:1801.01489.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from denoiselab.compare.statistics import number

FOLDS, TREES, SHUFFLES = 5, 100, 10
LEAST = 10  # arms, of which anything can be said


class Importance(NamedTuple):
    """By axis, the part of R2 that is lost; R2 itself, on runs of arms that were not seen; arms."""

    lost: dict[str, float]
    r2: float
    arms: int


def importance(cells: Sequence[Mapping[str, str]], values: Sequence[float], axes: Sequence[str]) -> Importance | None:
    """None for fewer than `LEAST` arms, or where there is nothing to explain. Values are finite."""
    y = np.asarray(values, float)
    arms = [tuple(cell[axis] for axis in axes) for cell in cells]
    index = {arm: i for i, arm in enumerate(dict.fromkeys(arms))}
    total = ((y - y.mean()) ** 2).sum()
    if not axes or len(index) < LEAST or not total > 0:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import GroupKFold

    blocks = [encoded([cell[axis] for cell in cells]) for axis in axes]
    ends = np.cumsum([0, *(block.shape[1] for block in blocks)])
    x, random = np.concatenate(blocks, 1), np.random.default_rng(0)
    error, worse = 0.0, np.zeros(len(axes))
    for seen, held in GroupKFold(FOLDS).split(x, y, [index[arm] for arm in arms]):
        forest = RandomForestRegressor(TREES, random_state=0).fit(x[seen], y[seen])
        error += ((forest.predict(x[held]) - y[held]) ** 2).sum()
        # All shuffles of all axes in one call: a call of a forest costs more than its rows.
        shuffled = np.tile(x[held], (len(axes) * SHUFFLES, 1, 1))
        for k in range(len(axes) * SHUFFLES):
            own = slice(*ends[k // SHUFFLES : k // SHUFFLES + 2])
            shuffled[k, :, own] = x[held][random.permutation(len(held)), own]
        found = forest.predict(shuffled.reshape(-1, x.shape[1])).reshape(len(axes), SHUFFLES, len(held))
        worse += ((found - y[held]) ** 2).sum(2).mean(1)
    lost = dict(zip(axes, ((worse - error) / total).tolist(), strict=True))
    return Importance(dict(sorted(lost.items(), key=lambda pair: -pair[1])), float(1 - error / total), len(index))


def encoded(settings: Sequence[str]) -> np.ndarray:
    """Settings as columns (n, k): numbers as they are, words one column each."""
    numbers = [number(setting) for setting in settings]
    if None not in numbers:
        return np.array(numbers)[:, None]
    return np.array([[setting == word for word in sorted(set(settings))] for setting in settings], float)
