"""Signals and exit codes. SIGTERM, SIGUSR1 and Ctrl-C ask a run to save and leave; what is saved is resumed by the same
command. Imports no torch."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PREEMPTED = 75  # the exit code of a run that can be resumed (EX_TEMPFAIL)
INTERRUPTED = 130  # of one that the user stopped
PREEMPTING = (signal.SIGTERM, signal.SIGUSR1)


def leave(number: int, frame) -> None:
    print("stopped: the same command goes on from what is saved", file=sys.stderr)
    raise SystemExit(PREEMPTED)


@contextmanager
def preemptible() -> Iterator[None]:
    """Leaves with 75 at a signal where there is nothing to save: before training, in the evaluation. The handlers of
    before come back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in PREEMPTING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
