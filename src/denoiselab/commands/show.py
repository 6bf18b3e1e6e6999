"""`denoiselab show`: a corruption at five severities and one training iteration told, or what a finished run does."""

from pathlib import Path

from denoiselab import configuration
from denoiselab.commands.arguments import parse
from denoiselab.spec import Refused

HELP = """denoiselab show [GROUP=CHOICE ...] [KEY=VALUE ...]
  before training: clean, corrupted, touched and target at five severities, and one training iteration in words
denoiselab show run=FOLDER [seed=0] [weights=best] [plugins=PACKAGE]
  a finished run: its trajectory (strip and GIF, or lines) where it samples, how well x is recovered from each t,
  and texts restored, with the damage colored;
  the plugins it was trained with are imported only if they are named here

Pictures of the first go to OUTPUTS/NAME/show/, of the second to FOLDER/samples/."""


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
    elif {"-m", "--multirun"} & {*arguments}:
        raise Refused("show looks at one cell", " ".join(arguments), "leave out -m, and give one choice of each group")
    elif any(word.startswith("run=") for word in arguments):
        finished(parse(arguments, {"run": None, "seed": 0, "weights": "best", "plugins": ""}))
    else:
        configuration.run(before, arguments, "show")


def before(config: dict, choices: dict[str, str], overrides: list[str]) -> None:
    """One composed cell, not trained."""
    from rich.console import Console

    from denoiselab import build, check
    from denoiselab.run import first, identity, look

    console = Console(highlight=False, soft_wrap=True, markup=False)
    identity.checked_name(config["name"])
    build.allow(config)
    check.config(config)
    data = first.load(config)
    module = build.module(config, data.spec)
    if data.spec.kind == "tokens":
        look.corruption_text(module, data, console)
    else:
        label = identity.slug(overrides)
        path = Path(config["outputs"]) / config["name"] / "show" / f"{label}.png"
        look.corruption_picture(module, data, path)
        console.print(f"five severities: {path}")
    look.narrate(module, data, config["data"]["batch_size"], int(config["seed"]), console)


def finished(asked: dict) -> None:
    """A run folder."""
    from rich.console import Console

    from denoiselab.run import look
    from denoiselab.run.loaded import Run
    from denoiselab.sampler import Generates, Loop

    run = Run(asked["run"], asked["weights"], plugins=asked["plugins"].split(","))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    folder = run.folder / "samples"
    paths = [look.recovery(run, folder)]
    if run.spec.kind == "tokens":
        look.restored_text(run, console)
    if Generates in run.module.parts.agreed.facts and isinstance(run.module.parts.sampler, Loop):
        paths += look.trajectory(run, folder, console, seed=asked["seed"])
    for path in paths:
        console.print(str(path))
