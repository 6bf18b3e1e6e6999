"""What is searched, and how: as it was asked, checked, and in which folder it lies. Two searches are one where they say
the same. Imports no torch.

The folder is that of a sweep, outputs/NAME/sweeps/KEYS-HASH with the hash of what is searched, or of the name that
`hydra.sweeper.study` gives."""

import hashlib
import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from denoiselab.launch import arms, plan
from denoiselab.names import advice
from denoiselab.run import identity
from denoiselab.run.secrets import redacted
from denoiselab.search import methods
from denoiselab.search.space import Space
from denoiselab.spec import Refused

USUAL = 50  # trials, where nothing is said
DIRECTIONS = {"min": "minimize", "max": "maximize"}


class Search(NamedTuple):
    """What is searched, and how. `n_jobs` trials at once, `n_trials` in all."""

    space: Space
    fixed: list[str]  # the words that all trials share
    metrics: list[str]
    directions: list[str]
    method: methods.Method
    pruner: methods.Pruner
    seed: int
    n_trials: int
    n_jobs: int

    def said(self) -> dict:
        """What two searches must share to be one; plain JSON."""
        return {
            "space": {key: redacted(text) for key, text in self.space.said().items()},
            "fixed": sorted(redacted(word) for word in self.fixed if lasting(word)),
            "metrics": dict(zip(self.metrics, self.directions, strict=True)),
            "sampler": methods.said(self.method), "pruner": methods.said(self.pruner), "seed": self.seed,
        }  # fmt: skip


def lasting(word: str) -> bool:
    """Is a word more than a matter of the command?"""
    path = arms.key(word).partition("@")[0].replace("/", ".")
    return not any(fnmatchcase(path, p) or fnmatchcase(path, f"{p}.*") for p in identity.NEITHER)


def checked(space: Space, fixed: list[str], config: DictConfig, given: dict) -> Search:
    """A search as it was asked, `given` the sweeper's arguments. Raises `Refused`."""
    monitor, metric, direction = config["monitor"], given["metric"], given["direction"]
    metrics = [monitor["name"]] if metric is None else [metric] if isinstance(metric, str) else list(metric)
    if direction is None and metrics == [monitor["name"]]:
        direction = DIRECTIONS.get(monitor["mode"])
    directions = [direction] if isinstance(direction, str) else list(direction or [])
    for word in directions:
        if word not in DIRECTIONS.values():
            fix = advice(str(word), DIRECTIONS.values())
            raise Refused("hydra.sweeper.direction is minimize or maximize", word, fix)
    if len(directions) != len(metrics) or not metrics or len({*metrics}) < len(metrics):
        fix = f"hydra.sweeper.direction=[{','.join(['minimize'] * len(metrics))}], for instance"
        raise Refused("each metric of a search has a direction", f"{metrics} and {directions}", fix)
    pruner = given["pruner"]
    pruner.made()
    if pruner.stops and (metrics, directions) != ([monitor["name"]], [DIRECTIONS.get(monitor["mode"])]):
        fix = "hydra/sweeper/pruner=never, or leave hydra.sweeper.metric and direction out"
        raise Refused("a pruner goes by the validations: by the monitor alone", f"{metrics} and {directions}", fix)
    size, n_trials = given["sampler"].accepts(space, len(metrics)), given["n_trials"]
    if n_trials is not None and n_trials < 1:
        raise Refused("hydra.sweeper.n_trials counts trials", n_trials, "give at least 1, or null")
    n_trials = min(n_trials or size or USUAL, size or n_trials or USUAL)
    n_jobs = given["n_jobs"] or config.hydra.launcher.get("n_jobs") or 1
    if n_jobs < 1:
        raise Refused("hydra.sweeper.n_jobs counts trials", n_jobs, "give at least 1, or null")
    return Search(space, fixed, metrics, directions, given["sampler"], pruner, given["seed"], n_trials, n_jobs)


def place(search: Search, config: DictConfig, study: str | None) -> Path:
    """The folder of a search."""
    parent = Path(config["outputs"]) / identity.checked_name(config["name"]) / "sweeps"
    if study is not None:
        return parent / identity.checked_name(study)
    digest = hashlib.sha256(json.dumps(search.said(), sort_keys=True).encode()).hexdigest()[:10]
    known = sorted(parent.glob(f"*-{digest}"))
    return known[0] if known else parent / f"{plan.readable([' '.join(f'{k}=' for k in search.space.said())])}-{digest}"
