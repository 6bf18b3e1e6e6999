"""Finished runs as rows: what was typed for each, and its scores with where they come from.

A row is a `summary.json`: of a run folder, and of each folder below its `scores/`. What a row was asked to be stands in
`overrides.yaml`; where another row was told more, the resolved configuration says what this one had in its place.
"""

import functools
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import yaml

from denoiselab import names
from denoiselab.compare import curves
from denoiselab.launch import plan
from denoiselab.launch.history import FAILED, PRUNED, Entry, History
from denoiselab.launch.task import last_words
from denoiselab.run import record
from denoiselab.spec import Refused

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What is typed and tells no arm from another.
APART = {"arms", "dry_run", "retry", "logger", "outputs", "name", "rerun", "plugins", "invalid", "seed", "data.fold",
         "monitor", "data.num_workers"}  # fmt: skip
HIDDEN = ("hydra.", "budget.", "hydra/", "logger.", "checkpoint.", "trainer.log_every_n_steps", "debug")


class Repeat(NamedTuple):
    """Which run of its arm: by its seed, and in cross-validation by the fold that validates, -1 where there is none."""

    seed: int
    fold: int = -1

    def __str__(self):
        return str(self.seed) if self.fold < 0 else f"{self.seed} fold {self.fold}"


@dataclass(frozen=True)
class Row:
    """A run under one sampler and evaluation."""

    folder: Path  # of the run
    place: Path  # of its summary: the same, or below scores/
    typed: dict[str, str]  # key to value
    summary: dict
    repeat: Repeat

    @functools.cached_property
    def config(self) -> dict:
        return configuration(self.folder / "config.yaml")

    @property
    def metrics(self) -> dict[str, dict]:
        return self.summary["metrics"]

    def value(self, metric: str) -> float:
        found = self.metrics[metric]["value"]
        return math.nan if found is None else found

    @functools.cached_property
    def curves(self) -> dict[str, curves.Curve]:
        """Of the training, by metric."""
        return curves.read(self.folder)

    def setting(self, key: str) -> str:
        """What this row had for a key that some row was told; 1e-3 and 0.001 are one setting."""
        if key in self.typed:
            return plain(self.typed[key])
        node = functools.reduce(lambda node, part: node.get(part) if isinstance(node, dict) else None,
                                key.replace("/", ".").split("."), self.config)  # fmt: skip
        return choice(key, node) if isinstance(node, dict) else "none" if node in (None, [], {}) else plain(node)


def plain(value: object) -> str:
    """A setting as text, a number in the one way that Python writes it."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def choice(group: str, node: dict) -> str:
    """The name of the choice of a group that a node is most like."""
    alike = {name: content for (of, name), content in names.contents().items()
             if of == group and content.get("_target_") == node.get("_target_")}  # fmt: skip
    if not alike:
        return "default"
    return max(alike, key=lambda name: sum(node.get(key) == value for key, value in alike[name].items()))


def loaded(path: Path):
    with suppress(OSError, yaml.YAMLError):
        return yaml.load(path.read_text(encoding="utf-8"), LOADER)
    return None


def configuration(path: Path) -> dict:
    """A resolved configuration; empty where there is none. Runs of a sweep share most of theirs, and a part that was
    seen before is not read again: a tenth of the time. Not to be changed by who gets it."""
    with suppress(OSError, yaml.YAMLError, TypeError, ValueError):
        parts = re.split(r"(?m)^(?=[^\s#-])", path.read_text(encoding="utf-8"))
        return {key: value for part in parts for key, value in part_of(part).items()}
    return loaded(path) or {}  # an alias reaches over parts


@functools.lru_cache(4096)
def part_of(text: str) -> dict:
    return yaml.load(text, LOADER) or {}


class Lost(NamedTuple):
    """A run that was not trained to the end: a row without a score, and why, as the ledger of its sweep or its own log
    has it."""

    row: Row
    why: str


def rows(paths: Iterable[str | Path]) -> tuple[list[Row], list[str], list[Lost]]:
    """The rows in and below the paths, each once, what was left out, in words, and the runs that did not end. Raises
    `Refused` where a path is not there or none has a row."""
    found, left, lost = {}, [], {}
    for path in map(Path, paths):
        if not path.is_dir():
            got = f"{path}, which is {'a file' if path.exists() else 'not there'}"
            raise Refused("compare reads folders of runs", got, "give outputs/NAME, or the folder that train printed")
        left += unbegun(path)
        arms = named(path)
        for folder in dict.fromkeys(folders(path)):
            if not (folder / "COMPLETED").exists():
                state, why = ended(folder)
                left.append(f"{folder.name}: not trained to the end{f': {why}' if why else ''}")
                if state != PRUNED and (row := unscored(folder)) is not None:
                    lost[folder.resolve()] = Lost(of_arm(row, arms, folder.name.rpartition("-")[2]), why)
                continue
            for place in (folder, *sorted((folder / "scores").glob("*/"))):
                row = read(folder, place)
                if isinstance(row, str):
                    left.append(row)
                elif row is not None:
                    found[place.resolve()] = of_arm(row, arms, row.summary.get("score"))
    if not found:
        said = "; ".join(left[:3]) or "no run folder"
        raise Refused(
            "there is no finished run to compare", f"{', '.join(map(str, paths))}: {said}", "train some first"
        )
    return list(found.values()), left, list(lost.values())


def named(path: Path) -> dict[str, str | None]:
    """The arm of each cell of a sweep's folder, by its score and fit; empty for any other folder."""
    found = {}
    for cell in plan.read(path)["cells"] if (path / plan.FILE).exists() else ():
        arm = next((word.removeprefix("arm=") for word in cell["words"].split() if word.startswith("arm=")), None)
        found |= {cell["fit"]: arm, cell["cell"].rpartition("/")[2]: arm}
    return found


