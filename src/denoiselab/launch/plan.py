"""The folder of a sweep, outputs/NAME/sweeps/READABLE-HASH, and what lies in it beside the ledger: sweep.json, its
cells. The hash is of the set of cells (experiment and score): the same set, however it was typed, is the same sweep.
Imports no torch."""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from denoiselab.files import write_json
from denoiselab.launch.task import Task
from denoiselab.run import identity
from denoiselab.spec import Refused

FILE = "sweep.json"
PLACES = (FILE, f"sweeps/*/{FILE}", f"*/{FILE}", f"*/sweeps/*/{FILE}")  # below a sweep, outputs/NAME or outputs


def made(tasks: list[Task]) -> Path:
    """The folder of these cells, with what they are; a sweep that is known keeps its folder."""
    cells = {task.key: task for task in reversed(tasks) if task.fit}
    digest = hashlib.sha256("\n".join(sorted(cells)).encode()).hexdigest()[:10]
    parent = min(task.folder.parent for task in cells.values()) / "sweeps"
    known = sorted(parent.glob(f"*-{digest}"))
    folder = known[0] if known else parent / f"{readable(task.words for task in cells.values())}-{digest}"
    said = {
        "monitor": next(iter(cells.values())).config["monitor"],
        "cells": [
            row(task, folder)
            for task in sorted(cells.values(), key=lambda task: task.number)
        ],
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, said)
    except OSError as e:
        raise Refused(f"the sweep's folder cannot be made in {parent}", e, "give another root: outputs=FOLDER") from e
    return folder


def grown(folder: Path, tasks: list[Task], trials: int) -> None:
    """Adds what a search asked for to its folder: cells, and what was refused. The caller is alone with the ledger."""
    said = read(folder) if (folder / FILE).exists() else {"cells": [], "search": {"refused": []}}
    known = {cell["number"]: cell for cell in said["cells"]}
    known |= {task.number: row(task, folder) for task in tasks if task.fit}
    refused = {each["number"]: each for each in said["search"]["refused"]}
    refused |= {task.number: {"number": task.number, "words": task.words, "why": str(task.refusal)}
                for task in tasks if task.refusal is not None}  # fmt: skip
    monitors = [task.config["monitor"] for task in tasks if task.config]
    write_json(folder / FILE, {
        "monitor": said.get("monitor") or next(iter(monitors), {"name": "", "mode": "min"}),
        "search": {"trials": trials, "refused": [refused[number] for number in sorted(refused)]},
        "cells": [known[number] for number in sorted(known)],
    })  # fmt: skip


def row(task: Task, folder: Path) -> dict:
    return {
        "cell": task.key, "number": task.number, "words": task.words, "fit": task.fit,
        "runs": os.path.relpath(task.folder.parent, folder), "steps": task.config["trainer"]["max_steps"],
    }  # fmt: skip


def searched(said: dict) -> list[str]:
    """How far a search is, and what of it was refused, in lines; none of what is no search."""
    if "search" not in said:
        return []
    refused = said["search"]["refused"]
    done = len({cell["number"] for cell in said["cells"]} | {each["number"] for each in refused})
    reasons: dict[str, list[str]] = {}
    for each in refused:
        reasons.setdefault(each["why"], []).append(f"#{each['number']} ({each['words']})")
    return [f"a search: {done} of {said['search']['trials']} trials asked for",
            *(f"{', '.join(cells)} refused: {why}" for why, cells in reasons.items())]  # fmt: skip


def readable(words: Iterable[str]) -> str:
    """The keys that vary: `schedule-seed`."""
    keys = dict.fromkeys(word.partition("=")[0] for cell in words for word in cell.split() if "=" in word)
    text = "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", key) for key in keys)
    return text[: identity.LONGEST].strip("._-") or "one"


def read(folder: Path) -> dict:
    """What `made` wrote: `monitor` and `cells`. Raises `Refused`."""
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        for cell in said["cells"]:
            cell["cell"], cell["number"] + 0, cell["words"], cell["fit"], cell["runs"], cell["steps"] + 0
        said["monitor"]["name"], said["monitor"]["mode"]
        if "search" in said:
            said["search"]["trials"] + 0
            for each in said["search"]["refused"]:
                each["number"] + 0, each["words"], each["why"]
    except (OSError, ValueError, LookupError, TypeError) as e:
        fix = "give the command that began the sweep again: it writes the file anew"
        raise Refused(f"{folder / FILE} cannot be read", e, fix) from e
    return said


def found(path: Path) -> list[Path]:
    """The sweeps in a folder: itself, or those below outputs/NAME or outputs; the one that was worked on last first."""
    if (path / FILE).is_file():
        return [path]
    files = [file for pattern in PLACES for file in path.glob(pattern)]
    return sorted({file.parent for file in files}, key=lambda folder: last(folder), reverse=True)


def last(folder: Path) -> float:
    return max(file.stat().st_mtime for file in (folder / FILE, folder / "ledger.jsonl") if file.exists())
