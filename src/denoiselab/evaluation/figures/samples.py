"""Samples, pictures or points: all of them, side by side, and on their way."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from denoiselab.evaluation.figures.pictures import drawn, mosaic, shade
from denoiselab.evaluation.figures.points import cloud, reach, scatter
from denoiselab.evaluation.figures.sheet import GAP, padded, table
from denoiselab.files import replacing

SHOWN = 8  # pictures beside each other


def grid(x: Tensor, columns: int = SHOWN, scale: int | None = None) -> Image.Image:
    """All samples: pictures in rows of `columns`, points in one cloud."""
    return table([[scatter(x, size=420) if cloud(x) else mosaic(x, columns, scale)]])


def rows(named: Mapping[str, Tensor], columns: int = SHOWN) -> Image.Image:
    """A row of pictures for each name ("clean", "corrupted", "restored"), each column one sample; or a cloud of points
    for each name, beside each other at one scale."""
    first = next(iter(named.values()))
    if cloud(first):
        limit = max(reach(x) for x in named.values())
        return table([[scatter(x, limit) for x in named.values()]], columns=list(named))
    return table([[drawn(picture) for picture in x[:columns]] for x in named.values()], list(named))


def film(frames: Sequence[tuple[str, Mapping[str, Tensor]]], samples: int = 3) -> Image.Image:
    """A column for each frame; for each of the first `samples` pictures a block with a row for each name. Points: a row
    of clouds for each name, at the scale of the last column."""
    labels, names = [label for label, _ in frames], list(frames[0][1])
    if cloud(frames[0][1][names[0]]):
        limit = max(reach(x) for x in frames[-1][1].values())
        cells = [[scatter(frame[name], limit, 180) for _, frame in frames] for name in names]
        return table(cells, names, labels)
    samples = min(samples, len(frames[0][1][names[0]]))
    cells = [[drawn(frame[name][i]) for _, frame in frames] for i in range(samples) for name in names]
    return table(cells, names * samples, labels, block=len(names))


def trajectory(frames: Sequence[tuple[str, Tensor, Tensor]], samples: int = 3) -> Image.Image:
    """A sampler on its way: frames are (label, x_t, belief), the earliest first; for a few samples x_t above, and below
    it what the denoiser believed was there."""
    return film([(label, {"x_t": x_t, "belief": belief}) for label, x_t, belief in frames], samples)


def severities(frames: Sequence[tuple[str, Tensor, Tensor, Tensor, Tensor]], samples: int = 2) -> Image.Image:
    """A corruption at rising severity: frames are (label, clean, corrupted, touched, target), touched bool of the shape
    of clean: dark where any channel was touched. Points have no such row."""
    shown = []
    for label, clean, corrupted, touched, target in frames:
        where = {} if cloud(clean) else {"touched": shade(touched)}
        shown.append((label, {"clean": clean, "corrupted": corrupted, **where, "target": target}))
    return film(shown, samples)


def animation(frames: Sequence[tuple[str, Tensor, Tensor]], path: str | Path, columns: int = 4,
              milliseconds: int = 90) -> None:  # fmt: skip
    """Writes a GIF of the same frames as `trajectory`, the belief at the right of x_t; the last stays two seconds."""
    limit = max(reach(x) for x in frames[-1][1:]) if cloud(frames[0][1]) else None

    def panel(x):
        return scatter(x, limit) if cloud(x) else mosaic(x[: columns * columns], columns)

    still = [table([[panel(x_t), panel(belief)]], columns=[f"x_t at {label}", f"belief at {label}"], gap=3 * GAP)
             for label, x_t, belief in frames]  # fmt: skip
    # Every frame gets the size of the largest and the same colors, so that nothing flickers.
    size = max(image.width for image in still), max(image.height for image in still)
    colors = table([[image] for image in still[:: max(1, len(still) // 8)]]).quantize(256)
    still = [padded(image, size).quantize(palette=colors, dither=Image.Dither.NONE) for image in still]
    shown = [milliseconds] * (len(still) - 1) + [2000]
    with replacing(Path(path)) as temporary:
        still[0].save(temporary, format="GIF", save_all=True, append_images=still[1:], duration=shown, loop=0)
