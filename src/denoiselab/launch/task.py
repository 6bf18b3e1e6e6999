"""A cell of a grid on its way through the driver: waiting, running in one process a rank, ended. Imports no torch."""

import os
import re
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from denoiselab.launch import server
from denoiselab.launch.order import Order
from denoiselab.launch.seat import Seat
from denoiselab.run import label, lock, prune, record
from denoiselab.run.signals import PREEMPTED, PREEMPTING
from denoiselab.spec import Refused

# What a rank says that lost another, or that was told to end.
LOST = ("peer", "Connection", "NCCL", "gloo", "SIGTERM", "exit 75")
# What a job leaves with that was asked to, before it could save.
ENDED_EARLY = (0, PREEMPTED, *(-number for number in PREEMPTING))
ENDED_WELL = ("completed", "finished before", "same as")


@dataclass
class Task:
    """`state` is one of: waiting, running, completed, finished before, same as, refused, failed, failed before,
    preempted, pruned."""

    number: int
    words: str  # what was varied
    overrides: list[str]
    config: dict
    choices: dict[str, str]
    refusal: Refused | None = None
    state: str = "waiting"
    why: str = ""
    cause: int = 0  # the rank that failed first
    twin: "Task | None" = None  # of a task that is the same as one before
    fit: str = ""
    score: str = ""
    folder: Path = Path()
    ranks: int = 1
    gpu: bool = False
    on_screen: bool = False  # prints there, not into its log
    seat: Seat | None = None  # its one rank here, where a cluster starts a task a rank
    sweep: str = ""  # the name of the sweep's folder, if it is one's
    slots: list[str] = field(default_factory=list)  # GPUs it holds
    processes: list[BaseProcess] = field(default_factory=list)
    asked: bool = False  # to leave
    whole: bool = False  # it was, while nothing was wrong with it
    mark: Path | None = None  # the file by which a trial says that it was pruned
    elsewhere: str = ""  # the driver that works on it, or on its fit
    attempts: int = 0
    codes: list[int] = field(default_factory=list)  # of the processes that ended
    began: float = 0.0
    seconds: float = 0.0
    moved: float = 0.0  # when progress was seen last
    seen: tuple = ()
    written: dict[Path, int] = field(default_factory=dict)  # length of its logs before it began

    @property
    def order(self) -> tuple[dict, dict[str, str], list[str]]:
        """What there is to train."""
        return self.config, self.choices, self.overrides

    def take(self, verdict) -> None:
        """What was found out about the cell."""
        self.fit, self.score, self.folder = verdict.fit, verdict.score, Path(verdict.folder)
        self.ranks, self.gpu = verdict.ranks, verdict.gpu
        # What trainer.max_samples comes to; the driver has no data.
        self.config = {**self.config, "trainer": {**self.config["trainer"], "max_steps": verdict.steps}}

    @property
    def key(self) -> str:
        """The cell among those of a sweep: experiment and score."""
        return f"{self.folder.parent.name}/{self.score}"

    @property
    def ended_well(self) -> bool:
        return self.state in ENDED_WELL

    @property
    def results(self) -> Path | None:
        return record.results(self.folder, self.score)

    @property
    def value(self) -> float | None:
        """Of the monitored metric, where there are results."""
        place = self.results if self.ended_well else None
        return record.read_summary(place)["metrics"][self.config["monitor"]["name"]]["value"] if place else None

    # -- processes

    def log(self, rank: int = 0) -> Path:
        return self.folder / (f"log.{rank}.txt" if rank else "log.txt")

    def locate(self) -> None:
        """Another command may have made the folder since the cells were checked, under another readable name."""
        self.folder = next(iter(sorted(self.folder.parent.glob(f"*-{self.fit}"))), self.folder)

    def done(self) -> bool:
        """Are there results by now, which are not to be made anew?"""
        self.locate()
        return self.config.get("rerun") is False and self.results is not None

    def start(self, context: BaseContext, threads: int, grace: float, temporary: str) -> None:
        self.state, self.began, self.moved = "running", time.monotonic(), time.monotonic()
        self.locate()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.written = {self.log(r): size(self.log(r)) for r in range(self.ranks)}
        for rank, environment in zip(self.ranks_here, self.environments(threads), strict=True):
            log = None if self.on_screen and rank == 0 else str(self.log(rank))
            environment["TMPDIR"] = temporary
            order = Order(self.config, self.choices, self.overrides, log, environment, threads, grace)
            self.processes.append(server.process(context, order.obeyed))

    def environments(self, threads: int) -> list[dict[str, str]]:
        """The environment of each rank."""
        shared = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        # The W&B process that serves this one would hold the runs of jobs that were killed.
        shared.pop("WANDB_SERVICE", None)
        if self.sweep:
            shared |= label.told(self.sweep, self.words)
        if self.gpu:
            shared["CUDA_VISIBLE_DEVICES"] = ",".join(self.slots)
        if self.seat:
            return [shared | self.seat.environment]
        if self.ranks == 1:
            return [shared]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(self.ranks),
            "NODE_RANK": "0",
        }
        return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(self.ranks)]

    @property
    def ranks_here(self) -> range:
        return range(self.seat.rank, self.seat.rank + 1) if self.seat else range(self.ranks)

    def alive(self) -> list[BaseProcess]:
        return [p for p in self.processes if p.exitcode is None]

    def tell(self, number: int) -> None:
        """A signal to each process' whole group."""
        for process in self.processes:
            try:
                os.killpg(process.pid, number)
            except (ProcessLookupError, PermissionError):  # it is gone, or not yet the head of a group
                self.ask(number)

    def ask(self, number: int) -> None:
        """A signal to the processes alone: what they started is theirs to end."""
        for process in self.alive():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def leave(self) -> None:
        """Asks the processes to save themselves and leave, once: a second signal would end them at once."""
        if not self.asked:
            lost = self.seat is not None and self.seat.lost()
            self.asked, self.whole = True, not lost and len(self.alive()) == len(self.processes)
            self.ask(signal.SIGTERM)
            self.ask(signal.SIGCONT)

    def end(self, grace: float) -> None:
        """Asks what is left to save itself; after `grace` seconds nothing is left."""
        if self.alive():
            self.leave()
            until = time.monotonic() + grace
            while self.alive() and time.monotonic() < until:
                wait([p.sentinel for p in self.alive()], timeout=max(0, until - time.monotonic()))
        self.tell(signal.SIGKILL)
        while self.processes:
            process = self.processes[0]
            process.join()
            self.codes.append(process.exitcode)
            self.processes.pop(0).close()  # a sweep of a thousand would run out of descriptors
        if self.seat and self.codes:
            self.codes += self.seat.codes_of_others(grace)
        self.seconds = time.monotonic() - self.began

    # -- how it stands

    def progress(self) -> float:
        """When it moved last: its pulse, its record or what it prints."""
        files = (lock.path(self.folder.parent, self.fit), self.log(), self.folder / "metrics.jsonl")
        now = tuple(changed(file) for file in files)
        if now != self.seen:
            self.seen, self.moved = now, time.monotonic()
        return self.moved

    def halted(self) -> bool:
        """Is one of several ranks stopped (SIGSTOP)? The others would wait for it for ever."""
        return self.ranks > 1 and any(halted(p.pid) for p in self.alive())

    def judge(self) -> None:
        """Ended: how?"""
        codes = self.codes
        if not codes:  # stopped before it began
            self.state = "waiting"
        elif codes[0] == 0 and self.results:
            self.state = "completed"
        elif self.pruned():
            pass
        elif any(codes) and all(code in ENDED_EARLY for code in codes):
            self.state, self.why = "preempted", "the same command goes on"
        elif self.whole and any(codes) and all(code in (*ENDED_EARLY, -signal.SIGKILL) for code in codes):
            self.state, self.why = "preempted", "it had no time to save: the same command goes on from what is saved"
        else:
            self.fail(codes)

    def pruned(self) -> bool:
        """Was it stopped because others did better? Then its state says so."""
        if self.mark and (why := prune.why(self.mark)):
            self.state, self.why = "pruned", why
        return self.state == "pruned"

    def fail(self, codes: list[int | None]) -> None:
        """The first rank whose end is its own is the cause: the others lost a peer, or were told to end."""
        self.state = "failed"
        ends = [(rank, last_words(self.log(rank), self.written[self.log(rank)]), code)
                for rank, code in enumerate(codes)]  # fmt: skip
        # An end of its own, else one that was too early, else whatever there is.
        own = [end for end in ends if end[2] and not any(word in ended(end[2], end[1]) for word in LOST)]
        early = [end for end in ends if end[2] == 0]
        self.cause, said, code = (own or early or ends)[0]
        self.why = (f"rank {self.cause}: " if len(codes) > 1 else "") + ended(code, said)


def ended(code: int | None, said: str) -> str:
    """An exit in words."""
    if code == 0:
        return "exit 0 before the end"
    if code is not None and code < 0:
        return signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return said.removeprefix("failed: ") if code in (1, 2) and said else f"exit {code}"


def last_words(log: Path, start: int) -> str:
    """The last line of the traceback, or the first of a refusal, after `start` bytes of a log."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    told = [found for line in lines if (found := re.match(r"(?:[\d-]{10} [\d:]{8} )?((?:refused|failed): .*)", line))]
    if told:
        return told[-1][1]
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def halted(pid: int) -> bool:
    """Is a process stopped? Known on Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False
