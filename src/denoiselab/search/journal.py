"""Where a search is kept: `journal.log` in its folder, by Optuna's journal storage, so that it goes on where it was
stopped, and several machines feed one study. Written under the kernel's lock (flock), as the ledger is, with the same
promise (denoiselab.launch.ledger); half a line, left by who was killed in writing, is taken away by the next. Beside it
lies study.json, what is searched, which can be read without Optuna. Imports Optuna, and no torch."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from denoiselab.run import prune
from denoiselab.search import methods
from denoiselab.spec import Refused

NAME = "search"  # the same in every folder: what Optuna makes of it must not differ
JOURNAL, LOCK = "journal.log", "study.lock"
optuna.logging.set_verbosity(optuna.logging.ERROR)


class Lock:
    """As Optuna's journal asks for one: the kernel's, which no dead process holds."""

    def __init__(self, path: Path):
        self.path, self.file = path, None

    def acquire(self):
        self.file = self.path.open("a+b")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        mend(self.file)
        return True

    def release(self):
        self.file.close()


def mend(file) -> None:
    """Takes half a line at the end away."""
    end = file.seek(0, os.SEEK_END)
    if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def storage(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL), lock_obj=Lock(folder / JOURNAL)))


def opened(folder: Path) -> optuna.Study:
    """A study that is there. Raises `Refused`."""
    try:
        return optuna.load_study(study_name=NAME, storage=storage(folder))
    except (OSError, KeyError, ValueError) as e:
        raise Refused(f"the search in {folder} cannot be opened", e, "give the command of the search again") from e


def begun(folder: Path, directions: list[str]) -> optuna.Study:
    """The study of a folder, made if there is none; the caller is `alone`."""
    return optuna.create_study(study_name=NAME, storage=storage(folder), directions=directions, load_if_exists=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One driver at a time asks for trials."""
    with (folder / LOCK).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Reported:
    """A trial whose job reports. Raises `Refused` where the folder has no study."""

    def __init__(self, folder: Path, number: int):
        try:
            self.pruner = methods.pruner(prune.study(folder)["pruner"])
        except (LookupError, TypeError) as e:
            fix = "give the command of the search again, with plugins=[PACKAGE] where the pruner is yours"
            raise Refused(f"{folder / prune.STUDY} names a pruner that is not known here", e, fix) from e
        self.study, self.number = opened(folder), number

    def stopped(self, validation: int, value: float) -> str:
        """Reports, and gives the name of what stops the trial here; nothing where it goes on."""
        trial = self.trials()[self.number]
        if validation not in trial.intermediate_values:  # a run that goes on validates once more where it was killed
            self.study._storage.set_trial_intermediate_value(trial._trial_id, validation, value)
        pruned = prunes(self.trials(), self.number, validation, self.study.direction, self.pruner.made())
        return type(self.pruner).__name__.lower() if pruned else ""

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)


def prunes(trials: list[FrozenTrial], number: int, validation: int, direction, pruner) -> bool:
    """Is a trial to stop here? All that was reported is reported again, to a study in memory: what Optuna's pruners
    note on the way is then a function of the values, wherever somebody was killed."""
    study = optuna.create_study(study_name=NAME, direction=direction, pruner=pruner, sampler=RandomSampler(0))
    for each in trials:
        again, pruned = study.ask(), False
        for step, value in sorted(each.intermediate_values.items()):
            if each.number != number or step <= validation:
                again.report(value, step)
                pruned = again.should_prune()
        if each.number == number:
            return pruned
        if each.state.is_finished():
            study.tell(again, each.value if each.state == TrialState.COMPLETE else None, each.state)
    return False
