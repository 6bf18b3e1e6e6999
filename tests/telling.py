"""What tests of loggers share: everything that a run may tell."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from denoiselab.run.label import Label
from denoiselab.run.logger import Bars, Logger

PICTURE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
CONFIG = {"schedule": "linear", "corruption": "gaussian", "config": {"seed": 1, "data": {"batch_size": 8}}}
LABEL = Label("schedule=linear lr=0.1", "sweep-of-two", "train", {"axis/schedule": "linear", "axis/lr": 0.1})


def tell(logger: Logger, folder: Path, picture=PICTURE) -> str | None:
    """Everything that a run may tell."""
    logger.start(folder, "0123456789", LABEL, CONFIG)
    logger.log({"train/loss": torch.tensor(0.5)}, 1)
    logger.log({"train/loss": 1 / 3}, 20)
    logger.log({"val/loss": 0.25}, 20)
    logger.image("samples", picture, 20)
    logger.table("texts", ["text", "loss"], [["a|b", 1.0], ["ä", 2.5]], 20)
    logger.histogram("gradients/w", Bars([1, 0, 3], [-1.0, 0.0, 1.0, 2.0]), 20)
    logger.summary({"best/val/loss": 0.125, "best/step": 10}, 20)
    return logger.finish()
