"""The lock of a run: one process (with several devices, the first rank) works on a fit at a time.

The lock is the kernel's (flock) on a file beside the run folders, so that of a dead process is none. The file says who
holds it, and its time of modification is the run's pulse: whoever waits or watches knows a run that works from one that
hangs. Not promised on file systems without flock.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from denoiselab.spec import Refused

BEAT = 1.0  # seconds between two pulses
LOOK = 0.2  # seconds between two looks at a lock that is held
LINGER = 15.0  # seconds in which what a killed process left behind, such as data workers, ends by itself


def path(parent: Path, fit: str) -> Path:
    return parent / f".{fit}.lock"


class Pulse:
    """Called as often as you like; touches the lock's file once a second at most."""

    def __init__(self, file: Path):
        self.file, self.last = file, 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self.last > BEAT:
            self.last = now
            with suppress(OSError):  # a sign of life is no reason to die
                os.utime(self.file)


@contextmanager
def held(parent: Path, fit: str, wait: bool = False) -> Iterator[None]:
    """Holds a fit against other processes. Where one has it: `wait` for it, or `Refused`."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        file = path(parent, fit).open("a+", encoding="utf-8")
    except OSError as e:
        raise Refused(f"the run folder cannot be made in {parent}", e, "give another root: outputs=FOLDER") from e
    with file:
        take(file, wait)
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            # Closing alone leaves it to the processes that this one forked.
            fcntl.flock(file, fcntl.LOCK_UN)


def take(file: TextIO, wait: bool) -> None:
    """Takes the lock, at once or as soon as it is free."""
    began, told = time.monotonic(), False
    while not taken(file):
        file.seek(0)
        pid, _, host = file.read().partition(" ")
        lingers = gone(pid, host) and time.monotonic() - began < LINGER
        if not wait and not lingers:
            raise Refused(
                "another process works on this run", f"process {pid or 'unknown'} on {host or 'this machine'}",
                "wait for it, or change a key that makes another run",
            )  # fmt: skip
        if not told:
            told = True
            print(f"waiting for {'what is left of ' if lingers else ''}process {pid} on {host}: it works on this run")
        time.sleep(LOOK)


def taken(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def gone(pid: str, host: str) -> bool:
    """Is a process of this machine known not to run any more?"""
    if not pid.isdigit() or host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
