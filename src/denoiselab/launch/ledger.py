"""The ledger of a sweep: what became of each cell, over all commands that ever worked on it. Imports no torch.

`ledger.jsonl` in the sweep's folder has an event a line, and is only appended to: a JSON object with `time`, that of
the file server, `cell` (experiment and score hash), `state` (pending, running, completed, failed, preempted; pruned: a
trial of a search that was stopped early), `attempt`, `driver`, `host` and `pid`; an end has `seconds`, the monitored
`value`, `why`, and the `log`, relative to the sweep's folder. A line is one write to the end of the file, under the
kernel's lock (flock) on it: so a reader finds whole lines, and of two drivers that want a cell one gets it. Half a
line, left where a disk was full or a machine lost power, is skipped.

A cell that runs is leased to its driver (denoiselab.launch.lease).

Promised on local disks, and on NFS where flock goes to the server (version 4, or 3 with lockd; not `nolock`,
`local_lock=flock`): a lock there also brings what others wrote, and opening a file its time. Not promised: two machines
that see different servers under one path. Where a file system has no locks, a sweep is refused.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from denoiselab.launch.book import Book
from denoiselab.launch.history import (
    COMPLETED,
    ENDED,
    FAILED,
    PENDING,
    PREEMPTED,
    PRUNED,
    RUNNING,
    Entry,
    History,
    changed,
    held,
)
from denoiselab.launch.lease import LEASE, Lease
from denoiselab.launch.task import Task
from denoiselab.run.secrets import redacted
from denoiselab.spec import Failed, Refused

LONGEST = 500  # letters of a reason
LOST = "its driver ended"  # without a word, and with it the job


class Ledger(Book):
    """A driver's hand in the ledger of the sweep in `folder`. Made by `joined`."""

    def __init__(self, folder: Path, lease: float = LEASE, clock: Callable[[], float] = time.monotonic):
        self.folder, self.history, self.lease = folder, History(folder), Lease(folder, lease, clock)
        self.began = 0  # events before it came

    # -- the file

    @contextmanager
    def locked(self) -> Iterator[Callable[..., None]]:
        """Alone with the ledger, all of it read: gives the function that appends events."""
        try:
            with self.history.path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self.history.read()
                yield lambda *events: self.append(file, events)
        except OSError as e:
            raise Failed(
                f"the ledger of the sweep cannot be written: {e}\n  file: {self.history.path}\n"
                "  fix: make room, or give a root on a file system with locks: outputs=FOLDER"
            ) from e

    def append(self, file, events: Iterable[dict]) -> None:
        text = "".join(json.dumps({"time": round(self.lease.now(), 3), **event}) + "\n" for event in events)
        if not text:
            return
        end = file.seek(0, os.SEEK_END)
        torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
        file.write(("\n" if torn else "").encode() + text.encode())
        os.fsync(file.fileno())
        self.history.read()

    # -- what it says

    def lost(self, key: str, cell: Entry) -> dict:
        """The end of an attempt whose driver has gone without a word."""
        last = changed(self.lease.place(cell.driver)) / 1e9 or cell.since
        seconds = round(max(last - cell.since, 0.0), 3)
        return {"cell": key, "state": PREEMPTED, "attempt": cell.attempts, "driver": cell.driver, "host": cell.host,
                "pid": cell.pid, "seconds": seconds, "why": LOST}  # fmt: skip

    def event(self, key: str, state: str, attempt: int, **more) -> dict:
        return {"cell": key, "state": state, "attempt": attempt, "driver": self.lease.driver, "host": self.lease.host,
                "pid": self.lease.pid, **more}  # fmt: skip

    # -- a sweep

    def begin(self, tasks: list[Task], retry: bool) -> None:
        """What was before: ends that nobody wrote down are, and what failed stays so unless it is to be tried again."""
        with self.locked() as append:
            cells = self.history.cells
            for key, cell in list(cells.items()):
                if cell.state == RUNNING and not self.lease.lives(cell.driver):
                    append(self.lost(key, cell))
            for task in tasks:
                cell = cells[task.key]
                if task.state == "waiting" and cell.state == COMPLETED and task.done():
                    task.state = "finished before"  # by another driver, since the cells were judged
                if task.state == "finished before" and cell.state not in (COMPLETED, RUNNING):
                    append(self.event(task.key, COMPLETED, cell.attempts, fit=task.fit, value=task.value,
                                      log=self.relative(task.log())))  # fmt: skip
                elif task.state == PRUNED and cell.state not in (PRUNED, RUNNING):
                    append(self.event(task.key, PRUNED, cell.attempts, fit=task.fit, why=task.why,
                                      log=self.relative(task.log())))  # fmt: skip
                elif task.state == "waiting" and cell.state == FAILED:
                    if retry:
                        append(self.event(task.key, PENDING, cell.attempts))
                    else:
                        task.state, task.why, task.cause = "failed before", cell.why, cell.cause
                        task.locate()
                task.attempts, task.seconds = cell.attempts, cell.seconds
            self.began = self.history.events
            for left in self.folder.glob("drivers/*"):
                if left.name != self.lease.driver and not held(left):
                    left.unlink(missing_ok=True)

    def follow(self, tasks):
        self.lease.beat()
        cells = self.history.read()
        alive = {
            name: self.lease.lives(name) for name in {cell.driver for cell in cells.values() if cell.state == RUNNING}
        }
        busy = {cell.fit: cell for cell in cells.values()
                if cell.state == RUNNING and cell.driver != self.lease.driver and alive[cell.driver]}  # fmt: skip
        for task in tasks:
            cell = cells[task.key]
            if self.ended_elsewhere(cell):
                task.state, task.seconds, task.attempts, task.cause = (
                    cell.state, cell.seconds, cell.attempts, cell.cause,
                )  # fmt: skip
                task.why = f"{cell.why}{' ' if cell.why else ''}(on {said(cell)})"
                task.locate()
            holder = busy.get(task.fit)
            task.elsewhere = said(holder) if holder else ""

    def ended_elsewhere(self, cell: Entry) -> bool:
        """Did another driver end it since this one came?"""
        return cell.at > self.began and cell.driver != self.lease.driver and cell.state in ENDED

    def claim(self, task):
        with self.locked() as append:
            cells = self.history.cells
            cell = cells[task.key]
            if self.ended_elsewhere(cell):
                task.elsewhere = said(cell)
                return False
            for key, other in list(cells.items()):
                if other.state == RUNNING and other.driver != self.lease.driver and task.fit == other.fit:
                    if self.lease.lives(other.driver):
                        task.elsewhere = said(other)
                        return False
                    append(self.lost(key, other))
            if task.done():
                # Its driver was killed between the last line of the run and the ledger's.
                task.state, task.attempts, task.seconds = "completed", cell.attempts, cell.seconds
                append(self.event(task.key, COMPLETED, cell.attempts, fit=task.fit, value=task.value,
                                  log=self.relative(task.log())))  # fmt: skip
                return False
            task.attempts = cell.attempts + 1
            append(self.event(task.key, RUNNING, task.attempts, fit=task.fit, log=self.relative(task.log())))
        return True

    def settle(self, task):
        with self.locked() as append:
            cell = self.history.cells[task.key]
            if cell.state != RUNNING or cell.driver != self.lease.driver:
                return  # the lease was lost: who has it now says how it ends
            state = task.state if task.state in (*ENDED, PREEMPTED) else PENDING
            append(self.event(
                task.key, state, cell.attempts, fit=task.fit, seconds=round(task.seconds, 3), value=task.value,
                log=self.relative(task.log(task.cause)), why=redacted(task.why)[:LONGEST], cause=task.cause,
            ))  # fmt: skip
            task.seconds = cell.seconds

    # -- cells that go to jobs which have drivers of their own

    def offer(self, tasks: list[Task]) -> None:
        """Before jobs are asked to claim these cells: what would keep them from it is put right."""
        with self.locked() as append:
            for task in tasks:
                cell = self.history.cells[task.key]
                if cell.state == RUNNING and not self.lease.lives(cell.driver):
                    append(self.lost(task.key, cell))
                elif cell.state in (COMPLETED, FAILED) and not self.ended_elsewhere(cell):
                    append(self.event(task.key, PENDING, cell.attempts))

    def runs(self, task: Task) -> bool:
        """Does a driver that lives work on this very cell?"""
        cell = self.history.read()[task.key]
        return cell.state == RUNNING and self.lease.lives(cell.driver)

    def missed(self, task: Task, why: str) -> None:
        """The job that had a cell is gone: what it did not say itself is said now."""
        with self.locked() as append:
            cell = self.history.cells[task.key]
            if (cell.state == RUNNING and self.lease.lives(cell.driver)) or self.ended_elsewhere(cell):
                return
            task.attempts, task.seconds = cell.attempts, cell.seconds
            task.locate()
            if cell.state == PREEMPTED and cell.why != LOST:
                task.state, task.why = PREEMPTED, cell.why
                return
            task.state, task.why = FAILED, why
            more = {"seconds": self.lost(task.key, cell)["seconds"]} if cell.state == RUNNING else {}
            append(self.event(task.key, FAILED, cell.attempts, fit=task.fit, why=redacted(why)[:LONGEST],
                              log=self.relative(task.log()), **more))  # fmt: skip
            task.seconds = cell.seconds

    def spent(self):
        return self.history.spent()

    def relative(self, path: Path) -> str:
        return os.path.relpath(path, self.folder)


@contextmanager
def joined(folder: Path, **more) -> Iterator[Ledger]:
    """A hand in the ledger of a sweep, for as long as the block lasts. Raises `Refused` where it cannot be."""
    ledger = Ledger(folder, **more)
    place = ledger.lease.place(ledger.lease.driver)
    with ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            # Nobody takes the new file for a dead driver's.
            with ledger.history.path.open("ab") as whole:
                fcntl.flock(whole, fcntl.LOCK_EX)
                fcntl.flock(stack.enter_context(place.open("w", encoding="utf-8")), fcntl.LOCK_EX)
        except OSError as e:
            fix = "give another root, where files can be written and locked: outputs=FOLDER"
            raise Refused(f"the ledger of the sweep cannot be kept in {folder}", e, fix) from e
        stack.callback(place.unlink, missing_ok=True)
        yield ledger


def said(cell: Entry) -> str:
    return f"{cell.host}, process {cell.pid}"
