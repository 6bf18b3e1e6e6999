"""A job: a cell made, with the place where it lies."""

from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl

from denoiselab.data.base import Batches, Loaded
from denoiselab.evaluation.evaluate import Evaluation
from denoiselab.module import DenoisingModule
from denoiselab.run.cost import Cost
from denoiselab.run.logger import Logger


class Job(NamedTuple):
    """All that a run needs, made before anything is written."""

    config: dict
    data: Loaded
    module: DenoisingModule
    evaluation: Evaluation
    logger: Logger
    trainer: pl.Trainer
    batches: Batches
    cost: Cost
    folder: Path  # of the fit
    score: str  # the hash of the fit and what is done with it
