"""How a sweep stands, read from its files alone: plan, ledger, and the records of the runs that are at work. Imports no
torch."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from denoiselab.launch import plan
from denoiselab.launch.estimate import spoken
from denoiselab.launch.history import (
    COMPLETED,
    ENDED,
    FAILED,
    PENDING,
    PREEMPTED,
    PRUNED,
    RUNNING,
    Entry,
    History,
    held,
)
from denoiselab.run import lock, screen

TAIL = 16384  # bytes of a record that are read
QUIET = 60.0  # seconds without a sign of life that are worth a word
STYLES = {RUNNING: "cyan", COMPLETED: "green", FAILED: "red", PREEMPTED: "yellow", PRUNED: "yellow", PENDING: ""}
ORDER = (RUNNING, FAILED, PREEMPTED, COMPLETED, PRUNED, PENDING)  # what is cut where there is no room comes last
SPARE = ("at", "progress", "seconds", "attempts", "steps/s")  # columns, the first to go first


@dataclass
class Cell:
    """One of the sweep's."""

    number: int
    words: str
    steps: int  # to be taken
    entry: Entry
    state: str
    step: int = 0
    value: float | None = None  # of the monitored metric, at the end or so far
    rate: float | None = None  # steps a second
    quiet: float = 0.0  # seconds since it moved

    @property
    def left(self) -> int:
        return 0 if self.state in ENDED else max(self.steps - self.step, 0)


