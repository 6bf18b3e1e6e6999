"""A sweep: every cell is composed and checked before the first job starts, then trained in a process of its own by a
crew, here or on a cluster; one table says at the end how each of them stands. Imports no torch: the fork server does,
meanwhile.

Exit codes: 0 all done, 1 a job failed, now or before, 2 a cell was refused and nothing started, 75 stopped by SIGTERM,
some job preempted or the budget spent, 130 stopped by Ctrl-C.
"""

import shlex
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from omegaconf import DictConfig, open_dict
from rich.console import Console
from rich.markup import escape

from denoiselab import configuration
from denoiselab.launch import arms, estimate, ledger, plan, server, table
from denoiselab.launch.crew import Crew
from denoiselab.launch.pool import Stopped
from denoiselab.launch.task import Task
from denoiselab.run import prune, screen
from denoiselab.run.secrets import redacted
from denoiselab.run.signals import PREEMPTED
from denoiselab.search import methods
from denoiselab.spec import Refused

OTHER = "by other code; rerun=stale trains such runs anew"


def run(loader, config: DictConfig, cells: Sequence[Sequence[str]], first: int, crew: Crew) -> list[Task]:
    """Trains the cells by a `crew`; `loader` is Hydra's, `first` the number of the first one. Leaves with an exit code
    unless all ended well."""
    crew.check()
    command = configuration.of_command(config)
    if command["arms"] is not None and not all(any(word.startswith("arm=") for word in cell) for cell in cells):
        raise Refused("arms are crossed by the grid alone", f"arms={command['arms']}", "hydra/sweeper=grid")
    context = server.started()
    try:
        tasks = composed(loader, config, cells, first)
        judged(context, tasks, crew.elsewhere)
        crew.suit(tasks)
        retry = command["retry"] == "failed" or config["rerun"] is True
        if (study := config["trial"]["study"]) is not None:
            return asked_for(context, tasks, crew, retry, command["budget.seconds"], Path(study))
        refuse(tasks, skip=config["invalid"] == "skip")
        if command["dry_run"]:
            estimate.show(context, tasks, crew.n_jobs)
            return tasks
        prepare(tasks)
        return trained(context, tasks, crew, retry, command["budget.seconds"])
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


def trained(context, tasks: list[Task], crew: Crew, retry: bool, budget: float | None) -> list[Task]:
    """Runs what is waiting, beside other drivers of the same sweep, and says how it went."""
    console = screen.console()
    folder = plan.made(tasks)
    for task in tasks:
        task.sweep = folder.name
    with ledger.joined(folder) as book:
        book.begin([task for task in tasks if task.fit and task.twin is None], retry)
        stopped = worked(console, context, tasks, crew, budget, book)
    like_twins(tasks)
    table.show(console, tasks)
    console.print(escape(f"the sweep: denoiselab status {shlex.quote(str(folder))}"))
    if said := together(tasks):
        console.print(escape(said))
    states = {task.state for task in tasks}
    left = bool({"preempted", "waiting"} & states)
    code = stopped or bool({"failed", "failed before"} & states) or (PREEMPTED if left else 0)
    if code:
        raise SystemExit(int(code))
    return tasks


def together(tasks: list[Task]) -> str | None:
    """How the runs are seen beside each other, as the logger of the first one says."""
    from hydra.utils import instantiate

    done = [task for task in tasks if task.ended_well]
    return instantiate(done[0].config["logger"]).together([task.folder for task in done]) if done else None


def like_twins(tasks: list[Task]) -> None:
    for task in tasks:
        if task.state == "same as":
            task.state, task.why = task.twin.state, f"same as #{task.twin.number}"


def asked_for(context, tasks: list[Task], crew: Crew, retry: bool, budget: float | None, folder: Path) -> list[Task]:
    """Runs the trials that a search asked for, whose sweep grows by them; how they ended is the search's to say.
    Leaves with an exit code where it is stopped."""
    console, study = screen.console(), prune.study(folder)
    stops = methods.pruner(study["pruner"]).stops
    for task, words in zip(tasks, named([task.overrides for task in tasks], study["space"]), strict=True):
        task.words = words
        if task.refusal is not None:
            task.state, task.why = "refused", str(task.refusal)
            console.print(escape(f"#{task.number} refused: {words}: {task.refusal.what}"))
            continue
        task.mark, task.sweep = prune.mark(folder, task.fit), folder.name
        if task.state == "waiting" and not task.pruned() and stops:
            task.config = {**task.config, "trial": {"study": str(folder.resolve()), "number": task.number}}
        if task.state != "waiting":
            console.print(escape(f"#{task.number} {task.state}: {words}"))
    prepare(tasks)
    with ledger.joined(folder) as book:
        with book.locked():
            plan.grown(folder, tasks, study["trials"])
        book.begin([task for task in tasks if task.fit and task.twin is None], retry)
        if code := worked(console, context, tasks, crew, budget, book, study["trials"]):
            raise SystemExit(code)
    like_twins(tasks)
    return tasks


def worked(console: Console, context, tasks: list[Task], crew: Crew, budget: float | None, book,
           total: int | None = None) -> int:  # fmt: skip
    """Runs what is waiting. The exit code of who was stopped, else 0."""
    if not any(task.state == "waiting" for task in tasks):
        return 0
    try:
        crew.work(context, tasks, book, lambda task: table.tell(console, task, total or len(tasks)), budget)
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


def named(cells: Sequence[Sequence[str]], searched: Collection[str] = ()) -> list[str]:
    """Each cell by what varies: `lr=0.01 seed=1`, with a key's whole path where its last word is not enough; what is
    searched varies."""
    varied = [[word for word in filter_overrides(cell)
               if word.startswith("arm=") or word.partition("=")[0] in searched
               or not all(word in other for other in cells)] for cell in cells]  # fmt: skip
    keys = {word.lstrip("+").partition("=")[0] for words in varied for word in words} | {
        k.lstrip("+") for k in searched
    }
    last = Counter(key.rpartition(".")[2] for key in keys)

    def short(word: str) -> str:
        key, equals, value = redacted(word).lstrip("+").partition("=")
        leaf = key.rpartition(".")[2]
        return (leaf if last[leaf] == 1 else key) + equals + value

    return [" ".join(map(short, words)) or "(defaults)" for words in varied]


def judged(context, tasks: list[Task], elsewhere: bool = False) -> None:
    """Asks which of the composed cells are valid, and what is done already; those that are trained `elsewhere` need
    nothing of this machine's hardware."""
    asked = [task for task in tasks if task.refusal is None]
    seen: dict[tuple[Path, str], Task] = {}
    folders: dict[tuple[Path, str], Path] = {}
    for task, verdict in zip(asked, server.asked(context, verdicts, [t.order for t in asked], elsewhere), strict=True):
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


def verdicts(cells: list, elsewhere: bool) -> list:
    """In the process that is asked: it has torch."""
    from denoiselab.launch.judge import judge

    return judge(cells, elsewhere)


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
