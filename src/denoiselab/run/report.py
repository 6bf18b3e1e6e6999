"""What a run shows a person: pictures or text in samples/, and a table on the screen."""

import math
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table as Screen
from torch import Tensor

from denoiselab.data.base import Loaded
from denoiselab.evaluation import figures
from denoiselab.evaluation.metrics import Evidence
from denoiselab.module import DenoisingModule
from denoiselab.run import record
from denoiselab.run.logger import Logger

SHOWN = 64  # samples in a grid
COMPARED = 16  # samples in a comparison of clean, corrupted, restored


def pictures(folder: Path, data: Loaded, module: DenoisingModule, evidence: Evidence, logger: Logger, step: int) -> None:
    """The comparison (clean, corrupted, restored) and, where there are any, the samples: into samples/ and the log."""
    if data.spec.kind == "tokens":
        rows = text_rows(data, evidence)
        figures.save_text(folder / "samples" / "restored.txt", rows)
        logger.table("restored", ["clean", "corrupted", "restored"], [[*map(str, row)] for row in rows], step)
    else:
        some = slice(COMPARED)
        picture = figures.rows({
            "clean": data.codec.decode(evidence.clean[some]),
            "corrupted": data.codec.decode(evidence.x_t[some]),
            "restored": data.codec.decode(evidence.restored[some]),
        })  # fmt: skip
        figures.save(picture, folder / "samples" / "restored.png")
        logger.image("restored", picture, step)
    if evidence.samples is not None:
        save_samples(folder / "samples", data, evidence.samples, logger, step)
