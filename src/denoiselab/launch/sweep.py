"""A sweep: every cell is composed and checked before the first job starts, then trained in a process of its own, and
one table says at the end how each of them stands. Imports no torch: the fork server does, meanwhile.

Exit codes: 0 all done, 1 a job failed, now or before, 2 a cell was refused and nothing started, 75 stopped by SIGTERM,
some job preempted or the budget spent, 130 stopped by Ctrl-C.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from omegaconf import DictConfig, open_dict
from rich.console import Console
from rich.markup import escape

from denoiselab.commands import configuration
from denoiselab.launch import arms, estimate, ledger, plan, server, table
from denoiselab.launch.pool import Limits, Pool, Stopped, gpus
from denoiselab.launch.task import Task
from denoiselab.run.secrets import redacted
from denoiselab.run.signals import PREEMPTED
from denoiselab.spec import Refused

OTHER = "by other code; rerun=stale trains such runs anew"


def run(loader, config: DictConfig, cells: Sequence[Sequence[str]], first: int, limits: Limits) -> list[Task]:
    """Trains the cells; `loader` is Hydra's, `first` the number of the first one. Leaves with an exit code unless all
    ended well."""
    limits = limits.checked()
    command = configuration.of_command(config)
    if command["arms"] is not None and not all(any(word.startswith("arm=") for word in cell) for cell in cells):
        raise Refused("arms are crossed by the grid alone", f"arms={command['arms']}", "hydra/sweeper=grid")
    context = server.started()
    try:
        tasks = composed(loader, config, cells, first)
        judged(context, tasks)
        refuse(tasks, skip=config["invalid"] == "skip")
        if command["dry_run"]:
            estimate.show(context, tasks, limits)
            return tasks
        prepare(tasks)
        retry = command["retry"] == "failed" or config["rerun"] is True
        return trained(context, tasks, limits, retry, command["budget.seconds"])
    except (ValueError, TypeError) as e:
        if isinstance(e, Refused):
            raise
        raise RuntimeError(f"the sweep itself failed: {e}") from e  # no mistake of what was typed


def prepare(tasks: list[Task]) -> None:
    """The folders in which runs will lie: what cannot be written is said before the first job."""
    for parent in dict.fromkeys(task.folder.parent for task in tasks if task.state == "waiting"):
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise Refused(f"the run folders cannot be made in {parent}", e, "give another root: outputs=FOLDER") from e


def trained(context, tasks: list[Task], limits: Limits, retry: bool, budget: float | None) -> list[Task]:
    """Runs what is waiting, beside other drivers of the same sweep, and says how it went."""
    console = Console(highlight=False, soft_wrap=True)
    folder = plan.made(tasks)
    with ledger.joined(folder) as book:
        book.begin([task for task in tasks if task.fit and task.twin is None], retry)
        stopped = worked(console, context, tasks, limits, budget, book)
    for task in tasks:
        if task.state == "same as":
            task.state, task.why = task.twin.state, f"same as #{task.twin.number}"
    table.show(console, tasks)
    console.print(escape(f"the sweep: denoiselab status {folder}"))
    states = {task.state for task in tasks}
    left = bool({"preempted", "waiting"} & states)
    code = stopped or bool({"failed", "failed before"} & states) or (PREEMPTED if left else 0)
    if code:
        raise SystemExit(int(code))
    return tasks


def worked(console: Console, context, tasks: list[Task], limits: Limits, budget: float | None, book) -> int:
    """Runs what is waiting. The exit code of who was stopped, else 0."""
    if not any(task.state == "waiting" for task in tasks):
        return 0
    devices = gpus() if any(task.gpu for task in tasks) else []
    pool = Pool(context, limits, devices, lambda task: table.tell(console, task, len(tasks)), book, budget)
    try:
        pool.run(tasks)
    except Stopped as e:
        return e.code
    return 0


def composed(loader, config: DictConfig, cells: Sequence[Sequence[str]], first: int) -> list[Task]:
    """A task a cell; what cannot be composed is refused."""
    tasks = []
    shown = list(arms.named(config.get("arms"), cells))
    for number, (cell, words) in enumerate(zip(cells, named(shown), strict=True), first):
        task = Task(number, words, list(cell), {}, {})
        tasks.append(task)
        try:
            cfg = loader.load_sweep_config(config, list(cell))
            with open_dict(cfg):
                cfg.hydra.job.id = cfg.hydra.job.num = number
            HydraConfig.instance().set_config(cfg)
            task.config, task.choices, task.overrides = configuration.taken(cfg)
        except Exception as e:
            task.refusal = configuration.explained(e, list(cell)) if not isinstance(e, Refused) else e
    return tasks


def named(cells: Sequence[Sequence[str]]) -> list[str]:
    """Each cell by what varies: `lr=0.01 seed=1`, with a key's whole path where its last word is not enough."""
    varied = [[word for word in filter_overrides(cell)
               if word.startswith("arm=") or not all(word in other for other in cells)] for cell in cells]  # fmt: skip
    keys = {word.lstrip("+").partition("=")[0] for words in varied for word in words}
    last = Counter(key.rpartition(".")[2] for key in keys)

    def short(word: str) -> str:
        key, equals, value = redacted(word).lstrip("+").partition("=")
        leaf = key.rpartition(".")[2]
        return (leaf if last[leaf] == 1 else key) + equals + value

    return [" ".join(map(short, words)) or "(defaults)" for words in varied]


def judged(context, tasks: list[Task]) -> None:
    """Asks which of the composed cells are valid, and what is done already."""
    asked = [task for task in tasks if task.refusal is None]
    seen: dict[tuple[Path, str], Task] = {}
    folders: dict[tuple[Path, str], Path] = {}
    for task, verdict in zip(asked, server.asked(context, verdicts, [t.order for t in asked]), strict=True):
        if isinstance(verdict, Refused):
            task.refusal = verdict
            continue
        task.take(verdict)
        parent = task.folder.parent
        if (parent, task.score) in seen:
            task.state, task.twin = "same as", seen[parent, task.score]
        elif verdict.finished:
            task.state, task.why = "finished before", OTHER if verdict.stale else ""
        elif (parent, task.fit) in folders:
            # Cells that differ in the sampler alone: the second must not train anew what the first has trained.
            task.config = {**task.config, "rerun": False}
        seen.setdefault((parent, task.score), task)
        task.folder = folders.setdefault((parent, task.fit), task.folder)


def verdicts(cells: list) -> list:
    """In the process that is asked: it has torch."""
    from denoiselab.launch.judge import judge

    return judge(cells)


def refuse(tasks: list[Task], skip: bool) -> None:
    """Says which cells cannot work, each reason once; leaves with 2, unless they are to be skipped."""
    refused = [task for task in tasks if task.refusal is not None]
    for task in refused:
        task.state, task.why = "refused", task.refusal.what
    if not refused:
        return
    reasons: dict[str, list[Task]] = {}
    for task in refused:
        reasons.setdefault(str(task.refusal), []).append(task)
    for reason, same in reasons.items():
        print(f"refused: {reason}\n  cells: {table.named(same)}", file=sys.stderr)
    if not skip or len(refused) == len(tasks):
        left = len(tasks) - len(refused)
        print(f"refused: {len(refused)} of {len(tasks)} cells, so nothing was started"
              + (f"; invalid=skip trains the other {left}" if left else ""), file=sys.stderr)  # fmt: skip
        raise SystemExit(2)
    sys.stderr.flush()
