"""A sweep of the command line as W&B's sweep.yaml, whose agents run `denoiselab train` for each cell. Imports no torch.

What varies is a parameter; what does not is part of the command, word for word. W&B hands a value back as text, which
Hydra reads as if it had been typed: so null, lists and quoted words, which are no values of W&B's, travel as text.
"""

import json
import math
from contextlib import suppress
from pathlib import Path

import yaml

from denoiselab import configuration
from denoiselab.files import replacing
from denoiselab.run.label import names
from denoiselab.run.secrets import HIDDEN, redacted
from denoiselab.spec import Refused

METHODS = ("grid", "random", "bayes")
COMMAND = {"arms": "its arms are no product", "arm": "it is of a file of arms", "retry": "it has no ledger of ours",
           "dry_run": "its agents run each cell", "budget": "its budget is the agent's: wandb agent --count",
           "hydra": "its agents are the launcher and the sweeper"}  # fmt: skip
LOGGER = "denoiselab.run.logger.Wandb"
HEADER = """# Written by `denoiselab sweep export-wandb`.
#   wandb sweep {file}
#   wandb agent ENTITY/PROJECT/SWEEP_ID
"""


def sweep(words: list[str], method: str) -> dict:
    """What the file says, of the words of `denoiselab train -m`. Raises `Refused` for what W&B cannot express, and for
    a choice or a key that is not there."""
    constants, swept = parted(words, method)
    if not swept:
        got = " ".join(map(redacted, words)) or "no override"
        raise Refused("a sweep has several choices somewhere", got, "schedule=cosine,linear, or seed=range(3)")
    first = [f"{key}={values['texts'][0]}" for key, values in swept.items()]
    # Each value once, with the first of all others: whether two values fit each other, their run says.
    cells = [first] + [
        [f"{key}={text}" if word.startswith(f"{key}=") else word for word in first]
        for key, values in swept.items() for text in values["texts"][1:]
    ]  # fmt: skip
    configs = [composed([*constants, *cell]) for cell in cells]
    for config, choices in configs:
        if config["logger"]["_target_"] != LOGGER:
            raise Refused("what W&B's agents run must log there", f"logger={choices['logger']}", "logger=wandb")
    config, monitor = configs[0][0], configs[0][0]["monitor"]
    entity = {"entity": config["logger"]["entity"]} if config["logger"]["entity"] else {}
    return {
        "name": "-".join(names(key.lstrip("+") for key in swept).values()).replace("/", "_"),
        "project": config["logger"]["project"],
        **entity,
        "program": "denoiselab",
        "command": ["${env}", "${program}", "train", *constants, "${args_no_hyphens}"],
        "method": method,
        "metric": {"name": monitor["name"], "goal": {"min": "minimize", "max": "maximize"}[monitor["mode"]]},
        "parameters": {key: values["parameter"] for key, values in swept.items()},
    }


def parted(words: list[str], method: str) -> tuple[list[str], dict[str, dict]]:
    """The words that do not vary; and of each key that does, its `parameter` at W&B and the `texts` of its values."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    constants, swept = [], {}
    for word in words:
        root = word.lstrip("+~").partition("=")[0].replace("/", ".").partition(".")[0]
        if root in COMMAND:
            fix = "leave it out; or denoiselab train -m with all of it and logger=wandb, which is a group there"
            raise Refused(f"W&B cannot express {root}: {COMMAND[root]}", redacted(word), fix)
        if HIDDEN in redacted(word):
            raise Refused("the file would hold a secret", redacted(word), "leave it out: set it where the agents run")
        try:
            [override] = OverridesParser.create().parse_overrides([word])
            if not override.is_sweep_override():
                constants.append(word)
                continue
            key = word.partition("=")[0]
            if key in swept:
                raise Refused(f"{key} is given twice", redacted(word), "leave one of them out")
            if isinstance(override.value(), Glob):
                raise Refused("W&B takes values, and no glob", redacted(word), f"name them: {key}=A,B")
            configuration.valued(override)
            if override.is_interval_sweep():
                swept[key] = interval(key, override.value(), word, method)
                continue
            [cells] = BasicSweeper.split_arguments([override], None)
        except (HydraException, ValueError, AttributeError) as e:
            raise (e if isinstance(e, Refused) else configuration.explained(e, words)) from e
        texts = [text.partition("=")[2] for [text] in cells]
        swept[key] = {"parameter": {"values": [value(text) for text in texts]}, "texts": texts}
    return constants, swept


def interval(key: str, found, word: str, method: str) -> dict:
    if method == "grid":
        raise Refused("W&B's grid takes no interval", word, "method=bayes or method=random, or values with commas")
    low, high = float(found.start), float(found.end)
    return {"parameter": {"distribution": "uniform", "min": low, "max": high}, "texts": [repr(low), repr(high)]}


def value(text: str) -> object:
    """A number or a truth as YAML has it, where its text comes back the same; else the text."""
    if text in ("True", "False"):
        return text == "True"
    with suppress(ValueError):
        number = json.loads(text)
        if isinstance(number, int | float) and str(number) == text:
            return number
    return text


def composed(words: list[str]) -> tuple[dict, dict[str, str]]:
    """The configuration and the choices of a cell."""
    found = []
    configuration.run(lambda config, choices, overrides: found.append((config, choices)), words, "sweep export-wandb")
    return found[0]


def counted(sweep: dict) -> str:
    """How many cells it has, in words."""
    sizes = [len(parameter["values"]) if "values" in parameter else 0 for parameter in sweep["parameters"].values()]
    cells = math.prod(sizes)
    keys = ", ".join(sweep["parameters"])
    return f"{cells} cells over {keys}" if cells else f"no end of cells over {keys}; wandb agent --count N takes N"


def save(sweep: dict, file: Path) -> None:
    with replacing(file) as temporary:
        text = yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True, width=1000)
        temporary.write_text(HEADER.format(file=file) + text, encoding="utf-8")
