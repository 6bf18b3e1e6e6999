"""From a plain configuration to a cell: parts made in the order of the data's way, each told what is agreed so far.

A configuration below this file is plain: resolved, dictionaries and lists. A leaf `???` that is named like a field of
`Spec` (vocabulary, classes ...) is told by the data. Only classes of denoiselab, of the libraries it is built on and of
the user's `plugins` can come to life.
"""

import importlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from denoiselab import check, names
from denoiselab.architecture.base import AnyLength, Architecture
from denoiselab.corruption import Corruption
from denoiselab.corruption.edits import Edit
from denoiselab.data.base import Data, Loaded
from denoiselab.data.folds import Folds
from denoiselab.denoiser import Head, Parameterization
from denoiselab.evaluation.evaluate import Evaluation
from denoiselab.guidance import Guidance
from denoiselab.module import DenoisingModule, Parts
from denoiselab.names import advice
from denoiselab.objective import Objective
from denoiselab.optim import Rate
from denoiselab.randomness import key
from denoiselab.run.logger import Logger
from denoiselab.sampler import Sampler
from denoiselab.spec import Refused, Spec, compose
from denoiselab.times import Times

# The modules whose classes are parts of a cell. What else is here (folders opened, processes started ...) is no part.
PARTS = (
    "denoiselab.architecture", "denoiselab.corruption", "denoiselab.data", "denoiselab.denoiser",
    "denoiselab.evaluation", "denoiselab.grid", "denoiselab.guidance", "denoiselab.objective", "denoiselab.optim",
    "denoiselab.run.averaging", "denoiselab.run.logger", "denoiselab.sampler", "denoiselab.schedule",
    "denoiselab.times",
)  # fmt: skip
FUNCTIONS = "denoiselab.grid"  # whose functions are parts too: the grids
# What a library may give: other classes of it read files, pickles among them, and run commands.
LIBRARIES = {
    "torch.optim": torch.optim.Optimizer,
    "pytorch_lightning": (pl.Trainer, pl.Callback),
}


FOLDS = ("folds", "fold")  # of a node of data, what is for all data sets and no argument of one
# What a choice of a group must be.
KINDS = {
    "data": Data, "corruption": Corruption, "parameterization": Parameterization, "posterior": Head,
    "architecture": Architecture, "times": Times, "objective": Objective, "sampler": Sampler,
    "evaluation": Evaluation, "edits": Edit, "guidance": Guidance, "lr_schedule": Rate, "logger": Logger,
}  # fmt: skip


def allow(config: dict) -> None:
    """Refuses a `_target_` that is no part of a cell; makes `plugins` importable from the folder where the command
    runs. Imports no module but those of the parts, of `LIBRARIES` and of the plugins."""
    plugins = config.get("plugins") or []
    plugins = [plugins] if isinstance(plugins, str) else plugins
    if not (isinstance(plugins, list) and all(isinstance(plugin, str) for plugin in plugins)):
        raise Refused("plugins is a list of packages", plugins, "plugins=[my_package]")
    if plugins and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    for plugin in plugins:
        try:
            importlib.import_module(plugin)
        except ImportError as e:
            fix = "install it, run from the folder that holds it, or set PYTHONPATH"
            raise Refused(f"plugins={plugin} cannot be imported", e, fix) from e
    for where, target in targets(config):
        # The name first: what is elsewhere is not even imported.
        named = isinstance(target, str) and within(target, (*PARTS, *LIBRARIES, *plugins))
        if not named or not is_part(resolved(target, where), plugins):
            package = str(target).partition(".")[0]
            fix = advice(str(target), names.targets(), "name a part: denoiselab list.")
            if package != "denoiselab":
                fix += f" Or, if you trust its package, add plugins=[{package}]"
            raise Refused(f"{where} names what is not allowed", target, fix)


def within(name: str, roots: Iterable[str]) -> bool:
    """Is a dotted name one of the packages, or below one?"""
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def resolved(target: str, where: str):
    """What a target names. Its path is that of a module and a name in it: a path through attributes leads anywhere
    (denoiselab.grid.torch is no module)."""
    module, _, leaf = target.rpartition(".")
    try:
        thing = getattr(importlib.import_module(module), leaf)
        if get_object(target) is thing:
            return thing
        raise ImportError("it has two meanings")
    except (ImportError, AttributeError, ValueError) as e:
        raise Refused(f"{where}._target_ cannot be imported, so it is not allowed", f"{target}: {e}",
                      advice(target, names.targets(), "correct the name in the configuration")) from e  # fmt: skip


def is_part(thing, plugins: Iterable[str]) -> bool:
    """May a configuration bring it to life? Judged by where it was defined, not by the name that led to it."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return False
    if within(thing.__module__, plugins) or thing.__module__ == FUNCTIONS:
        return True
    return inspect.isclass(thing) and (
        within(thing.__module__, PARTS)
        or any(within(thing.__module__, [root]) and issubclass(thing, kinds) for root, kinds in LIBRARIES.items())
    )


def targets(node, where: str = "config"):
    """(path, target) of every `_target_` below a node."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield where, node["_target_"]
        for name, value in node.items():
            yield from targets(value, f"{where}.{name}")
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from targets(value, f"{where}[{i}]")


