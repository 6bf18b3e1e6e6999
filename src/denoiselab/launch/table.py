"""What a sweep says: a line when a job starts or ends, and the table at the end."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from denoiselab.launch.task import Task
from denoiselab.run import screen

BAD = ("failed", "failed before")
NAMED = 6  # cells named in a line
SPARE = ("seconds", "attempts")  # columns that a narrow screen does without
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


def stated(task: Task) -> str:
    return "not started" if task.state == "waiting" else task.state


def show(console: Console, tasks: list[Task]) -> None:
    """All cells, sorted by the monitored metric; where results lie; what failed, why, and where its log is."""
    known = [task for task in tasks if task.config]
    monitor = known[0].config["monitor"] if known else {"name": "", "mode": "min"}
    best = sorted(tasks, key=lambda task: order(task, monitor["mode"]))
    columns = {
        "#": [str(task.number) for task in best],
        "cell": [task.words for task in best],
        "state": [stated(task) for task in best],
        monitor["name"]: ["" if task.value is None else f"{task.value:.4g}" for task in best],
        "seconds": [f"{task.seconds:.1f}" if task.seconds else "" for task in best],
        **({"attempts": [str(task.attempts or "") for task in best]} if any(t.attempts > 1 for t in best) else {}),
        "run": [task.fit for task in best],
    }
    table, out = screen.fitting(columns, [STYLES.get(task.state, "") for task in best], console.width, SPARE)
    console.print(table, *screen.wider(out), sep="\n")
    for parent in dict.fromkeys(task.folder.parent for task in tasks if task.fit):
        console.print(escape(f"run folders: {parent}/*-RUN"))
    alike: dict[tuple, list[Task]] = {}
    for task in tasks:
        if task.state in (*BAD, "refused", "preempted") or task.why:
            alike.setdefault((task.state, task.why, task.number if task.state in BAD else ""), []).append(task)
    for (state, why, _), same in alike.items():
        numbers = ", ".join(f"#{task.number}" for task in same)
        console.print(escape(f"{numbers} {stated(same[0])}: {why}"), style=STYLES.get(state, ""))
        if state in BAD:
            console.print(escape(f"  log: {same[0].log(same[0].cause)}"))
    counts = Counter(map(stated, tasks))
    console.print(", ".join(f"{n} {state}" for state, n in counts.items()))
    if "failed before" in counts:
        console.print("--retry failed runs again what failed before")