def of_arm(row: Row, arms: dict[str, str | None], cell: str | None) -> Row:
    """A row under the arm that its sweep has it for: another command may have trained it, under another or none."""
    if cell not in arms:
        return row
    typed = {key: value for key, value in row.typed.items() if key != "arm"}
    return replace(row, typed=({"arm": arms[cell]} if arms[cell] else {}) | typed)


def unscored(folder: Path) -> Row | None:
    """A run without results as a row; None where it does not say what it is."""
    try:
        typed = dict(split(word) for word in loaded(folder / "overrides.yaml") if "=" in word)
        return Row(folder, folder, typed, {"metrics": {}}, repeat(folder, typed))
    except (TypeError, ValueError, AttributeError):
        return None


def ended(folder: Path) -> tuple[str, str]:
    """How a run that was not trained to the end stands, and why, in the words of the sweep that trained it last, else
    of its own log; may be empty."""
    fit = folder.name.rpartition("-")[2]
    entries = [entry for sweep in folder.parent.glob("sweeps/*") for entry in ledger(sweep) if entry.fit == fit]
    if entries:
        last = max(entries, key=lambda entry: entry.since)
        return last.state, last.why or last.state
    said = last_words(folder / "log.txt", 0)
    return "", said if said.startswith(("failed: ", "refused: ")) else ""


def unbegun(path: Path) -> list[str]:
    """The cells of sweeps that failed before there was a run, in words."""
    said = []
    for sweep in (file.parent for pattern in plan.PLACES for file in sorted(path.glob(pattern))):
        entries = {entry.fit: entry for entry in ledger(sweep) if entry.state == FAILED}
        for cell in plan.read(sweep)["cells"]:
            if (entry := entries.get(cell["fit"])) and not any(
                (sweep / cell["runs"]).glob(f"*-{cell['fit']}/overrides.yaml")
            ):
                said.append(f"#{cell['number']} ({cell['words']}) of {sweep.name}: {entry.why}")
    return said


@functools.lru_cache(64)
def ledger(sweep: Path) -> list[Entry]:
    return list(History(sweep).read().values())


def folders(path: Path) -> Iterator[Path]:
    """The run folders in and below a path; of a sweep's folder, those of its cells."""
    if (path / "overrides.yaml").exists():
        yield path
        return
    if (path / plan.FILE).exists():
        cells = {(path / cell["runs"], cell["fit"]) for cell in plan.read(path)["cells"]}
        found = (folder for runs, fit in cells for folder in runs.resolve().glob(f"*-{fit}"))
        yield from sorted(folder for folder in found if (folder / "overrides.yaml").exists())
        return
    yield from (file.parent for file in sorted(path.rglob("overrides.yaml")) if file.parent.parent.name != "scores")


def read(folder: Path, place: Path) -> Row | str | None:
    """A row; a reason why it is none; or None where nothing was scored."""
    if not (place / "summary.json").exists():
        return None
    try:
        summary = record.read_summary(place)
        words = loaded(place / "overrides.yaml") or loaded(folder / "overrides.yaml") or []
        typed = dict(split(word) for word in words if "=" in word)
        summary["metrics"].items()
        return Row(folder, place, typed, summary, repeat(folder, typed))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        return f"{place}: cannot be read: {e}"


def repeat(folder: Path, typed: dict[str, str]) -> Repeat:
    config = configuration(folder / "config.yaml")
    fold = typed.get("data.fold", (config.get("data") or {}).get("fold"))
    return Repeat(int(typed.get("seed") or config.get("seed", 0)), -1 if fold in (None, "null") else int(fold))


def split(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key.lstrip("+"), value


def axes(found: list[Row]) -> list[str]:
    """The keys in which the rows differ, seeds, folds and what changes no result apart, in the order typed; without
    those that an arm stands for: they are the same in all of its rows."""
    keys = dict.fromkeys(key for row in found for key in row.typed
                         if key not in APART and not key.startswith(HIDDEN))  # fmt: skip
    settings = {key: [row.setting(key) for row in found] for key in keys}
    varied = [key for key in keys if len({*settings[key]}) > 1]
    if "arm" not in varied:
        return varied
    pairs = {key: {*zip(settings["arm"], settings[key], strict=True)} for key in varied}
    return [key for key in varied if key == "arm" or len(pairs[key]) > len(pairs["arm"])]
