"""Sheets: PNG files in which each row is a small color picture, flattened row by row (ConvNetJS's form of CIFAR-10)."""

from pathlib import Path

import torch

from denoiselab.data.base import Codec, Data, Table, checked
from denoiselab.data.image import decoded
from denoiselab.data.splits import loaded, located, parts
from denoiselab.spec import Refused, Spec


class Sheets(Data):
    """All sheets of `root`, in the order of their names, split 80, 10 and 10 %: color pictures without labels.

    Args:
        root: the folder with the .png files; None: `below` in $DENOISELAB_DATA.
        side: of a picture; a sheet is side^2 pixels wide and a row a picture high.
    """

    def __init__(self, codec: Codec, root: str | None, batch_size: int, n: int | None = None, below: str | None = None,
                 source: str = "", side: int = 32, num_workers: int = 0):  # fmt: skip
        checked(batch_size, n, num_workers)
        if side < 1:
            raise Refused("data.side is that of a picture in a sheet", side, "give pixels, such as 32")
        self.codec, self.root, self.batch_size, self.n, self.num_workers = codec, root, batch_size, n, num_workers
        self.below, self.source, self.side = below, source, side

    def load(self):
        root = located(self.root, self.below, "root", self.source, lambda at: any(Path(at).glob("*.png")))
        if root is None:
            fix = f"fetch them from {self.source}, and give data.root=FOLDER or set DENOISELAB_DATA"
            raise Refused("these pictures lie in sheets on the disk", "data.root=null", fix)
        x = torch.cat([self.pictures(file) for file in sorted(root.glob("*.png"))])
        splits = [Table(x[i]) for i in parts(len(x), str(root))]
        return loaded(self.codec, Spec("image", tuple(x.shape[1:])), tuple(splits), self.n)

    def pictures(self, file: Path) -> torch.Tensor:
        """uint8 (N, 3, side, side)."""
        try:
            sheet = decoded(file, 3, None)
        except Exception as error:  # what a decoder raises on a damaged file is without bound
            raise Refused(f"{file} cannot be read", f"{type(error).__name__}: {error}", "fetch it anew") from error
        if sheet.shape[2] != self.side**2:
            what = f"a row of a sheet is a picture of {self.side} x {self.side}: {self.side**2} pixels"
            raise Refused(what, f"{file} is {sheet.shape[2]} wide", "give data.side, or data=folder for plain pictures")
        return sheet.permute(1, 0, 2).reshape(-1, 3, self.side, self.side).contiguous()
