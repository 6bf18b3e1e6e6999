"""Picture data sets of the Hugging Face hub, and local ones in its formats, through the package `datasets`.

The hub's client retries for half a minute where no network is; so the hub is asked once, and if it is silent only the
local cache is read.
"""

import contextlib
import io
from pathlib import Path

import torch

from denoiselab.data.base import Codec, Data, Table, checked
from denoiselab.data.folder import gathered
from denoiselab.data.image import sized
from denoiselab.data.splits import loaded, order
from denoiselab.spec import Refused, Spec, near

SPLITS = ("train", "validation", "test")
PATIENCE = 5.0  # seconds for the hub's first answer


class Hub(Data):
    """A picture data set by its name on the hub, or by the path of a local copy (saved by `datasets`, Parquet, or a
    folder of pictures).

    Splits named train, validation and test stand; a missing validation or test split is a tenth of the training split.

    Args:
        subset: the configuration, where a data set has several.
        image, label: names of columns; label None: no labels.
        size, channels: as of `Folder`.
    """

    def __init__(self, codec: Codec, dataset: str | None, batch_size: int, n: int | None = None,
                 subset: str | None = None, image: str = "image", label: str | None = "label",
                 size: int | None = None, channels: int = 3, num_workers: int = 0):  # fmt: skip
        checked(batch_size, n, num_workers)
        sized(channels, size)
        self.codec, self.dataset, self.batch_size, self.n, self.num_workers = codec, dataset, batch_size, n, num_workers
        self.subset, self.image, self.label, self.size, self.channels = subset, image, label, size, channels

    def load(self):
        if self.dataset is None:
            raise Refused("data=hub reads a data set by its name", "data.dataset=null", "give data.dataset=OWNER/NAME")
        tables, classes, notes = fetched(self.dataset, self.subset, self.image, self.label, self.channels, self.size,
                                         "check the name and the network, or give data.dataset=FOLDER")  # fmt: skip
        train = tables["train"]
        free, tenth = order(len(train.x)), max(len(train.x) // 10, 1)
        for split in ("validation", "test"):
            if split not in tables:
                tables[split], free = train.take(free[:tenth].sort().values), free[tenth:]
                notes.append(f"no {split} split: a tenth of the training split is taken")
        if not len(free):
            raise Refused(f"{self.dataset} is split into train, val and test", len(train.x), "give 3 samples or more")
        if len(free) < len(train.x):
            train = train.take(free.sort().values)
        spec = Spec("image", tuple(train.x.shape[1:]), classes=classes, context=frozenset(train.context))
        return loaded(self.codec, spec, (train, tables["validation"], tables["test"]), self.n, notes=notes)


def fetched(dataset: str, subset: str | None, image: str, label: str | None, channels: int, size: int | None, fix: str):
    """Tables by split, the number of classes (0 without labels) and notes; `fix` is said where nothing can be had."""
    splits = opened(dataset, subset, fix)
    if "train" not in splits:
        raise Refused(f"{dataset} has no split named train", ", ".join(splits), "choose another data set")
    import datasets

    tables, classes = {}, 0
    notes = [f"ignored splits: {', '.join(more)}"] if (more := [s for s in splits if s not in SPLITS]) else []
    for split in [s for s in SPLITS if s in splits]:
        rows = splits[split]
        for column, option in ((image, "image"), (label, "label")):
            if column is not None and column not in rows.column_names:
                raise Refused(f"{dataset} has no column {column}", f"data.{option}={column}",
                              near(column, rows.column_names))  # fmt: skip
        if not isinstance(rows.features[image], datasets.Image):
            raise Refused(f"column {image} of {dataset} holds no pictures", rows.features[image],
                          "give data.image=COLUMN")  # fmt: skip
        files = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))[:][image]
        sources = {f"{split} {i}": io.BytesIO(f["bytes"]) if f["bytes"] is not None else Path(f["path"])
                   for i, f in enumerate(files)}  # fmt: skip
        x, context = gathered(sources, channels, size, dataset), {}
        if label is not None:
            values = rows.select_columns([label])[:][label]
            if not all(isinstance(v, int) and v >= 0 for v in values):
                raise Refused(f"column {label} of {dataset} holds no classes 0, 1, ...", rows.features[label],
                              "give data.label=COLUMN, or null for none")  # fmt: skip
            context["label"] = torch.tensor(values)
            named = rows.features[label].num_classes if isinstance(rows.features[label], datasets.ClassLabel) else 0
            classes = max(classes, named, 1 + max(values))
        tables[split] = Table(x, context)
    return tables, classes, notes


def opened(dataset: str, subset: str | None, fix: str):
    """A mapping of split names to rows."""
    try:
        import datasets
    except ImportError:
        raise Refused("the Hugging Face hub needs the package datasets", "it is not installed",
                      f"pip install 'denoiselab[hub]'; or {fix}") from None  # fmt: skip
    path = Path(dataset).expanduser()
    local = path.is_dir()
    try:
        if local and ((path / "dataset_dict.json").exists() or (path / "state.json").exists()):
            found = datasets.load_from_disk(str(path))
        else:
            with contextlib.nullcontext() if local or answers() else offline():
                found = datasets.load_dataset(str(path) if local else dataset, subset)
    except Exception as error:  # from the network, the disk and the data set's own faults alike
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        raise Refused(f"the data set {dataset} cannot be had", got, fix) from error
    return found if isinstance(found, datasets.DatasetDict) else {"train": found}


def answers() -> bool:
    """Whether the hub says anything."""
    import huggingface_hub

    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=PATIENCE)
    except Exception:
        return False
    return True


@contextlib.contextmanager
def offline():
    """What HF_HUB_OFFLINE=1 does when the packages are imported."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
