"""Is a configuration what its classes take? Asked before anything is made, with the nearest names.

Every key of a node with a `_target_` is an argument of that class, and its value is of the annotated type; a key of the
root is a group, or one of the few in `ROOT`; every number is finite. What cannot be judged passes. Ranges are judged by
the constructors. On the command line, what no chosen part reads is refused, and what Hydra would take in silence.
"""

import collections.abc
import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator

from hydra.utils import get_object

from denoiselab.names import OVERLAYS, advice, groups, known, suggestion
from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused

ROOT = {
    "name": str, "outputs": str, "seed": int, "monitor.name": str, "monitor.mode": typing.Literal["min", "max"],
    "rerun": typing.Literal[False, True, "stale"], "extend": str | None, "init": str | None,
    "invalid": typing.Literal["refuse", "skip"], "overfit": bool, "compile": bool, "channels_last": bool,
    "plugins": list[str] | str, "retry": typing.Literal["failed"] | None, "dry_run": bool | None,
    "budget.seconds": float | None, "arms": str | None, "arm": str | None,
}  # fmt: skip
TOP = frozenset({*(key.partition(".")[0] for key in ROOT), "checkpoint"})
SAVER = "denoiselab.run.saver.Saver"  # checkpoint.* are arguments of it
# Groups that the program reads by itself; all others are read where a choice says ${group}.
DIRECT = (
    "data", "corruption", "times", "architecture", "parameterization", "posterior", "objective", "sampler",
    "evaluation", "optimizer", "lr_schedule", "trainer", "callbacks", "logger", *OVERLAYS, "edits",
    "guidance",
)  # fmt: skip
COLLECTIONS = ("callbacks", "edits")  # groups that are dictionaries of nodes; of edits several can be chosen, or none
REPEATED = ("trainer", "data", "times", "schedule")  # groups that others repeat, or numbers of them
PARTIAL = ("grid", "optimizer")  # groups whose choices are functions
# What of a library's class has a meaning of our own (denoiselab.run.budget): argument to annotation.
OURS = {"pytorch_lightning.Trainer": {"max_steps": int | None, "max_samples": int | None, "max_time": float | None}}
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
    if inspect.isclass(thing) and not any("__init__" in vars(c) for c in thing.__mro__ if c.__module__ not in BARE):
        return {}, False  # whatever torch's constructor says that it takes
    parameters = inspect.signature(thing).parameters.values()
    try:
        hints = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing)
    except Exception:  # annotations that cannot be evaluated outside their module: nothing can be judged
        hints = {}
    named = {p.name: hints.get(p.name, typing.Any) for p in parameters
             if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}  # fmt: skip
    return named | OURS.get(target, {}), any(p.kind is p.VAR_KEYWORD for p in parameters)


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


# -- the whole ---------------------------------------------------------------------------------------------


def leaves(node, where: str) -> Iterator[tuple[str, object]]:
    """Dotted key and value of all that is no dictionary, or an empty one."""
    if not (isinstance(node, dict) and node):
        yield where, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{where}.{key}")


def root() -> dict[str, object]:
    """Dotted key to annotation, of all that is in no group."""
    saver = target(SAVER, "checkpoint")[0]
    return ROOT | {f"checkpoint.{key}": hint for key, hint in saver.items() if f"checkpoint.{key}" in known()}


def config(plain: dict) -> None:
    """The whole configuration, root keys included."""
    keys = root()
    given = dict(leaf for key, value in plain.items() if key in TOP for leaf in leaves(value, key))
    for key, value in given.items():
        if key not in keys:
            raise unread(key, value)
        if not fits(value, keys[key]):
            raise wrong(key, value, keys[key])
        node(value, key)
    for key in [*keys, *(group for group in DIRECT if group not in OVERLAYS)]:
        # What may be null need not be there.
        if key not in {**given, **plain} and not (key in keys and fits(None, keys[key])):
            raise Refused(f"{key} is needed", f"~{key}", f"leave it, or give another: {key}=...")
    # What others repeat comes first: the name under which it was typed.
    for key in sorted({*plain} - TOP, key=lambda group: (group in DIRECT, group not in REPEATED)):
        for where, content in parts(plain[key], key):
            node(content, where)
    for key, words in spoken().items():
        value = plain["trainer"].get(key)
        if isinstance(value, str) and value not in words:
            raise Refused(f"trainer.{key} is one of a few words", repr(value), advice(value, words))


