"""Hydra at the edge: the configuration's folder, and its mistakes in our words. Imports no torch."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from denoiselab.files import CONF
from denoiselab.spec import Failed, Refused, near


def groups() -> dict[str, dict[str, str]]:
    """Group to choice to its first comment line."""
    return {
        folder.name: {file.stem: said(file) for file in sorted(folder.glob("*.yaml"))}
        for folder in sorted(CONF.iterdir())
        if folder.is_dir()
    }


def said(file: Path) -> str:
    """The first comment of a YAML file that says something."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words = line.lstrip("# ").strip()
        if not words.startswith("@package"):
            return words
    return ""


def run(function: Callable, arguments: list[str], command: str) -> None:
    """Calls `function(cfg)` under Hydra with a command line's overrides, once or, with -m, for each cell."""
    # Hydra prints and exits by itself unless told to raise.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    ended: list[Refused | Failed] = []
    begun = False

    def job(cfg) -> None:
        # Raised below: Hydra would print a line of its own, and of several cells name the first alone.
        nonlocal begun
        begun = True
        try:
            function(cfg)
        except (Refused, Failed) as e:
            ended.append(e)
        except (HydraException, OmegaConfBaseException) as e:
            ended.append(explained(e, arguments))

    before, sys.argv = sys.argv, [f"denoiselab {command}", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(job)()
    except (HydraException, OmegaConfBaseException) as e:
        raise explained(e, arguments) from e
    except (ValueError, TypeError) as e:
        if begun:
            raise
        raise explained(e, arguments) from e
    finally:
        sys.argv = before
    for e in ended[:-1]:
        print(f"{'refused' if isinstance(e, Refused) else 'failed'}: {e}", file=sys.stderr)
    if ended:
        raise ended[-1]


def explained(e: Exception, arguments: list[str]) -> Refused:
    """A mistake that Hydra or OmegaConf found, as what, got, fix."""
    text = re.sub(r"\s+", " ", str(e)).strip()
    choices = groups()
    if found := re.search(r"Could not find '([\w/]+)/([^/']+)'", text):
        group, choice = found.groups()
        return Refused(
            f"group {group} has no choice {choice!r}", f"{group}={choice}", near(choice, choices.get(group, {}))
        )
    if "Ambiguous value" in text:
        return Refused("several values with commas are a sweep", " ".join(arguments), "add -m: denoiselab train -m ...")
    if found := re.search(r"(?:Could not override|Error merging override) '?([\w.@/-]+)", text):
        key = found.group(1).partition("=")[0]
        return Refused(
            f"there is no key {key!r}" if "struct" in text or "match" in text else text, key, suggestion(key)
        )
    if found := re.search(r"Interpolation key '([\w.]+)' not found", text):
        key = found.group(1)
        return Refused(
            f"{getattr(e, 'full_key', 'a key')} reads {key}, which the chosen parts do not have", key,
            f"choose the {key.split('.')[0]} that has it: denoiselab list {key.split('.')[0]}",
        )  # fmt: skip
    return Refused(text, " ".join(arguments), "see denoiselab train --help")


def suggestion(key: str) -> str:
    """The nearest keys of the default configuration and of all choices."""
    known = {*groups()}
    for file in CONF.rglob("*.yaml"):
        prefix = "" if file.parent == CONF else f"{file.parent.name}."
        if file.parent.name in ("experiment", "debug"):
            continue
        known |= {prefix + m for m in re.findall(r"^(\w+):", file.read_text(encoding="utf-8"), re.M)}
    known -= {k for k in known if k.endswith(("defaults", "_target_", "_partial_", "hydra"))}
    leaf = key.split(".")[-1]
    same = sorted(k for k in known if k.split(".")[-1] == leaf and k != key)
    return f"did you mean {' or '.join(same[:3])}?" if same else near(key, known - {key})
