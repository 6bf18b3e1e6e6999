"""Rows grouped over seeds and folds: a table as a person, a paper or a program reads it."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from denoiselab.compare.curves import budget
from denoiselab.compare.read import Lost, Repeat, Row, plain
from denoiselab.compare.statistics import Difference, Interval, Mean, paired
from denoiselab.spec import Refused, near

NOTHING = Mean(math.nan, math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Group:
    """Rows that differ in the seed and the fold alone."""

    cell: dict[str, str]  # axis to setting
    values: dict[Repeat, float]
    mean: Mean
    rows: list[Row]
    difference: Difference | None = None
    reached: Mean | None = None  # of a curve at a budget
    lost: Sequence[Lost] = ()  # runs of it that did not end, of other seeds or folds

    @property
    def known(self) -> list[Row]:
        """The rows; where none has ended, those that did not."""
        return self.rows or [each.row for each in self.lost]

    @property
    def n(self) -> str:
        """How many runs: `2 of 3` where some did not end."""
        return f"{len(self.values)} of {len(self.values) + len(self.lost)}" if self.lost else str(self.mean.n)

    @property
    def label(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.cell.items()) or "all"


def measured(rows: Sequence[Row], metric: str | None) -> tuple[str, list[Row]]:
    """The metric, by its whole name, and the rows that have it. Without one: what the runs' monitor names."""
    known = list(dict.fromkeys(name for row in rows for name in row.metrics))
    if metric is None:
        metric = monitor(rows)
    fitting = [name for name in known if metric in (name, name.rpartition("/")[2])]
    if len(fitting) != 1:
        fix = f"give one of {', '.join(fitting)}" if fitting else near(metric, known)
        raise Refused(f"no run has the metric {metric!r}" if not fitting else "several metrics have this name",
                      f"metric={metric}", fix)  # fmt: skip
    return fitting[0], [row for row in rows if fitting[0] in row.metrics]


def monitor(rows: Sequence[Row]) -> str:
    """What the runs' monitor names, where they agree."""
    monitors = {(row.config.get("monitor") or {}).get("name", "val/loss") for row in rows}
    return monitors.pop() if len(monitors) == 1 else "val/loss"


def alike(rows: Sequence[Row], metric: str) -> dict:
    """Where the values of a metric come from; raises `Refused` where that is not the same for all. Folds differ by a
    sample or so in n, which then is the range; each by itself has one."""
    known: dict[int, dict[tuple, Row]] = {}
    for row in rows:
        score = row.metrics[metric]
        where = tuple(score.get(key) for key in ("n", "split", "extractor"))
        known.setdefault(row.repeat.fold, {}).setdefault(where, row)
    unlike = next((one for one in known.values() if len(one) > 1), None)
    every = [where for one in known.values() for where in one]
    if unlike is None and (-1 in known or len({where[1:] for where in every}) > 1):
        unlike = {where: row for one in known.values() for where, row in one.items()}
    if unlike is not None and len(unlike) > 1:
        (first, a), (second, b) = list(unlike.items())[:2]
        words = [", ".join(f"{key} {value}" for key, value in zip(("n", "split", "extractor"), said, strict=True)
                           if value is not None) for said in (first, second)]  # fmt: skip
        raise Refused(
            f"values of {metric} that cannot be compared", f"{words[0]} in {a.place}; {words[1]} in {b.place}",
            "evaluate them alike (denoiselab evaluate run=RUN evaluation.samples=N), or compare fewer paths",
        )  # fmt: skip
    sizes = sorted({where[0] for where in every})
    n = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return dict(zip(("n", "split", "extractor"), (n, *every[0][1:]), strict=True))


def groups(rows: Sequence[Row], axes: Sequence[str], metric: str, interval: Interval, lower: bool = True,
           baseline: str | None = None, lost: Sequence[Lost] = ()) -> list[Group]:  # fmt: skip
    """The rows grouped by their settings of the axes, the best first; an arm of which no run has ended is among them,
    with n = 0. `baseline` is the label of a group, or a part of it that only one has: AXIS=SETTING."""
    cells: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        cells.setdefault(tuple(row.setting(axis) for axis in axes), []).append(row)
    without: dict[tuple[str, ...], list[Lost]] = {}
    for each in lost:
        without.setdefault(tuple(each.row.setting(axis) for axis in axes), []).append(each)
    found = []
    for settings, members in {**{settings: [] for settings in without}, **cells}.items():
        cell, values = dict(zip(axes, settings, strict=True)), {}
        for row in members:
            if row.repeat in values:
                raise Refused(
                    "two runs have the same settings and seed",
                    f"{row.place} and another: {' '.join(map('='.join, cell.items())) or 'all'} seed={row.repeat}",
                    f"they differ in something else: add it to by= (now by={','.join(axes)}), or compare fewer paths",
                )
            values[row.repeat] = row.value(metric)
        ends = [each for each in without.get(settings, ()) if each.row.repeat not in values]
        mean = interval(list(values.values())) if values else NOTHING
        found.append(Group(cell, values, mean, members, lost=ends))
    if baseline is not None:
        base = chosen(found, baseline)
        found = [g if g is base else replace(g, difference=paired(g.values, base.values, interval)) for g in found]
    return sorted(found, key=lambda g: (math.isnan(g.mean.value), g.mean.value if lower else -g.mean.value))


@dataclass(frozen=True)
class Budget:
    """Where the runs' curves are compared: the largest x that all of them reach."""

    curve: str
    x: str
    value: float
    lacking: int = 0  # runs that have not recorded it, or nothing by then

    def __str__(self) -> str:
        return f"{self.curve} at {self.value:.6g} {self.x.replace('_', '-')}".replace(" step", " steps")


