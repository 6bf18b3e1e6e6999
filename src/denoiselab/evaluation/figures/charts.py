"""Numbers: curves, and a matrix as shades."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from denoiselab.files import replacing


def curve(x: Sequence[float], ys: Mapping[str, Sequence[float]], xlabel: str, ylabel: str, path: str | Path,
          log: bool = False) -> None:  # fmt: skip
    """Writes a PNG with a line over x for each name; `log`: of the logarithm of y, where some y is above 0."""
    # Not pyplot: a figure of its own needs no display, no global state and no closing.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for name, y in ys.items():
        axes.plot(x, y, label=name, linewidth=1.6, marker="o" if len(x) <= 30 else "", markersize=4)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if log and any(0 < value < math.inf for y in ys.values() for value in y):
        axes.set_yscale("log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if len(ys) > 1:
        axes.legend(frameon=False)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png")


def heat(weights: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], path: str | Path) -> None:
    """Writes a PNG of a matrix, dark where a share is large, a label at each row and column."""
    from matplotlib.figure import Figure

    size = (1.5 + 0.18 * len(columns), 1.2 + 0.18 * len(rows))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="Blues", vmin=0, aspect="equal", interpolation="nearest")
    # A dollar sign would begin a formula.
    plain_rows, plain_columns = ([word.replace("$", r"\$") for word in words] for words in (rows, columns))
    axes.set_xticks(range(len(columns)), plain_columns, rotation=90 if max(map(len, columns)) > 1 else 0, fontsize=7)
    axes.set_yticks(range(len(rows)), plain_rows, fontsize=7)
    axes.tick_params(length=0)
    axes.set(xlabel="read", ylabel="written")
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png")
