"""Cells by joblib: its processes, or those of what else it knows (`backend`). Each is a driver of its own
(denoiselab.launch.worker). Imports no torch."""

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from denoiselab.launch.crew import Crew, Tell
from denoiselab.launch.ledger import Ledger
from denoiselab.launch.pool import STOPPING, Limits, Stopped, stop
from denoiselab.launch.task import Task
from denoiselab.launch.worker import Work, called
from denoiselab.run.signals import handled
from denoiselab.spec import Refused

LOOK = 0.2  # seconds between two looks at what still saves itself


def library():
    """Imported when it is wanted: who uses another launcher need not have it."""
    import joblib

    return joblib


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
        self.registered([task.config["plugins"] for task in tasks if task.refusal is None])
        for task in tasks:
            if task.gpu and self.n_jobs != 1 and task.refusal is None:
                fix = "hydra/launcher=local does, or hydra.launcher.n_jobs=1"
                task.refusal = Refused("joblib deals out no GPUs", f"n_jobs={self.n_jobs}", fix)

    def registered(self, plugins: Iterable[str | list[str] | None]) -> None:
        """Refuses a backend that joblib does not know, and no plugin brings; those of cells that were judged, so that
        they can be imported."""
        known = library().parallel.BACKENDS
        if self.backend is None or self.backend in known:
            return
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        for each in plugins:
            for name in [each] if isinstance(each, str) else each or ():
                importlib.import_module(name)
        if self.backend not in known:
            fix = "leave it out, or name a package that registers it: plugins=[PACKAGE]"
            raise Refused("joblib has no such backend", f"hydra.launcher.backend={self.backend}", fix)

    def work(self, context, tasks, book, tell, budget):
        queue = [task for task in tasks if task.state == "waiting"]
        with handled(STOPPING, stop):
            try:
                broken = True
                while broken and queue:
                    broken = self.batch(queue, book, tell, budget)
                    self.judge(queue, book, tell, budget, broken)
            except Stopped:
                self.end(queue, book)
                raise

    def batch(self, queue: list[Task], book: Ledger, tell: Tell, budget: float | None) -> bool:
        """All that waits, once. Was a process of joblib's killed? It ends them all then."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        book.offer(queue)
        joblib = library()
        calls = [joblib.delayed(called)(Work.of(task, book.folder, self.limits, budget)) for task in queue]
        try:
            for _ in joblib.Parallel(self.n_jobs, backend=self.backend, return_as="generator_unordered")(calls):
                self.follow(queue, book, tell)
        except BrokenProcessPool:
            return True
        finally:
            self.follow(queue, book, tell)
        return False

    def follow(self, queue: list[Task], book: Ledger, tell: Tell) -> None:
        book.follow(queue)
        for task in [task for task in queue if task.state != "waiting"]:
            queue.remove(task)
            if task.state in ("completed", "pruned"):
                task.why = book.history.cells[task.key].why  # and not by whom: that is the rule here
            tell(task)

    def judge(self, queue: list[Task], book: Ledger, tell: Tell, budget: float | None, broken: bool) -> None:
        """What has not ended. Of several that a killed process took along none is known to be at fault: each of them
        is tried once more."""
        for task in list(queue):
            cell = book.history.cells[task.key]
            if book.runs(task) or (broken and cell.attempts < 2):
                continue
            if budget is not None and book.spent() >= budget:
                task.why = f"the budget of {budget:g} s is spent"
            else:
                book.missed(task, "its process was killed" if broken else "its process ended without a word")
            queue.remove(task)
            tell(task)

    def end(self, queue: list[Task], book: Ledger) -> None:
        """The processes that train save what they have, before joblib kills them."""
        own = {cell.pid for task in queue if book.runs(task) for cell in [book.history.cells[task.key]]
               if cell.host == book.lease.host and cell.pid != book.lease.pid}  # fmt: skip
        for pid in own:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + self.limits.grace
        while any(book.runs(task) for task in queue) and time.monotonic() < until:
            time.sleep(LOOK)
        for task in queue:
            if book.history.read()[task.key].attempts:
                task.state, task.why = "preempted", "the same command goes on"
