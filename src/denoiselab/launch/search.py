"""A search: trials are asked for, a batch at a time, launched as cells of a sweep that grows, and told. Imports no
torch (but the sampler `gp` does).

The folder is that of a sweep, outputs/NAME/sweeps/KEYS-HASH with the hash of what is searched, or of the name that
`hydra.sweeper.study` gives; in it lie journal.log (Optuna's), study.json (what is searched), study.yaml (what came of
it) and the ledger. A trial is its driver's as long as that holds its file in drivers/. One whose driver has gone is
taken over with its number and its parameters, so it counts once, and its run goes on where it was.

What is proposed is a function of the seed, the number of the trial, and the trials that ended before it."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, open_dict

from denoiselab.commands import configuration
from denoiselab.files import write_json
from denoiselab.launch import arms, ledger, plan, sweep
from denoiselab.launch.history import held
from denoiselab.names import advice
from denoiselab.run import identity, prune, record
from denoiselab.run.secrets import redacted
from denoiselab.run.signals import PREEMPTED
from denoiselab.search import journal, methods, results
from denoiselab.search.space import Space
from denoiselab.spec import Refused

LOOK = 1.0  # seconds between two looks at the trials of others
USUAL = 50  # trials, where nothing is said
SHOWN = 3  # trials of a dry run
HOPELESS = 10  # trials that are all refused, for one reason
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


def begun(search: Search, folder: Path):
    """The study of a folder; refused where another search lies there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with journal.alone(folder):
            if (folder / prune.STUDY).exists():
                known = {key: value for key, value in prune.study(folder).items() if key != "trials"}
                if lines := identity.difference(known, search.said()):
                    raise Refused(
                        f"another search lies in {folder}", "\n       ".join(lines),
                        "give back what was changed, or another name: hydra.sweeper.study=NAME",
                    )  # fmt: skip
            elif (folder / plan.FILE).exists():
                raise Refused("a sweep that is no search lies in this folder", folder, "hydra.sweeper.study=NAME")
            write_json(folder / prune.STUDY, search.said() | {"trials": search.n_trials})
            return journal.begun(folder, search.directions)
    except OSError as e:
        fix = "give another root: outputs=FOLDER"
        raise Refused(f"the search's folder cannot be made in {folder.parent}", e, fix) from e


class Trials:
    """The trials of a study, and which of them are this driver's."""

    def __init__(self, search: Search, folder: Path, study, driver: str):
        self.search, self.folder, self.study, self.driver = search, folder, study, driver

    def all(self) -> list:
        return self.study.get_trials(deepcopy=False)

    def asked(self, retry: bool) -> dict[int, list[str]]:
        """Number to words of the next batch: those whose driver has gone, then new ones."""
        with journal.alone(self.folder):
            if retry:
                self.again()
            trials = self.all()
            free = [trial.number for trial in trials if self.free(trial)][: self.search.n_jobs]
            waiting = sum(trial.state.name == "WAITING" for trial in trials)
            left = waiting + self.search.n_trials - sum("again" not in trial.user_attrs for trial in trials)
            for _ in range(min(self.search.n_jobs - len(free), left)):
                self.study.sampler = self.sampler(len(self.all()))
                free.append(self.study.ask().number)
            return {number: self.proposed(number) for number in sorted(free)}

    def free(self, trial) -> bool:
        """Is it at work, and nobody's?"""
        driver = trial.user_attrs.get("driver")
        return trial.state.name == "RUNNING" and not (driver and held(self.folder / "drivers" / driver))

    def others(self) -> bool:
        """Is a trial still at work elsewhere?"""
        return any(trial.state.name == "RUNNING" for trial in self.all())

    def again(self) -> None:
        """Lines up what failed, once each."""
        trials = self.all()
        done = {trial.user_attrs.get("again") for trial in trials}
        for trial in trials:
            if trial.state.name == "FAIL" and trial.number not in done:
                self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    def proposed(self, number: int) -> list[str]:
        """The overrides of a trial, this driver's from now on; what was proposed of them before stays so."""
        from optuna.trial import Trial

        found = self.all()[number]
        self.study.sampler = self.sampler(number)
        trial = Trial(self.study, found._trial_id)
        trial.set_user_attr("driver", self.driver)
        _ = trial.relative_params  # before the first of the others

        def propose(name: str) -> Trial:
            self.study.sampler = self.sampler(number, name)
            return trial

        words = self.search.space.drawn(propose)
        trial.set_user_attr("words", words)
        return words

    def sampler(self, number: int, name: str = ""):
        """Of a trial, and of a parameter that is proposed by itself: with a seed of its own."""
        text = f"{self.search.seed}/{number}/{name}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        index = sum("again" not in trial.user_attrs for trial in self.all()[:number])
        return self.search.method.made(seed, self.search.space, index)

    def tell(self, number: int, state: str, why: str, where: str) -> bool:
        """How a trial ended; False where it has not."""
        from optuna.trial import TrialState

        if state in ("preempted", "waiting"):
            return False
        values = None
        if state == "completed":
            values = self.values(Path(where))
            if None in values:
                state, why = "failed", f"{self.search.metrics[values.index(None)]} is no finite number"
        trial, self.study.sampler = self.all()[number], self.sampler(number)
        for key, value in {"state": state, "why": why, "run": os.path.relpath(where, self.folder)}.items():
            self.study._storage.set_trial_user_attr(trial._trial_id, key, value)
        told = {"completed": TrialState.COMPLETE, "failed": TrialState.FAIL}.get(state, TrialState.PRUNED)
        self.study.tell(number, values if told == TrialState.COMPLETE else None, told)
        return True

    def values(self, where: Path) -> list[float | None]:
        """The metrics of a run. Raises `Refused` where it has not all of them."""
        known = record.read_summary(where)["metrics"]
        for name in self.search.metrics:
            if name not in known:
                raise Refused(
                    f"the runs of this search have no metric {name!r}", f"they have {', '.join(sorted(known))}",
                    advice(name, known, "name one of these, or an evaluation that measures it: evaluation=..."),
                )  # fmt: skip
        return [known[name]["value"] for name in self.search.metrics]


