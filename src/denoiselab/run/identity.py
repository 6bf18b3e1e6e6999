"""A run's identity: which configs are the same run, where it lies.

Two hashes of the resolved config. *fit*: all that changes the weights. *score*: fit, and what is done with them
(sampler, grid, guidance, evaluation). What cannot change a result is in neither; data enters by the fingerprint of its
content, never by its path. The number of devices is in both: it changes how sums are rounded. The sampling parts move
into fit if `monitor` is a score of samples, because then they choose the best weights.

Not promised: that two hashes differ only where results do. A config that spells out a default is another run.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from denoiselab.spec import Refused

# Keys as patterns of their dotted path; a pattern drops all below it.
NEITHER = (
    "hydra", "outputs", "name", "logger", "rerun", "plugins", "checkpoint",
    "callbacks.progress", "callbacks.saver", "callbacks.*.verbose",
    "trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.enable_model_summary",
    "trainer.accelerator", "trainer.default_root_dir", "*.num_workers", "*.workers",
    *(f"{group}*.{leaf}" for group in ("data", "codec") for leaf in ("root", "path", "folder", "cache")),
)  # fmt: skip
SCORING = ("sampler", "grid", "guidance", "evaluation")
WITHOUT_SAMPLES = ("train/", "val/")
LONGEST = 100  # letters of a folder's readable part


def fit_hash(config: dict, fingerprint: str) -> str:
    """Ten hexadecimal digits of what changes the weights: of a plain, resolved config and the data's fingerprint."""
    scoring = SCORING if config["monitor"]["name"].startswith(WITHOUT_SAMPLES) else ()
    return digest(less(config, NEITHER + scoring), fingerprint)


def score_hash(config: dict, fingerprint: str) -> str:
    """Ten hexadecimal digits of what changes the weights or what is done with them."""
    return digest(less(config, NEITHER), fingerprint)


def digest(config: dict, fingerprint: str) -> str:
    text = json.dumps([canonical(config), fingerprint], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def less(config: dict, patterns: tuple[str, ...], above: str = "") -> dict:
    """The config without the keys that match, and without nodes that this empties."""
    kept = {}
    for key, value in config.items():
        path = f"{above}{key}"
        if any(fnmatchcase(path, pattern) for pattern in patterns):
            continue
        if isinstance(value, dict) and value:
            value = less(value, patterns, f"{path}.")
            if not value:
                continue
        kept[str(key)] = value
    return kept


def canonical(value):
    """1.0 becomes 1: YAML writes a float argument either way, and where an integer is asked 1.0 is refused anyway."""
    if isinstance(value, dict):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def slug(overrides: list[str]) -> str:
    """Overrides as a readable word of letters, digits, `.`, `_` and `-`: `schedule_linear-seed_1`; `default` if none.

    For people alone: the hash beside it is the identity.
    """
    words = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        path = key.lstrip("~").partition("@")[0].replace("/", ".")
        # An experiment is told by the folder above.
        if path == "experiment" or any(fnmatchcase(path, p) or fnmatchcase(path, f"{p}.*") for p in NEITHER):
            continue
        last = path.rpartition(".")[2]
        words.append(f"no_{last}" if key.startswith("~") else f"{last}_{value}")
    text = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(sorted(words)))
    return text[:LONGEST].strip("._-") or "default"


def run_folder(outputs: str | Path, name: str, overrides: list[str], digest: str) -> Path:
    """outputs/<name>/<slug>-<digest>; a folder that has this digest already is it, whatever its slug."""
    parent = Path(outputs) / checked_name(name)
    known = sorted(path for path in parent.glob(f"*-{digest}") if path.is_dir())
    return known[0] if known else parent / f"{slug(overrides)}-{digest}"


def forget(folder: Path) -> None:
    """Removes what a run left, to train it anew."""
    if folder.is_dir():
        shutil.rmtree(folder)


@contextmanager
def held(parent: Path, fit: str) -> Iterator[None]:
    """Holds a fit against other processes; refused where one has it. The lock of a dead process is none."""
    if int(os.environ.get("RANK", "0")):
        yield  # the first rank holds it for all
        return
    try:
        parent.mkdir(parents=True, exist_ok=True)
        file = (parent / f".{fit}.lock").open("a+", encoding="utf-8")
    except OSError as e:
        raise Refused(f"the run folder cannot be made in {parent}", e, "give another root: outputs=FOLDER") from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise Refused("another process works on this run", f"process {file.read() or 'unknown'}",
                          "wait for it, or change a key that makes another run") from None  # fmt: skip
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def checked_name(name: str) -> str:
    """The name of an experiment as it becomes a folder; refuses what would lead out of the root or need quotes."""
    text = "" if name is None else str(name)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", text) or ".." in text:
        raise Refused(
            "name becomes a folder under outputs: letters, digits, `.`, `_` and `-`, the first of them no `.` or `-`",
            repr(name), "give a plain word, such as name=first_try",
        )  # fmt: skip
    return text
