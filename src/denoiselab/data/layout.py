"""How documents become rows of `length` tokens.

    windows  one document behind the other, cut every `length` tokens: nothing is padded, and a row may hold the end of
             one document and the beginning of another as if they were one text
    packed   whole documents share a row; `segment` in the context numbers them, and nothing is attended to across
    padded   a row has one document

A document longer than a row is cut in pieces of `length` and a rest. Packing is best-fit, the longest first (Ding et
al., 2024, arXiv:2404.10830): no other piece is cut.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from denoiselab.spec import Refused


class Layout(NamedTuple):
    """Where tokens lie: row r has at place i the token source[r, i] of all, -1 where there is none."""

    source: np.ndarray  # (N, L) int64
    segment: np.ndarray  # (N, L) int64: the number of the document in the row; padding is one more
    document: np.ndarray  # (N,) int64: the first document of a row
    notes: list[str]


def windows(sizes: list[int], length: int, what: str, who: str) -> Layout:
    tokens = sum(sizes)
    n, rest = divmod(tokens, length)
    if n == 0:
        raise Refused(f"the {what} split of {who} is shorter than one sequence",
                      f"{tokens} tokens, data.length={length}",
                      "give a longer text or a smaller data.length")  # fmt: skip
    notes = [f"{what}: the last {rest} tokens are less than a window and left out"] if rest else []
    source = np.arange(n * length).reshape(n, length)
    return Layout(source, np.zeros_like(source), np.zeros(n, np.int64), notes)


def padded(sizes: list[int], length: int, what: str, who: str) -> Layout:
    start, size, document, notes = cut(sizes, length, what, who)
    rows = placed(start, size, document, np.arange(len(size)), np.zeros_like(size), np.zeros_like(size), length)
    return rows._replace(notes=[*notes, filled(rows, what)])


def packed(sizes: list[int], length: int, what: str, who: str) -> Layout:
    start, size, document, notes = cut(sizes, length, what, who)
    rows = best_fit(size.tolist(), length)
    order = np.array([i for row in rows for i in row])
    row = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    number = np.concatenate([np.arange(len(r)) for r in rows])
    offset = np.concatenate([np.cumsum([0, *size[r[:-1]]]) for r in rows])
    made = placed(start[order], size[order], document[order], row, number, offset, length)
    alone = f"; a document a row, {size.sum() / (len(size) * length):.1%}"
    return made._replace(notes=[*notes, filled(made, what) + alone])


LAYOUTS: dict[str, Callable[[list[int], int, str, str], Layout]] = {
    "windows": windows,
    "packed": packed,
    "padded": padded,
}


def cut(sizes: list[int], length: int, what: str, who: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Pieces of documents: the first token of each, how many it has, and its document; and what was cut, as notes."""
    whole = np.array(sizes, np.int64)
    if not whole.sum():
        raise Refused(f"the {what} split of {who} has no tokens", f"{len(sizes)} documents", "give more text")
    count = -(-whole // length)
    document = np.repeat(np.arange(len(whole)), count)
    nth = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    first = np.repeat(whole.cumsum() - whole, count) + nth * length
    size = np.minimum(whole[document] - nth * length, length)
    longer = int((count > 1).sum())
    notes = [f"{what}: {longer} of {len(sizes)} documents are longer than {length} tokens and cut in "
             f"{int(count[count > 1].sum())} pieces"] if longer else []  # fmt: skip
    return first, size, document, notes


def best_fit(sizes: list[int], length: int) -> list[list[int]]:
    """Pieces by row: each, the longest first, where the least room is left that is enough. Rows are in the order of
    their first pieces, and pieces in a row in theirs."""
    rows: list[list[int]] = []
    room, known = defaultdict(list), []  # rows by the room that is left in them, and the numbers of it that there are
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        k = bisect_left(known, sizes[i])
        if k == len(known):
            row, left = len(rows), length
            rows.append([])
        else:
            left = known[k]
            row = room[left].pop()
            if not room[left]:
                known.pop(k)
        rows[row].append(i)
        left -= sizes[i]
        if left:
            if not room[left]:
                insort(known, left)
            room[left].append(row)
    return sorted(sorted(row) for row in rows)


def placed(start, size, document, row, number, offset, length: int) -> Layout:
    """Pieces (P,), in the order of rows, laid out."""
    n = int(row[-1]) + 1
    within = np.arange(size.sum()) - np.repeat(size.cumsum() - size, size)
    at = np.repeat(row * length + offset, size) + within
    source = np.full(n * length, -1, np.int64)
    source[at] = np.repeat(start, size) + within
    segment = np.repeat(np.bincount(row, minlength=n), length)
    segment[at] = np.repeat(number, size)
    first = np.flatnonzero(number == 0)
    return Layout(source.reshape(n, length), segment.reshape(n, length), document[first], [])


def filled(rows: Layout, what: str) -> str:
    """How much of the rows is text."""
    return f"{what}: {(rows.source >= 0).mean():.1%} of {rows.source.size} places are text"


def gathered(values: np.ndarray, rows: Layout, padding: int) -> Tensor:
    """Values of all tokens (T,) in rows (N, L), and `padding` where there is no token."""
    return torch.from_numpy(np.append(values, np.array(padding, values.dtype))[rows.source])


def numbered(values: np.ndarray, rows: Layout) -> Tensor:
    """Numbers of words or sentences, anew from 0 in each row: one goes on as long as value and document do."""
    found = np.append(values, -1)[rows.source]
    other = (found[:, 1:] != found[:, :-1]) | (rows.segment[:, 1:] != rows.segment[:, :-1])
    return torch.from_numpy(np.pad(other.cumsum(1), ((0, 0), (1, 0))))