def parts(config, group: str) -> Iterator[tuple[str, dict]]:
    """Where each part of a group lies: the group itself, or what a collection holds."""
    if group not in COLLECTIONS:
        yield group, part(config, group)
        return
    targets = set()
    for name, content in config.items():
        where = f"{group}.{name}"
        if content is None:
            continue
        yield where, part(content, where)
        if (kind := content["_target_"]) in targets:
            key = f"{where}._target_"
            raise Refused(f"there is a second {kind}", f"{key}={kind}", suggestion(key))
        targets.add(kind)


def part(config, where: str) -> dict:
    """What has a class, and is a function only where a function is asked."""
    if not (isinstance(config, dict) and "_target_" in config):
        raise unread(*next(leaves(config, where)))
    if (partial := config.get("_partial_", False)) != (where in PARTIAL):
        what = f"{where} is {'a function' if where in PARTIAL else 'no function'}"
        raise Refused(what, f"{where}._partial_={partial}", f"leave {where}._partial_ as it was")
    return config


def unread(key: str, value, more: Iterable[str] = ()) -> Refused:
    return Refused(f"nothing reads {key}", redacted(f"{key}={value}"), suggestion(key, more))


def spoken() -> dict[str, list[str]]:
    """Words that Lightning's Trainer takes and its annotations do not say."""
    from pytorch_lightning.accelerators import AcceleratorRegistry
    from pytorch_lightning.strategies import StrategyRegistry

    return {"accelerator": ["auto", "gpu", *AcceleratorRegistry.available_accelerators()],
            "strategy": ["auto", *StrategyRegistry.available_strategies()]}  # fmt: skip


# -- the command line --------------------------------------------------------------------------------------


def read(raw: dict, overrides: list[str]) -> None:
    """Refuses what was typed and nothing reads; `raw` is the configuration with its interpolations."""
    reached, new = set(), {g for g in DIRECT if g in raw}
    while new:
        reached |= new
        new = {name for group in new for name in re.findall(r"\$\{(\w+)", str(raw.get(group))) if name in raw} - reached
    for key, value in raw.items():
        if key not in {*TOP, *groups(), *reached}:
            raise unread(*next(leaves(value, key)))
    for override in overrides:
        key = re.split(r"[=@]", override.lstrip("+~"), maxsplit=1)[0]
        group = key.partition(".")[0]
        if group in raw and group not in reached and group not in TOP:
            raise Refused(
                f"nothing reads {group} here: none of the chosen parts does", redacted(override),
                f"leave it out, or choose parts whose configuration says ${{{group}}}: denoiselab train --cfg job",
            )  # fmt: skip
        if override.startswith("~") and argues(raw, key):
            raise Refused(f"{key} is an argument, and cannot be deleted", override, f"give it a value: {key}=VALUE")


def argues(raw: dict, key: str) -> bool:
    """Does a dotted key lie in a node of a class?"""
    for name in key.split(".")[:-1]:
        raw = raw.get(name)
        if not isinstance(raw, dict):  # a reference to a node
            return True
    return "_target_" in raw


def hydra(overrides: list[str]) -> None:
    """Refuses keys under `hydra.` that Hydra does not read and would take in silence. Asked in a job, or of a cell:
    where HydraConfig is set."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    for plugin in ("launcher", "sweeper"):
        node(OmegaConf.to_container(HydraConfig.get()[plugin], resolve=True), f"hydra.{plugin}")
    schema = hydras()
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        names = key.split(".")
        above = [".".join(names[:n]) for n in range(1, len(names))]
        # A group's choice Hydra looks for; what has no type of its own (callbacks, logging) is a plugin's.
        if "/" not in key and key not in schema and not any(schema.get(name) is False for name in above):
            raise unread(key, value, schema)


@functools.cache
def hydras() -> dict[str, bool]:
    """Every dotted key of Hydra's own configuration, to whether Hydra says what is below it."""
    from hydra.conf import HydraConf

    found, new = {}, {"hydra": HydraConf}
    while new:
        found |= {key: dataclasses.is_dataclass(kind) for key, kind in new.items()}
        new = {f"{key}.{name}": below for key, kind in new.items() if dataclasses.is_dataclass(kind)
               for name, below in typing.get_type_hints(kind).items()}  # fmt: skip
    return found
