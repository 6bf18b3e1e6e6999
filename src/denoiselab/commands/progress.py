"""A bar on the screen for what takes a while outside of training."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def bar(moves: int, word: str = "sampling") -> Iterator[Callable[[], None]]:
    """Gives a function to be called at each of so many moves. Where the output is no terminal, nothing is drawn."""
    columns = (TextColumn(word), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task(word, total=moves)
        yield lambda: progress.advance(task)
