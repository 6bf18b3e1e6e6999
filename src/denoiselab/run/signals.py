"""Signals and exit codes. SIGTERM, SIGUSR1 and Ctrl-C ask a run to save and leave; what is saved is resumed by the same
command. Imports no torch."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

PREEMPTED = 75  # the exit code of a run that can be resumed (EX_TEMPFAIL)
INTERRUPTED = 130  # of one that the user stopped
PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)


def tell(words: str) -> None:
    """A line to standard error, from a handler of signals: `print` may be what it interrupted."""
    with suppress(OSError):
        os.write(2, f"{words}\n".encode())


def leave(number: int, frame) -> None:
    tell("stopped: the same command goes on from what is saved")
    raise SystemExit(PREEMPTED)


@contextmanager
def handled(numbers: Iterable[int], handler: Callable) -> Iterator[None]:
    """Signals go to `handler`, and then again where they went before. Outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def preemptible() -> AbstractContextManager[None]:
    """Leaves with 75 at a signal where there is nothing to save: before training, in the evaluation."""
    return handled(PREEMPTING, leave)
