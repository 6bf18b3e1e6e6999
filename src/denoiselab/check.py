"""Is a configuration what its classes take? Asked before anything is made, with the nearest names.

Every key of a node with a `_target_` is an argument of that class, and its value is of the annotated type; what cannot
be judged passes. On the command line, a choice or key of a group that no chosen part reads is refused.
"""

import collections.abc
import functools
import inspect
import re
import types
import typing

from hydra.utils import get_object

from denoiselab.spec import Refused, near

WORDS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}  # Hydra's
ROOT = {"name": str, "outputs": str, "seed": int, "monitor": dict, "rerun": bool, "overfit": bool, "plugins": list,
        "checkpoint": dict}  # fmt: skip
# Groups that the program reads by itself; all others are read where a choice says ${group}.
DIRECT = (
    "data", "corruption", "times", "architecture", "parameterization", "posterior", "objective", "sampler",
    "evaluation", "optimizer", "lr_schedule", "trainer", "callbacks", "logger", "experiment", "debug",
)  # fmt: skip


@functools.cache
def arguments(target: str) -> tuple[dict[str, object], bool]:
    """Argument to annotation, and whether any keyword is taken."""
    thing = get_object(target)
    parameters = inspect.signature(thing).parameters.values()
    try:
        hints = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing)
    except Exception:  # annotations that cannot be evaluated outside their module: nothing can be judged
        hints = {}
    named = {p.name: hints.get(p.name, typing.Any) for p in parameters
             if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}  # fmt: skip
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def fits(value, hint) -> bool:
    """A plain YAML value against an annotation."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, h) for h in inner)
    if origin is typing.Literal:
        return value in inner
    if isinstance(value, dict) and "_target_" in value:
        return hint not in (int, float, bool, str)
    if origin in (list, tuple, collections.abc.Sequence):
        return isinstance(value, list) and (not inner or all(fits(v, inner[0]) for v in value))
    if origin is dict:
        return isinstance(value, dict)
    if hint is typing.Any or not inspect.isclass(hint):
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def node(config, where: str) -> None:
    """Refuses the first key below a node that its class does not take, and the first value of another type."""
    if isinstance(config, list):
        for i, value in enumerate(config):
            node(value, f"{where}[{i}]")
    if not isinstance(config, dict):
        return
    if "_target_" in config:
        known, anything = target(config["_target_"], where)
        for key, value in config.items():
            if key in WORDS:
                continue
            if key not in known and not anything:
                got = f"{where}.{key}={value}"
                raise Refused(f"{config['_target_']} has no argument {key!r}", got, near(key, known))
            if value != "???" and not fits(value, known.get(key, typing.Any)):
                raise wrong(f"{where}.{key}", value, known[key])
    for key, value in config.items():
        node(value, f"{where}.{key}")


def wrong(where: str, value, hint) -> Refused:
    """A value of another type, or a word that is none of those known."""
    words = [word for word in literals(hint) if isinstance(word, str)]
    if words and isinstance(value, str):
        return Refused(f"{where} is one of a few words", repr(value), near(value, words))
    wanted = hint.__name__ if inspect.isclass(hint) else re.sub(r"\w+\.", "", str(hint))
    return Refused(f"{where} takes a value of type {wanted}", repr(value), f"give {where} such a value")


def literals(hint) -> list:
    inner = typing.get_args(hint)
    return list(inner) if typing.get_origin(hint) is typing.Literal else [w for h in inner for w in literals(h)]


def target(path: str, where: str) -> tuple[dict[str, object], bool]:
    try:
        return arguments(path)
    except (ImportError, AttributeError, ValueError) as e:
        raise Refused(f"{where}._target_ cannot be imported", e, "correct the name in the configuration") from e


def config(plain: dict) -> None:
    """The whole configuration, root keys included."""
    # Lengths and sizes first: other groups repeat them.
    for key, value in sorted(plain.items(), key=lambda item: item[0] not in ("trainer", "data")):
        if key in ROOT and not fits(value, ROOT[key]) and not (ROOT[key] is list and isinstance(value, str)):
            raise wrong(key, value, ROOT[key])
        node(value, key)


def read(raw: dict, overrides: list[str]) -> None:
    """Refuses an override of a group that nothing reads; `raw` is the configuration with its interpolations."""
    reached, new = set(), {g for g in DIRECT if g in raw}
    while new:
        reached |= new
        new = {name for group in new for name in re.findall(r"\$\{(\w+)", str(raw.get(group))) if name in raw} - reached
    for override in overrides:
        group = re.split(r"[=.@]", override.lstrip("+~"), maxsplit=1)[0]
        if group in raw and group not in reached and group not in ROOT:
            raise Refused(
                f"nothing reads {group} here: none of the chosen parts does", override,
                f"leave it out, or choose parts whose configuration says ${{{group}}}: denoiselab train --cfg job",
            )  # fmt: skip
