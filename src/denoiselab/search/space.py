"""The space of a search, in Hydra's own grammar:

    optimizer.lr=tag(log,interval(1e-5,1e-2))     a number between, both ends in it; whole where the key's is
    architecture.layers=range(1,5)                whole numbers as the grid has them: 1, 2, 3, 4
    corruption=choice(gaussian,token_mask)        a choice of a group, or a value of a key
    schedule.level=tag("schedule=constant",interval(0.1,0.9))     there under that choice alone

In a file, or in `hydra.sweeper.params`: KEY: TEXT, or KEY: {value: TEXT, when: KEY=VALUE}, where `when` may be a list,
and a VALUE several with commas. A key that only some choices of a searched group have is searched under these alone.

Imports neither torch nor Optuna."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from denoiselab import names
from denoiselab.names import advice
from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused

DIGITS = 6  # of a proposed number that are typed
FORM = "KEY: interval(0,1), KEY: choice(a,b), or KEY: {value: interval(0,1), when: OTHER=VALUE}"
BOOLEAN = {"True": "true", "False": "false"}  # as Hydra has them of a choice, and as they are typed
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


# -- read


def made(overrides: Iterable, params: dict | str | None) -> tuple[Space, list[str]]:
    """The space, and the words that are the same in all trials: of parsed overrides and of `params`, which they
    overrule."""
    typed = {override.get_key_element().lstrip("+"): override for override in overrides}
    whens: dict[str, list] = {}
    both = {}
    for key, text, when in listed(params):
        both[key.lstrip("+")], whens[key.lstrip("+")] = parsed(f"{key}={text}"), when
    both |= typed
    axes, fixed = [], []
    for name, override in both.items():
        if not override.is_sweep_override():
            fixed.append(override.input_line)
            continue
        given = [condition(text) for text in whens.get(name, ()) if name not in typed]
        axes.append(axis(override, given))
    if not axes:
        raise Refused("a search has something to search", "no interval(), range() or choice()",
                      "optimizer.lr=tag(log,interval(1e-5,1e-2)), for instance")  # fmt: skip
    return ordered(implied(axes)), fixed


def parsed(word: str):
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as e:
        raise Refused("the space of a search is in Hydra's grammar", redacted(word), FORM) from e


def listed(params) -> Iterator[tuple[str, str, list[str]]]:
    """Key, text and conditions of each of `params`: a dictionary, or the path of a YAML file that holds one."""
    if isinstance(params, str):
        path = Path(params).expanduser()
        try:
            params = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as e:
            raise Refused(
                f"hydra.sweeper.params={path} cannot be read", e, f"a YAML file with a line a key: {FORM}"
            ) from e
    if params is not None and not isinstance(params, dict):
        raise Refused("hydra.sweeper.params is keys and what they may be", params, FORM)
    yield from flat(params or {}, "")


def flat(params: dict, above: str) -> Iterator[tuple[str, str, list[str]]]:
    for key, value in params.items():
        where = f"{above}{key}"
        if isinstance(value, dict) and "value" in value:
            if more := {*value} - {"value", "when"}:
                fix = advice(str(min(more)), ["value", "when"])
                raise Refused(f"{where} has a value and a when", min(more), fix)
            when = value.get("when") or []
            yield where, plain(value["value"]), [when] if isinstance(when, str) else list(when)
        elif isinstance(value, dict):
            yield from flat(value, f"{where}.")
        else:
            yield where, plain(value), []


def plain(value) -> str:
    """A value of YAML as Hydra's grammar has it; a list is a choice."""
    if isinstance(value, list):
        return f"choice({','.join(map(plain, value))})"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def condition(text: str) -> Condition:
    key, equals, values = str(text).removeprefix("when ").partition("=")
    if not (equals and key and values):
        raise Refused("a condition is KEY=VALUE", text, "when: schedule=constant")
    return Condition(key.strip(), tuple(value.strip() for value in values.split(",")))


def axis(override, when: Sequence[Condition]) -> Axis:
    """Of a parsed override that sweeps."""
    key, sweep = override.get_key_element(), override.value()
    tags = sorted(getattr(sweep, "tags", ()))
    text = (override.input_line or "").partition("=")[2]
    when = [*when, *(condition(tag) for tag in tags if "=" in tag)]
    for tag in tags:
        if "=" not in tag and tag != "log":
            raise Refused(
                f"{key} has an unknown tag", tag, 'log, or a condition in quotes: tag("schedule=constant", ...)'
            )
    log, name = "log" in tags, key.lstrip("+")
    if override.is_interval_sweep():
        found = interval(name, text, sweep.start, sweep.end, log)
    elif override.is_range_sweep() and not sweep.shuffle:
        found = stepped(name, text, sweep, log)
    elif override.is_choice_sweep() or override.is_range_sweep():
        if log:
            raise Refused(f"{key}: a choice has no scale", text, "leave log out, or give interval(LOW,HIGH)")
        found = Choice(tuple(dict.fromkeys(BOOLEAN.get(word, word) for word in override.sweep_string_iterator())))
    else:
        raise Refused(f"{key}: a search takes interval, range and choice", text, "name them: choice(a,b)")
    return Axis(key, text, found, tuple(when))


