"""KEY=VALUE words of the commands that open a run, and what they choose. Imports no torch."""

import json
import re
from contextlib import suppress

from denoiselab.spec import Refused, near

SHORT = {"steps": ("sampler.steps",), "grid": ("sampler.grid",), "samples": ("evaluation.samples",)}
EXAMPLES = {"seed": 1, "n": 64}  # of whole numbers
NESTED = ("sampler", "grid", "guidance", "evaluation")  # groups whose arguments can be given: guidance.weight=2


def parse(arguments: list[str], defaults: dict) -> dict:
    """The values of KEY=VALUE words over the defaults; a value is a whole number where its default is one, or is
    `int`, which stands for none. GROUP.KEY=VALUE goes to the dictionary GROUP. of its group."""
    values = {key: None if value is int else value for key, value in defaults.items()}
    values |= {f"{group}.": {} for group in NESTED if group in defaults}
    typed = [word.partition("=")[0] for word in arguments]
    for word in arguments:
        key, equals, value = word.partition("=")
        same = [other for other in typed if other == key or other in SHORT.get(key, ())]
        if len(same) > 1 or (key not in same and same):
            raise Refused(f"{key} is given twice", " ".join(arguments), "leave one of them out")
        group, dot, leaf = key.partition(".")
        if dot and leaf and f"{group}." in values:
            if not equals:
                raise Refused("an argument is KEY=VALUE", word, f"for example {word}=2")
            values[f"{group}."][leaf] = number(value, key)
        elif not equals or key not in defaults:
            raise Refused(f"there is no argument {key!r}", word, near(key, defaults))
        elif defaults[key] is int or isinstance(defaults[key], int):
            try:
                values[key] = int(value)
            except ValueError:
                example = EXAMPLES.get(key) or values[key] or 20
                raise Refused(f"{key} is a whole number", word, f"for example {key}={example}") from None
        else:
            values[key] = value
    if not values["run"]:
        raise Refused("which run?", "no run=", "run=FOLDER, the folder that train printed")
    return values


def number(text: str, key: str) -> object:
    """A number, a list, true, false or null as JSON says it; else the word. Raises `Refused` for half a list."""
    for read in (json.loads, float):
        with suppress(ValueError):
            return read(text)
    if text.startswith(("[", "{")):
        raise Refused(f"{key} cannot be read", text, "give a number, a word or a list: [0.1,0.9]")
    return text


def sampling(asked: dict) -> tuple[str | None, dict]:
    """The sampler's choice and its arguments; `steps` and `grid` are short for `sampler.steps` and `sampler.grid`, and
    the arguments of the grid are `grid.`."""
    arguments = asked["sampler."] | {k: asked[k] for k in ("steps", "grid") if asked[k] is not None}
    return asked["sampler"], arguments | ({"grid.": asked["grid."]} if asked.get("grid.") else {})


def guiding(asked: dict) -> tuple[str | None, dict]:
    """The guidance's choice and its arguments; a number is the weight of classifier_free."""
    name = asked["guidance"]
    weight = name if name is None else number(name, "guidance")
    if isinstance(weight, int | float) and not isinstance(weight, bool):
        return "classifier_free", {"weight": float(weight), **asked["guidance."]}
    return name, asked["guidance."]


def wished(asked: dict) -> dict:
    """What is asked of the samples: label and caption, where they are given."""
    wish = {}
    if asked["label"] is not None:
        labels = asked["label"].strip("[]").split(",")
        if not all(re.fullmatch(r"\s*\d+\s*", label) for label in labels):
            raise Refused("label is the number of a class, or several", f"label={asked['label']}", "label=3 or 0,1,2")
        wish["label"] = [int(label) for label in labels]
    if asked["caption"] is not None:
        wish["caption"] = [text.strip() for text in asked["caption"].split(",")]
    return wish
