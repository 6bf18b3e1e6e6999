"""The space of a search as it is typed, in Hydra's own grammar:

    optimizer.lr=tag(log,interval(1e-5,1e-2))     a number between, both ends in it; whole where the key's is
    architecture.layers=range(1,5)                whole numbers as the grid has them: 1, 2, 3, 4
    corruption=choice(gaussian,token_mask)        a choice of a group, or a value of a key
    schedule.level=tag("schedule=constant",interval(0.1,0.9))     there under that choice alone

In a file, or in `hydra.sweeper.params`: KEY: TEXT, or KEY: {value: TEXT, when: KEY=VALUE}, where `when` may be a list,
and a VALUE several with commas. A key that only some choices of a searched group have is searched under these alone.

Imports neither torch nor Optuna."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from denoiselab import names
from denoiselab.names import advice
from denoiselab.run.secrets import redacted
from denoiselab.search.axis import axis, condition
from denoiselab.search.space import Axis, Choice, Condition, Space
from denoiselab.spec import Refused

FORM = "KEY: interval(0,1), KEY: choice(a,b), or KEY: {value: interval(0,1), when: OTHER=VALUE}"


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


# -- overrides, and what a file says instead


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
            got, fix = " ".join(f"{e}".split()), f"a YAML file with a line a key: {FORM}"
            raise Refused(f"hydra.sweeper.params={path} cannot be read", got, fix) from e
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
