"""The record of a run: `metrics.jsonl`, a JSON object a line, and `summary.json`.

A line has `step`, the optimizer steps done (the first step's loss has step 1), and the values logged at it with all
their digits. What is no finite number is written as null and read as NaN: strict JSON has neither NaN nor infinities,
and a column of numbers and nulls can be read by any tool. A line is on its way to the disk when `write` returns; a run
that is killed loses at most the line being written. On resuming, `cut` drops what will be written again.
"""

import functools
import hashlib
import json
import math
import os
import platform
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import denoiselab
from denoiselab.files import replacing, write_json
from denoiselab.spec import Failed

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "numpy", "safetensors")


class Record:
    """Appends to `metrics.jsonl` in the folder of a run."""

    def __init__(self, folder: str | Path):
        self.path = Path(folder) / "metrics.jsonl"

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """A line: `step` and the values, numbers or one-element tensors."""
        row = {"step": step, **{name: finite(value) for name, value in values.items()}}
        # Opened for each line: whoever replaces the file, as `cut` does, is never written past.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as e:
            raise Failed(
                f"the record cannot be written: {e}\n  file: {self.path}\n"
                "  fix: make room; the same command goes on from the last checkpoint"
            ) from e

    def cut(self, step: int) -> None:
        """Drops the lines after `step`, a checkpoint's, and an unfinished one at the end."""
        self.take_over(self.path.parent, step)

    def take_over(self, other: str | Path, step: int) -> None:
        """Begins with what another run wrote until `step`."""
        kept = [line for line, row in parsed(Path(other) / "metrics.jsonl") if row["step"] <= step]
        with replacing(self.path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


def read(path: str | Path) -> list[dict]:
    """The lines of a `metrics.jsonl`, or of the one in a run's folder; an unfinished last line is left out."""
    path = Path(path)
    found = parsed(path / "metrics.jsonl" if path.is_dir() else path)
    return [{name: math.nan if value is None else value for name, value in row.items()} for _, row in found]


def parsed(path: Path) -> Iterator[tuple[str, dict]]:
    """Lines and what they say; a warning names one that is no row."""
    for number, line in enumerate(lines(path), 1):
        try:
            row = json.loads(line)
            row["step"] + 0
        except (ValueError, TypeError, LookupError):
            warnings.warn(f"{path}, line {number}, is damaged: it is left out", stacklevel=3)
        else:
            yield line, row


def lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="\n") as file:
        return [line for line in file if line.endswith("\n")]


def finite(value: float) -> float | None:
    """A Python number with the digits it has; None for NaN and infinities. Takes one-element tensors too."""
    value = value if type(value) is int else float(value)
    return value if math.isfinite(value) else None


def score(value: float, n: int, split: str, extractor: str | None = None, seed: int | None = None) -> dict:
    """A metric and where it comes from: over how many samples of which split, by which extractor, by which seed."""
    return {"value": finite(value), "n": n, "split": split, "extractor": extractor or None, "seed": seed}


def summarize(folder: str | Path, metrics: Mapping[str, dict], *, seconds: float, samples: int, parameters: int,
              steps: int, hardware: str | None = None, **more: object) -> dict:  # fmt: skip
    """Writes `summary.json`, whole or not at all, and gives what it says.

    `metrics` maps names to `score`s; `seconds` of training, `samples` seen, `parameters` that were trained, optimizer
    `steps`; `more` is any further JSON.
    """
    said = {
        "metrics": dict(metrics),
        "seconds": seconds,
        "samples": samples,
        "samples_per_second": finite(samples / seconds) if seconds > 0 else None,
        "steps": steps,
        "parameters": parameters,
        "code": code(),
        "versions": versions(),
        "hardware": hardware or processor(),
        **more,
    }
    write_json(Path(folder) / "summary.json", said)
    return said


def code() -> dict:
    """The version of this package, a digest of its source and, where it runs from a checkout, the commit and whether
    files differ from it."""
    here = Path(denoiselab.__file__).parent
    commit = git("rev-parse", "HEAD", at=here)
    return {
        "version": denoiselab.__version__,
        "source": source(),
        "commit": commit,
        "changed": bool(git("status", "--porcelain", "--", ".", at=here)) if commit else None,
    }


@functools.cache
def source() -> str:
    """Twelve hexadecimal digits of the package's own Python files: what was run, committed or not."""
    here, digest = Path(denoiselab.__file__).parent, hashlib.sha256()
    for file in sorted(here.rglob("*.py")):
        digest.update(f"{file.relative_to(here)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def git(*arguments: str, at: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(at), *arguments], capture_output=True, text=True, timeout=5,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result may depend on, as they are named in Python."""
    installed = {d for d in PACKAGES if any(True for _ in metadata.distributions(name=d))}
    return {"python": platform.python_version(), **{d.replace("-", "_"): metadata.version(d) for d in PACKAGES
                                                    if d in installed}}  # fmt: skip


def processor() -> str:
    """The machine's processor in words; a caller that trains on a GPU names that instead."""
    return f"{os.cpu_count()} x {platform.processor() or platform.machine()}"


def read_summary(folder: str | Path) -> dict:
    """What `summarize` wrote."""
    return json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))


def results(folder: Path, score: str) -> Path | None:
    """Where the results of a trained fit and this score lie, if they are there."""
    if not (folder / "COMPLETED").exists():
        return None
    for place in (folder, folder / "scores" / score):
        with suppress(OSError, ValueError, LookupError, TypeError):  # one that cannot be read is made anew
            if read_summary(place)["score"] == score:
                return place
    return None
