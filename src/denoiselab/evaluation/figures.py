"""Figures: what a cell does, for the eye.

Pictures come as uint8 (N, C, H, W) with one or three channels, as a codec decodes them; points as float (N, D), of
which the first two coordinates are drawn; text as lists of tokens as strings. Whatever shows pictures shows points as
well. All functions take tensors on the CPU, never change them, and give an image or text; files are written whole or
not at all.

In text, brackets and colors mark damage: [touched] or [restored right], {restored wrong}.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from rich.text import Text
from torch import Tensor

from denoiselab.files import replacing

INK, FAINT, PAPER, BLUE = (32, 32, 32), (200, 200, 200), (255, 255, 255), (31, 90, 166)
SIZE, MARGIN, GAP = 15, 14, 4  # of letters, around a figure, between pictures; pixels
SEEN = 64  # pixels that a small picture is enlarged to, at least
SHOWN = 8  # pictures beside each other


def save(image: Image.Image, path: str | Path) -> None:
    """Writes a PNG."""
    with replacing(Path(path)) as temporary:
        image.save(temporary, format="PNG")


# -- one picture, one cloud --------------------------------------------------------------------------------


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


def cloud(x: Tensor) -> bool:
    """Are these points, not pictures?"""
    return x.ndim == 2


# -- many ------------------------------------------------------------------------------------------------------


def font(size: int = SIZE):
    return ImageFont.load_default(size=size)


def table(cells: Sequence[Sequence[Image.Image]], rows: Sequence[str] = (), columns: Sequence[str] = (),
          block: int = 0, gap: int = GAP) -> Image.Image:  # fmt: skip
    """Images in rows of equal length, with names at the left of rows and above columns, `gap` apart; after each `block`
    rows is a wider gap."""
    widths = [max(row[j].width for row in cells) for j in range(len(cells[0]))]
    if columns:
        widths = [max(w, int(font().getlength(c)) + 12) for w, c in zip(widths, columns, strict=True)]
    heights = [max(image.height for image in row) for row in cells]
    left = MARGIN + (max(int(font().getlength(name)) for name in rows) + 10 if rows else 0)
    top = MARGIN + (SIZE + 8 if columns else 0)
    breaks = [3 * GAP if block and i and i % block == 0 else 0 for i in range(len(cells))]
    width = left + sum(widths) + gap * (len(widths) - 1) + MARGIN
    height = top + sum(heights) + gap * (len(heights) - 1) + sum(breaks) + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    x = left
    for name, w in zip(columns, widths, strict=False):
        draw.text((x + w / 2, top - 8), name, INK, font(), anchor="ms")
        x += w + gap
    y = top
    for i, row in enumerate(cells):
        y += breaks[i]
        if rows:
            draw.text((left - 10, y + heights[i] / 2), rows[i], INK, font(), anchor="rm")
        x = left
        for image, w in zip(row, widths, strict=True):
            at = x + (w - image.width) // 2, y + (heights[i] - image.height) // 2
            # A line around it: a white picture on white paper has an edge.
            draw.rectangle((at[0] - 1, at[1] - 1, at[0] + image.width, at[1] + image.height), outline=FAINT)
            sheet.paste(image, at)
            x += w + gap
        y += heights[i] + gap
    return sheet


def mosaic(images: Tensor, columns: int, scale: int | None = None) -> Image.Image:
    """Pictures (N, C, H, W) edge to edge with thin gaps, nothing around them."""
    parts = [drawn(picture, scale) for picture in images]
    w, h, columns = parts[0].width, parts[0].height, min(columns, len(parts))
    lines = -(-len(parts) // columns)
    sheet = Image.new("RGB", (columns * (w + GAP) - GAP, lines * (h + GAP) - GAP), PAPER)
    for i, part in enumerate(parts):
        sheet.paste(part, (i % columns * (w + GAP), i // columns * (h + GAP)))
    return sheet


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


def shade(touched: Tensor) -> Tensor:
    """Where pictures were touched, (N, C, H, W) bool, as pictures (N, 1, H, W): dark on light."""
    return torch.where(touched.any(1, keepdim=True), 60, 235).to(torch.uint8)


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


def padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    sheet = Image.new("RGB", size, PAPER)
    sheet.paste(image, ((size[0] - image.width) // 2, 0))
    return sheet


def curve(x: Sequence[float], ys: Mapping[str, Sequence[float]], xlabel: str, ylabel: str, path: str | Path,
          log: bool = False) -> None:  # fmt: skip
    """Writes a PNG with a line over x for each name; `log`: of the logarithm of y, where some y is above 0."""
    # Not pyplot: a figure of its own needs no display, no global state and no closing.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for name, y in ys.items():
        axes.plot(x, y, label=name, linewidth=1.6, marker="o" if len(x) <= 30 else "", markersize=4)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if log and any(0 < value < math.inf for y in ys.values() for value in y):
        axes.set_yscale("log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if len(ys) > 1:
        axes.legend(frameon=False)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png")


def heat(weights: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], path: str | Path) -> None:
    """Writes a PNG of a matrix, dark where a share is large, a label at each row and column."""
    from matplotlib.figure import Figure

    size = (1.5 + 0.18 * len(columns), 1.2 + 0.18 * len(rows))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="Blues", vmin=0, aspect="equal", interpolation="nearest")
    # A dollar sign would begin a formula.
    plain_rows, plain_columns = ([word.replace("$", r"\$") for word in words] for words in (rows, columns))
    axes.set_xticks(range(len(columns)), plain_columns, rotation=90 if max(map(len, columns)) > 1 else 0, fontsize=7)
    axes.set_yticks(range(len(rows)), plain_rows, fontsize=7)
    axes.tick_params(length=0)
    axes.set(xlabel="read", ylabel="written")
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png")


# -- text ------------------------------------------------------------------------------------------------------

Words = Sequence[str]
PLAIN, TOUCHED, RIGHT, WRONG = "", "bold cyan", "green", "bold red underline"  # styles of rich
NAMED = "cyan bold"  # as what is touched looks: a special token, which has brackets of its own
BRACKETS = {PLAIN: "{}", TOUCHED: "[{}]", NAMED: "{}", RIGHT: "[{}]", WRONG: "{{{}}}"}
SPECIAL = re.compile(r"\[[^\[\]\s]+\]")


def marked(clean: Words, corrupted: Words, restored: Words, touched: Sequence[bool],
           between: str = "") -> dict[str, list[tuple[str, str]]]:  # fmt: skip
    """Of each of the three texts its runs of tokens, as (style, characters). A text of another length than `touched`
    (spans, sentinels) has no places to compare: it is one plain run."""
    touched = [bool(place) for place in touched]
    shown = answer = [TOUCHED if place else PLAIN for place in touched]
    if len(restored) == len(clean) == len(touched):
        right = [said == true for said, true in zip(restored, clean, strict=True)]
        answer = [PLAIN if not place else RIGHT if ok else WRONG for place, ok in zip(touched, right, strict=True)]
    if len(corrupted) == len(touched):
        pairs = zip(shown, corrupted, strict=True)
        seen = [NAMED if style and SPECIAL.fullmatch(word) else style for style, word in pairs]
    else:
        seen = shown
    texts = {"clean": (clean, shown), "corrupted": (corrupted, seen), "restored": (restored, answer)}
    return {name: runs(words, styles, between) for name, (words, styles) in texts.items()}


def runs(words: Words, styles: Words, between: str) -> list[tuple[str, str]]:
    if len(words) != len(styles):
        styles = [PLAIN] * len(words)
    groups = groupby(zip(styles, words, strict=True), key=lambda pair: pair[0])
    return [(style, between.join(visible(word) for _, word in group)) for style, group in groups]


def visible(word: str) -> str:
    return word.replace("\n", "↵").replace("\t", "→")


def damaged(clean: Words, corrupted: Words, restored: Words, touched: Sequence[bool], between: str = "",
            names: Sequence[str] = ("clean", "corrupted", "restored")) -> Text:  # fmt: skip
    """One text in three colored lines: what was touched, and whether it was restored right. `between` stands between
    tokens: "" for characters, " " for words."""
    text = Text()
    for name, line in zip(names, marked(clean, corrupted, restored, touched, between).values(), strict=True):
        text.append(f"{name:<10}", "dim")
        for i, (style, characters) in enumerate(line):
            text.append(between if i else "").append(characters, style)
        text.append("\n")
    return text


def bracketed(line: Sequence[tuple[str, str]], between: str) -> str:
    return between.join(BRACKETS[style].format(characters) for style, characters in line)


def text_rows(clean: Sequence[Words], corrupted: Sequence[Words], restored: Sequence[Words],
              touched: Sequence[Sequence[bool]], between: str = "") -> tuple[list[str], list[list]]:  # fmt: skip
    """A table, a row a text: the three texts with brackets, how many tokens were touched, how many of them are right
    (None where what was restored has another length)."""
    body = []
    for texts in zip(clean, corrupted, restored, touched, strict=True):
        lines = marked(*texts, between)
        places = [i for i, place in enumerate(texts[3]) if place]
        comparable = len(texts[2]) == len(texts[0]) == len(texts[3])
        right = sum(texts[2][i] == texts[0][i] for i in places) if comparable else None
        body.append([*(bracketed(line, between) for line in lines.values()), len(places), right])
    return ["clean", "corrupted", "restored", "touched", "right"], body


def save_text(path: str | Path, clean: Sequence[Words], corrupted: Sequence[Words], restored: Sequence[Words],
              touched: Sequence[Sequence[bool]], between: str = "") -> None:  # fmt: skip
    """Writes the texts in UTF-8, three lines each, damage in brackets."""
    columns, body = text_rows(clean, corrupted, restored, touched, between)
    lines = ["[touched]; of what was restored: [right] {wrong}", ""]
    for *texts, places, right in body:
        lines += [f"{name:<10}{text}" for name, text in zip(columns, texts, strict=False)]
        lines += ["" if right is None else f"{'':<10}{right} of {places} right", ""]
    with replacing(Path(path)) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
