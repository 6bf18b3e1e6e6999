"""The space of a search: the keys that are searched, what each may be, and when it is there. Knows nothing of how it
was typed (denoiselab.search.grammar), and imports neither torch nor Optuna."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from denoiselab.spec import Refused

DIGITS = 6  # of a proposed number that are typed
MOST = 100_000  # cells of a grid


class Range(ABC):
    """What a key may be."""

    @abstractmethod
    def drawn(self, trial, name: str) -> str:
        """A value as it is typed, which an Optuna trial proposes."""

    @abstractmethod
    def values(self) -> list | None:
        """All, as Optuna has them; None where there is no end of them."""


@dataclass(frozen=True)
class Choice(Range):
    words: tuple[str, ...]

    def drawn(self, trial, name):
        return trial.suggest_categorical(name, self.words)

    def values(self):
        return list(self.words)


@dataclass(frozen=True)
class Whole(Range):
    low: int
    high: int  # in it
    step: int
    log: bool

    def drawn(self, trial, name):
        return str(trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log))

    def values(self):
        return list(range(self.low, self.high + 1, self.step))


@dataclass(frozen=True)
class Real(Range):
    low: float
    high: float
    step: float | None
    log: bool

    def drawn(self, trial, name):
        value = trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)
        return f"{min(max(float(f'{value:.{DIGITS}g}'), self.low), self.high)!r}"

    def values(self):
        if self.step is None:
            return None
        return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]


class Condition(NamedTuple):
    """Another key has one of these values."""

    key: str
    values: tuple[str, ...]

    def __str__(self):
        return f"{self.key}={','.join(self.values)}"


class Axis(NamedTuple):
    """A key that is searched."""

    key: str  # as it is typed, a + included
    text: str  # what was typed of it
    range: Range
    when: tuple[Condition, ...]

    @property
    def name(self) -> str:
        return self.key.lstrip("+")

    def holds(self, chosen: dict[str, str]) -> bool:
        return all(chosen.get(condition.key) in condition.values for condition in self.when)


class Space(NamedTuple):
    """Axes, those that others ask for before them."""

    axes: tuple[Axis, ...]

    def drawn(self, propose) -> list[str]:
        """The overrides of a trial; `propose` gives for the name of an axis what proposes it."""
        chosen, words = {}, []
        for axis in self.axes:
            if axis.holds(chosen):
                chosen[axis.name] = axis.range.drawn(propose(axis.name), axis.name)
                words.append(f"{axis.key}={chosen[axis.name]}")
        return words

    def cells(self) -> list[dict[str, object]]:
        """All that there are, by name; refused where they have no end."""
        endless = [axis.name for axis in self.axes if axis.range.values() is None]
        if endless:
            fix = "give it range(LOW,HIGH,STEP) or choice(...), or take another sampler"
            raise Refused("a grid has an end", f"{endless[0]} is any number of an interval", fix)
        found: list[tuple[dict, dict]] = [({}, {})]
        for axis in self.axes:
            found = [more for cell in found for more in self.continued(axis, *cell)]
            if len(found) > MOST:
                raise Refused(f"a grid has at most {MOST:,} cells", f"more with {axis.name}", "take another sampler")
        return [cell for _, cell in found]

    def continued(self, axis: Axis, chosen: dict, cell: dict) -> Iterator[tuple[dict, dict]]:
        if not axis.holds(chosen):
            yield chosen, cell
            return
        for value in axis.range.values():
            yield chosen | {axis.name: str(value)}, cell | {axis.name: value}

    def numbers(self) -> list[str]:
        """The names of those that are numbers and always there."""
        return [axis.name for axis in self.axes if not isinstance(axis.range, Choice) and not axis.when]

    def said(self) -> dict[str, str]:
        return {axis.key: axis.text + "".join(f" when {c}" for c in axis.when) for axis in self.axes}
