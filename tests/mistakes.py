"""What tests of mistakes share: every leaf of every configuration, and what is said of a value in its place.

No command is run: a mutated override goes through Hydra's parser and its merging, or, with `++`, is planted in the
composed configuration, as Hydra would do it in silence.
"""

import tempfile
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from denoiselab import build, check
from denoiselab.configuration import explained, groups
from denoiselab.data.folds import Folds
from denoiselab.files import CONF
from denoiselab.names import OVERLAYS, choices, known
from denoiselab.run import identity, job
from denoiselab.run.saver import Saver
from denoiselab.spec import Refused, Spec

LETTERS = "abcdefghijklmnopqrstuvwxyz_"
# What reads a key of another choice, or fits a part of its own alone.
ALONG = {
    "objective=bound": ["times=grid"], "objective=hybrid": ["times=grid"], "posterior=learned_log": ["times=grid"],
    "corruption=damage": ["where=tokens", "shown=mask", "asked=touched"],
}  # fmt: skip


# -- what there is


@cache
def composed(number) -> DictConfig:
    """A configuration in which each group has its choice of this number; Hydra's own part included."""
    parts = {g: c[number % len(c)] for g in groups() if g not in OVERLAYS and (c := choices(g))}
    along = [word for g, c in parts.items() for word in ALONG.get(f"{g}={c}", ())]
    words = [f"{g}={c}" for g, c in parts.items() if not any(a.startswith(f"{g}=") for a in along)]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*words, *dict.fromkeys(along)], return_hydra_config=True)


@cache
def plain(number, resolve=True) -> dict:
    cfg = composed(number)
    return OmegaConf.to_container(OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]), resolve=resolve)


@cache
def leaves() -> list[tuple[int, str, object]]:
    """(number of a composition, key, value with its interpolation) of every leaf of every configuration, once a class
    that has it; of Hydra's part, those that our files give."""
    found = {}
    for number in range(max(map(len, groups().values()))):
        raw = plain(number, resolve=False)
        for group, content in raw.items():
            kind = content.get("_target_") if isinstance(content, dict) else None
            for key, value in check.leaves(content, group):
                found.setdefault((kind, key), (number, key, value))
    hydra = OmegaConf.to_container(composed(0).hydra, resolve=False)
    ours = [key for key in known() if key.startswith("hydra.")]
    for key, value in check.leaves(hydra, "hydra"):
        if key in ours:
            found.setdefault((None, key), (0, key, value))
    return list(found.values())


@cache
def values() -> list[tuple[int, str, object, object]]:
    """(number, key, value with what it refers to, annotation) of every leaf that is judged by its type."""
    found = []
    for number, key, _ in leaves():
        above, _, last = key.rpartition(".")
        top = OmegaConf.to_container(composed(number).hydra) if key.startswith("hydra.") else plain(number)
        node = at(top, above.removeprefix("hydra").lstrip("."))
        hint = (
            (check.arguments(node["_target_"])[0] | check.HYDRAS).get(last)
            if "_target_" in node
            else check.root().get(key)
        )
        if hint is not None:
            found.append((number, key, node[last], hint))
    return found


def at(node: dict, path: str):
    for name in path.split(".") if path else ():
        node = node[name]
    return node


# -- what is said of it


def typed(number: int, override: str) -> Refused | None:
    """What is said of an override without `+`; the configuration is not changed where it is refused."""
    try:
        cfg = composed(number)
        ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides([override]), cfg)
    except (HydraException, OmegaConfBaseException) as e:
        return explained(e, [override])
    composed.cache_clear()
    return None


def planted(node: dict, path: list[str], value) -> dict:
    """A copy of a plain configuration with a value where `++` puts it."""
    name, *below = path
    if not below:
        return {**node, name: value}
    inner = node.get(name)
    return {**node, name: planted(inner if isinstance(inner, dict) else {}, below, value)}


def added(number: int, key: str, value) -> Refused | None:
    """What is said of `++key=value`."""
    try:
        OverridesParser.create().parse_overrides([f"++{key}=1"])
    except HydraException as e:
        return explained(e, [f"++{key}=1"])
    path = key.split(".")
    try:
        if path[0] == "hydra":
            cfg = composed(number).copy()
            with open_dict(cfg):
                OmegaConf.update(cfg, key, value, force_add=True)
            HydraConfig.instance().set_config(cfg)
            check.hydra([f"++{key}={value}"])
        else:
            check.read(planted(plain(number, resolve=False), path, value), [f"++{key}={value}"])
            check.config(planted(plain(number), path, value))
    except Refused as e:
        return e
    return None


def judged(number: int, key: str, value) -> Refused | None:
    """What is said of a value of the right key before any data is read: by what every command asks, and by the
    constructors of the group that has the key."""
    group, *rest = key.split(".")
    if group == "hydra":
        return added(number, key, value)
    config = planted(plain(number), [group, *rest], value)
    try:
        build.allow(config)
        check.config(config)
        identity.checked_name(config["name"])
        made = MAKERS.get(group, make if group in groups() else ignored)
        with tempfile.TemporaryDirectory() as folder:
            made(config, group, Path(folder))
    except Refused as e:
        return e
    return None


def make(config, group, folder):
    build.make(config, group, Spec("image", (1, 8, 8), vocabulary=27, alphabet=tuple(LETTERS)))


def ignored(config, group, folder):
    """A key of the root: nothing is made of it."""


def callbacks(config, group, folder):
    for name, node in config["callbacks"].items():
        build.instantiated(node, f"callbacks.{name}")


def architecture(config, group, folder):
    if config[group].get("path") != "???":  # pretrained weights are somebody's own
        make(config, group, folder)


def extractor(config, group, folder):
    if config[group].get("path", "") is not None:  # inception has no weights of its own
        build.make(config, group)


def saver(config, group, folder):
    Saver(folder, config["monitor"]["name"], config["monitor"]["mode"], **config["checkpoint"])


def data(config, group, folder):
    node = config[group]
    if isinstance(node, dict):  # folds are for all data sets, and no argument of one
        Folds(node.get("folds"), node.get("fold"))
        config = {**config, group: {key: value for key, value in node.items() if key not in build.FOLDS}}
    make(config, group, folder)


MAKERS = {
    "architecture": architecture, "data": data,
    "optimizer": lambda config, group, folder: build.optimizer(config),
    "trainer": lambda config, group, folder: job.make_trainer(config, [], folder),
    "edits": lambda config, group, folder: build.collected(config, group),
    "callbacks": callbacks, "extractor": extractor, "checkpoint": saver, "monitor": saver,
}  # fmt: skip
