"""KEY=VALUE words of the commands that open a run, and what they choose. Imports no torch."""

import json

from denoiselab.spec import Refused, near

NESTED = ("sampler", "guidance", "evaluation")  # groups whose arguments can be given: guidance.weight=2


def parse(arguments: list[str], defaults: dict) -> dict:
    """The values of KEY=VALUE words over the defaults; a value is a whole number where its default is one, or is
    `int`, which stands for none. GROUP.KEY=VALUE goes to the dictionary GROUP. of its group."""
    values = {key: None if value is int else value for key, value in defaults.items()}
    values |= {f"{group}.": {} for group in NESTED if group in defaults}
    for word in arguments:
        key, equals, value = word.partition("=")
        group, dot, leaf = key.partition(".")
        if equals and dot and leaf and f"{group}." in values:
            values[f"{group}."][leaf] = number(value)
        elif not equals or key not in defaults:
            raise Refused(f"there is no argument {key!r}", word, near(key, defaults))
        elif defaults[key] is int or isinstance(defaults[key], int):
            try:
                values[key] = int(value)
            except ValueError:
                raise Refused(f"{key} is a whole number", word, f"for example {key}={values[key] or 20}") from None
        else:
            values[key] = value
    if not values["run"]:
        raise Refused("which run?", "no run=", "run=FOLDER, the folder that train printed")
    return values


def number(text: str) -> object:
    """A number, a list, true, false or null as JSON says it; else the word."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def sampling(asked: dict) -> tuple[str | None, dict]:
    """The sampler's choice and its arguments; `steps` and `grid` are short for `sampler.steps` and `sampler.grid`."""
    return asked["sampler"], asked["sampler."] | {k: asked[k] for k in ("steps", "grid") if asked[k] is not None}


def guiding(asked: dict) -> tuple[str | None, dict]:
    """The guidance's choice and its arguments; a number is the weight of classifier_free."""
    name = asked["guidance"]
    if name is not None and isinstance(weight := number(name), int | float):
        return "classifier_free", {"weight": float(weight), **asked["guidance."]}
    return name, asked["guidance."]
