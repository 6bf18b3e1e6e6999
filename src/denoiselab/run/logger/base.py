"""What a logger is told, and the one that keeps nothing."""

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image

from denoiselab.run.label import Label
from denoiselab.spec import Refused

Picture = Image.Image | str | Path
Watch = Literal["gradients", "parameters", "all"]
KINDS = {None: (), "gradients": ("gradients",), "parameters": ("parameters",), "all": ("gradients", "parameters")}


class Bars(NamedTuple):
    """A histogram: n counts between n + 1 edges."""

    counts: list[int]
    edges: list[float]


class Watched(NamedTuple):
    """What of the network is drawn as histograms ("gradients", "parameters"), every so many optimizer steps."""

    kinds: tuple[str, ...] = ()
    every: int = 500

    @classmethod
    def of(cls, watch: Watch | None, every: int) -> "Watched":
        if watch not in KINDS:
            raise Refused("logger.watch is what histograms are drawn of", watch, "gradients, parameters, all or null")
        if every < 1:
            raise Refused("logger.watch_every counts optimizer steps", every, "give at least 1")
        return cls(KINDS[watch], every)


class Logger(abc.ABC):
    """What a run tells, and where it goes."""

    watched = Watched()

    @abc.abstractmethod
    def start(self, folder: Path, identity: str, label: Label, config: Mapping, step: int = 0) -> None:
        """Opens the log of the run in `folder`; `identity` is its fit hash, `label` is for people, `config` maps groups
        to the names of what was chosen, and "config" to the whole. `step` is the optimizer step that the run goes on
        from: what was logged after it may be logged again."""

    @abc.abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers, or one-element tensors, after `step` optimizer steps."""

    @abc.abstractmethod
    def image(self, name: str, picture: Picture, step: int) -> None:
        """A picture, or the path of its file."""

    @abc.abstractmethod
    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence], step: int) -> None:
        """Rows of numbers and strings."""

    @abc.abstractmethod
    def histogram(self, name: str, bars: Bars, step: int) -> None:
        """How often values lie where."""

    @abc.abstractmethod
    def summary(self, values: Mapping[str, float], step: int) -> None:
        """What stands for the whole run in a table of runs: the best metric, beside the last."""

    @abc.abstractmethod
    def finish(self) -> str | None:
        """Closes the log; gives what the user should be told, if anything."""

    @abc.abstractmethod
    def together(self, folders: Sequence[Path]) -> str | None:
        """How the user sees several runs beside each other, if there is a command for it; of a logger that was not
        started."""


class Tabular(Logger):
    """Keeps numbers and tables at most, where the record of the run lies: pictures and histograms pass it by, and the
    user need be told nothing."""

    def image(self, name, picture, step):
        pass

    def histogram(self, name, bars, step):
        pass

    def summary(self, values, step):
        pass

    def finish(self):
        return None

    def together(self, folders):
        return None


class Nothing(Tabular):
    """No log: the record in the run's folder is enough."""

    def start(self, folder, identity, label, config, step=0):
        pass

    def log(self, values, step):
        pass

    def table(self, name, columns, rows, step):
        pass


def opened(picture: Picture) -> Image.Image:
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return image.convert("RGB")
