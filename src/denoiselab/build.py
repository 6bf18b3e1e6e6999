"""From a plain configuration to a cell: parts made in the order of the data's way, each told what is agreed so far.

A configuration below this file is plain: resolved, dictionaries and lists. A leaf `???` that is named like a field of
`Spec` (vocabulary, classes ...) is told by the data. Only classes of denoiselab, of the libraries it is built on and of
the user's `plugins` can come to life.
"""

import importlib
import sys
from pathlib import Path

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from denoiselab import check
from denoiselab.data.base import Data, Loaded
from denoiselab.module import DenoisingModule, Parts
from denoiselab.randomness import key
from denoiselab.spec import Refused, Spec

LIBRARIES = ("denoiselab", "torch.optim", "pytorch_lightning", "torchmetrics")


def plain(cfg: DictConfig) -> dict:
    """The configuration resolved, without Hydra's own node."""
    return OmegaConf.to_container(OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]), resolve=True)


def allow(config: dict) -> None:
    """Refuses a `_target_` from elsewhere; makes `plugins` importable from the folder where the command runs."""
    plugins = config.get("plugins") or []
    plugins = [plugins] if isinstance(plugins, str) else plugins
    if plugins and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    for plugin in plugins:
        try:
            importlib.import_module(plugin)
        except ImportError as e:
            fix = "install it, run from the folder that holds it, or set PYTHONPATH"
            raise Refused(f"plugins={plugin} cannot be imported", e, fix) from e
    allowed = (*LIBRARIES, *plugins)
    for where, target in targets(config):
        if not any(target == root or target.startswith(root + ".") for root in allowed):
            raise Refused(
                f"{where} names a class that is not allowed", target,
                f"add its package: plugins=[{target.split('.')[0]}]",
            )  # fmt: skip


def targets(node, where: str = "config"):
    """(path, target) of every `_target_` below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield where, node["_target_"]
        for name, value in node.items():
            yield from targets(value, f"{where}.{name}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from targets(value, f"{where}[{i}]")


def told(node, spec: Spec):
    """A copy in which `???` leaves named like a field of the spec have its value."""
    if isinstance(node, dict):
        return {k: getattr(spec, k) if v == "???" and k in Spec._fields else told(v, spec) for k, v in node.items()}
    return [told(v, spec) for v in node] if isinstance(node, list) else node


def missing(node, where: str):
    if isinstance(node, dict):
        for name, value in node.items():
            yield from missing(value, f"{where}.{name}")
    elif isinstance(node, str) and node == "???":
        yield where


def make(config: dict, group: str, spec: Spec | None = None):
    """The object that a group's configuration describes."""
    node = told(config.get(group), spec) if spec else config.get(group)
    if not isinstance(node, dict) or "_target_" not in node:
        raise Refused(f"{group} is not a choice of its group", node, f"give one of: denoiselab list {group}")
    return instantiated(node, group)


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
    """The data of a configuration, in memory."""
    data = make(config, "data")
    assert isinstance(data, Data), "a choice of group data is a Data"
    return data.load()


def assemble(config: dict, spec: Spec) -> Parts:
    """The parts of a cell for samples of `spec`; refused with the reason where they do not fit. The network's first
    weights are a function of the seed alone."""
    corruption = make(config, "corruption", spec)
    spec = corruption.accepts(spec)
    parameterization, head = make(config, "parameterization", spec), make(config, "posterior", spec)
    spec = head.accepts(parameterization.accepts(spec))
    architecture = make(config, "architecture", spec)
    spec = architecture.accepts(spec)
    times, objective, sampler = (make(config, g, spec) for g in ("times", "objective", "sampler"))
    spec = objective.accepts(times.accepts(spec))
    sampler.accepts(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(int(config["seed"]), 0) & (2**63 - 1))
        network = architecture.build(spec)
    return Parts(spec, corruption, parameterization.build(network, corruption, head), times, objective, sampler)


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
