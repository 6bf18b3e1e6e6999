"""Leases of the cells of a sweep. A cell that runs is leased to its driver, which holds a lock on drivers/HOST-PID-TIME
of the sweep's folder as long as it lives, and touches the file once a second. A lease is free when that lock is, or
when the file was not touched for `LEASE` seconds of the one who watches.

No machine's clock is compared with another's, and no process is known by its number or its host: a time is what the
server of the files says when a driver touches its own, and how long a driver was quiet is measured by one clock. The
run's own lock (denoiselab.run.lock) still stands between a job whose driver lost its lease and the job of the next: the
later one waits, and finds what the first one did.

The attributes of a file may be a minute old on NFS, of which `LEASE` is the double. Not promised: a server whose own
clock jumps back, which makes seconds of jobs too few and nothing else.
"""

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from denoiselab.launch.history import changed, held
from denoiselab.run import lock

LEASE = 120.0  # seconds without a sign of life after which a driver's cells are free


class Lease:
    """A driver's own in `folder`, that of a sweep, and what it sees of the others'."""

    def __init__(self, folder: Path, seconds: float = LEASE, clock: Callable[[], float] = time.monotonic):
        self.folder, self.seconds, self.clock = folder / "drivers", seconds, clock
        self.host, self.pid = socket.gethostname(), os.getpid()
        self.driver = f"{self.host}-{self.pid}-{time.time_ns():x}"
        self.beat = lock.Pulse(self.place(self.driver))
        self.pulses: dict[str, tuple[int, float]] = {}  # of other drivers: the last one, and when it was first seen

    def place(self, driver: str) -> Path:
        return self.folder / driver

    def now(self) -> float:
        """The file server's time, by touching this driver's own file."""
        place = self.place(self.driver)
        with suppress(OSError):
            os.utime(place)
            return place.stat().st_mtime
        return time.time()

    def lives(self, driver: str) -> bool:
        """Does a driver hold its lease?"""
        if driver == self.driver:
            return True
        if not held(self.place(driver)):
            return False
        now = self.clock()
        pulse = changed(self.place(driver))
        if self.pulses.get(driver, (None, 0))[0] != pulse:
            self.pulses[driver] = pulse, now
        return now - self.pulses[driver][1] < self.seconds
