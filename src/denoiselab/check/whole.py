"""The whole configuration: the keys of the root, and the groups, each a part or a collection of parts."""

import typing
from collections.abc import Iterator

from denoiselab.check.nodes import fits, leaves, node, target, unread, wrong
from denoiselab.names import OVERLAYS, advice, known, suggestion
from denoiselab.spec import Refused

ROOT = {
    "name": str, "outputs": str, "seed": int, "monitor.name": str, "monitor.mode": typing.Literal["min", "max"],
    "rerun": typing.Literal[False, True, "stale"], "extend": str | None, "init": str | None,
    "invalid": typing.Literal["refuse", "skip"], "overfit": bool, "compile": bool, "channels_last": bool, "trim": bool,
    "plugins": list[str] | str, "retry": typing.Literal["failed"] | None, "dry_run": bool | None,
    "budget.seconds": float | None, "arms": str | None, "arm": str | None,
    "trial.study": str | None, "trial.number": int | None,
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


def spoken() -> dict[str, list[str]]:
    """Words that Lightning's Trainer takes and its annotations do not say."""
    from pytorch_lightning.accelerators import AcceleratorRegistry
    from pytorch_lightning.strategies import StrategyRegistry

    return {"accelerator": ["auto", "gpu", *AcceleratorRegistry.available_accelerators()],
            "strategy": ["auto", *StrategyRegistry.available_strategies()]}  # fmt: skip