def at_budget(found: list[Group], x: str, curve: str, interval: Interval) -> tuple[list[Group], Budget]:
    """The groups with their curve's last recorded value at or before the budget. Raises `Refused` where no run has
    one."""
    rows = [row for g in found for row in g.rows]
    having = {id(row): row.curves[curve] for row in rows if curve in row.curves and x in row.curves[curve].x}
    if not having:
        known = dict.fromkeys(name for row in rows for name in row.curves)
        recorded = dict.fromkeys(key for row in rows for c in row.curves.values() for key in c.x)
        fix = near(curve, known) if curve not in known else f"x= one of {', '.join(recorded)}"
        raise Refused(f"no run recorded {curve} against {x}", f"curve={curve} x={x}", fix)
    where = budget(having.values(), x)
    # A run whose first value lies behind the budget says nothing there; one that diverged says nan, and it stays.
    begun = [[row for row in g.rows if id(row) in having and having[id(row)].x[x][0] <= where] for g in found]
    values = [[having[id(row)].at(x, where) for row in those] for those in begun]
    found = [replace(g, reached=interval(v) if v else None) for g, v in zip(found, values, strict=True)]
    return found, Budget(curve, x, where, len(rows) - sum(map(len, begun)))


def chosen(found: list[Group], words: str) -> Group:
    pairs = [word.partition("=") for word in words.replace(",", " ").split()]
    wanted = [f"{key}{equals}{plain(value)}" for key, equals, value in pairs]
    fitting = [g for g in found if all(word in g.label.split() for word in wanted)]
    if len(fitting) != 1:
        what = "no arm is the baseline" if not fitting else "several arms could be the baseline"
        raise Refused(what, f"baseline={words}", f"give one of: {'; '.join(g.label for g in (fitting or found)[:6])}")
    return fitting[0]


# -- written out ------------------------------------------------------------------------------------------------------

HEAD = ("metric", "mean", "low", "high", "std", "n")
REACHED = ("curve", "x", "budget", "curve_mean", "curve_low", "curve_high", "curve_std", "curve_n")
GAPS = ("difference", "difference_low", "difference_high", "effect", "p")


def flat(
    found: list[Group], axes: Sequence[str], metric: str, at: Budget | None = None
) -> tuple[list[str], list[list]]:
    """A header, and a row a group: its settings, then numbers with all their digits."""
    gaps = any(g.difference for g in found)
    header = [*axes, *HEAD, "seeds", *(REACHED if at else ()), *(GAPS if gaps else ())]
    lines = []
    for g in found:
        line = [*g.cell.values(), metric, *g.mean, " ".join(str(one).replace(" ", "-") for one in sorted(g.values))]
        if at:
            line += [at.curve, at.x, at.value, *(g.reached or NOTHING)]
        if gaps:
            d = g.difference
            line += [d.mean.value, d.mean.low, d.mean.high, d.effect, d.p] if d else [math.nan] * len(GAPS)
        lines.append(line)
    return header, lines


def as_csv(header: list[str], lines: list[list]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(header)
    rows.writerows(["" if isinstance(v, float) and math.isnan(v) else v for v in line] for line in lines)
    return text.getvalue()


def shown(mean: Mean) -> str:
    """A mean and its interval, with the digits that mean something."""
    if not mean.n:
        return "none"
    if math.isnan(mean.low):
        return f"{mean.value:.4g}"
    if not mean.half > 0:
        return f"{mean.value:.4g} ± 0"
    digits = max(0, 1 - math.floor(math.log10(mean.half)))
    if abs(mean.value - mean.low - mean.half) > 1e-9 * mean.half:
        return f"{mean.value:.{digits}f} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"
    return f"{mean.value:.{digits}f} ± {mean.half:.{digits}f}"


def short(found: list[Group], axes: Sequence[str], metric: str, at: Budget | None = None
          ) -> tuple[list[str], list[list[str]]]:  # fmt: skip
    """The same for a person."""
    gaps = any(g.difference for g in found)
    header = [*axes, metric, "n", *([str(at)] if at else ()), *(["difference", "effect"] if gaps else ())]
    lines = []
    for g in found:
        line = [*g.cell.values(), shown(g.mean), g.n]
        if at:
            line.append(shown(g.reached) if g.reached else "")
        if gaps:
            d = g.difference
            line += [shown(d.mean), "" if math.isnan(d.effect) else f"{d.effect:.2f}"] if d else ["baseline", ""]
        lines.append(line)
    return header, lines


def as_markdown(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


LATEX = str.maketrans({"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$", "$": r"\$", "{": r"\{",
                       "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
                       "\\": r"\textbackslash{}"})  # fmt: skip


def typeset(text: str) -> str:
    """For LaTeX, where what stands before a number is a minus and no hyphen."""
    return re.sub(r"(?<![\w.])-(?=\d|inf)", "$-$", text.translate(LATEX))


def as_latex(header: list[str], lines: list[list[str]]) -> str:
    """A tabular with booktabs' rules."""
    row = lambda cells: " & ".join(map(typeset, cells)) + " \\\\\n"  # noqa: E731
    body = "".join(map(row, lines))
    return (f"\\begin{{tabular}}{{{'l' * len(header)}}}\n\\toprule\n{row(header)}\\midrule\n{body}"
            "\\bottomrule\n\\end{tabular}\n")  # fmt: skip


def as_parquet(header: list[str], lines: list[list], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        fix = 'pip install "denoiselab[hub]", or csv=FILE'
        raise Refused("parquet needs pyarrow", "it is not installed", fix) from None
    columns = zip(*lines, strict=True)
    pq.write_table(pa.table({name: list(column) for name, column in zip(header, columns, strict=True)}), path)
