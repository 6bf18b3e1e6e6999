"""Nodes: is each key an argument of its class, and its value of the annotated type? What cannot be judged passes."""

import collections.abc
import functools
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator

from hydra.utils import get_object

from denoiselab.names import advice, suggestion
from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused

# What has a meaning of our own at a class and those below it, beside its arguments: denoiselab.run.budget reads it,
# denoiselab.data.folds.
OURS = {
    "pytorch_lightning.trainer.trainer.Trainer": {"max_steps": int | None, "max_samples": int | None,
                                                  "max_time": float | None},
    "denoiselab.data.base.Data": {"folds": int | None, "fold": int | None},
}  # fmt: skip
LARGEST = 2**63  # what 64 bits hold; a number beyond it means nothing anywhere
# Ranges, their upper ends outside, of numbers that a library's constructor takes as they come, and of functions, which
# are not called before there is a network.
RANGES = {
    "torch.optim.SGD.momentum": (0, 1), "pytorch_lightning.callbacks.EarlyStopping.patience": (0, LARGEST),
    "denoiselab.grid.karras.rho": (1, 1000), "denoiselab.grid.karras.low": (1e-6, 1),
    "denoiselab.grid.karras.high": (1, 1e6),
}  # fmt: skip
BARE = ("builtins", "torch.nn.modules.module")  # whose classes have constructors without arguments of a part
HYDRAS = {"_target_": str, "_partial_": bool}  # what Hydra reads of a node


@functools.cache
def arguments(target: str) -> tuple[dict[str, object], bool]:
    """Argument to annotation, and whether any keyword is taken."""
    thing = get_object(target)
    lines = thing.__mro__ if inspect.isclass(thing) else ()
    ours = {key: hint for c in lines for key, hint in OURS.get(f"{c.__module__}.{c.__qualname__}", {}).items()}
    if lines and not any("__init__" in vars(c) for c in lines if c.__module__ not in BARE):
        return ours, False  # whatever torch's constructor says that it takes
    parameters = inspect.signature(thing).parameters.values()
    try:
        hints = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing)
    except Exception:  # annotations that cannot be evaluated outside their module: nothing can be judged
        hints = {}
    named = {p.name: hints.get(p.name, typing.Any) for p in parameters
             if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}  # fmt: skip
    return named | ours, any(p.kind is p.VAR_KEYWORD for p in parameters)


def fits(value, hint) -> bool:
    """A plain YAML value against an annotation."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, h) for h in inner)
    if origin is typing.Literal:
        return any(value == word and type(value) is type(word) for word in inner)
    if isinstance(value, dict) and "_target_" in value:
        return gives(value, hint)
    if origin is collections.abc.Callable:
        return False
    if origin is tuple and Ellipsis not in inner:
        return isinstance(value, list) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin in (list, tuple, collections.abc.Sequence):
        return isinstance(value, list) and (not inner or all(fits(v, inner[0]) for v in value))
    if origin is dict:
        return isinstance(value, dict)
    if not inspect.isclass(hint):
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def gives(value: dict, hint) -> bool:
    """What a node makes against an annotation: an instance of its class, or, where it is a partial one, a function or
    what makes instances of the class that is asked."""
    thing = get_object(value["_target_"])
    if value.get("_partial_"):
        made = typing.get_args(hint)[-1:]
        return typing.get_origin(hint) is collections.abc.Callable and (
            not inspect.isclass(thing) or any(inspect.isclass(kind) and issubclass(thing, kind) for kind in made)
        )
    return not (inspect.isclass(thing) and inspect.isclass(hint)) or issubclass(thing, hint)


def node(config, where: str) -> None:
    """Refuses the first key below a node that its class does not take, and the first value of another type."""
    if isinstance(config, int | float) and not abs(config) < LARGEST:
        raise Refused(f"{where} takes a finite number, of less than 19 digits", config, f"give {where} such a value")
    for key, value in config.items() if isinstance(config, dict) else ():
        node(value, f"{where}.{key}")
    for i, value in enumerate(config) if isinstance(config, list) else ():
        node(value, f"{where}[{i}]")
    if not (isinstance(config, dict) and "_target_" in config):
        return
    taken, anything = target(config["_target_"], where)
    taken = taken | HYDRAS
    for key, value in config.items():
        path = f"{where}.{key}"
        if key not in taken and not anything:
            what, (path, value) = f"{config['_target_']} has no argument {key!r}", next(leaves(value, path))
            fix = suggestion(path, (f"{where}.{name}" for name in taken))
            fix += f"; where an experiment gives it: '~{path}' leaves it out"
            raise Refused(what, redacted(f"{path}={value}"), fix)
        if value != "???" and not fits(value, taken.get(key, typing.Any)):
            raise wrong(path, value, taken[key])
        low, high = RANGES.get(f"{config['_target_']}.{key}", (None, None))
        if low is not None and not low <= value < high:
            raise Refused(f"{path} is out of its range", value, f"give {low} or more, and less than {high}")


def wrong(where: str, value, hint) -> Refused:
    """A value of another type, or a word that is none of those known."""
    if isinstance(value, dict) and "_target_" in value:
        what = f"{where} takes a {getattr(hint, '__name__', 'part of another kind')}"
        return Refused(what, value["_target_"], "choose one of its group: denoiselab list")
    if isinstance(value, dict) and value:
        return unread(*next(leaves(value, where)))
    words = [word for word in literals(hint) if isinstance(word, str)]
    if words and isinstance(value, str):
        return Refused(f"{where} is one of a few words", repr(value), advice(value, words))
    wanted = hint.__name__ if inspect.isclass(hint) else re.sub(r"\w+\.", "", str(hint))
    return Refused(f"{where} takes a value of type {wanted}", redacted(repr(value)[:200]), f"give {where} such a value")


def literals(hint) -> list:
    inner = typing.get_args(hint)
    return list(inner) if typing.get_origin(hint) is typing.Literal else [w for h in inner for w in literals(h)]


def target(path: str, where: str) -> tuple[dict[str, object], bool]:
    if not isinstance(path, str):
        raise wrong(f"{where}._target_", path, str)
    try:
        return arguments(path)
    except (ImportError, AttributeError, ValueError) as e:
        raise Refused(f"{where}._target_ cannot be imported", e, "correct the name in the configuration") from e


def leaves(node, where: str) -> Iterator[tuple[str, object]]:
    """Dotted key and value of all that is no dictionary, or an empty one."""
    if not (isinstance(node, dict) and node):
        yield where, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{where}.{key}")


def unread(key: str, value, more: Iterable[str] = ()) -> Refused:
    return Refused(f"nothing reads {key}", redacted(f"{key}={value}"), suggestion(key, more))
