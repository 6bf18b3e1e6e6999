"""k-fold cross-validation (Stone, 1974): train and val together are dealt to k folds, of which one validates and the
others train. The test split stays what it was.

A fold is a function of the number of samples alone, as a split is: the same on every machine, day and seed. Where
rows are cut from running text, a fold is a stretch of it: were rows dealt, the neighbors of every row that validates
would train. A tokenizer is fitted before there are folds, as it is without.
"""

from dataclasses import replace

import torch
from torch import Tensor

from denoiselab.data.base import Data, Loaded, Table
from denoiselab.data.splits import cut, order
from denoiselab.spec import Refused

FIX = "data.folds=5 data.fold=range(5) trains each of five"


class Folds:
    """Which fold of how many: data.fold of data.folds; None and None for the split that the data set has."""

    def __init__(self, folds: int | None, fold: int | None):
        if fold is None and folds is not None:
            raise Refused("data.fold says which fold validates", f"data.folds={folds} without data.fold", FIX)
        if folds is None and fold is not None:
            raise Refused("data.folds says how many folds there are", f"data.fold={fold} without data.folds", FIX)
        if folds is not None and folds < 2:
            raise Refused("data.folds is into how many parts train and val are dealt", folds,
                          "give 2 or more, or null for the data set's own split")  # fmt: skip
        if folds is not None and not 0 <= fold < folds:
            raise Refused("data.fold is the fold that validates", f"{fold} of {folds}", f"give 0 to {folds - 1}")
        self.folds, self.fold = folds, fold

    def load(self, plan: Data) -> Loaded:
        """The data of a plan; where there are folds, split anew."""
        data = plan.load()
        if self.folds is None:
            return data
        pool = joined(data.uncut or data.train, data.val)
        if self.folds > len(pool.x):
            raise Refused("every fold has a sample", f"data.folds={self.folds} of {len(pool.x)} samples",
                          f"give {len(pool.x)} or fewer")  # fmt: skip
        val = dealt(pool, self.folds)[self.fold]
        kept = torch.ones(len(pool.x), dtype=torch.bool)
        kept[val] = False
        whole = pool.take(kept)
        spec, train = cut(data.spec, whole, plan.n)
        return replace(data, spec=spec, train=train, val=pool.take(val), uncut=whole, unfolded=data)


def joined(a: Table, b: Table) -> Table:
    return Table(torch.cat([a.x, b.x]), {name: torch.cat([a.context[name], b.context[name]]) for name in a.context})


def dealt(pool: Table, folds: int) -> list[Tensor]:
    """The samples of each fold in their order, alike in number but for one. Together they are all, each once."""
    n = len(pool.x)
    running = pool.x.dtype == torch.int64 and ("valid" not in pool.context or "segment" in pool.context)
    index = torch.arange(n) if running else order(n)
    return [part.sort().values for part in index.tensor_split(folds)]