def told(node, spec: Spec):
    """A copy in which `???` leaves named like a field of the spec have its value."""
    if isinstance(node, dict):
        return {
            k: listed(getattr(spec, k)) if v == "???" and k in Spec._fields else told(v, spec) for k, v in node.items()
        }
    return [told(v, spec) for v in node] if isinstance(node, list) else node


def listed(value):
    """A field of the spec as a configuration would say it."""
    return [listed(v) for v in value] if isinstance(value, tuple) else value


def missing(node, where: str):
    if isinstance(node, dict):
        for name, value in node.items():
            yield from missing(value, f"{where}.{name}")
    elif isinstance(node, str) and node == "???":
        yield where


def make(config: dict, group: str, spec: Spec | None = None):
    """The object that a group's configuration describes."""
    return made(config.get(group), group, spec)


def made(node, group: str, spec: Spec | None = None):
    """The same of a node of a group."""
    node = told(node, spec) if spec else node
    if not isinstance(node, dict) or "_target_" not in node:
        raise Refused(f"{group} is not a choice of its group", node, f"give one of: denoiselab list {group}")
    part, name = instantiated(node, group), group.partition(".")[0]
    if not isinstance(part, KINDS.get(name, object)):
        kind = f"{group} is a {KINDS[name].__name__}, and subclasses it where it is yours"
        raise Refused(kind, node["_target_"], f"give one of: denoiselab list {name}")
    return part


def collected(config: dict, group: str, spec: Spec | None = None) -> dict:
    """Name to object, of a group that holds several."""
    return {name: made(node, f"{group}.{name}", spec) for name, node in (config.get(group) or {}).items() if node}


def instantiated(node: dict, group: str, **arguments):
    """The object that a node describes, with further arguments; its mistakes in our words."""
    check.node(node, group)
    for where in missing(node, group):
        raise Refused(f"{where} needs a value", "none", f"add {where}=VALUE to the command")
    try:
        return instantiate({**node, "_convert_": "all"}, **arguments)
    except InstantiationException as e:
        cause = e
        while cause is not None and not isinstance(cause, Refused):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        got, fix = repr(e.__cause__ or e), "compare the keys with `denoiselab train --cfg job`"
        raise Refused(f"{node['_target_']} cannot be made from {group}", got, fix) from e


def load(config: dict) -> Loaded:
    """The data of a configuration, in memory; latents are not encoded yet: that is denoiselab.run.first.load."""
    node = config.get("data")
    if not isinstance(node, dict):
        return make(config, "data").load()  # refused
    folds = Folds(node.get("folds"), node.get("fold"))
    return folds.load(made({key: value for key, value in node.items() if key not in FOLDS}, "data"))


class Agreed(NamedTuple):
    """The parts of a cell that agree; no network yet."""

    spec: Spec
    corruption: Corruption
    parameterization: Parameterization
    head: Head
    architecture: Architecture
    times: Times
    objective: Objective
    sampler: Sampler
    edits: dict[str, Edit]
    guidance: Guidance


def agree(config: dict, spec: Spec) -> Agreed:
    """The parts of a cell for samples of `spec`; refused with the reason where they do not fit."""
    corruption = make(config, "corruption", spec)
    spec = corruption.accepts(spec)
    parameterization, head = make(config, "parameterization", spec), make(config, "posterior", spec)
    spec = head.accepts(parameterization.accepts(spec))
    architecture = make(config, "architecture", spec)
    edits = collected(config, "edits", spec)
    spec = compose(spec, architecture, *edits.values())
    times, objective, guidance, sampler = (make(config, g, spec) for g in ("times", "objective", "guidance", "sampler"))
    spec = compose(spec, times, objective)
    compose(spec, guidance, sampler)
    if config.get("trim") and AnyLength not in spec.facts:
        raise Refused("trim=true gives the network texts of any length", type(architecture).__name__,
                      "give trim=false, or architecture=transformer, encoder_decoder or decoder")  # fmt: skip
    return Agreed(spec, corruption, parameterization, head, architecture, times, objective, sampler, edits, guidance)


def assemble(config: dict, spec: Spec) -> Parts:
    """The parts of a cell and its network, whose first weights are a function of the seed alone."""
    agreed = agree(config, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(int(config["seed"]), 0) & (2**63 - 1))
        network = agreed.architecture.build(agreed.spec)
        denoiser = agreed.parameterization.build(network, agreed.corruption, agreed.head, agreed.spec)
    return Parts(agreed.spec, agreed.corruption, denoiser, agreed.times, agreed.objective, agreed.sampler, agreed.edits,
                 agreed.guidance)  # fmt: skip


def optimizer(config: dict):
    """A function of parameter groups, tried once: what it does not take is said before training."""
    function = make(config, "optimizer")
    try:
        function([{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    except (TypeError, ValueError, RuntimeError) as e:
        raise Refused(f"{config['optimizer']['_target_']} cannot be made", e, "correct optimizer.*") from e
    return function


def module(config: dict, spec: Spec) -> DenoisingModule:
    """The cell as a LightningModule."""
    return DenoisingModule(
        assemble(config, spec), optimizer(config), make(config, "lr_schedule"), int(config["seed"]),
        int(config["evaluation"]["seed"]), bool(config["overfit"]),
    )  # fmt: skip
