"""Cells that are submitted as jobs, each of which is a driver of its own (denoiselab.launch.worker). Who submitted them
only watches: the ledger, and whether its jobs are still there. If it is killed they go on, and the same command watches
them again. Imports no torch."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from denoiselab.launch.crew import Crew
from denoiselab.launch.history import RUNNING
from denoiselab.launch.ledger import Ledger
from denoiselab.launch.pool import STOPPING, Limits, Stopped, stop
from denoiselab.launch.task import Task
from denoiselab.launch.worker import Work
from denoiselab.run.signals import INTERRUPTED, handled
from denoiselab.spec import Refused

LOOK = 1.0  # seconds between two looks at the ledger
QUEUE = 4.0  # seconds between two looks at the queue, which others use too
LAG = 2.0  # seconds for the last words of a job that has left the queue
ENDING = 60.0  # seconds for jobs that are canceled to save themselves


class Shape(NamedTuple):
    """What a job asks for: a task a rank."""

    nodes: int
    tasks: int  # a node
    gpus: int | None  # a node


class Cluster(ABC):
    """What takes jobs. `at_once` jobs are submitted at most; `elsewhere` as of a crew."""

    at_once: int
    elsewhere: bool

    @abstractmethod
    def check(self) -> None:
        """Raises `Refused` where it is not there."""

    @abstractmethod
    def shape(self, task: Task) -> Shape:
        """What a task needs. Raises `Refused` where that is not what was asked for."""

    @abstractmethod
    def submit(self, folder: Path, shape: Shape, works: list[Work]) -> list[str]:
        """A job for each, in `folder`: their names."""

    @abstractmethod
    def alive(self) -> set[str] | None:
        """The jobs that wait or run; None where nobody can say just now."""

    @abstractmethod
    def fate(self, job: str) -> str:
        """How a job ended, in words; "" where nobody knows."""

    @abstractmethod
    def canceled(self, job: str) -> bool:
        """Did somebody cancel it?"""

    @abstractmethod
    def cancel(self, jobs: list[str]) -> None:
        """Asks jobs to save themselves and leave."""

    @abstractmethod
    def close(self) -> None:
        """All cells have ended: waits for what is left of their jobs on this machine."""

    @abstractmethod
    def log(self, folder: Path, job: str) -> Path:
        """What a job says that does not get as far as its cell's log."""


class Away(Crew):
    """Jobs of a cluster."""

    def __init__(self, cluster: Cluster, limits: Limits):
        self.cluster, self.limits, self.elsewhere = cluster, limits, cluster.elsewhere

    def check(self):
        self.limits.checked()
        if (minutes := self.cluster.shared["timeout_min"]) < 1:
            raise Refused("hydra.launcher.timeout_min is the time of a job", minutes, "give at least 1 minute")
        self.cluster.check()

    def suit(self, tasks):
        for task in tasks:
            if task.state == "waiting" and task.refusal is None:
                try:
                    self.cluster.shape(task)
                except Refused as e:
                    task.refusal = e

    def work(self, context, tasks, book, tell, budget):
        Watch(self.cluster, self.limits, tasks, book, tell, budget).run()


