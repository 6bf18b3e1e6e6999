"""The fork server: one process that has imported everything, of which each job is a fork. So a job starts in
hundredths of a second, in an interpreter that nobody used before.

The server has no thread, no tensor operation and no CUDA context: none of these survives a fork.
"""

import multiprocessing as mp
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

from denoiselab.run.signals import PREEMPTING, handled


def started() -> BaseContext:
    """The context whose processes the server forks; it begins to import at once, while the caller goes on."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["denoiselab.launch.warm"])
    # A cluster signals all processes of a job; who ignores a signal hands that down, but for denoiselab.launch.warm.
    with handled(PREEMPTING, signal.SIG_IGN):
        multiprocessing.forkserver.ensure_running()
    return context


def process(context: BaseContext, function: Callable, *arguments) -> BaseProcess:
    """A process that runs `function(*arguments)`, started."""
    main = sys.modules["__main__"]
    # A child would import the program that is running once more, under another name: it needs nothing of it.
    kept = {name: vars(main).get(name) for name in ("__spec__", "__file__")}
    vars(main).update(dict.fromkeys(kept))
    try:
        child = context.Process(target=function, args=arguments)
        child.start()
    finally:
        vars(main).update(kept)
    return child


def asked(context: BaseContext, function: Callable, *arguments):
    """What `function(*arguments)` returns in a process of its own; what it raises is raised here."""
    receive, send = context.Pipe(duplex=False)
    child = process(context, answer, send, function, arguments)
    send.close()
    try:
        error, value = receive.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"the process that checks the cells ended by itself, exit code {child.exitcode}") from None
    child.join()
    if error is not None:
        raise error
    return value


def answer(send, function: Callable, arguments: tuple) -> None:
    threading.Thread(target=leave_with_driver, daemon=True).start()
    try:
        send.send((None, function(*arguments)))
    except Exception as e:
        e.add_note(traceback.format_exc())
        send.send((e, None))


def leave_with_driver() -> None:
    """Nobody waits for the answer any more."""
    mp.parent_process().join()
    os._exit(1)
