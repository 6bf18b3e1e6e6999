"""What a metric shows beside its values: curves and rows of pictures, each saved as files under a name."""

import abc
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from denoiselab.evaluation import figures
from denoiselab.files import replacing


class Shown(abc.ABC):
    """Something to look at."""

    @abc.abstractmethod
    def save(self, folder: Path, name: str) -> Path:
        """Writes NAME.png, and the numbers in it where it has some; gives the path of the picture."""


@dataclass(frozen=True)
class Curve(Shown):
    """A line over x for each name; `log`: y on a logarithmic axis. Also NAME.csv, a row for each x."""

    x: Sequence[float]
    ys: Mapping[str, Sequence[float]]
    xlabel: str
    ylabel: str
    log: bool = False

    def save(self, folder, name):
        with replacing(folder / f"{name}.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow([self.xlabel, *self.ys])
            rows.writerows(zip(self.x, *self.ys.values(), strict=True))
        path = folder / f"{name}.png"
        figures.curve(self.x, self.ys, self.xlabel, self.ylabel, path, self.log)
        return path


@dataclass(frozen=True)
class Heat(Shown):
    """A matrix of shares, a row and a column for each token. Also NAME.csv."""

    weights: Sequence[Sequence[float]]
    rows: Sequence[str]
    columns: Sequence[str]

    def save(self, folder, name):
        with replacing(folder / f"{name}.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(["", *self.columns])
            out.writerows([row, *line] for row, line in zip(self.rows, self.weights, strict=True))
        path = folder / f"{name}.png"
        figures.heat(self.weights, self.rows, self.columns, path)
        return path


@dataclass(frozen=True)
class Rows(Shown):
    """A row of pictures for each name, (N, C, H, W) uint8, each column one sample."""

    named: Mapping[str, Tensor]
    columns: int

    def save(self, folder, name):
        path = folder / f"{name}.png"
        figures.save(figures.rows(self.named, self.columns), path)
        return path
