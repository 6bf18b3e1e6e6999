"""What goes between the driver, which has no torch, and its processes, which do: verdicts on cells, and orders to train
them."""

from typing import NamedTuple


class Order(NamedTuple):
    """What to train, and in which surroundings."""

    config: dict
    choices: dict[str, str]
    overrides: list[str]
    log: str | None  # what is printed goes there; None: to the screen
    environment: dict[str, str]  # the whole
    threads: int
    grace: float  # seconds to save itself when the driver is gone

    def obeyed(self) -> None:
        """In the process itself, which the fork server gave all that is imported here."""
        from denoiselab.launch import child

        child.work(self)


class Verdict(NamedTuple):
    """What the driver must know of a cell, without torch."""

    fit: str
    score: str
    folder: str
    finished: str | None  # where its results lie
    stale: bool  # made by other code than this
    ranks: int
    gpu: bool
    steps: int  # of the whole training


class Timing(NamedTuple):
    """Seconds of a cell's first step, of a later one, and of a validation."""

    first: float
    step: float
    validation: float
