"""`denoiselab compare PATH... [by=...] [metric=...]`: which arm won, and by how much."""

import math
from pathlib import Path

from denoiselab.spec import Refused, near

HELP = """denoiselab compare PATH... [by=KEY,KEY] [metric=NAME] [baseline=KEY=VALUE] [interval=student] [lower=true]
                  [x=samples] [curve=NAME] [effects=true]
                  [html=FILE] [csv=FILE] [markdown=FILE] [latex=FILE] [parquet=FILE]

Reads any mix of run folders and folders of runs (outputs/NAME), groups what differs in the seed alone, and gives for
each arm the mean, its 95 % interval and n, the best first; then the share of the variance that each axis accounts for.
by= names the axes, by default all keys in which the runs differ; metric= is by default the runs' monitor. baseline=
names an arm: the others show their paired differences to it, over the seeds that both have, with the effect size
(mean / standard deviation of the differences). interval=bootstrap for many seeds; lower=false where greater is better.
Values of unlike n, split or extractor are refused.

x=step, samples, tokens, multiply_adds or seconds compares at a matched budget, the largest x that all runs reach: a
column has each run's last recorded value at or before it (of metric=, where that is recorded during training, else of
the monitor; curve= names another). multiply_adds (or flops) are of the whole training so far: two floating-point
operations each.
effects=true shows the main effect of each axis (the mean over all runs at each level, with its interval) and how much
each axis matters: its share of the variance (eta squared), Spearman's rank correlation where its settings are numbers,
and, from ten arms on, what a random forest loses where the axis is shuffled (for searches of continuous values).
Runs that did not end are named with their reason; an arm of which none has ended stays in the table, with n = 0.
html= writes one page that needs nothing else: a table to sort and filter, learning curves with bands, parallel
coordinates, heat maps, samples side by side, and what differs in the configurations."""
OPTIONS = {"by": None, "metric": None, "baseline": None, "interval": "student", "lower": None, "x": None, "curve": None,
           "effects": None, "html": None, "csv": None, "markdown": None, "latex": None, "parquet": None}  # fmt: skip
SAME = {"steps": "step", "flops": "multiply_adds"}  # two of the ones are one of the others: the same budget
FILES = ("html", "csv", "markdown", "latex", "parquet")
GREATER = ("accuracy", "precision", "recall", "density", "coverage", "agreement", "psnr", "ssim", "chrf", "exact_match",
           "distinct")  # fmt: skip
MOST = 12  # of what was left out, and of an axis' levels, that are printed


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
        return
    paths, asked = parsed(arguments)

    from denoiselab.compare import curves, read, statistics, table

    interval = statistics.INTERVALS.get(asked["interval"])
    if interval is None:
        fix = near(asked["interval"], statistics.INTERVALS)
        raise Refused("interval is a kind of interval", asked["interval"], fix)
    asked["x"] = SAME.get(asked["x"], asked["x"])
    if asked["x"] not in (None, *curves.X):
        raise Refused("x is what the training is measured by", f"x={asked['x']}", near(asked["x"], curves.X))
    all_effects = truth("effects", asked["effects"], False)
    writable(asked)

    rows, left, lost = read.rows(paths)
    metric, rows = table.measured(rows, asked["metric"])
    origin = table.alike(rows, metric)
    axes = asked["by"].split(",") if asked["by"] else read.axes([*rows, *(each.row for each in lost)])
    if unknown := [axis for axis in axes if not any(axis in row.typed for row in rows)]:
        known = {key for row in rows for key in row.typed}
        raise Refused("no run was told this key", f"by={unknown[0]}", near(unknown[0], known))
    found = table.groups(rows, axes, metric, interval, is_lower(asked["lower"], metric), asked["baseline"],
                         lost)  # fmt: skip
    at = None
    if asked["x"] or asked["curve"]:
        curve = asked["curve"] or (metric if any(metric in row.curves for row in rows) else table.monitor(rows))
        found, at = table.at_budget(found, asked["x"] or "step", curve, interval)
    cells, values = zip(*((g.cell, value) for g in found for value in g.values.values()), strict=True)
    effects = statistics.effects(cells, values, axes, interval)
    screen(found, axes, metric, origin, at)
    told(effects, all_effects)
    important = None
    if all_effects:
        from denoiselab.compare.importance import importance

        finite = [(cell, value) for cell, value in zip(cells, values, strict=True) if math.isfinite(value)]
        important = importance([cell for cell, _ in finite], [value for _, value in finite], axes)
        weighed(important)
    nothing(found)
    omitted(left)
    save(asked, found, axes, metric, at, left, ", ".join(paths), important)


