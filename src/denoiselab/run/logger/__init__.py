"""Loggers: mirrors of the record for looking at while a run goes on. None is the only copy of anything, so none may
stop, delay or disturb a run: all of them are called on rank zero alone, and those that need a library with processes,
threads or a network of its own (`mirror`) become one warning when it fails.

A run that is killed and goes on from a checkpoint logs some steps again. Whichever logger it has, each metric of each
step is there once, and none is missing: `start` is told the step it goes on from, cuts what lies after it or skips it
when it comes again, and fills what was lost from the run's record, which lost nothing.
"""

from denoiselab.run.label import Label
from denoiselab.run.logger.base import Bars, Logger, Nothing, Watched
from denoiselab.run.logger.files import CSV, TensorBoard
from denoiselab.run.logger.mirror import Mirror
from denoiselab.run.logger.trackio import Trackio
from denoiselab.run.logger.wandb import Wandb

__all__ = ["CSV", "Bars", "Label", "Logger", "Mirror", "Nothing", "TensorBoard", "Trackio", "Wandb", "Watched"]