def numeric(name: str, text: str) -> bool:
    """Is a key of whole numbers, by what is shipped? Refused where it takes no number."""
    if name in names.groups():
        raise Refused(
            f"{name} is a group, and takes no number", text, f"{name}=choice({','.join(names.choices(name)[:2])})"
        )
    known = [value for value in shipped(name) if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        raise Refused(f"{name} is true or false, and takes no number", text, f"{name}=choice(true,false)")
    if known and all(isinstance(value, str) and "${" not in value for value in known):
        raise Refused(f"{name} is a word, and takes no number", text, f"{name}=choice(...)")
    return bool(known) and all(type(value) is int for value in known)


def shipped(name: str) -> list:
    """The values that a key has in the shipped configurations."""
    found = []
    for group, _, content in names.files():
        above = f"{group.replace('/', '.')}." if group else ""
        if group in names.OVERLAYS or not name.startswith(above):
            continue
        node = content
        for part in name.removeprefix(above).split("."):
            node = node.get(part, ...) if isinstance(node, dict) else ...
        if node is not ...:
            found.append(node)
    return found


def interval(name: str, text: str, low: float, high: float, log: bool) -> Range:
    whole = numeric(name, text)
    refuse_empty(name, text, low, high, log)
    if type(low) is int and type(high) is int:
        return Whole(low, high, 1, log)
    if whole:
        if not (float(low).is_integer() and float(high).is_integer()):
            raise Refused(f"{name} is a whole number", text, f"{name}=interval({math.ceil(low)},{math.floor(high)})")
        return Whole(int(low), int(high), 1, log)
    return Real(float(low), float(high), None, log)


def stepped(name: str, text: str, sweep, log: bool) -> Range:
    values = list(sweep.range())
    if not values:
        raise Refused(f"{name}: there is nothing in this range", text, f"{name}=range(LOW,HIGH), the end not in it")
    if log:
        raise Refused(f"{name}: a range goes by steps, and has no scale", text, f"{name}=tag(log,interval(LOW,HIGH))")
    whole = numeric(name, text)
    low, high, step = min(values), max(values), abs(sweep.step)
    if all(float(value).is_integer() for value in (low, step)):
        return Whole(int(low), int(high), int(step), False)
    if whole:
        raise Refused(f"{name} is a whole number", text, f"{name}=range(1,4)")
    return Real(float(low), float(high), float(step), False)


def refuse_empty(name: str, text: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise Refused(f"{name}: an interval goes from a lower to a higher number", text, f"{name}=interval(LOW,HIGH)")
    if log and low <= 0:
        raise Refused(f"{name}: a logarithmic interval is above 0", text, f"{name}=tag(log,interval(1e-6,{high:g}))")


def implied(axes: list[Axis]) -> list[Axis]:
    """With the condition of each key that only some of the searched choices of its group have."""
    groups = {each.name: each.range.words for each in axes if isinstance(each.range, Choice)}
    found = []
    for each in axes:
        group = each.name.partition(".")[0]
        having = {word.partition("=")[2] for word in names.known().get(each.name, ()) if word.startswith(f"{group}=")}
        words = groups.get(group, ()) if group != each.name and not each.key.startswith("+") else ()
        # What is not shipped may have it.
        kept = tuple(word for word in words if word in having or word not in names.choices(group))
        known = any(condition.key == group for condition in each.when)
        if having and kept and len(kept) < len(words) and not known:
            each = each._replace(when=(*each.when, Condition(group, kept)))
        found.append(each)
    return found


def ordered(axes: list[Axis]) -> Space:
    """Those that a condition asks for before those that have it; refused where one asks for what is not searched."""
    known = {each.name: each for each in axes}
    for each in axes:
        for key, values in each.when:
            if key not in known:
                raise Refused(
                    f"{each.name} has a condition on what is not searched", key, advice(key, {*known} - {each.name})
                )
            all_of = known[key].range.values()
            for value in values:
                if all_of is None or value not in map(str, all_of):
                    words = advice(value, map(str, all_of)) if all_of else "a condition is on a choice"
                    raise Refused(f"{each.name}: {key} is never this", value, words)
    sorted_, left = [], list(axes)
    while left:
        free = [each for each in left if not {c.key for c in each.when} & {other.name for other in left}]
        if not free:
            raise Refused("conditions go round in a circle", ", ".join(each.name for each in left), "leave one out")
        sorted_.append(free[0])
        left.remove(free[0])
    return Space(tuple(sorted_))
