"""Cells by joblib: its processes, or those of what else it knows (`backend`). Each is a driver of its own
(denoiselab.launch.worker). Imports no torch."""

import importlib.util
import warnings

from denoiselab.launch.crew import Crew
from denoiselab.launch.pool import STOPPING, Limits, stop
from denoiselab.launch.worker import Work, called
from denoiselab.run.signals import handled
from denoiselab.spec import Refused


class Joblib(Crew):
    """`n_jobs` at once, -1: as many as there are cores, which they share."""

    def __init__(self, n_jobs: int, backend: str | None, limits: Limits):
        self.n_jobs, self.backend, self.limits = n_jobs, backend, limits

    def check(self):
        self.limits.checked()
        if importlib.util.find_spec("joblib") is None:
            raise Refused("this launcher needs joblib", "it is not installed", "pip install 'denoiselab[launchers]'")
        if self.n_jobs == 0:
            raise Refused("hydra.launcher.n_jobs counts jobs", self.n_jobs, "give at least 1, or -1 for all cores")
        if self.backend in ("threading", "sequential"):
            fix = "leave it out, or give loky, or one that was registered, such as ray"
            raise Refused("a job of a sweep is a process", f"backend={self.backend}", fix)

    def suit(self, tasks):
        for task in tasks:
            if task.gpu and self.n_jobs != 1 and task.refusal is None:
                fix = "hydra/launcher=local does, or hydra.launcher.n_jobs=1"
                task.refusal = Refused("joblib deals out no GPUs", f"n_jobs={self.n_jobs}", fix)

    def work(self, context, tasks, book, tell, budget):
        from joblib import Parallel, delayed

        queue = [task for task in tasks if task.state == "waiting"]
        book.offer(queue)
        calls = [delayed(called)(Work.of(task, book.folder, self.limits, budget)) for task in queue]
        with handled(STOPPING, stop), warnings.catch_warnings():
            # A process that was killed is another's in joblib's next batch; what became of its cell the ledger says.
            warnings.filterwarnings("ignore", module="joblib")
            for _ in Parallel(self.n_jobs, backend=self.backend, return_as="generator_unordered")(calls):
                book.follow(queue)
                for task in [task for task in queue if task.state != "waiting"]:
                    queue.remove(task)
                    task.why = "" if task.state == "completed" else task.why
                    tell(task)
        book.follow(queue)
        for task in queue:
            if task.state == "waiting" and budget is not None and book.spent() >= budget:
                task.why = f"the budget of {budget:g} s is spent"
            elif task.state == "waiting" and not book.runs(task):
                book.missed(task, "its process ended without a word")
