"""Pictures: one, and many edge to edge."""

import torch
from PIL import Image
from torch import Tensor

from denoiselab.evaluation.figures.sheet import GAP, PAPER

SEEN = 64  # pixels that a small picture is enlarged to, at least


def plain(picture: Tensor) -> Image.Image:
    """A picture (C, H, W) as it is: gray or color, a pixel for each of its own."""
    return Image.fromarray(picture.movedim(0, -1).squeeze(-1).contiguous().numpy())


def drawn(picture: Tensor, scale: int | None = None) -> Image.Image:
    """A picture (C, H, W) as an image, each pixel `scale` wide; None: as wide as it takes to be seen."""
    assert picture.dtype == torch.uint8, picture.dtype
    assert len(picture) in (1, 3), picture.shape
    scale = scale or max(1, -(-SEEN // max(picture.shape[1:])))
    image = plain(picture).convert("RGB")
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def mosaic(images: Tensor, columns: int, scale: int | None = None) -> Image.Image:
    """Pictures (N, C, H, W) edge to edge with thin gaps, nothing around them."""
    parts = [drawn(picture, scale) for picture in images]
    w, h, columns = parts[0].width, parts[0].height, min(columns, len(parts))
    lines = -(-len(parts) // columns)
    sheet = Image.new("RGB", (columns * (w + GAP) - GAP, lines * (h + GAP) - GAP), PAPER)
    for i, part in enumerate(parts):
        sheet.paste(part, (i % columns * (w + GAP), i // columns * (h + GAP)))
    return sheet


def shade(touched: Tensor) -> Tensor:
    """Where pictures were touched, (N, C, H, W) bool, as pictures (N, 1, H, W): dark on light."""
    return torch.where(touched.any(1, keepdim=True), 60, 235).to(torch.uint8)
