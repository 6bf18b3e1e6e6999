"""IDX: the format of MNIST (LeCun et al., 1998, yann.lecun.com/exdb/mnist).

A file is two zero bytes, a type (8: unsigned bytes), the number d of dimensions, d sizes of 32 bits, big-endian, and
the values; often gzipped.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.data.base import Codec, Data, Table, checked
from denoiselab.data.hub import fetched
from denoiselab.data.image import labeled, sized
from denoiselab.data.splits import loaded, located
from denoiselab.spec import Refused

GZIP = b"\x1f\x8b"


class IDX(Data):
    """Gray pictures with labels in four IDX files, gzipped or not; the published test split.

    Args:
        root: the folder with the files; None: `below` in $DENOISELAB_DATA; without the variable, the data set `hub` of
            the Hugging Face hub.
        source: where the files can be fetched, for messages.
        validation: the last so many training samples are the validation split.
        size: pictures are laid in the middle of a black square of this side, as 28 x 28 in 32; None: as they are.
    """

    def __init__(self, codec: Codec, root: str | None, batch_size: int, n: int | None = None, below: str | None = None,
                 hub: str | None = None, source: str = "", validation: int = 5000, size: int | None = None,
                 num_workers: int = 0):  # fmt: skip
        checked(batch_size, n, num_workers)
        self.codec, self.root, self.batch_size, self.n, self.num_workers = codec, root, batch_size, n, num_workers
        sized(1, size)
        self.below, self.hub, self.source, self.validation, self.size = below, hub, source, validation, size

    def load(self):
        root = located(self.root, self.below, "root", self.source, Path.is_dir)
        pairs = self.online() if root is None else (self.pair(root, "train"), self.pair(root, "t10k"))
        (x, label), (test_x, test_label) = pairs
        if x.shape[1:] != test_x.shape[1:]:
            raise Refused("training and test pictures differ in size",
                          f"{tuple(x.shape[1:])} and {tuple(test_x.shape[1:])}",
                          "give data.root=FOLDER of one data set")  # fmt: skip
        x, test_x = self.laid(x), self.laid(test_x)
        cut = len(x) - self.validation
        if not 0 < cut < len(x):
            raise Refused("data.validation takes that many of the training samples", f"{self.validation} of {len(x)}",
                          f"give 1 to {len(x) - 1}")  # fmt: skip
        splits = (Table(x[:cut], {"label": label[:cut]}), Table(x[cut:], {"label": label[cut:]}),
                  Table(test_x, {"label": test_label}))  # fmt: skip
        classes = int(torch.cat((label, test_label)).max()) + 1
        return loaded(self.codec, labeled(tuple(x.shape[1:]), classes), splits, self.n)

    def laid(self, x: Tensor) -> Tensor:
        """Pictures in the middle of a black square."""
        if self.size is None:
            return x
        high, wide = (self.size - side for side in x.shape[2:])
        if min(high, wide) < 0:
            raise Refused("data.size is the side of the black square that pictures are laid in", self.size,
                          f"give at least {max(x.shape[2:])}, or null for as they are")  # fmt: skip
        return F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))

    def pair(self, root: Path, split: str) -> tuple[Tensor, Tensor]:
        """Pictures (N, 1, H, W) and labels (N,) of "train" or "t10k"."""
        pictures, labels = (self.found(root, f"{split}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        x, label = read(pictures, 3), read(labels, 1)
        if len(x) != len(label):
            raise Refused("as many labels as pictures are needed", f"{len(x)} in {pictures}, {len(label)} in {labels}",
                          "fetch both files anew")  # fmt: skip
        return x[:, None], label.long()

    def found(self, root: Path, name: str) -> Path:
        spelled = [root / (n + end) for n in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
        present = [path for path in spelled if path.is_file()]
        if not present:
            raise Refused(f"{root} has no {name}, gzipped or not", f"{len(list(root.iterdir()))} other files",
                          f"fetch it from {self.source}" if self.source else "give data.root=FOLDER")  # fmt: skip
        return present[0]

    def online(self):
        fix = f"fetch the four files from {self.source}, and give data.root=FOLDER or set DENOISELAB_DATA"
        if self.hub is None:
            raise Refused("data=idx reads four files", "data.root=null", "give data.root=FOLDER")
        tables, _, _ = fetched(self.hub, None, "image", "label", 1, None, fix)
        return tuple((tables[split].x, tables[split].context["label"]) for split in ("train", "test"))


def read(path: Path, dimensions: int) -> Tensor:
    """The values of an IDX file of unsigned bytes, with that many dimensions; raises `Refused` naming the file."""
    raw = path.read_bytes()
    if path.suffix == ".gz" or raw.startswith(GZIP):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise Refused(f"{path} is no whole gzip file", error, "fetch it anew") from None
    magic = bytes((0, 0, 8, dimensions))
    head = 4 + 4 * dimensions
    if raw[:4] != magic:
        raise Refused(f"{path} is no IDX file of bytes with {dimensions} dimensions (magic number {magic.hex()})",
                      raw[:4].hex() or "an empty file",
                      "fetch it anew, or rename it if two files were swapped")  # fmt: skip
    shape = struct.unpack(f">{dimensions}I", raw[4:head]) if len(raw) >= head else ()
    if not shape or len(raw) != head + math.prod(shape) or 0 in shape:
        raise Refused(f"{path} is truncated or has more than its header says: sizes {shape}",
                      f"{len(raw)} bytes, where {head + math.prod(shape)} make it whole", "fetch it anew")  # fmt: skip
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=head).view(shape)
