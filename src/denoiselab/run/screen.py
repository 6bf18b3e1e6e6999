"""Tables of cells that are no wider than the screen: words wrap between words, numbers stay whole, and a column for
which there is no room is left out by name, the least telling first."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

PAGE = 140  # columns where the output is no terminal
WIDEST = 30  # columns that the words of a cell have before they are cut
WORDS = ("cell", "trial", "state")  # that wrap
LEFT = (*WORDS, "progress", "run", "at")


def console() -> Console:
    """What is printed once: nothing is colored by what it looks like, and paths are not broken, to be copied."""
    made = Console(highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = max(made.width, PAGE)
    return made


def fitting(columns: Mapping[str, Sequence[str]], styles: Sequence[str], width: int, spare: Sequence[str] = (),
            whole: Collection[str] = ()) -> tuple[Table, list[str]]:  # fmt: skip
    """A table of columns by name, a style a row, and the names that were left out of it: of `spare`, the first ones.
    Those that are `whole` do not wrap up to `WIDEST`."""
    least = {name: needed(name, cells, name in whole) for name, cells in columns.items()}
    out: list[str] = []
    for name in (name for name in spare if name in columns):
        if taken(value for key, value in least.items() if key not in out) <= width:
            break
        out.append(name)
    kept = {name: cells for name, cells in columns.items() if name not in out}
    widths = {name: longest([name, *cells]) for name, cells in kept.items()}
    for name in reversed(WORDS):
        if name in kept:
            widths[name] -= min(max(taken(widths.values()) - width, 0), widths[name] - least[name])
    fits = taken(widths.values()) <= width
    table = Table(header_style="bold")
    for name in kept:
        table.add_column(escape(name), justify="left" if name in LEFT else "right", overflow="fold",
                         width=widths[name] if fits else None)  # fmt: skip
    for number, style in enumerate(styles):
        table.add_row(*(escape(cells[number]) for cells in kept.values()), style=style)
    return table, out


def needed(name: str, cells: Sequence[str], whole: bool) -> int:
    """The fewest columns in which a column can be read."""
    if name not in WORDS:
        return longest([name, *cells])
    return min(longest(cells if whole else [word for text in [name, *cells] for word in text.split()]), WIDEST)


def longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def taken(widths: Iterable[int]) -> int:
    """By a table: each column has three more, for its line and margins."""
    return sum(width + 3 for width in widths) + 1


def wider(out: Sequence[str]) -> list[str]:
    """What a wider screen would show, in words; nothing where all is shown."""
    return [f"a wider screen also shows: {', '.join(out)}"] if out else []
