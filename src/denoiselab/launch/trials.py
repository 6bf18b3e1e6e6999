"""The trials of a study: asked for, proposed, and told how they ended. Imports no torch (but the sampler `gp` does).

A trial is its driver's as long as that holds its file in drivers/. One whose driver has gone is taken over with its
number and its parameters, so it counts once, and its run goes on where it was.

What is proposed is a function of the seed, the number of the trial, and the trials that ended before it."""

import hashlib
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from denoiselab.launch.history import held
from denoiselab.launch.searched import Search
from denoiselab.names import advice
from denoiselab.run import record
from denoiselab.search import journal
from denoiselab.spec import Refused


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
