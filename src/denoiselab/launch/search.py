"""A search: trials are asked for, a batch at a time, launched as cells of a sweep that grows, and told. Imports no
torch (but the sampler `gp` does).

In its folder lie journal.log (Optuna's), study.json (what is searched), study.yaml (what came of it) and the ledger."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from denoiselab import configuration
from denoiselab.files import write_json
from denoiselab.launch import ledger, plan, sweep
from denoiselab.launch.searched import Search
from denoiselab.launch.trials import Trials, batches
from denoiselab.names import advice
from denoiselab.run import identity, prune
from denoiselab.run.signals import PREEMPTED
from denoiselab.search import journal, results
from denoiselab.search.space import Choice
from denoiselab.spec import Refused

LOOK = 1.0  # seconds between two looks at the trials of others
SHOWN = 3  # trials of a dry run
HOPELESS = 10  # trials that are all refused, for one reason


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
    """Refuses a new search that has a choice which its group has not, here or in hydra.searchpath, or none of whose
    trials can be composed: what is typed of all of them is wrong."""
    if (folder / prune.STUDY).exists():
        return
    for axis in search.space.axes:
        known = loader.get_group_options(axis.name)
        for word in axis.range.values() if known and isinstance(axis.range, Choice) else ():
            if not (word in known or word == "null" or word.startswith("[")):
                fix = advice(word, known)
                raise Refused(f"group {axis.name} has no choice {word!r}", f"{axis.name}={axis.text}", fix)
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
