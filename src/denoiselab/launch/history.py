"""The ledger of a sweep as it is read: its events, which denoiselab.launch.ledger describes, folded to how each cell
stands. Imports no torch."""

import json
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from denoiselab.run import lock

PENDING, RUNNING, COMPLETED, FAILED, PREEMPTED = "pending", "running", "completed", "failed", "preempted"
PRUNED = "pruned"  # a trial of a search that was stopped early
ENDED = (COMPLETED, FAILED, PRUNED)


@dataclass
class Entry:
    """How a cell stands."""

    state: str = PENDING
    attempts: int = 0
    driver: str = ""  # the last one that worked on it
    host: str = ""
    pid: int = 0
    fit: str = ""
    since: float = 0.0  # of this state; seconds since 1970 on the file server
    seconds: float = 0.0  # of all attempts that ended
    value: float | None = None
    why: str = ""
    log: str = ""
    cause: int = 0  # the rank that failed first
    at: int = 0  # number of its last event

    def take(self, event: dict, number: int) -> None:
        began = self.state != RUNNING and event["state"] == RUNNING
        self.state, self.since, self.at = event["state"], event["time"], number
        self.attempts += began
        self.seconds += event.get("seconds", 0.0)
        self.driver, self.host, self.pid = (event.get(k, d) for k, d in (("driver", ""), ("host", ""), ("pid", 0)))
        self.fit, self.value = event.get("fit", self.fit), event.get("value")
        self.why, self.log, self.cause = event.get("why", ""), event.get("log", self.log), event.get("cause", 0)


class History:
    """The events of a ledger, as far as they are read."""

    def __init__(self, folder: Path):
        self.path, self.offset, self.events = folder / "ledger.jsonl", 0, 0
        self.drivers = folder / "drivers"
        self.cells: dict[str, Entry] = defaultdict(Entry)

    def read(self) -> dict[str, Entry]:
        """Cell to how it stands; reads what is new."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.offset)
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self.offset += len(whole)
            for line in whole.splitlines():
                self.events += 1
                with suppress(ValueError, LookupError, TypeError):  # half a line
                    event = json.loads(line)
                    self.cells[event["cell"]].take(event, self.events)
        return self.cells

    def now(self) -> float:
        """The file server's time, as the last sign of life of a driver has it; events are in it as well."""
        return max((changed(place) for place in self.drivers.glob("*")), default=0) / 1e9 or time.time()

    def spent(self) -> float:
        """Seconds of all jobs, of those that run until now."""
        now = self.now()
        return sum(c.seconds + (max(now - c.since, 0.0) if c.state == RUNNING else 0) for c in self.cells.values())


def held(place: Path) -> bool:
    """Does a living process hold this driver's file?"""
    try:
        with place.open("r+b") as file:
            return not lock.taken(file)
    except OSError:
        return False


def changed(place: Path) -> int:
    """When a file was touched, in nanoseconds; 0 where there is none."""
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return 0
