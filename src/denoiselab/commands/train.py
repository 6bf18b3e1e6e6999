"""`denoiselab train [overrides]`: one cell of the grid, or with -m a product of cells."""

from pathlib import Path

from denoiselab.commands import configuration
from denoiselab.run.signals import preemptible


def command(arguments: list[str]) -> None:
    with preemptible():
        configuration.run(train, retyped(arguments), "train")


def train(config: dict, choices: dict[str, str], overrides: list[str]) -> None:
    """One composed cell, in this process; with several devices, in one for each."""
    from denoiselab.run import cell, job, training

    made = job.made(cell.known(config, choices, overrides))
    if not job.lacks_ranks(made.tools.trainer):
        training.run(made)
        return
    from denoiselab.launch import alone

    alone.run(config, choices, overrides)


def retyped(arguments: list[str]) -> list[str]:
    """The arguments; with `extend=RUN`, after what was typed for RUN and is not typed again."""
    runs = [word.partition("=")[2] for word in arguments if word.lstrip("+").startswith("extend=")]
    file = Path(runs[0]).expanduser() / "overrides.yaml" if len(runs) == 1 else None
    if file is None or not file.is_file():  # what is wrong with it is said where the run is looked for
        return arguments
    import yaml

    typed = {key(word) for word in arguments}
    before = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [*(word for word in before if key(word) not in typed), *arguments]


def key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