class Sweep:
    """A sweep's folder, read again at each `look`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.history = History(folder)
        self.look()

    def look(self) -> None:
        self.plan = plan.read(self.folder)
        entries = self.history.read()
        # Once a driver, and not for each of its cells.
        alive = {name: held(self.folder / "drivers" / name)
                 for name in {e.driver for e in entries.values() if e.state == RUNNING}}  # fmt: skip
        self.drivers = sum(alive.values())
        self.cells = [self.cell(each, entries[each["cell"]], alive) for each in self.plan["cells"]]

    def cell(self, said: dict, entry: Entry, alive: dict[str, bool]) -> Cell:
        state = PREEMPTED if entry.state == RUNNING and not alive[entry.driver] else entry.state
        cell = Cell(said["number"], said["words"], said["steps"], entry, state, value=entry.value)
        if state in (RUNNING, PREEMPTED, PRUNED):
            runs = self.folder / said["runs"]
            folder = next(iter(sorted(runs.glob(f"*-{said['fit']}"))), None)
            rows = tail(folder / "metrics.jsonl") if folder else []
            cell.step, cell.rate = pace(rows)
            name = self.plan["monitor"]["name"]
            if state != PRUNED:
                cell.value = next((row[name] for row in reversed(rows) if isinstance(row.get(name), float | int)), None)
            with suppress(OSError):
                cell.quiet = self.history.now() - max(lock.path(runs, said["fit"]).stat().st_mtime, entry.since)
        elif state == COMPLETED:
            cell.step = cell.steps
        return cell

    @property
    def live(self) -> bool:
        """Does anybody work on it?"""
        if "search" in self.plan:  # between two trials none runs
            return any(map(held, (self.folder / "drivers").glob("*")))
        return self.drivers > 0 and any(cell.left for cell in self.cells)

    @property
    def best(self) -> Cell | None:
        mode = max if self.plan["monitor"]["mode"] == "max" else min
        known = [cell for cell in self.cells if cell.value is not None]
        return mode(known, key=lambda cell: cell.value, default=None)

    def eta(self) -> float | None:
        """Seconds until all is done, if as many run at once as do now: by the pace of those that run, and of those
        that were completed; None where nothing says it."""
        running = [cell for cell in self.cells if cell.state == RUNNING]
        paces = [1 / cell.rate for cell in running if cell.rate]
        paces += [cell.entry.seconds / cell.steps for cell in self.cells
                  if cell.state == COMPLETED and cell.entry.seconds and cell.steps]  # fmt: skip
        if not running or not paces:
            return None
        usual = sum(paces) / len(paces)
        seconds = [cell.left * (1 / cell.rate if cell.rate else usual) for cell in self.cells]
        return max(sum(seconds) / len(running), max(seconds))

    # -- on the screen

    def shown(self, width: int, rows: int | None = None) -> Group:
        """All of it, with at most so many cells."""
        table, out = self.table(width, rows)
        more = len(self.cells) - (len(self.cells) if rows is None else rows)
        lines = [*([f"and {more} more"] if more > 0 else []), *screen.wider(out), *self.lines()]
        return Group(table, *map(Text, lines))

    def table(self, width: int, rows: int | None = None) -> tuple[Table, list[str]]:
        """The cells, or so many, those that run, and then those that failed, before all others; and the columns that
        are left out."""
        several = any(cell.entry.attempts > 1 for cell in self.cells)
        urgent = sorted(self.cells, key=lambda cell: (ORDER.index(cell.state), cell.number))
        cells = sorted(urgent[:rows], key=lambda cell: cell.number)
        columns = {
            "#": [str(cell.number) for cell in cells],
            "cell": [cell.words for cell in cells],
            "state": [cell.state for cell in cells],
            "progress": [bar(cell) for cell in cells],
            "step": [f"{cell.step:,}/{cell.steps:,}" for cell in cells],
            "steps/s": [f"{cell.rate:.3g}" if cell.rate and cell.state == RUNNING else "" for cell in cells],
            self.plan["monitor"]["name"]: ["" if cell.value is None else f"{cell.value:.4g}" for cell in cells],
            "seconds": [f"{seconds:.1f}" if (seconds := self.seconds(cell)) else "" for cell in cells],
            **({"attempts": [str(cell.entry.attempts or "") for cell in cells]} if several else {}),
            "at": [f"{cell.entry.host}:{cell.entry.pid}" if cell.state == RUNNING else "" for cell in cells],
        }
        return screen.fitting(columns, [STYLES[cell.state] for cell in cells], width, SPARE, whole=("cell",))

    def seconds(self, cell: Cell) -> float:
        now = max(self.history.now() - cell.entry.since, 0.0) if cell.state == RUNNING else 0.0
        return cell.entry.seconds + now

    def lines(self) -> list[str]:
        counts = {state: sum(cell.state == state for cell in self.cells) for state in ORDER}
        line = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        if (left := self.eta()) is not None:
            line += f"; about {spoken(left)} left"
        elif any(cell.left for cell in self.cells) and not self.drivers:
            line += "; nobody works on it: the same command goes on"
        lines = [line, f"{spoken(self.history.spent())} of jobs so far"]
        if self.best:
            lines.append(f"best so far: {self.plan['monitor']['name']} {self.best.value:.4g}, "
                         f"#{self.best.number} ({self.best.words})")  # fmt: skip
        lines += plan.searched(self.plan)
        for cell in self.cells:
            if cell.state == FAILED:
                log = (self.folder / cell.entry.log).resolve()
                lines.append(f"#{cell.number} failed: {cell.entry.why}\n  log: {log}")
            elif cell.state == RUNNING and cell.quiet > QUIET:
                lines.append(f"#{cell.number} has given no sign of life for {spoken(cell.quiet)}")
        return [*lines, f"sweep: {self.folder}"]


def bar(cell: Cell, width: int = 10) -> str:
    share = min(cell.step / cell.steps, 1.0) if cell.steps else 0.0
    full = int(share * width)
    return f"{'━' * full}{'╌' * (width - full)}"


def tail(file: Path) -> list[dict]:
    """The last lines of a record."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(max(size - TAIL, 0))
            lines = opened.read().split(b"\n")
    except OSError:
        return []
    rows = []
    for line in lines[:-1]:  # the first may be cut, the last is being written
        with suppress(ValueError, TypeError, LookupError):
            row = json.loads(line)
            row["step"] + 0, row["seconds"] + 0
            rows.append(row)
    return rows


def pace(rows: list[dict], over: int = 20) -> tuple[int, float | None]:
    """The last step, and steps a second over the last rows."""
    if not rows:
        return 0, None
    first, last = rows[-over:][0], rows[-1]
    seconds = last["seconds"] - first["seconds"]
    return last["step"], (last["step"] - first["step"]) / seconds if seconds > 0 else None
