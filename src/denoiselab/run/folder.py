"""The configuration of a run folder, which may be somebody else's: only data, whatever it says."""

import functools
from collections.abc import Sequence
from pathlib import Path

import yaml

from denoiselab import check
from denoiselab.spec import Refused

# What no choice describes.
KIND = {"seed": int, "overfit": bool, "monitor.name": str, "evaluation.seed": int, "plugins": list[str] | str | None,
        "init": str | None, "extend": str | None}  # fmt: skip
DEEPEST = 30  # nodes within nodes


def described(folder: Path, plugins: Sequence[str] = ()) -> dict:
    """The configuration of a run folder: plain YAML without anchors, tags and interpolations. Refused where it asks for
    other code than `plugins`."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise Refused("this is no run folder: it has no config.yaml", folder, "give the folder that train printed")
    try:
        text = file.read_text(encoding="utf-8")
        shallow(text)
        config = yaml.safe_load(text)
        only_data(config, "config")
        for key, kind in KIND.items():
            value = functools.reduce(lambda node, name: node.get(name), key.split("."), config)
            if not check.fits(value, kind):
                raise TypeError(f"{key} is {value!r:.40}")
    except (yaml.YAMLError, ValueError, AttributeError, TypeError) as e:
        raise Refused(f"{file} is not the configuration of a run", f"{type(e).__name__}: {e}", "train it again") from e
    named = config.get("plugins") or []
    named, plugins = ([words] if isinstance(words, str) else words for words in (named, plugins))
    if foreign := [name for name in named if not name or name not in plugins]:
        raise Refused(
            "opening this run would import code that is not denoiselab's", ", ".join(foreign),
            f"if you trust it, add plugins={','.join(named)} to the command, or denoiselab.load(PATH, plugins={named})",
        )  # fmt: skip
    return config


def shallow(text: str) -> None:
    """ValueError for YAML that a few letters make of any size: aliases of aliases, and nodes in nodes without end."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, yaml.AliasEvent):
            raise ValueError("it is nested too deep, or has an alias")


def only_data(node, where: str) -> None:
    """ValueError for what is neither a dictionary with words as keys, nor a list, nor a plain scalar."""
    if isinstance(node, dict):
        for key, value in node.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} has a key that is no word")
            only_data(value, f"{where}.{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            only_data(value, f"{where}[{i}]")
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"{where} has an interpolation")
    elif not isinstance(node, str | int | float | None):
        raise ValueError(f"{where} is a {type(node).__name__}")