def batches(asked: dict[int, list[str]]) -> Iterator[list[int]]:
    """Numbers that follow each other: a launcher counts from the first."""
    numbers = sorted(asked)
    cuts = [0, *(i for i, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1), len(numbers)]
    yield from (numbers[a:b] for a, b in pairwise(cuts) if a < b)


def run(search: Search, folder: Path, config: DictConfig, launch: Callable[[Sequence[Sequence[str]], int], Sequence]):
    """Until the study has its trials. `launch` gives for a batch of cells and the number of the first how they ended,
    in order: state, why, and where it lies. Leaves with an exit code unless all went well: 1 where a trial
    failed, 75 where one was preempted or the budget is spent."""
    command, stopped = configuration.of_command(config), False
    study, retry = begun(search, folder), command["retry"] == "failed"
    with open_dict(config):
        config.trial.study = str(folder)
    with ledger.joined(folder) as hand:
        trials = Trials(search, folder, study, hand.lease.driver)
        try:
            while not stopped:
                if asked := trials.asked(retry):
                    for numbers in batches(asked):
                        ended = launch([[*search.fixed, *asked[number]] for number in numbers], numbers[0])
                        told = [trials.tell(number, *end) for number, end in zip(numbers, ended, strict=True)]
                        stopped = stopped or not all(told)
                    hopeless(search, study)
                elif trials.others():
                    time.sleep(LOOK)
                else:
                    break
                retry = False
        finally:
            results.write(folder, results.said(search, study))
    found = results.said(search, study) | {"importance": results.importance(search, study)}
    results.write(folder, found)
    results.show(search, folder, found)
    if code := PREEMPTED if stopped else int(any(trial.state.name == "FAIL" for trial in results.last(study))):
        raise SystemExit(code)


def draws(search: Search, n: int) -> list[list[str]]:
    """The words of trials at random, which are no part of the study."""
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(search.seed))
    trials = [study.ask() for _ in range(n)]
    return [[*search.fixed, *search.space.drawn(lambda name, trial=trial: trial)] for trial in trials]


def tried(search: Search, folder: Path, loader, config: DictConfig) -> None:
    """Refuses a new search none of whose trials can be composed: what is typed of all of them is wrong."""
    if (folder / prune.STUDY).exists():
        return
    for cell in draws(search, HOPELESS):
        [task] = sweep.composed(loader, config, [cell], 0)
        if task.refusal is None:
            return
    raise task.refusal


def hopeless(search: Search, study) -> None:
    """Refuses to go on where all of the first trials were refused for one reason."""
    trials = study.get_trials(deepcopy=False)
    reasons = {trial.user_attrs["why"] if trial.user_attrs.get("state") == "refused" else "" for trial in trials}
    if len(trials) >= min(HOPELESS, search.n_trials) and len(reasons) == 1 and (reason := reasons.pop()):
        fix = "correct what all of them share; denoiselab train with the words of one says the same"
        raise Refused(f"all {len(trials)} trials of this search are refused", reason, fix)


def dry(search: Search, config: DictConfig, launch: Callable) -> None:
    """The space, and what a few trials of it would cost; writes nothing."""
    results.space(search)
    cells = draws(search, min(SHOWN, search.n_trials))
    with open_dict(config):
        config.invalid = "skip"
    print(f"{len(cells)} trials at random, of {search.n_trials}:")
    launch(cells, 0)
