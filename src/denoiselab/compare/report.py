"""A comparison as one page for a person who looks: its data as JSON in an HTML file that needs nothing else.

The data are no part of the markup (`<`, `>` and `&` are escaped in the JSON), the script makes text nodes of them and
never markup, and the page's policy lets no other script run, whatever a name or a sample may say.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from denoiselab.compare import curves, differences, gallery, statistics, table
from denoiselab.compare.importance import Importance
from denoiselab.compare.read import Row
from denoiselab.compare.table import Budget, Group
from denoiselab.spec import Refused

SCRIPTS = ("page.js", "scales.js", "table.js", "curves.js", "axes.js", "parallel.js", "gallery.js", "start.js")
POINTS = 160  # of a curve in the page
DEGREES = 100  # of freedom, to which the page has Student's quantiles


def report(found: Sequence[Group], axes: Sequence[str], metric: str, *, lower, title: str, interval: str,
           left: Sequence[str] = (), at: Budget | None = None, important: Importance | None = None) -> str:  # fmt: skip
    """The page. `lower(metric)`: is less of it better?"""
    metrics, unlike = shared(found, metric)
    pictures, not_shown = gallery.samples(found)
    lines, columns, thin = drawn(found)
    mean = statistics.INTERVALS[interval]
    arms = []
    for g in found:
        means = {name: told([row.value(name) for row in g.rows if name in row.metrics], mean) for name in metrics}
        runs = [run(row, metrics, lines[row.folder]) for row in sorted(g.rows, key=lambda row: row.repeat)]
        arms.append({"cell": g.cell, "means": means, "runs": runs, "reached": entry(g.reached),
                     "difference": gap(g), "baseline": g.difference is None, "n": g.n,
                     "lost": [[str(each.row.folder), str(each.row.repeat), each.why] for each in g.lost]})  # fmt: skip
    data = {
        "title": title, "axes": list(axes), "metric": metric, "interval": interval, "arms": arms,
        "metrics": {name: {**origin, "lower": lower(name)} for name, origin in metrics.items()},
        "effects": {name: effects(found, axes, name, mean) for name in metrics},
        "importance": None if important is None else important._asdict(),
        "paired": any(g.difference for g in found),
        "budget": None if at is None else {"words": str(at), "x": at.x, "curve": at.curve},
        "x": list(curves.X), "columns": columns, "thinned": thin,
        "student": [statistics.quantile((1 + statistics.LEVEL) / 2, n) for n in range(1, DEGREES + 1)],
        "samples": pictures, "samples_left": not_shown, "differences": differences.differences(found),
        "left": [*left, *unlike],
    }  # fmt: skip
    return page(data)


def shared(found: Sequence[Group], metric: str) -> tuple[dict[str, dict], list[str]]:
    """The metrics whose values can be compared, to where they come from, the chosen one first; the rest in words."""
    rows = [row for g in found for row in g.rows]
    names = dict.fromkeys([metric, *(name for row in rows for name in row.metrics)])
    kept, unlike = {}, []
    for name in names:
        try:
            kept[name] = table.alike([row for row in rows if name in row.metrics], name)
        except Refused as e:
            unlike.append(f"{name}: {e}".replace("\n", " "))
    return kept, unlike


def told(values: list[float], interval) -> list | None:
    return entry(interval(values)) if values else None


def entry(mean: statistics.Mean | None) -> list | None:
    """A mean as the page has it: the numbers with all digits, and as the screen shows it."""
    return None if mean is None else [*mean, table.shown(mean)]


def gap(g: Group) -> list | None:
    return None if g.difference is None else [entry(g.difference.mean), g.difference.effect, g.difference.p]


def run(row: Row, metrics: dict, lines: dict) -> dict:
    code = row.summary.get("code") or {}
    commit = (code.get("commit") or "")[:10]
    version = [code.get("version"), commit + ("+changes" if commit and code.get("changed") else ""), code.get("source")]
    return {
        "seed": str(row.repeat), "folder": str(row.place), "curves": lines,
        "values": {name: row.value(name) for name in metrics if name in row.metrics},
        "drawn": {name: row.metrics[name].get("seed") for name in metrics if name in row.metrics},
        "code": " ".join(filter(None, version)),
        "hardware": row.summary.get("hardware"), "steps": row.summary.get("steps"),
        "seconds": row.summary.get("seconds"), "parameters": row.summary.get("parameters"),
    }  # fmt: skip


def effects(found: Sequence[Group], axes: Sequence[str], metric: str, interval) -> dict:
    scored = [(g.cell, row.value(metric)) for g in found for row in g.rows if metric in row.metrics]
    said = statistics.effects([cell for cell, _ in scored], [value for _, value in scored], axes, interval)
    levels = {axis: [[level, entry(mean)] for level, mean in means.items()] for axis, means in said.levels.items()}
    return {"shares": list(said.shares.items()), "levels": levels, "ranks": {a: list(r) for a, r in said.ranks.items()},
            "balanced": said.balanced, "left": said.left}  # fmt: skip


def drawn(found: Sequence[Group]) -> tuple[dict[Path, dict], list[list], bool]:
    """The curves of each run as numbers of columns, and the columns: many runs have the same steps."""
    columns: dict[bytes, int] = {}
    kept: list[list] = []
    thin = False

    def column(values: np.ndarray) -> int:
        key = values.tobytes()
        if key not in columns:
            columns[key] = len(kept)
            kept.append([round_off(v) for v in values.tolist()])
        return columns[key]

    lines = {}
    for row in (row for g in found for row in g.rows):
        if row.folder in lines:
            continue
        of = {}
        for name, curve in row.curves.items():
            take = curves.thinned(len(curve.y), POINTS)
            thin |= len(take) < len(curve.y)
            of[name] = [column(curve.y[take]), {x: column(v[take]) for x, v in curve.x.items()}]
        lines[row.folder] = of
    return lines, kept, thin


def round_off(value: float) -> float | int | None:
    """Six digits are more than a screen has; whole numbers keep theirs."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.6g}")


def finite(node):
    """The same, with None for what is no finite number: strict JSON."""
    if isinstance(node, float):
        return node if math.isfinite(node) else None
    if isinstance(node, dict):
        return {str(key): finite(value) for key, value in node.items()}
    return [finite(value) for value in node] if isinstance(node, (list, tuple)) else node


# -- the file ---------------------------------------------------------------------------------------------------------

UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def page(data: dict) -> str:
    """The template with style, script and data in their places, each put in once."""
    of = files("denoiselab.compare") / "page"
    read = lambda name: (of / name).read_text(encoding="utf-8")  # noqa: E731
    style, script = read("page.css"), '"use strict";\n' + "\n".join(map(read, SCRIPTS))
    columns = data.pop("columns")  # clean already, and most of the page
    text = json.dumps({**finite(data), "columns": columns}, allow_nan=False, separators=(",", ":"))
    places = {
        "title": html.escape(data["title"]), "style": style, "script": script, "data": text.translate(UNSAFE),
        "script_hash": digest(script), "style_hash": digest(style),
    }  # fmt: skip
    return re.sub(r"\{\{(\w+)\}\}", lambda found: places[found[1]], read("page.html"))


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
