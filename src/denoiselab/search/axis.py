"""One key of a space, read from its override: interval, range or choice, a scale and conditions as tags. What the key
takes elsewhere, in the shipped configurations, says whether a number of it is whole."""

import math
from collections.abc import Sequence

from denoiselab import names
from denoiselab.search.space import Axis, Choice, Condition, Range, Real, Whole
from denoiselab.spec import Refused

BOOLEAN = {"True": "true", "False": "false"}  # as Hydra has them of a choice, and as they are typed


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


def condition(text: str) -> Condition:
    key, equals, values = str(text).removeprefix("when ").partition("=")
    if not (equals and key and values):
        raise Refused("a condition is KEY=VALUE", text, "when: schedule=constant")
    return Condition(key.strip(), tuple(value.strip() for value in values.split(",")))
