"""What figures are drawn on: colors, letters, images in a table, and a file written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from denoiselab.files import replacing

INK, FAINT, PAPER, BLUE = (32, 32, 32), (200, 200, 200), (255, 255, 255), (31, 90, 166)
SIZE, MARGIN, GAP = 15, 14, 4  # of letters, around a figure, between pictures; pixels


def save(image: Image.Image, path: str | Path) -> None:
    """Writes a PNG."""
    with replacing(Path(path)) as temporary:
        image.save(temporary, format="PNG")


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


def padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    sheet = Image.new("RGB", size, PAPER)
    sheet.paste(image, ((size[0] - image.width) // 2, 0))
    return sheet
