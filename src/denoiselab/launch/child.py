"""A process of a job: what it does before it trains, so that whatever happens to it happens to it alone."""

import faulthandler
import multiprocessing as mp
import os
import signal
import sys
import tempfile
import threading
import traceback

import torch

from denoiselab.launch.order import Order
from denoiselab.run import training
from denoiselab.run.signals import preemptible
from denoiselab.spec import Failed, Refused


def work(order: Order) -> None:
    """Trains a cell. Exit codes: 0 done, 1 failed, 2 refused, 75 saved and stopped."""
    with preemptible():
        os.setsid()  # a group of its own: what it starts ends with it, and a terminal's Ctrl-C goes to the driver alone
        surround(order)
        sys.exit(code(order))


def surround(order: Order) -> None:
    """Everything about the process that the job should find."""
    # Inherited from the server is "forkserver": each data worker would wait for another, cold one.
    mp.set_start_method("fork", force=True)
    threading.Thread(target=leave_with_driver, args=(order.grace,), daemon=True).start()
    if order.log:
        redirect(order.log)
    os.environ.clear()
    os.environ.update(order.environment)
    tempfile.tempdir = None  # the server's
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)  # the driver asks a job that hangs where it is
    torch.set_num_threads(order.threads)


def code(order: Order) -> int:
    try:
        training.train(order.config, order.choices, order.overrides, wait=True)
    except Refused as e:
        print(f"refused: {e}", file=sys.stderr, flush=True)
        return 2
    except Failed as e:
        print(f"failed: {e}", file=sys.stderr, flush=True)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def redirect(log: str) -> None:
    """Both outputs to a file, at the level of descriptors: what C prints, too."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    sys.stdout.reconfigure(line_buffering=True)


def leave_with_driver(grace: float) -> None:
    """Waits for the end of the driver; then saves, and takes the whole group along. The kernel's own way (a signal at
    the parent's death) does not help: the parent is the fork server, which lives as long as any job does."""
    mp.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(grace)
    os.killpg(os.getpid(), signal.SIGKILL)