class Watch:
    """One command that submits and watches."""

    def __init__(self, cluster: Cluster, limits: Limits, tasks: list[Task], book: Ledger, tell: Callable[[Task], None],
                 budget: float | None):  # fmt: skip
        self.cluster, self.limits, self.book, self.tell, self.budget = cluster, limits, book, tell, budget
        self.queue = [task for task in tasks if task.state == "waiting"]
        self.folder, self.file = book.folder / "jobs", book.folder / "jobs.jsonl"
        self.jobs: dict[int, str] = {}  # number of a task to its job
        self.mine: list[str] = []
        self.begun: set[int] = set()
        self.missing: dict[int, float] = {}  # since when a task's job is not to be seen
        self.looked = 0.0

    def run(self) -> None:
        try:
            with handled(STOPPING, stop):
                self.adopt()
                while self.queue:
                    self.look()
                    self.submit()
                    if self.queue:
                        time.sleep(LOOK)
                self.cluster.close()
        except Stopped as e:
            if e.code == INTERRUPTED:
                self.cancel()
            self.leave()
            raise

    # -- jobs

    def adopt(self) -> None:
        """The jobs that an earlier command submitted, and that wait or run."""
        alive = self.cluster.alive() or set()
        numbers = {task.key: task.number for task in self.queue}
        with suppress(OSError):
            for line in self.file.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, LookupError, TypeError):
                    said = json.loads(line)
                    if said["job"] in alive and said["cell"] in numbers:
                        self.jobs[numbers[said["cell"]]] = said["job"]

    def submit(self) -> None:
        """What nobody has, as far as there is room; equal ones together."""
        room = self.cluster.at_once - len(self.jobs)
        ready = [task for task in self.queue if task.number not in self.jobs and not task.elsewhere][: max(room, 0)]
        shapes: dict[Shape, list[Task]] = {}
        for task in ready:
            shapes.setdefault(self.cluster.shape(task), []).append(task)
        self.folder.mkdir(mode=0o700, exist_ok=True)  # what is submitted is the whole configuration
        for shape, same in shapes.items():
            self.book.offer(same)
            works = [Work.of(task, self.book.folder, self.limits, self.budget) for task in same]
            jobs = self.cluster.submit(self.folder, shape, works)
            self.mine += jobs
            lines = [json.dumps({"cell": task.key, "job": job}) for task, job in zip(same, jobs, strict=True)]
            with self.file.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
            self.jobs |= {task.number: job for task, job in zip(same, jobs, strict=True)}

    def look(self) -> None:
        """What has begun, what has ended, and what is gone."""
        self.book.follow(self.queue)
        for task in list(self.queue):
            if task.state != "waiting":
                self.drop(task)
            elif task.number not in self.begun and self.begins(task):
                self.begun.add(task.number)
                task.state = "running"
                self.tell(task)
                task.state = "waiting"
        now = time.monotonic()
        if self.missing or now - self.looked > QUEUE:
            self.looked = now
            alive = self.cluster.alive()
            for task in [] if alive is None else list(self.queue):
                if task.number not in self.jobs or self.jobs[task.number] in alive:
                    self.missing.pop(task.number, None)
                elif now - self.missing.setdefault(task.number, now) > LAG:
                    self.gone(task, self.jobs[task.number])

    def begins(self, task: Task) -> bool:
        return self.book.history.cells[task.key].state == RUNNING and self.book.runs(task)

    def drop(self, task: Task) -> None:
        self.queue.remove(task)
        if job := self.jobs.pop(task.number, None):
            (self.folder / f"{job}_submitted.pkl").unlink(missing_ok=True)  # no configuration is left lying about
        self.missing.pop(task.number, None)
        if task.state in ("completed", "pruned"):
            task.why = self.book.history.cells[task.key].why  # and not by whom: that is the rule here
        self.tell(task)

    def gone(self, task: Task, job: str) -> None:
        """A job that ended without a word of its cell."""
        if self.book.runs(task):
            return  # another's
        if self.budget is not None and self.book.spent() >= self.budget:
            task.why = f"the budget of {self.budget:g} s is spent"
            self.queue.remove(task)
            return
        fate = self.cluster.fate(job)
        begun = self.book.history.cells[task.key].attempts > 0
        if not begun and self.cluster.canceled(job):
            task.state, task.why = "preempted", f"job {job} was canceled before it began"
        else:
            why = f"job {job} ended without a word" + (f": {fate}" if fate else "")
            self.book.missed(task, why if begun else f"{why}; see {self.cluster.log(self.folder, job)}")
        if task.state != "waiting":
            self.drop(task)

    # -- the end of the command, and not of the sweep

    def cancel(self) -> None:
        self.cluster.cancel(self.mine)
        until = time.monotonic() + ENDING
        with handled(STOPPING, stop), suppress(Stopped):
            while (self.cluster.alive() or set()) & {*self.mine} and time.monotonic() < until:
                time.sleep(LOOK)

    def leave(self) -> None:
        """Says of each cell that has not ended what it is left to."""
        with suppress(Stopped):
            self.book.follow(self.queue)
        alive = self.cluster.alive() or set()
        for task in self.queue:
            if task.state == "waiting" and (job := self.jobs.get(task.number)) in alive:
                task.state = "running" if self.book.runs(task) else "waiting"
                task.why = f"job {job} goes on: the same command watches it"
            elif task.state == "waiting" and self.book.history.cells[task.key].attempts:
                task.state, task.why = "preempted", "the same command goes on"
