"""Points: the first two coordinates, as a cloud."""

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from denoiselab.evaluation.figures.sheet import BLUE, PAPER, font


def cloud(x: Tensor) -> bool:
    """Are these points, not pictures?"""
    return x.ndim == 2


def reach(points: Tensor) -> float:
    """Half the side of a square around 0 that holds nearly all points (N, D)."""
    far = points[points.isfinite().all(1)][:, :2].abs().flatten().double()
    return 1.15 * far.quantile(0.995).clamp(min=1e-3).item() if len(far) else 1.0


def scatter(points: Tensor, limit: float | None = None, size: int = 260) -> Image.Image:
    """The first two coordinates of points (N, D), D at least 2, in the square from -limit to limit (None: of the
    points' own reach). Points beyond are drawn on its edge; where many lie over each other it is darker."""
    assert points.shape[1] >= 2, points.shape
    points = points[points.isfinite().all(1)][:, :2].double()
    limit = limit or reach(points)
    fine, r = 3 * size, 4  # drawn three times as large, with dots of radius 4, then averaged
    at = ((points / limit).clamp(-1, 1) + 1) / 2 * (fine - 1 - 2 * r) + r
    column, row = at[:, 0].round().long(), (fine - 1 - at[:, 1]).round().long()
    hits = torch.bincount(row * fine + column, minlength=fine * fine).reshape(1, 1, fine, fine).float()
    square = torch.arange(-r, r + 1).square()
    dot = (square[:, None] + square <= r * r).float()[None, None]
    cover = F.avg_pool2d(1 - 0.45 ** F.conv2d(hits, dot, padding=r), 3)[0, 0, ..., None]
    paper, blue = torch.tensor(PAPER).float(), torch.tensor(BLUE).float()
    image = Image.fromarray(torch.lerp(paper, blue, cover).round().to(torch.uint8).numpy())
    draw = ImageDraw.Draw(image)
    draw.text((size - 6, size - 4), f"±{limit:.2g}", (150, 150, 150), font(11), anchor="rs")
    return image
