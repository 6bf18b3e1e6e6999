"""A run's identity: which configs are the same run, where it lies.

Two hashes of the resolved config. *fit*: all that changes the weights. *score*: fit, and what is done with them
(sampler, grid, guidance, extractor, evaluation). What cannot change a result is in neither; data enters by the
fingerprint of its content, never by its path. The number of devices is in both: it changes how sums are rounded. The
sampling parts move into fit if `monitor` is a score of samples, because then they choose the best weights.

Not promised: that two hashes differ only where results do. A config that spells out a default is another run.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from denoiselab.spec import Refused

# Keys as patterns of their dotted path; a pattern drops all below it.
NEITHER = (
    "hydra", "outputs", "name", "logger", "rerun", "invalid", "plugins", "checkpoint", "extend", "init",
    "retry", "dry_run", "budget", "arms", "arm", "trial",
    "callbacks.progress", "callbacks.saver", "callbacks.*.verbose",
    "trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.enable_model_summary",
    "trainer.accelerator", "trainer.default_root_dir", "*.num_workers", "*.workers",
    *(f"{group}*.{leaf}" for group in ("data", "codec") for leaf in ("root", "path", "folder", "cache", "run")),
)  # fmt: skip
# Not among them: the evaluation's seed and what it holds out. Validation goes by both, and says which weights are best.
SCORING = ("sampler", "grid", "guidance", "extractor", "evaluation.metrics", "evaluation.samples",
           "evaluation.damage")  # fmt: skip
WITHOUT_SAMPLES = ("train/", "val/")
# Keys that came later: where they are null, a run is the one that was trained before there were any.
LATER = ("trainer.max_samples", "trainer.max_time", "data.folds", "data.fold")
ABSENT, LINES, WIDEST = "(absent)", 12, 60  # of what is said of two configurations
STAGE = "codec"  # the folder in a run's of what encodes its data
LONGEST = 100  # letters of a folder's readable part


def fit_hash(config: dict, fingerprint: str) -> str:
    """Ten hexadecimal digits of what changes the weights: of a plain, resolved config and the data's fingerprint."""
    return digest(less(config, NEITHER + scoring(config)), fingerprint)


def scoring(config: dict) -> tuple[str, ...]:
    """The keys of a config that say what is done with the weights, and do not change them."""
    return SCORING if config["monitor"]["name"].startswith(WITHOUT_SAMPLES) else ()


def about(config: dict, fingerprint: str) -> dict:
    """What the fit hash is made of, as plain JSON: the configuration less what changes no weight, and the data's
    `fingerprint`."""
    return canonical(less(config, NEITHER + scoring(config))) | {"fingerprint": fingerprint}


def difference(a: dict, b: dict) -> list[str]:
    """A line for each key that differs, `optimizer.lr: 0.001 -> 0.002`; a dozen at most, and how many more."""
    ours, theirs = dict(leaves(a)), dict(leaves(b))
    lines = [f"{key}: {ours.get(key, ABSENT)} -> {theirs.get(key, ABSENT)}"
             for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]  # fmt: skip
    return lines[:LINES] + ([f"and {len(lines) - LINES} more"] if len(lines) > LINES else [])


def leaves(node, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and text of every value that holds no others."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from leaves(value, f"{path}.{key}" if path else str(key))
    if not pairs:
        text = repr(node)
        yield path, text if len(text) <= WIDEST else f"{text[:WIDEST]}..."


def refuse_other(saved: dict, fit: str, about: dict, path: str | Path) -> None:
    """Refuses a checkpoint that is not of the run with this fit hash, with what differs where it says it."""
    if saved.get("fit") == fit:
        return
    known = saved.get("about")
    lines = difference(known, about) if isinstance(known, dict) else []
    raise Refused(
        f"checkpoint {path} was saved by another run: the configuration or the content of the data has changed since",
        "\n       ".join(lines) or f"fit {saved.get('fit')!r:.40}, and not {fit}",
        "give back what was changed, or train again",
    )  # fmt: skip


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
        if any(fnmatchcase(path, pattern) for pattern in patterns) or (value is None and path in LATER):
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


def slug(overrides: list[str], arm: str | None = None) -> str:
    """Overrides as a readable word of letters, digits, `.`, `_` and `-`: `schedule_linear-seed_1`; `default` if none.
    The name of an arm comes first.

    For people alone: the hash beside it is the identity.
    """
    words, named = [], any(override.lstrip("+").startswith("name=") for override in overrides)
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        path = key.lstrip("~").partition("@")[0].replace("/", ".")
        # An experiment is told by the folder above, unless that has another name.
        if (path == "experiment" and not named) or any(
            fnmatchcase(path, p) or fnmatchcase(path, f"{p}.*") for p in NEITHER
        ):
            continue
        last = path.rpartition(".")[2]
        words.append(f"no_{last}" if key.startswith("~") else f"{last}_{value}")
    text = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join([*([arm] if arm else []), *sorted(words)]))
    return text[:LONGEST].strip("._-") or "default"


def run_folder(outputs: str | Path, name: str, overrides: list[str], digest: str, arm: str | None = None) -> Path:
    """outputs/<name>/<slug>-<digest>; a folder that has this digest already is it, whatever its slug."""
    parent = Path(outputs) / checked_name(name)
    known = sorted(path for path in parent.glob(f"*-{digest}") if path.is_dir())
    return known[0] if known else parent / f"{slug(overrides, arm)}-{digest}"


def forget(folder: Path) -> None:
    """Removes what a run left, to train it anew, but for its logs, a job prints into one, and the first stage that it
    works in. What says that it is trained goes first, so that a kill in between leaves a run that is to be trained."""
    for first in (folder / "COMPLETED", folder / "checkpoints", *folder.glob("*")):
        if first.is_dir() and not first.is_symlink():
            if first.name != STAGE:
                shutil.rmtree(first)
        elif not first.match("log*.txt"):
            first.unlink(missing_ok=True)


def checked_name(name: str) -> str:
    """The name of an experiment as it becomes a folder; refuses what would lead out of the root or need quotes."""
    text = "" if name is None else str(name)
    if not re.fullmatch(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{LONGEST}}}", text) or ".." in text:
        raise Refused(
            "name becomes a folder under outputs: letters, digits, `.`, `_` and `-`, the first of them no `.` or `-`",
            repr(name), "give a plain word, such as name=first_try",
        )  # fmt: skip
    return text
