"""A cell's job on another machine, or in another's process: a driver of its own, of one cell. It joins the sweep's
ledger, claims the cell, trains it in a process of its own and says how it ended; so it is owned by nobody but itself,
and whoever submitted it may go. Imports no torch.

Where a cluster starts a task a rank, the first one is that driver; see denoiselab.launch.seat. Exit codes: 0 done, or
nothing to do; 1 failed, 75 saved and stopped, 130 interrupted.
"""

import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from denoiselab.launch import ledger, server
from denoiselab.launch.book import Nothing
from denoiselab.launch.history import held
from denoiselab.launch.pool import STOPPING, Limits, Pool, Stopped, gpus, stop
from denoiselab.launch.seat import Seat
from denoiselab.launch.task import Task
from denoiselab.run.secrets import redacted
from denoiselab.run.signals import PREEMPTED, handled

PATIENCE = 600.0  # seconds that a rank waits for the first one's call
CODES = {"failed": 1, "preempted": PREEMPTED}


class Work(NamedTuple):
    """A cell, whole, and how it is watched."""

    sweep: Path
    number: int
    words: str
    overrides: list[str]
    config: dict
    choices: dict[str, str]
    fit: str
    score: str
    folder: Path
    ranks: int
    gpu: bool
    mark: Path | None
    limits: Limits
    budget: float | None

    @classmethod
    def of(cls, task: Task, sweep: Path, limits: Limits, budget: float | None) -> "Work":
        return cls(sweep.absolute(), task.number, task.words, task.overrides, task.config, task.choices, task.fit,
                   task.score, task.folder, task.ranks, task.gpu, task.mark, limits, budget)  # fmt: skip

    def task(self, seat: Seat | None = None) -> Task:
        return Task(self.number, self.words, self.overrides, self.config, self.choices, fit=self.fit, score=self.score,
                    folder=self.folder, ranks=self.ranks, gpu=self.gpu, sweep=self.sweep.name, mark=self.mark,
                    seat=seat)  # fmt: skip


def tell(task: Task) -> None:
    print(f"#{task.number} {task.state}: {redacted(task.why) or task.words}", flush=True)


def tell_start(task: Task) -> None:
    if task.state == "running":
        print(f"#{task.number} started: {task.words}", flush=True)


def drive(work: Work, seat: Seat | None = None, nodes: int = 1, tell=tell) -> tuple[int, int | None]:
    """Claims a cell and trains it: the exit code, and the signal that stopped it, if one did."""
    number, context = None, server.started()
    with ledger.joined(work.sweep) as book:
        task = work.task()
        if not wanted(book, task):
            if seat:
                seat.dismiss()
            return 0, None
        if seat:
            task.seat = seat.called(book.lease.driver, nodes)
        server.asked(context, bool)  # until all is imported: who has claimed a cell shows signs of life
        pool = Pool(context, work.limits, gpus() if task.gpu else [], tell, book, work.budget)
        try:
            pool.run([task])
        except Stopped as e:
            number = e.number
        if task.seat:
            task.seat.tidy()
        return CODES.get(task.state, 0) if number is None else Stopped(number).code, number


def wanted(book: ledger.Ledger, task: Task) -> bool:
    """Is the cell still to be trained, and by nobody else?"""
    if book.runs(task):
        print(f"#{task.number} is being trained by another job", flush=True)
        return False
    book.follow([task])
    if task.state != "waiting":
        tell(task)
    return task.state == "waiting"


class Following(Nothing):
    """A rank works as long as the driver of the first one does."""

    def __init__(self, place: Path):
        self.place = place

    def follow(self, tasks):
        if not held(self.place):
            raise Stopped(signal.SIGTERM)


def follow(work: Work, seat: Seat) -> int:
    """Any other rank: its exit code."""
    seat, driver = seat.met(PATIENCE)
    if driver is None:
        return 0
    task = work.task(seat)
    code = 1
    try:
        book = Following(work.sweep / "drivers" / driver)
        devices = gpus() if task.gpu else []
        Pool(server.started(), work.limits, devices, lambda task: None, book).run([task])
    except Stopped as e:
        code = e.code
    if task.codes:
        code = task.codes[0]
    seat.leave(code)
    return code


# -- what starts it


def submitted(work: Work, requeues: int) -> None:
    """As a task of a job that submitit submitted; leaves with an exit code. A job that was asked by SIGUSR1 to save,
    because its time is up or others need its place, is queued again, `requeues` times."""
    import submitit

    place = submitit.JobEnvironment()
    starts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    # Each rank is told its place by us: Lightning would take it from here, and requeue jobs by itself.
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        os.environ.pop(name, None)
    if cpus := os.environ.get("SLURM_CPUS_PER_TASK"):
        os.environ.setdefault("OMP_NUM_THREADS", cpus)
    # submitit's own sign that the time is up, where no cluster sends another.
    signal.signal(signal.SIGUSR2, lambda number, frame: os.kill(os.getpid(), signal.SIGUSR1))
    seat = None
    if work.ranks > 1:
        job = f"{place.job_id}-{starts}"
        seat = Seat(place.global_rank, place.local_rank, place.node, work.ranks, work.sweep / "ranks", job)
    print(f"job {place.job_id}, start {starts + 1}, on {socket.gethostname()}: #{work.number}", flush=True)
    try:
        with handled(STOPPING, stop):
            if seat and seat.rank:
                sys.exit(follow(work, seat))
            code, number = drive(work, seat, place.num_nodes)
    except Stopped as e:
        code, number = e.code, e.number
    if code == PREEMPTED and number in (None, signal.SIGUSR1) and starts < requeues and not (seat and seat.rank):
        print("queued again: it goes on from what is saved", flush=True)
        place._requeue(requeues - starts)
    sys.exit(code)


def called(work: Work) -> None:
    """As a call in any process, which goes on: who stops it stops this cell alone."""
    with suppress(Stopped), handled(STOPPING, stop):
        drive(work, tell=tell_start)
