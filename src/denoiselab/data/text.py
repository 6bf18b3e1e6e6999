"""Text: int64 ids (N, L), clean ones 0 to V - 1.

Documents are cut in windows, packed or padded (`layout.py`); where a row is not full, `valid` (N, L) in the context
says where text is, and padding has the id of a space. A tokenizer is fitted on the training text alone, all of it,
whatever `n` is. What was skipped, cut, left out or changed is counted in the notes.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from denoiselab.data.base import SPLITS, Codec, Data, Loaded, Table, checked
from denoiselab.data.documents import ENDS, Document, after, divided
from denoiselab.data.layout import LAYOUTS, Layout, gathered, numbered
from denoiselab.data.marks import MARKS, marked, names
from denoiselab.data.plain import plain
from denoiselab.data.splits import loaded, located, parts
from denoiselab.data.tokenizer import Tokenizer
from denoiselab.spec import Refused, Spec, near

FINER = {"file": "data.documents=blank or line", "blank": "data.documents=line", "line": ""}  # into more documents
SHARES = (0.9, 0.95)  # where the training and the validation split end
TRIED = 2000  # characters that a tokenizer must give back

Divided = Literal["file", "line", "blank"]
Laid = Literal["windows", "packed", "padded"]


class Form:
    """How text is taken: what the data sets of text have in common.

    Args:
        length: tokens of a row.
        documents: what one is: a file, a line, or what is between blank lines.
        layout: windows, packed or padded: see `layout.py`.
        marks: what is asked to be known of tokens, of word and sentence: see `marks.py`.
        entities: names, or a file with one a line; `entity` in the context says which tokens belong to one.
    """

    def __init__(self, codec: Codec, length: int, documents: str, layout: str, marks: Sequence[str],
                 entities: list[str] | str | None):  # fmt: skip
        spans(length, 1)
        for what, got, known in (("documents", documents, ENDS), ("layout", layout, LAYOUTS)):
            if got not in known:
                raise Refused(f"data.{what} is one of a few words", repr(got), near(str(got), known))
        self.codec, self.length, self.documents, self.layout = codec, length, documents, layout
        self.marks, self.entities = known_marks(marks), entities

    def by_characters(self, text: str) -> list[list[Document]]:
        """The splits of one text: its beginning trains, its end tests."""
        ends = [0, *(int(share * len(text)) for share in SHARES), len(text)]
        return [[Document(text[a:b])] for a, b in pairwise(ends)]

    def by_documents(self, documents: list[Document], who: str) -> tuple[list[list[Document]], list[str]]:
        """The splits of documents, by their number; as a note, how much text each has where that is far from it."""
        n, finer = len(documents), FINER[self.documents]
        if n < 3:
            fix = f"give 3 or more, or divide the text further: {finer}" if finer else "give 3 or more"
            raise Refused(f"{who} is split by documents into train, val and test, one each at least",
                          f"{n} by data.documents={self.documents}", fix)  # fmt: skip
        splits = [[documents[i] for i in index.tolist()] for index in parts(n, who)]
        size = [sum(len(document.text) for document in split) for split in splits]
        if all(0.05 < held / sum(size) < 0.2 for held in size[1:]):
            return splits, []
        said = ", ".join(f"{split} {part / sum(size):.1%} in {len(own)}"
                         for split, own, part in zip(SPLITS, splits, size, strict=True))  # fmt: skip
        more = f"; {finer} divides them further" if finer else ""
        return splits, [f"by documents the text is not split 80, 10 and 10 %: {said} of {n} documents{more}"]

    def made(self, splits: list[list[Document]], who: str, n: int | None, notes: list[str],
             classes: int = 0) -> Loaded:  # fmt: skip
        """What is learned from; `classes` counts the labels, 0 for none."""
        self.codec.accepts(Spec("tokens", (self.length,)))
        if classes and self.layout != "padded":
            raise Refused("a label is of one document, and a row has several", f"data.layout={self.layout}",
                          "give data.layout=padded, or data.labels=null")  # fmt: skip
        texts = [[document.text for document in split] for split in splits]
        if self.layout == "windows":
            texts = [[ENDS[self.documents].between.join(t)] for t in texts]
        known = None if self.entities is None else names(self.entities)
        # Where rows are padded it is with spaces, so there must be one.
        more = [] if self.layout == "windows" else [""]
        codec, unread = fitted(self.codec, [" ".join([*t, *more]) for t in texts])
        notes, tables = [*notes, *unread], []
        for split, some, own in zip(SPLITS, texts, splits, strict=True):
            ids = codec.encode_all(some)
            if lost := sum(len(row) == 0 for row in ids):
                notes.append(f"{split}: {lost} documents have no tokens and are left out")
            rows = LAYOUTS[self.layout]([len(row) for row in ids], self.length, split, who)
            notes += rows.notes
            context = marked(codec, some, ids, self.marks, known)
            label = torch.tensor([own[i].label for i in rows.document.tolist()]) if classes else None
            tables.append(table(codec, torch.cat(ids).numpy(), rows, context, self.layout == "packed", label))
        notes += [known.note()] if known else []
        return finished(codec, tables, self.length, n, notes, classes)


def known_marks(marks: Sequence[str]) -> list[str]:
    for mark in marks:
        if mark not in MARKS:
            raise Refused("data.marks names what is known of tokens", mark, near(str(mark), MARKS))
    return [name for name in MARKS if name in marks]


def table(codec: Tokenizer, ids: np.ndarray, rows: Layout, context: dict[str, np.ndarray], segmented: bool,
          label: torch.Tensor | None = None) -> Table:  # fmt: skip
    """Tokens and what is known of them, laid out."""
    valid = rows.source >= 0
    made = {"valid": torch.from_numpy(valid)}
    for name, values in context.items():
        made[name] = gathered(values, rows, 0) if values.dtype == bool else numbered(values, rows)
    if segmented:
        made["segment"] = torch.from_numpy(rows.segment)
    if label is not None:
        made["label"] = label
    return Table(gathered(ids, rows, 0 if valid.all() else codec.space), made)


def finished(codec: Tokenizer, tables: list[Table], length: int, n: int | None, notes: list[str],
             classes: int = 0) -> Loaded:  # fmt: skip
    """Without `valid` if it says nothing."""
    if all(t.context["valid"].all() for t in tables):
        tables = [Table(t.x, {k: v for k, v in t.context.items() if k != "valid"}) for t in tables]
    spec = Spec("tokens", (length,), classes=classes, context=frozenset(tables[0].context))
    return loaded(codec, spec, tuple(tables), n, notes=notes)


class TextFile(Data):
    """A text file in UTF-8. As one document, the first 90 % of its characters train, the next 5 % validate, the last
    5 % test; of several documents 80, 10 and 10 %.

    Byte order marks are dropped, line ends become \\n; both are said in the notes.

    Args:
        path: the file; None: `below` in $DENOISELAB_DATA.
        start, end: text begins behind the first line that has `start` in it, and ends before the next that has `end`.
        source: where it can be fetched, for messages.
        length, documents, layout, marks, entities: as of `Form`.
    """

    def __init__(self, codec: Codec, path: str | None, length: int, batch_size: int, n: int | None = None,
                 below: str | None = None, source: str = "", num_workers: int = 0, documents: Divided = "file",
                 layout: Laid = "windows", marks: Sequence[str] = (), entities: list[str] | str | None = None,
                 start: str | None = None, end: str | None = None):  # fmt: skip
        checked(batch_size, n, num_workers)
        self.form = Form(codec, length, documents, layout, marks, entities)
        self.path, self.batch_size, self.n, self.num_workers = path, batch_size, n, num_workers
        self.below, self.source, self.start, self.end = below, source, start, end

    def load(self):
        self.form.codec.accepts(Spec("tokens", (self.form.length,)))
        path = located(self.path, self.below, "path", self.source, Path.is_file, "data=text_folder data.root")
        if path is None:
            fetch = f"fetch it from {self.source}, and set DENOISELAB_DATA or give data.path=FILE"
            raise Refused("this data is a text file", "data.path=null", fetch if self.source else "give data.path=FILE")
        text, notes = plain(path)
        text, cut = between(text, self.start, self.end, path)
        [documents], blank = divided([text], self.form.documents)
        with after(cut + blank):
            if self.form.documents == "file":
                splits, uneven = self.form.by_characters(text), []
            else:
                splits, uneven = self.form.by_documents([Document(d) for d in documents], str(path))
            return self.form.made(splits, str(path), self.n, notes + cut + blank + uneven)


class TextSplits(Data):
    """Text whose validation and test split are files of their own, in a folder.

    Args:
        path: the training text; None: the first 90 % of the validation file's documents, and what is left validates.
        root: the folder; None: `below` in $DENOISELAB_DATA.
        val, test: names of its files.
        source: where it can be fetched, for messages.
        length, documents, layout, marks, entities: as of `Form`.
    """

    def __init__(self, codec: Codec, path: str | None, root: str | None, val: str, test: str, length: int,
                 batch_size: int, n: int | None = None, below: str | None = None, source: str = "",
                 num_workers: int = 0, documents: Divided = "file", layout: Laid = "windows", marks: Sequence[str] = (),
                 entities: list[str] | str | None = None):  # fmt: skip
        checked(batch_size, n, num_workers)
        self.form = Form(codec, length, documents, layout, marks, entities)
        self.path, self.root, self.val, self.test = path, root, val, test
        self.batch_size, self.n, self.num_workers, self.below, self.source = batch_size, n, num_workers, below, source

    def load(self):
        self.form.codec.accepts(Spec("tokens", (self.form.length,)))
        root = located(self.root, self.below, "root", self.source,
                       lambda at: (at / self.val).is_file() and (at / self.test).is_file())  # fmt: skip
        if root is None:
            fetch = f"fetch it from {self.source}, and set " if self.source else "set "
            raise Refused("this data is a folder of text files", "data.root=null",
                          f"{fetch}DENOISELAB_DATA or give data.root=FOLDER")  # fmt: skip
        files = [root / self.val, root / self.test]
        if self.path is not None:
            files.insert(0, located(self.path, None, "path", "", Path.is_file))
        read = [plain(file) for file in files]
        notes = [f"{file.name}: {note}" for file, (_, more) in zip(files, read, strict=True) for note in more]
        groups, blank = divided([text for text, _ in read], self.form.documents)
        if self.path is None:
            held, test = groups
            if len(held) == 1:
                place = int(SHARES[0] * len(held[0]))
                groups = [[held[0][:place]], [held[0][place:]], test]
            else:
                place = int(SHARES[0] * len(held))
                groups = [held[:place], held[place:], test]
            notes.append(f"no training file: the first 90 % of {self.val} train, so scores are not comparable with "
                         "published ones; data.path=FILE trains on another text")  # fmt: skip
        splits = [[Document(d) for d in group] for group in groups]
        with after(blank):
            return self.form.made(splits, str(root), self.n, notes + blank)


def between(text: str, start: str | None, end: str | None, path: Path) -> tuple[str, list[str]]:
    """What is between two lines, and how much was left out, as notes."""
    first, last = 0, len(text)
    for option, mark in (("start", start), ("end", end)):
        if mark is not None and (not mark or mark not in text[first:]):
            raise Refused(f"{path} has no line with data.{option} in it", repr(mark),
                          f"give data.{option}=null, or words of the file")  # fmt: skip
        if mark is not None and option == "start":
            first = (text.find("\n", text.index(mark)) + 1) or len(text)
        elif mark is not None:
            last = text.rfind("\n", first, text.index(mark, first)) + 1 or first
    if not text[first:last].strip():
        raise Refused(
            f"{path} has no text between data.start and data.end", f"{last - first} characters", "change them"
        )
    gone = len(text) - (last - first)
    return text[first:last], [f"left out {gone} characters before data.start and after data.end"] if gone else []


def spans(length: int, least: int) -> None:
    if length < least:
        raise Refused("data.length is the length of a sample", length, f"give {least} or more")


def fitted(codec: Tokenizer, texts: list[str]) -> tuple[Tokenizer, list[str]]:
    """The tokenizer of the first text, and what it cannot read in the splits or gives back otherwise, as notes."""
    codec = codec.fit(texts[0], "".join(texts[1:]))
    notes = []
    for split, text in zip(SPLITS, texts, strict=True):
        lost: Counter = codec.unknown(text)
        if lost:
            some = " ".join(repr(c) for c, _ in lost.most_common(5))
            notes.append(f"{split}: {lost.total()} characters of {len(lost)} kinds are read as unknown: {some}")
    some = texts[0][:TRIED]
    [back] = codec.decode(codec.encode(some)[None])
    if not notes and back != some:
        place = next((i for i, (a, b) in enumerate(zip(some, back, strict=False)) if a != b), min(len(some), len(back)))
        a, b = (t[max(place - 8, 0) : place + 16] for t in (some, back))
        notes.append(f"the tokenizer does not give text back as it was: {a!r} becomes {b!r}")
    return codec, notes


def rows(codec: Codec, texts: list[list[str]], length: int, n: int | None, alphabet: str,
         marks: Sequence[str] = ()) -> Loaded:  # fmt: skip
    """Train, val and test of texts that are a sample each. All characters of the `alphabet` have ids, whether the
    training texts hold them or not."""
    codec.accepts(Spec("tokens", (length,)))
    codec, notes = fitted(codec, [" ".join(t) for t in ([alphabet, *texts[0]], *texts[1:])])
    tables = []
    for some in texts:
        ids = codec.encode_all(some)
        longest = max(map(len, ids))
        if longest > length:
            raise Refused("data.length is too short for a sample", f"{longest} tokens, data.length={length}",
                          f"give data.length={longest} or more")  # fmt: skip
        lines = LAYOUTS["padded"]([len(row) for row in ids], length, "a", "texts")
        context = marked(codec, some, ids, known_marks(marks), None)
        tables.append(table(codec, torch.cat(ids).numpy(), lines, context, False))
    return finished(codec, tables, length, n, notes)
