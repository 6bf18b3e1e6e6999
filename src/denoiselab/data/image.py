"""Pictures: uint8 (N, C, H, W), gray (C = 1) or color (C = 3), as they were published; nothing is augmented.

`decoded` reads a picture of any file format: turned as EXIF says, a palette resolved, transparency laid over white,
16 bits a channel rounded to 8. Of an animation it takes the first frame.
"""

from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from denoiselab.data.base import Codec, Data, Table, checked
from denoiselab.data.splits import loaded, order
from denoiselab.spec import Refused, Spec

MODES = {1: "L", 3: "RGB"}


class Digits(Data):
    """scikit-learn's handwritten digits: 1,797 gray pictures of 8 x 8 in 17 levels, 10 classes (Alpaydin and Kaynak,
    1998). Splits of 1,297, 200 and 300; embedded, so that it needs no download."""

    def __init__(self, codec: Codec, batch_size: int, n: int | None = None, num_workers: int = 0):
        checked(batch_size, n, num_workers)
        self.codec, self.batch_size, self.n, self.num_workers = codec, batch_size, n, num_workers

    def load(self):
        from sklearn.datasets import load_digits

        digits = load_digits()
        x = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)[:, None]
        label = torch.from_numpy(digits.target).long()
        splits = [Table(x[i], {"label": label[i]}) for i in order(len(x)).split([1297, 200, 300])]
        return loaded(self.codec, labeled((1, 8, 8), 10), tuple(splits), self.n)


def labeled(shape: tuple[int, ...], classes: int) -> Spec:
    """The spec of pictures with `label` in the context."""
    return Spec("image", shape, classes=classes, context=frozenset({"label"}))


def sized(channels: int, size: int | None) -> None:
    """Refuses what no picture can be made of."""
    if channels not in MODES:
        raise Refused("data.channels is 1 (gray) or 3 (color)", channels, "give 1 or 3")
    if size is not None and size < 1:
        raise Refused("data.size is the side of the square pictures are cut to", size, "give pixels, or null for as is")


def decoded(file: Path | IO[bytes], channels: int, size: int | None) -> Tensor:
    """The picture in a file, uint8 (C, H, W); with `size`, its largest centered square, resized to size x size.

    Raises whatever Pillow does on a damaged file, and `ValueError` on values that have no place in 0 .. 255.
    """
    with Image.open(file) as picture:
        picture.load()
        picture = eight_bit(ImageOps.exif_transpose(picture))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert(MODES[channels])
    if size is not None:
        side = min(picture.size)
        left, top = ((full - side) // 2 for full in picture.size)
        picture = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.array(picture))
    return x[None] if channels == 1 else x.permute(2, 0, 1).contiguous()


def eight_bit(picture: Image.Image) -> Image.Image:
    """Pillow clips or shifts what has more than 8 bits; here 65535 and 1.0 are white, rounded to the nearest."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"NaN pixels: {(~np.isfinite(values)).sum()} of {values.size}")
    white = 1.0 if picture.mode == "F" else 65535.0
    if values.min() < 0 or values.max() > white:
        raise ValueError(f"pixels from {values.min():g} to {values.max():g}, where 0 to {white:g} was expected")
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))
