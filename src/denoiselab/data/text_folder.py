"""A folder of text files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from denoiselab.data.base import Codec, Data, checked
from denoiselab.data.documents import Document, after, divided, read
from denoiselab.data.folder import shown
from denoiselab.data.plain import plain
from denoiselab.data.splits import located
from denoiselab.data.text import Divided, Form, Laid
from denoiselab.spec import Refused, Spec

SUFFIX = ".txt"


class TextFolder(Data):
    """All .txt files below `root`, in UTF-8, in the order of their paths; 80, 10 and 10 % of the documents train,
    validate and test.

    Args:
        labels: what a document is labeled by: the folder of its file right below `root`, or its file; None: nothing.
        skip_bad: leave out files that are no text, and count them in the notes; else they are refused, all named.
        length, documents, layout, marks, entities: as of `Form`.
    """

    def __init__(self, codec: Codec, root: str | None, length: int, batch_size: int, n: int | None = None,
                 num_workers: int = 0, documents: Divided = "file", layout: Laid = "packed", marks: Sequence[str] = (),
                 entities: list[str] | str | None = None, labels: Literal["folder", "file"] | None = None,
                 skip_bad: bool = False):  # fmt: skip
        checked(batch_size, n, num_workers)
        self.form = Form(codec, length, documents, layout, marks, entities)
        self.root, self.batch_size, self.n, self.num_workers = root, batch_size, n, num_workers
        self.labels, self.skip_bad = labels, skip_bad

    def load(self):
        self.form.codec.accepts(Spec("tokens", (self.form.length,)))
        root = located(self.root, None, "root", "", Path.is_dir, "data=text_file data.path")
        if root is None:
            raise Refused("data=text_folder reads a folder of text files", "data.root=null", "give data.root=FOLDER")
        files, notes = listed(root)
        changed = []

        def source(name: str):
            def text() -> str:
                found, more = plain(root / name)
                changed.extend(more)
                return found

            return text

        texts, skipped = read({name: source(name) for name in files}, self.skip_bad, str(root))
        groups, blank = divided(texts.values(), self.form.documents)
        classes = {} if self.labels is None else numbers(NAMED[self.labels](name) for name in texts)
        documents = [Document(text, classes.get(NAMED[self.labels](name)) if classes else 0)
                     for name, group in zip(texts, groups, strict=True) for text in group]  # fmt: skip
        notes += (
            [f"changed {len(changed)} times what is no plain text: {shown(sorted(set(changed)))}"] if changed else []
        )
        with after(skipped + blank):
            splits, uneven = self.form.by_documents(documents, str(root))
            return self.form.made(splits, str(root), self.n, notes + skipped + blank + uneven, len(classes))


def folder_of(name: str) -> str:
    first, below, _ = name.partition("/")
    if not below:
        raise Refused("data.labels=folder labels by the folder that a file is in", f"{name} is in none",
                      "move it into one, or give data.labels=file or null")  # fmt: skip
    return first


NAMED = {"folder": folder_of, "file": str}


def numbers(names) -> dict[str, int]:
    return {name: i for i, name in enumerate(sorted(set(names)))}


def listed(root: Path) -> tuple[list[str], list[str]]:
    """Names of the .txt files below `root`, sorted, and what else is there, as notes. Hidden ones are passed over,
    folders reached by a link are not entered."""
    every = (Path(folder, name).relative_to(root) for folder, _, names in os.walk(root) for name in names)
    files = sorted(file for file in every if not any(part.startswith(".") for part in file.parts))
    texts = [file.as_posix() for file in files if file.suffix.lower() == SUFFIX]
    others = [str(file) for file in files if file.suffix.lower() != SUFFIX]
    if not texts:
        raise Refused(f"no {SUFFIX} file below {root}", f"{len(others)} other files" if others else "an empty folder",
                      f"give data.root=FOLDER with {SUFFIX} files")  # fmt: skip
    return texts, [f"passed over {len(others)} files that are no {SUFFIX}: {shown(others)}"] if others else []
