"""`denoiselab train [overrides]`: one cell of the grid, or with -m a product of cells."""

from pathlib import Path

from denoiselab import configuration
from denoiselab.names import known, nearest
from denoiselab.run.signals import preemptible
from denoiselab.spec import Refused

OWN = ("--dry-run", "--retry")
# And Hydra's.
FLAGS = (*OWN, "--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun",
         "--info", "--shell-completion", "--config-path", "--config-name",
         "--config-dir", "--experimental-rerun")  # fmt: skip
KEYS = "a setting is KEY=VALUE, without dashes; flags are --dry-run, --retry failed and -m, and Hydra's: --hydra-help"


def command(arguments: list[str]) -> None:
    with preemptible():
        arguments = plain(arguments)
        flagged(arguments)
        flags = [word for word in arguments if word in ("-m", "--multirun")]
        words = [word for word in arguments if word not in flags]
        # Hydra takes overrides in one row only.
        configuration.run(train, [*flags, *retyped(words)], "train")


def train(config: dict, choices: dict[str, str], overrides: list[str]) -> None:
    """One composed cell, in this process; with several devices, in one for each."""
    single(config)

    from denoiselab.run import cell, job, training

    made = job.made(cell.known(config, choices, overrides))
    if not job.lacks_ranks(made.tools.trainer):
        training.run(made)
        return
    from denoiselab.launch import alone

    alone.run(config, choices, overrides, configuration.limits())


def plain(arguments: list[str]) -> list[str]:
    """`--retry failed` and `--dry-run` as the words that Hydra takes."""
    words = [*arguments]
    while "--retry" in words:
        at = words.index("--retry")
        what = [word for word in words[at + 1 : at + 2] if "=" not in word and not word.startswith("-")]
        words[at : at + 1 + len(what)] = ["--retry=" + "".join(what)]
    return [{"--dry-run": "dry_run=true"}.get(w, w.removeprefix("--") if w.startswith("--retry=") else w)
            for w in words]  # fmt: skip


def flagged(arguments: list[str]) -> None:
    """Refuses a flag that nothing reads; Hydra would print all of its own."""
    for word in arguments:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in FLAGS:
            spelled = {flag.replace("-", ""): flag for flag in FLAGS}
            near = spelled.get(name.replace("-", "").replace("_", "")) or suggested(name)
            raise Refused(f"there is no flag {name}", word, (near and f"did you mean {near}?") or KEYS)
    for word in arguments:
        if word == "retry=":
            raise Refused("retry says what is run again", "--retry", "--retry failed")


def suggested(name: str) -> str:
    """The nearest flags, or the key that is written as one."""
    if (key := name.removeprefix("--")) in known():
        return f"{key}=VALUE"
    return " or ".join(nearest(name, FLAGS))


def single(config: dict) -> None:
    """Refuses what only a sweep reads."""
    given = configuration.of_command(config)
    given["dry_run"] = given["dry_run"] or None
    for name, value in given.items():
        if value is not None:
            raise Refused(f"{name} is of a sweep, and this is one run", f"{name}={value}", "add -m: train -m ...")
    if (launcher := configuration.launcher()) != "local" and not configuration.swept():
        got = f"hydra/launcher={launcher}"
        raise Refused("a launcher is of a sweep, and this is one run", got, "add -m: train -m ...; one cell will do")


def retyped(arguments: list[str]) -> list[str]:
    """The arguments; with `extend=RUN`, after what was typed for RUN and is not typed again."""
    runs = [word.partition("=")[2] for word in arguments if word.lstrip("+").startswith("extend=")]
    file = Path(runs[0]).expanduser() / "overrides.yaml" if len(runs) == 1 else None
    if file is None or not file.is_file():  # what is wrong with it is said where the run is looked for
        return arguments
    import yaml

    typed = {key(word) for word in arguments}
    try:
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, ValueError) as e:
        raise Refused(f"{file} cannot be read", e, "type the overrides of that run, and extend=RUN") from e
    if not (isinstance(before, list) and all(isinstance(word, str) for word in before)):
        raise Refused(f"{file} is no list of overrides", before, "type the overrides of that run, and extend=RUN")
    return [*(word for word in before if not closed(key(word)) and key(word) not in typed), *arguments]


def closed(name: str) -> bool:
    """Keys that are not taken from a folder: it may be somebody else's, and must not choose what code is run."""
    return name in ("plugins", "outputs", "rerun", "init", "extend", "arms", "retry", "dry_run") or (
        name.startswith(("hydra", "budget", "trial"))
    )


def key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
