"""Runs tasks, some at a time, shares cores and GPUs out among them, and ends what hangs. Imports no torch."""

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from typing import NamedTuple

from denoiselab.launch.book import Book, Nothing
from denoiselab.launch.task import Task
from denoiselab.run.signals import INTERRUPTED, PREEMPTED, handled
from denoiselab.spec import Refused

LOOK = 1.0  # seconds between two looks at the progress of jobs
HALT = 10.0  # seconds after which a rank that is stopped fails its job
DUMP = 0.5  # seconds for a job that hangs to say where


class Limits(NamedTuple):
    """How many jobs at once, how many to a GPU, and how long they are waited for; in seconds."""

    n_jobs: int | None
    jobs_per_gpu: int
    timeout: float | None
    grace: float

    def checked(self) -> "Limits":
        if (self.n_jobs is not None and self.n_jobs < 1) or self.jobs_per_gpu < 1:
            got = f"n_jobs={self.n_jobs} jobs_per_gpu={self.jobs_per_gpu}"
            raise Refused("hydra.launcher.n_jobs and jobs_per_gpu count jobs", got, "give at least 1")
        if not (self.timeout is None or self.timeout > 0) or not self.grace >= 0:
            got = f"timeout={self.timeout} grace={self.grace}"
            raise Refused("hydra.launcher.timeout and grace are seconds", got, "give more than 0, or timeout=null")
        return self


class Stopped(BaseException):
    """The driver was asked to stop, by this signal."""

    def __init__(self, number: int):
        self.number = number
        self.code = INTERRUPTED if number == signal.SIGINT else PREEMPTED


STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def stop(number: int, frame) -> None:
    # Until it is caught; from then on a second one ends the driver at once, and with it all jobs.
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)


class Pool:
    """`tell` is called with each task that starts and that ends; `book` knows what other drivers do. After `budget`
    seconds of jobs none is started."""

    def __init__(self, context: BaseContext, limits: Limits, gpus: list[str], tell: Callable[[Task], None],
                 book: Book | None = None, budget: float | None = None):  # fmt: skip
        self.context, self.limits, self.tell = context, limits, tell
        self.book, self.budget = book or Nothing(), budget
        self.free = Counter(dict.fromkeys(gpus, limits.jobs_per_gpu))
        self.running: list[Task] = []
        self.halts: dict[int, float] = {}

    def run(self, tasks: list[Task]) -> None:
        """Until all have ended. A signal stops all of them and is raised as `Stopped`."""
        with tempfile.TemporaryDirectory(prefix="denoiselab-", ignore_cleanup_errors=True) as temporary:
            self.run_in(temporary, tasks)

    def run_in(self, temporary: str, tasks: list[Task]) -> None:
        """What the jobs write into their temporary folder goes at the end: they have no time to tidy up."""
        queue = [task for task in tasks if task.state == "waiting"]
        threads = self.threads(queue)
        try:
            with handled(STOPPING, stop):
                while queue or self.running:
                    self.follow(queue)
                    for task in self.startable(queue):
                        queue.remove(task)
                        self.begin(task, threads, temporary)
                    if not self.running:
                        self.give_up(queue)
                    wait([p.sentinel for task in self.running for p in task.alive()], timeout=LOOK)
                    for task in list(self.running):
                        self.look(task)
        except BaseException:
            for task in self.running:
                task.leave()
            for task in list(self.running):
                self.settle(task)
            raise
        finally:
            for task in self.running:
                task.tell(signal.SIGKILL)

    def follow(self, queue: list[Task]) -> None:
        """Leaves out what other drivers have ended, and what the budget does not allow any more."""
        self.book.follow(queue)
        over = self.budget is not None and self.book.spent() >= self.budget
        for task in list(queue):
            if task.state != "waiting":
                queue.remove(task)
                self.tell(task)
            elif over and not task.elsewhere:
                task.why = f"the budget of {self.budget:g} s is spent"
                queue.remove(task)

    def give_up(self, queue: list[Task]) -> None:
        """No place will ever be free for what is left, unless another driver has it."""
        for task in list(queue):
            if task.state == "waiting" and not task.elsewhere:
                task.state, task.why = "failed", f"it needs {task.ranks} GPUs, and {len(self.free)} are known"
                queue.remove(task)
                self.tell(task)

    def begin(self, task: Task, threads: int, temporary: str) -> None:
        self.running.append(task)
        try:
            task.start(self.context, threads, self.limits.grace, temporary)
        except OSError as e:
            self.settle(task, f"it cannot be started: {e}")
        else:
            self.tell(task)

    def threads(self, queue: list[Task]) -> int:
        """For each process: the cores, shared out."""
        cores = available()
        said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        limit = int(said) if said.isdigit() else cores
        ranks = max((task.ranks for task in queue), default=1)
        at_once = self.limits.n_jobs or max(sum(self.free.values()) // ranks, 1)
        return max(min(cores // (min(at_once, max(len(queue), 1)) * ranks), limit), 1)

    def startable(self, queue: list[Task]) -> Iterator[Task]:
        """Those for which there is a place now; a fit that is being trained is waited for."""
        for task in list(queue):
            most = self.limits.n_jobs or (sum(self.free.values()) + len(self.running) if task.gpu else 1)
            if len(self.running) >= most:
                return
            if task.state != "waiting" or task.elsewhere or any(task.fit == other.fit for other in self.running):
                continue
            if task.gpu:
                places = [gpu for gpu, places in self.free.most_common() if places][: task.ranks]
                if len(places) < task.ranks:
                    continue
            if not self.book.claim(task):
                continue
            if task.gpu:
                self.free.subtract(places)
                task.slots = places
            yield task

    def look(self, task: Task) -> None:
        """Settles a task that has ended, or must end."""
        now = time.monotonic()
        if not task.alive() or any(p.exitcode for p in task.processes) or (task.seat and task.seat.lost()):
            self.settle(task)
        elif task.processes[0].exitcode == 0:
            # The first rank leaves last; what the others may still be doing changes nothing.
            wait([p.sentinel for p in task.alive()], timeout=self.limits.grace)
            self.settle(task)
        elif self.limits.timeout and now - task.progress() > self.limits.timeout:
            task.ask(signal.SIGUSR2)
            time.sleep(DUMP)
            self.settle(task, f"no progress for {self.limits.timeout:g} s")
        elif not task.halted():
            self.halts.pop(task.number, None)
        elif now - self.halts.setdefault(task.number, now) > HALT:
            self.settle(task, "a rank is stopped (SIGSTOP)")

    def settle(self, task: Task, why: str = "") -> None:
        task.end(self.limits.grace)
        if why:
            task.state, task.why = "failed", why
        else:
            task.judge()
        self.running.remove(task)
        self.free.update(task.slots)
        self.book.settle(task)
        self.tell(task)


def available() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs that jobs may use, by the names CUDA_VISIBLE_DEVICES takes; no CUDA context is made."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]
