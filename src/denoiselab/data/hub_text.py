"""Text of the Hugging Face hub, or of a local folder in its formats, through the package `datasets`: streamed, so that
the first documents of a data set of any size are read without the rest."""

import contextlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from denoiselab.data.base import Codec, Data, checked
from denoiselab.data.documents import Document, after, divided, read, sound
from denoiselab.data.hub import SPLITS, answers, offline
from denoiselab.data.splits import order
from denoiselab.data.text import Divided, Form, Laid
from denoiselab.spec import Refused, Spec, near


class HubText(Data):
    """The first rows of a data set's splits by its name on the hub, or by the path of a local copy. Splits named train,
    validation and test stand; a missing validation or test split is a tenth of the training split's documents.

    Args:
        subset: the configuration, where a data set has several.
        first: rows read of the training split; a tenth as many of the others.
        text: the name of the column.
        skip_bad: leave out rows that are no text, and count them in the notes; else they are refused.
        length, documents, layout, marks, entities: as of `Form`; a file is a row.
    """

    def __init__(self, codec: Codec, dataset: str | None, length: int, batch_size: int, n: int | None = None,
                 subset: str | None = None, first: int = 10_000, text: str = "text", num_workers: int = 0,
                 documents: Divided = "file", layout: Laid = "packed", marks: Sequence[str] = (),
                 entities: list[str] | str | None = None, skip_bad: bool = False):  # fmt: skip
        checked(batch_size, n, num_workers)
        if first < 1:
            raise Refused("data.first counts the rows that are read", first, "give 1 or more")
        self.form = Form(codec, length, documents, layout, marks, entities)
        self.dataset, self.subset, self.first, self.text, self.skip_bad = dataset, subset, first, text, skip_bad
        self.batch_size, self.n, self.num_workers = batch_size, n, num_workers

    def load(self):
        self.form.codec.accepts(Spec("tokens", (self.form.length,)))
        if self.dataset is None:
            raise Refused("data=hub_text reads a data set by its name", "data.dataset=null",
                          "give data.dataset=OWNER/NAME or a folder")  # fmt: skip
        notes, gone, found = [], [], {}
        for split, rows in streamed(self.dataset, self.subset, self.text, self.first).items():
            where = f"the {split} split of {self.dataset}"
            sources = {f"row {i}": lambda i=i, row=row, where=where: sound(row, f"row {i} of {where}")
                       for i, row in enumerate(rows)}  # fmt: skip
            if not sources:
                continue
            texts, skipped = read(sources, self.skip_bad, where)
            groups, blank = divided(texts.values(), self.form.documents)
            found[split] = [Document(text) for group in groups for text in group]
            notes.append(f"read the first {len(sources)} rows of {where}")
            gone += skipped + blank
        train = found.get("train", [])
        free, tenth = order(len(train)), max(len(train) // 10, 1)
        for split in SPLITS[1:]:
            if split not in found:
                found[split], free = [train[i] for i in free[:tenth].sort().values.tolist()], free[tenth:]
                notes.append(f"no {split} split: a tenth of the training documents is taken")
        with after(gone):
            if not len(free):
                raise Refused(f"{self.dataset} is split into train, val and test", f"{len(train)} documents",
                              "give 3 documents or more: raise data.first")  # fmt: skip
            found["train"] = [train[i] for i in free.sort().values.tolist()]
            return self.form.made([found[split] for split in SPLITS], self.dataset, self.n, notes + gone)


def streamed(dataset: str, subset: str | None, column: str, first: int) -> dict[str, list]:
    """The first values of a column, by split."""
    try:
        import datasets
    except ImportError:
        raise Refused("the Hugging Face hub needs the package datasets", "it is not installed",
                      "pip install 'denoiselab[hub]'; or give data=text_folder") from None  # fmt: skip
    path = Path(dataset).expanduser()
    local = path.is_dir()
    found = {}
    try:
        with contextlib.nullcontext() if local or answers() else offline():
            if local and ((path / "dataset_dict.json").exists() or (path / "state.json").exists()):
                splits = datasets.load_from_disk(str(path))
            else:
                splits = datasets.load_dataset(str(path) if local else dataset, subset, streaming=True)
            splits = splits if isinstance(splits, dict) else {"train": splits}
            for split in (s for s in SPLITS if s in splits):
                rows = islice(splits[split], first if split == "train" else max(first // 10, 1))
                found[split] = [value(row, column, dataset) for row in rows]
    except Refused:
        raise
    except Exception as error:  # from the network, the disk and the data set's own faults alike
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        raise Refused(f"the data set {dataset} cannot be had", got,
                      "check the name and the network, or give data.dataset=FOLDER") from error  # fmt: skip
    if "train" not in found:
        raise Refused(f"{dataset} has no split named train", ", ".join(splits), "choose another data set")
    return found


def value(row: dict, column: str, dataset: str):
    if column not in row:
        raise Refused(f"{dataset} has no column {column}", f"data.text={column}", near(column, row))
    return row[column]
