"""What a sweep says: a line when a job starts or ends, and the table at the end."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from denoiselab.launch.task import Task

BAD = ("failed", "failed before")
NAMED = 6  # cells named in a line
STYLES = {
    "failed": "red",
    "failed before": "red",
    "preempted": "yellow",
    "refused": "yellow",
    "waiting": "yellow",
    "pruned": "yellow",
    "completed": "green",
}


def tell(console: Console, task: Task, total: int) -> None:
    """A line."""
    if task.state == "running":
        line = f"#{task.number} of {total} started: {task.words}"
    else:
        value = f", {task.config['monitor']['name']} {task.value:.4g}" if task.value is not None else ""
        line = f"#{task.number} {task.state} after {task.seconds:.1f} s{value}{f': {task.why}' if task.why else ''}"
    console.print(escape(line))


def named(tasks: Sequence[Task]) -> str:
    """Some cells by number and words."""
    words = ", ".join(f"#{task.number} ({task.words})" for task in tasks[:NAMED]).replace("((defaults))", "(defaults)")
    return words + (f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else "")


def order(task: Task, mode: str) -> tuple:
    """The best first, then those without a value, by number."""
    value = task.value
    return (value is None, (value if mode == "min" else -value) if value is not None else 0.0, task.number)


def show(console: Console, tasks: list[Task]) -> None:
    """All cells, sorted by the monitored metric; where results lie; what failed, why, and where its log is."""
    known = [task for task in tasks if task.config]
    monitor = known[0].config["monitor"] if known else {"name": "", "mode": "min"}
    table = Table(header_style="bold")
    several = any(task.attempts > 1 for task in tasks)
    more = ["attempts"] if several else []
    for name in ("#", "cell", "state", monitor["name"], "seconds", *more, "run"):
        right = name in ("#", "seconds", "attempts", monitor["name"])
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for task in sorted(tasks, key=lambda task: order(task, monitor["mode"])):
        value = "" if task.value is None else f"{task.value:.4g}"
        state = "not started" if task.state == "waiting" else task.state
        seconds = f"{task.seconds:.1f}" if task.seconds else ""
        attempts = [str(task.attempts or "")] if several else []
        table.add_row(str(task.number), escape(task.words), state, value, seconds, *attempts, task.fit,
                      style=STYLES.get(task.state, ""))  # fmt: skip
    console.print(table)
    for parent in dict.fromkeys(task.folder.parent for task in tasks if task.fit):
        console.print(escape(f"run folders: {parent}/*-RUN"))
    for task in tasks:
        if task.state in (*BAD, "refused", "preempted") or task.why:
            state = "not started" if task.state == "waiting" else task.state
            console.print(escape(f"#{task.number} {state}: {task.why}"), style=STYLES.get(task.state, ""))
            if task.state in BAD:
                console.print(escape(f"  log: {task.log(task.cause)}"))
    counts = {state: sum(task.state == state for task in tasks) for state in dict.fromkeys(t.state for t in tasks)}
    console.print(", ".join(f"{n} {'not started' if state == 'waiting' else state}" for state, n in counts.items()))
    if "failed before" in counts:
        console.print("--retry failed runs again what failed before")
