"""Loggers whose library has threads, processes or a network of its own: whatever it does, a run does not notice."""

import abc
import os
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from denoiselab.run import record
from denoiselab.run.label import Label
from denoiselab.run.logger.base import Bars, Logger, Picture, opened
from denoiselab.run.secrets import redacted


class Mirror(Logger):
    """The first failure is a warning and the last call. An implementation says how its library is called, and which
    steps it has already: what it has it is not given again."""

    service: ClassVar[str]  # its name, for people

    @abc.abstractmethod
    def environment(self) -> dict[str, str | None]:
        """Environment variables during each call, where the user has not set them; None: without it."""

    @abc.abstractmethod
    def open(self, identity: str, label: Label, config: Mapping) -> list[str]:
        """Opens the run, which may be there from before; gives what to warn of."""

    @abc.abstractmethod
    def told(self, name: str, step: int) -> bool:
        """Does it have this value from an attempt before?"""

    @abc.abstractmethod
    def send(self, values: Mapping, step: int) -> None:
        """Numbers, or what `picture`, `rows` and `bars` gave."""

    @abc.abstractmethod
    def picture(self, image) -> object:
        """A picture as the library takes it."""

    @abc.abstractmethod
    def rows(self, columns: list[str], rows: list[list]) -> object:
        """A table as the library takes it."""

    @abc.abstractmethod
    def bars(self, bars: Bars) -> object:
        """A histogram as the library takes it."""

    @abc.abstractmethod
    def close(self) -> str | None:
        """Ends the run; gives what the user should be told."""

    @abc.abstractmethod
    def stand(self, values: Mapping[str, float], step: int) -> None:
        """Puts the values into the summary of the run."""

    # -- what a run calls

    def start(self, folder, identity, label, config, step=0):
        self.folder, self.alive = Path(folder), True
        self.folder.mkdir(parents=True, exist_ok=True)
        notes = []
        with self.harmless("start"), arguments():
            notes = self.open(identity, label, redacted({**config, **label.axes}))
            for row in record.read(self.folder):
                if row["step"] <= step:
                    self.tell({name: value for name, value in row.items() if name != "step"}, row["step"])
        for note in notes:
            warnings.warn(redacted(note), stacklevel=2)

    def tell(self, values: Mapping, step: int) -> None:
        """Gives the library what it was not given by an attempt before."""
        if new := {name: value for name, value in values.items() if not self.told(name, step)}:
            self.send(new, step)

    def log(self, values, step):
        with self.harmless("log"):
            if self.alive:
                self.tell({name: float(value) for name, value in values.items()}, step)

    def image(self, name: str, picture: Picture, step: int):
        with self.harmless("log a picture"):
            if self.alive:
                self.tell({name: self.picture(opened(picture))}, step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence], step: int):
        with self.harmless("log a table"):
            if self.alive:
                self.tell({name: self.rows(list(columns), [list(row) for row in rows])}, step)

    def histogram(self, name, bars, step):
        with self.harmless("log a histogram"):
            if self.alive:
                self.tell({name: self.bars(bars)}, step)

    def summary(self, values, step):
        with self.harmless("log the summary"):
            if self.alive:
                self.stand({name: float(value) for name, value in values.items()}, step)

    def finish(self):
        said = None
        with self.harmless("finish"):
            if self.alive:
                said = self.close()
        self.alive = False
        return said

    @contextmanager
    def harmless(self, doing: str) -> Iterator[None]:
        """Whatever the library does here, training does not notice: no exception, the same global random state after
        it, no file outside the outputs."""
        import numpy as np
        import torch

        states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002, it is guarded
        with variables(self.environment()):
            try:
                yield
            except Exception as error:
                self.alive = False
                warnings.warn(
                    f"{self.service} could not {doing} ({type(error).__name__}: {redacted(str(error))}); this run goes "
                    f"on without it, its record is in {self.folder}", stacklevel=4,
                )  # fmt: skip
            finally:
                random.setstate(states[0])
                np.random.set_state(states[1])  # noqa: NPY002
                torch.set_rng_state(states[2])


@contextmanager
def variables(wanted: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables for as long as the block runs: a value stands where the user set none, None takes one
    away."""
    before = {name: os.environ.get(name) for name in wanted}
    for name, value in wanted.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def arguments() -> Iterator[None]:
    """The command line without its secrets: a library may write it down."""
    before, sys.argv = sys.argv, redacted(sys.argv)
    try:
        yield
    finally:
        sys.argv = before
