"""The command line: what was typed must be read by something."""

import dataclasses
import functools
import re
import typing

from denoiselab.check.nodes import leaves, node, unread
from denoiselab.check.whole import DIRECT, TOP
from denoiselab.names import files, groups
from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused


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


PLACES = ("hydra.run", "hydra.sweep", "hydra.job", "hydra.output_subdir")  # where Hydra's own launcher puts jobs


def argues(raw: dict, key: str) -> bool:
    """Is a dotted key an argument of a node's class? What an experiment gives to a part that is not chosen is none."""
    *above, leaf = key.split(".")
    for name in above:
        raw = raw.get(name)
        if not isinstance(raw, dict):  # a reference to a node
            return True
    if "_target_" not in raw:
        return False
    # By the shipped files, which spell out every argument: nothing need be imported.
    same = [content for _, _, content in files() if content.get("_target_") == raw["_target_"]]
    return not same or any(leaf in content for content in same)


def hydra(overrides: list[str]) -> None:
    """Refuses keys under `hydra.` that nothing reads and Hydra would take in silence. Asked in a job, or of a cell:
    where HydraConfig is set."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    given = HydraConfig.get()
    for plugin in ("launcher", "sweeper"):
        node(OmegaConf.to_container(given[plugin], resolve=True), f"hydra.{plugin}")
    schema, alone = hydras(), given.runtime.choices["hydra/launcher"] == "basic"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        names = key.split(".")
        above = [".".join(names[:n]) for n in range(1, len(names))]
        # A group's choice Hydra looks for; what has no type of its own (callbacks, logging) is a plugin's.
        if "/" not in key and key not in schema and not any(schema.get(name) is False for name in above):
            raise unread(key, value, schema)
        if ".".join(names[:2]) in PLACES and not alone:
            fix = "outputs=FOLDER is where runs lie, and name=NAME the experiment's folder in it"
            raise Refused("runs have folders and names of their own, and Hydra's say nothing", override, fix)


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
