"""What a sweep would cost, before it is started: a few steps of each cell that differs in more than its seed are timed,
each in a process of its own, one after the other. Imports no torch."""

import json
import math
import os

from rich.markup import escape

from denoiselab.launch import server
from denoiselab.launch.order import Timing
from denoiselab.launch.pool import available
from denoiselab.launch.task import Task
from denoiselab.run import identity, screen
from denoiselab.spec import Refused

# What says how long or from where a cell is trained, and not how long a step takes.
FREE = (*identity.NEITHER, *identity.SCORING, "seed", "data.fold", "monitor", "trainer.max_steps",
        "trainer.max_samples", "trainer.max_time", "trainer.val_check_interval", "lr_schedule",
        "optimizer.lr", "optimizer.weight_decay", "*.dropout")  # fmt: skip
COLUMNS = ("#", "cell", "state", "steps left", "ms a step", "estimate")


def show(context, tasks: list[Task], n_jobs: int | None) -> None:
    """The cells, what is left of each, and its seconds; their sum. Nothing is started and nothing written."""
    console = screen.console()
    known: dict[str, Timing | str] = {}
    rows, styles = [], []
    total, unknown = 0.0, 0
    distinct = {price(task): task for task in reversed(tasks) if task.state == "waiting"}
    for n, (key, task) in enumerate(reversed(distinct.items()), 1):
        console.print(escape(f"timing {n} of {len(distinct)}: {task.words}"))
        known[key] = timed(context, task)
    for task in tasks:
        number, words = str(task.number), task.words
        styles.append("")
        if task.state != "waiting":
            rows.append((number, words, task.state, "", "", ""))
            continue
        left, timing = task.config["trainer"]["max_steps"] - done(task), known[price(task)]
        if isinstance(timing, str):
            rows.append((number, words, f"cannot be timed: {timing}", f"{left:,}", "", "?"))
            styles[-1] = "red"
            unknown += 1
            continue
        seconds = cost(timing, left, task.config["trainer"]["val_check_interval"])
        seconds = min(seconds, task.config["trainer"].get("max_time") or math.inf)
        total += seconds
        state = "to be resumed" if done(task) else "to be trained"
        rows.append((number, words, state, f"{left:,}", f"{1000 * timing.step:.3g}", spoken(seconds)))
    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    console.print(screen.fitting(columns, styles, console.width)[0])
    waiting = sum(task.state == "waiting" for task in tasks)
    line = f"{waiting} to be trained, {spoken(total)} in all by one job at a time"
    if n_jobs and n_jobs > 1:
        line += f"; {n_jobs} share the cores here, so at best the same"
    console.print(line + (f", and {unknown} that could not be timed" if unknown else ""))
    console.print("training and validation, from a few steps; the evaluation at the end is not in it. Nothing started")


def price(task: Task) -> str:
    """The same for tasks whose steps cost the same."""
    return json.dumps(identity.less(task.config, FREE), sort_keys=True, default=str)


def timed(context, task: Task) -> Timing | str:
    """As one job at a time has it; or why it cannot be."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    threads = min(int(said), available()) if said.isdigit() else available()
    try:
        found = server.asked(context, asked, *task.order, threads)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return found.what if isinstance(found, Refused) else found


def asked(*arguments):
    """In the process that is asked: it has torch."""
    from denoiselab.launch.probe import timed

    return timed(*arguments)


def done(task: Task) -> int:
    """The steps that a run which goes on need not take again."""
    task.locate()
    return max((int(file.stem) for file in (task.folder / "checkpoints").glob("[0-9]*.ckpt")), default=0)


def cost(timing: Timing, steps: int, every: int) -> float:
    """Seconds of so many steps, with a validation after every so many and at the end."""
    if steps <= 0:
        return 0.0
    return timing.first + timing.step * (steps - 1) + timing.validation * -(-steps // every)


def spoken(seconds: float) -> str:
    """`43 s`, `12 min`, `5 h 20 min`, `3 d 4 h`."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