def parsed(arguments: list[str]) -> tuple[list[str], dict]:
    """The paths, and the options that were given."""
    asked, paths = dict(OPTIONS), []
    for word in arguments:
        key, equals, value = word.partition("=")
        if equals and (key in OPTIONS or not Path(word).exists()):
            if key not in OPTIONS:
                raise Refused(f"there is no argument {key!r}", word, near(key, OPTIONS))
            asked[key] = value
        else:
            paths.append(word)
    if not paths:
        raise Refused("compare what?", "no path", "denoiselab compare outputs/NAME")
    return paths, asked


def truth(key: str, word: str | None, otherwise: bool) -> bool:
    if word not in (None, "true", "false"):
        raise Refused(f"{key} is true or false", word, f"{key}={str(not otherwise).lower()}")
    return otherwise if word is None else word == "true"


def is_lower(word: str | None, metric: str) -> bool:
    """Is less of a metric better? As it is said, else by its name."""
    return truth("lower", word, not any(name in metric for name in GREATER))


def writable(asked: dict) -> None:
    for key in FILES:
        if asked[key] and not Path(asked[key]).parent.is_dir():
            path = Path(asked[key])
            raise Refused(f"{path} cannot be written", f"{path.parent} is no folder", f"give another {key}=FILE")
        if asked[key] and Path(asked[key]).is_dir():
            raise Refused(f"{asked[key]} cannot be written", "a folder is there", f"give another {key}=FILE")


def screen(found, axes, metric, origin, at) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from denoiselab.compare.table import short

    header, lines = short(found, axes, metric, at)
    shown = Table(box=box.SIMPLE_HEAD, title=f"{metric}, " + ", ".join(f"{k} {v}" for k, v in origin.items() if v))
    for name in header:
        shown.add_column(name, overflow="fold", justify="left" if name in axes else "right")
    for line in lines:
        shown.add_row(*line)
    Console().print(shown)
    if at and at.lacking:
        print(f"{at.lacking} runs have not recorded {at.curve} by {at.value:.6g} {at.x}")


def told(effects, whole: bool) -> None:
    """The shares of the variance; the whole of the effects where it was asked for."""
    from denoiselab.compare.table import shown

    shares = ", ".join(f"{name} {share:.0%}" for name, share in effects.shares.items())
    if shares:
        words = "" if effects.balanced else " (not as many runs in every cell: shares overlap, and only describe)"
        print(f"share of the variance{words}: {shares}")
    if not whole:
        return
    for axis, rank in effects.ranks.items():
        print(f"Spearman's rank correlation with {axis}: {rank.rho:+.2f} (p {rank.p:.2g}, n {rank.n})")
    for axis, means in effects.levels.items():
        if len(means) > MOST:
            print(f"{axis}: {len(means)} levels, too many to print; html= shows them")
            continue
        print(f"{axis}, over all runs at each level:")
        width = max(map(len, means))
        for level, mean in means.items():
            print(f"  {level:{width}}  {shown(mean)}  n {mean.n}")
    if effects.left:
        print(f"{effects.left} values are not finite, and no part of the effects")


def weighed(important) -> None:
    if important is None:
        return
    lost = ", ".join(f"{axis} {share:.2f}" for axis, share in important.lost.items())
    print(f"importance, R2 that a random forest loses where an axis is shuffled: {lost}\n"
          f"  (R2 {important.r2:.2f} on arms that it has not seen, of {important.arms})"
          + ("; it foretells nothing here" if important.r2 <= 0 else ""))  # fmt: skip


def nothing(found) -> None:
    """The arms of which no run has ended, and why."""
    for g in found:
        if not g.values:
            whys = dict.fromkeys(each.why or "not trained to the end" for each in g.lost)
            print(f"no run of {g.label} has ended: {'; '.join(whys)} (see {g.lost[0].row.folder / 'log.txt'})")


def omitted(left: list[str]) -> None:
    for why in left[:MOST]:
        print(f"left out: {why}")
    if len(left) > MOST:
        print(f"left out: {len(left) - MOST} more")


def save(asked: dict, found, axes, metric, at, left, title, important) -> None:
    from denoiselab.compare import table
    from denoiselab.files import replacing

    def page() -> str:
        from denoiselab.compare.report import report

        def lower(name: str) -> bool:
            return is_lower(asked["lower"] if name == metric else None, name)

        return report(found, axes, metric, lower=lower, title=title, interval=asked["interval"], left=left, at=at,
                      important=important)  # fmt: skip

    exact, short = table.flat(found, axes, metric, at), table.short(found, axes, metric, at)
    texts = {"csv": lambda: table.as_csv(*exact), "markdown": lambda: table.as_markdown(*short),
             "latex": lambda: table.as_latex(*short), "html": page}  # fmt: skip
    for key in FILES:
        if not asked[key]:
            continue
        path = Path(asked[key])
        with replacing(path) as temporary:
            if key == "parquet":
                table.as_parquet(*exact, temporary)
            else:
                temporary.write_text(texts[key](), encoding="utf-8")
        print(f"{key}: {path}")
