"""A folder of picture files."""

import os
from collections import Counter
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from denoiselab.data.base import Codec, Data, Table, checked
from denoiselab.data.image import decoded, sized
from denoiselab.data.splits import loaded, located, parts
from denoiselab.spec import Refused, Spec

SHOWN = 5  # files that a message names


class Folder(Data):
    """All pictures below `root`, in the order of their paths, split 80, 10 and 10 %; no labels.

    Args:
        size: side of the centered square that each is cut and resized to; None: all must have one size as they are.
        channels: 1 or 3; color is turned to gray (ITU-R 601) and gray to color.
    Raises:
        Refused: nothing there, files that cannot be read (all are tried, then named), or sizes that differ.
    """

    def __init__(self, codec: Codec, root: str | None, batch_size: int, n: int | None = None, size: int | None = None,
                 channels: int = 3, num_workers: int = 0):  # fmt: skip
        checked(batch_size, n, num_workers)
        sized(channels, size)
        self.codec, self.root, self.batch_size, self.n, self.num_workers = codec, root, batch_size, n, num_workers
        self.size, self.channels = size, channels

    def load(self):
        root = located(self.root, None, "root", "", Path.is_dir)
        if root is None:
            raise Refused("data=folder reads a folder of pictures", "data.root=null", "give data.root=FOLDER")
        files, skipped = listed(root)
        x = gathered({str(f.relative_to(root)): f for f in files}, self.channels, self.size, str(root))
        splits = [Table(x[i]) for i in parts(len(x), str(root))]
        notes = [f"skipped what is no picture: {shown(skipped)}"] if skipped else []
        return loaded(self.codec, Spec("image", tuple(x.shape[1:])), tuple(splits), self.n, notes=notes)


def listed(root: Path) -> tuple[list[Path], list[str]]:
    """Picture files below `root` by their suffix, sorted by path, and the names of others. Hidden ones are passed over,
    folders reached by a link are not entered."""
    Image.init()
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN} - {".pdf"}
    files = sorted(
        Path(folder, name) for folder, _, names in os.walk(root) for name in names
        if not any(part.startswith(".") for part in Path(folder, name).relative_to(root).parts)
    )  # fmt: skip
    pictures = [f for f in files if f.suffix.lower() in suffixes]
    if not pictures:
        raise Refused(
            f"no picture below {root}", f"{len(files)} other files" if files else "an empty folder",
            "give data.root=FOLDER with .png, .jpg, .webp, .tif or other pictures",
        )  # fmt: skip
    return pictures, [str(f.relative_to(root)) for f in files if f.suffix.lower() not in suffixes]


def gathered(sources, channels: int, size: int | None, where: str) -> Tensor:
    """Pictures of one size, uint8 (N, C, H, W), from a mapping of names to files. Every one is tried, so that a user
    sees all that is damaged at once."""
    pictures, damaged = {}, []
    for name, file in sources.items():
        try:
            pictures[name] = decoded(file, channels, size)
        except Exception as error:  # what a decoder raises on a damaged file is without bound
            damaged.append(f"{name} ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")
    if damaged:
        raise Refused(
            f"{len(damaged)} of {len(sources)} pictures in {where} cannot be read", shown(damaged),
            "remove them or fetch them anew",
        )  # fmt: skip
    shapes = Counter(tuple(p.shape) for p in pictures.values())
    usual, count = shapes.most_common(1)[0]
    odd = [f"{name} is {p.shape[2]} x {p.shape[1]}" for name, p in pictures.items() if tuple(p.shape) != usual]
    if odd:
        raise Refused(
            f"pictures in {where} differ in size: {count} of {len(pictures)} are {usual[2]} x {usual[1]}", shown(odd),
            "give data.size=PIXELS to cut and resize all to a square, or remove the odd ones",
        )  # fmt: skip
    return torch.stack(list(pictures.values()))


def shown(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
