"""Hydra at the edge: the configuration's folder, and its mistakes in our words. Imports no torch."""

import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from denoiselab.files import CONF
from denoiselab.names import advice, choices, known, suggestion
from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused

SEVERAL = "VALUE; in a sweep A,B or range(0,3); in a search interval(0,1) or choice(A,B)"


def groups() -> dict[str, dict[str, str]]:
    """Group to choice to its first comment line."""
    return {
        folder.name: {file.stem: said(file) for file in sorted(folder.glob("*.yaml"))}
        for folder in sorted(CONF.iterdir())
        if folder.is_dir() and folder.name != "hydra"
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
    """Calls `function(config, choices, overrides)` under Hydra with a command line's overrides; with -m Hydra's
    sweeper and launcher go through the cells."""
    # Hydra prints and exits by itself unless told to raise.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    ended: list[Exception] = []

    def job(cfg) -> None:
        # Raised below: Hydra would print a line of its own, and of several cells in one process name the first alone.
        try:
            function(*taken(cfg))
        except (HydraException, OmegaConfBaseException) as e:
            ended.append(explained(e, arguments))
        except Exception as e:
            ended.append(e)

    ours_alone()
    before, sys.argv = sys.argv, [f"denoiselab {command}", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(job)()
    except (HydraException, OmegaConfBaseException, ValueError, TypeError) as e:
        raise (e if isinstance(e, Refused) else explained(e, arguments)) from e
    finally:
        sys.argv = before
    for e in ended[:-1]:
        print(f"{'refused' if isinstance(e, Refused) else 'failed'}: {e}", file=sys.stderr)
    if ended:
        raise ended[-1]


def ours_alone() -> None:
    """Other packages' launchers of the same names are not ours: Hydra would take them for what ours must look like."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()
    known = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for file in (CONF / "hydra" / "launcher").glob("*.yaml"):
        known.pop(file.name, None)


def taken(cfg) -> tuple[dict, dict[str, str], list[str]]:
    """The plain configuration, group to choice, and the overrides of a cell that Hydra composed; refused where nothing
    would read an override. Imports no torch."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from denoiselab import check

    node = HydraConfig.get()
    overrides = list(node.overrides.task)
    raw = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    check.hydra(list(node.overrides.hydra))
    for word in overrides:
        if word.lstrip("+~").startswith("trial"):
            raise Refused("a search says which trial a cell is", word, "leave it out: -m hydra/sweeper=optuna searches")
    check.read(OmegaConf.to_container(raw, resolve=False), overrides)
    choices = {group: choice for group, choice in node.runtime.choices.items() if not group.startswith("hydra/")}
    return OmegaConf.to_container(raw, resolve=True), choices, overrides


def of_command(config) -> dict[str, object]:
    """What a composed configuration says to a sweep's command, and to no cell: of the right type, None where it is left
    out."""
    from denoiselab import check

    budget = config.get("budget")
    found = {"arms": config.get("arms"), "retry": config.get("retry"), "dry_run": config.get("dry_run"),
             "budget.seconds": budget["seconds"] if budget else None}  # fmt: skip
    for key, value in found.items():
        if not check.fits(value, check.ROOT[key]):
            raise check.wrong(key, value, check.ROOT[key])
    if (seconds := found["budget.seconds"]) is not None and not seconds > 0:
        raise Refused("budget.seconds are of all jobs of a sweep", seconds, "give more than 0, or null for no end")
    return found


def valued(override) -> None:
    """Refuses a parsed override that sweeps over nothing."""
    if override.is_discrete_sweep() and not any(True for _ in override.sweep_string_iterator()):
        fix = f"give some: {override.key_or_group}=A,B"
        raise Refused("a sweep over no value has no cell", redacted(override.input_line), fix)


def launcher() -> str:
    """The chosen one, by name."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get().runtime.choices["hydra/launcher"]


def swept() -> bool:
    """Is this a cell of a sweep by Hydra's own launcher, which calls one cell after another?"""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.get().mode == RunMode.MULTIRUN


def limits() -> dict:
    """What the local launcher was given, for a cell that needs it without being part of a sweep."""
    from hydra.core.hydra_config import HydraConfig

    node = HydraConfig.get().launcher
    return {key: node[key] for key in ("jobs_per_gpu", "timeout", "grace") if key in node}


def explained(e: Exception, arguments: list[str]) -> Refused:
    """A mistake that Hydra or OmegaConf found, as what, got, fix."""
    from hydra.errors import OverrideParseException

    text = redacted(re.sub(r"\s+", " ", str(e)).strip())
    typed = " ".join(map(redacted, arguments))
    if found := re.search(r"Could not (?:find|load) '([\w/]+)/([^/']+)'", text):
        group, choice = found.groups()
        return Refused(f"group {group} has no choice {choice!r}", f"{group}={choice}", advice(choice, choices(group)))
    if "Ambiguous value" in text or "requires --multirun" in text:
        return Refused("several values are a sweep", typed, "add -m: denoiselab train -m ...")
    if found := re.search(r"Sweeping over Hydra's configuration is not supported : '([\w.@/]+)=", text):
        fix = f"one value: {found[1]}=VALUE; hydra.launcher.n_jobs is how many run at once"
        return Refused("what starts a sweep is no axis of it", found[1], fix)
    if "BasicSweeper does not support sweep type" in text:
        return Refused("a grid has no intervals", typed, "list values, KEY=A,B; or search: hydra/sweeper=optuna")
    if isinstance(e, OverrideParseException):
        key, equals, value = e.override.lstrip("+~").partition("=")
        if key not in known():
            fix = suggestion(key)
        elif not equals or re.search(r"[(,]|^$", value):
            fix = f"{key}={SEVERAL}"
        else:
            fix = f"a value with spaces, brackets or letters like ä in quotes twice: '{key}=\"{redacted(value)}\"'"
        return Refused("what is typed is KEY=VALUE", redacted(e.override), fix)
    if found := re.search(r"Could not (?:override|delete from config\.) '([\w.@/-]+)'", text):
        return Refused(f"there is no key {found[1]!r}", found[1], suggestion(found[1], hydras(found[1])))
    if found := re.search(r"Error merging override ([\w.@/+~-]+)", text):
        cause = redacted(str(e.__cause__).partition("\n")[0])
        return Refused(f"{found[1].lstrip('+~')} cannot have this value", cause, "denoiselab train --cfg all shows it")
    if found := re.search(r"([\w/]+) appears more than once|force-add of config groups .*'\+\+([\w/]+)=", text):
        group = found[1] or found[2]
        return Refused(f"{group} has a choice already", typed, f"write {group}=CHOICE, without +")
    if "Config group override must be a string" in text:
        return Refused("a group takes the name of a choice", typed, "denoiselab list says which there are")
    if found := re.search(r"target '([\w.]+)'.*unexpected keyword argument '(\w+)'.*full_key: ([\w.]+)", text):
        key = f"{found[3]}.{found[2]}"
        return Refused(f"{found[1]} has no argument {found[2]!r}", key, suggestion(key))
    if found := re.search(r"An item is already at '([\w.]+)'", text):
        return Refused(f"{found[1]} has a value already", typed, f"write {found[1]}=VALUE, without +")
    if found := re.search(r"Interpolation key '([\w.]+)' not found", text):
        key = found[1]
        having = " or ".join(known().get(key, ())) or f"choose a {key.split('.')[0]} that"
        return Refused(
            f"{getattr(e, 'full_key', 'a key')} reads {key}, which the chosen parts do not have",
            key,
            f"{having} has it",
        )
    return Refused(text, typed, "see denoiselab train --help")


def hydras(key: str) -> Iterable[str]:
    """The keys that Hydra's own configuration has, for one that may be meant for it."""
    from denoiselab import check

    return check.hydras() if key.startswith("hydra") else ()
