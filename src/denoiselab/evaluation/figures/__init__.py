"""Figures: what a cell does, for the eye.

Pictures come as uint8 (N, C, H, W) with one or three channels, as a codec decodes them; points as float (N, D), of
which the first two coordinates are drawn; text as lists of tokens as strings. Whatever shows pictures shows points as
well. All functions take tensors on the CPU, never change them, and give an image or text; files are written whole or
not at all.
"""

from denoiselab.evaluation.figures.charts import curve, heat
from denoiselab.evaluation.figures.pictures import drawn, mosaic, plain, shade
from denoiselab.evaluation.figures.points import cloud, reach, scatter
from denoiselab.evaluation.figures.samples import SHOWN, animation, film, grid, rows, severities, trajectory
from denoiselab.evaluation.figures.sheet import BLUE, FAINT, GAP, INK, MARGIN, PAPER, SIZE, font, padded, save, table
from denoiselab.evaluation.figures.text import (
    NAMED,
    PLAIN,
    RIGHT,
    TOUCHED,
    WRONG,
    Words,
    damaged,
    marked,
    save_text,
    text_rows,
)  # fmt: skip

__all__ = [
    "BLUE",
    "FAINT",
    "GAP",
    "INK",
    "MARGIN",
    "NAMED",
    "PAPER",
    "PLAIN",
    "RIGHT",
    "SHOWN",
    "SIZE",
    "TOUCHED",
    "WRONG",
    "Words",
    "animation",
    "cloud",
    "curve",
    "damaged",
    "drawn",
    "film",
    "font",
    "grid",
    "heat",
    "marked",
    "mosaic",
    "padded",
    "plain",
    "reach",
    "rows",
    "save",
    "save_text",
    "scatter",
    "severities",
    "shade",
    "table",
    "text_rows",
    "trajectory",
]  # fmt: skip
