"""`denoiselab compare PATH... [by=...] [metric=...]`: which arm won, and by how much."""

from pathlib import Path

from denoiselab.spec import Refused, near

HELP = """denoiselab compare PATH... [by=KEY,KEY] [metric=NAME] [baseline=KEY=VALUE] [interval=student] [lower=true]
                  [csv=FILE] [markdown=FILE] [latex=FILE] [parquet=FILE]

Reads any mix of run folders and folders of runs (outputs/NAME), groups what differs in the seed alone, and gives for
each arm the mean, its 95 % interval and n, the best first; then the share of the variance that each axis accounts for.
by= names the axes, by default all keys in which the runs differ; metric= is by default the runs' monitor. baseline=
names an arm: the others show their paired differences to it, over the seeds that both have, with the effect size
(mean / standard deviation of the differences). interval=bootstrap for many seeds; lower=false where greater is better.
Values of unlike n, split or extractor are refused."""
OPTIONS = {"by": None, "metric": None, "baseline": None, "interval": "student", "lower": None,
           "csv": None, "markdown": None, "latex": None, "parquet": None}  # fmt: skip
GREATER = ("accuracy", "precision", "recall", "density", "coverage", "agreement", "psnr", "ssim", "chrf", "exact_match",
           "distinct")  # fmt: skip
MOST = 12  # what was left out, shown by name


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
        return
    paths, asked = parsed(arguments)

    from denoiselab.compare import read, statistics, table

    rows, left = read.rows(paths)
    metric, rows = table.measured(rows, asked["metric"])
    origin = table.alike(rows, metric)
    axes = asked["by"].split(",") if asked["by"] else read.axes(rows)
    if unknown := [axis for axis in axes if not any(axis in row.typed for row in rows)]:
        known = {key for row in rows for key in row.typed}
        raise Refused("no run was told this key", f"by={unknown[0]}", near(unknown[0], known))
    interval = statistics.INTERVALS.get(asked["interval"])
    if interval is None:
        fix = near(asked["interval"], statistics.INTERVALS)
        raise Refused("interval is a kind of interval", asked["interval"], fix)
    found = table.groups(rows, axes, metric, interval, is_lower(asked["lower"], metric), asked["baseline"])
    cells, values = zip(*((g.cell, value) for g in found for value in g.values.values()), strict=True)
    effects = statistics.shares(cells, values, axes)
    screen(found, axes, metric, origin, effects, left)
    save(asked, found, axes, metric)


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


def is_lower(word: str | None, metric: str) -> bool:
    """Is less of a metric better? As it is said, else by its name."""
    if word not in (None, "true", "false"):
        raise Refused("lower is true or false", word, "lower=false where greater is better")
    return word == "true" if word else not any(name in metric for name in GREATER)


def screen(found, axes, metric, origin, effects, left) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from denoiselab.compare.table import short

    header, lines = short(found, axes, metric)
    shown = Table(box=box.SIMPLE_HEAD, title=f"{metric}, " + ", ".join(f"{k} {v}" for k, v in origin.items() if v))
    for name in header:
        shown.add_column(name, overflow="fold", justify="left" if name in axes else "right")
    for line in lines:
        shown.add_row(*line)
    console = Console()
    console.print(shown)
    if effects:
        console.print("share of the variance: " + ", ".join(f"{name} {share:.0%}" for name, share in effects.items()),
                      highlight=False)  # fmt: skip
    for why in left[:MOST]:
        console.print(f"left out: {why}", highlight=False)
    if len(left) > MOST:
        console.print(f"left out: {len(left) - MOST} more")


def save(asked: dict, found, axes, metric) -> None:
    from denoiselab.compare import table
    from denoiselab.files import replacing

    exact, short = table.flat(found, axes, metric), table.short(found, axes, metric)
    texts = {"csv": lambda: table.as_csv(*exact), "markdown": lambda: table.as_markdown(*short),
             "latex": lambda: table.as_latex(*short)}  # fmt: skip
    for key in ("csv", "markdown", "latex", "parquet"):
        if not asked[key]:
            continue
        path = Path(asked[key])
        if not path.parent.is_dir():
            raise Refused(f"{path} cannot be written", f"{path.parent} is no folder", f"give another {key}=FILE")
        with replacing(path) as temporary:
            if key == "parquet":
                table.as_parquet(*exact, temporary)
            else:
                temporary.write_text(texts[key](), encoding="utf-8")
        print(f"{key}: {path}")
