"""`denoiselab sweep export-wandb ...` and `denoiselab sweep workspace SWEEP`: a sweep as W&B knows it."""

from pathlib import Path

from denoiselab.spec import Refused, near

HELP = """denoiselab sweep export-wandb [GROUP=CHOICE,CHOICE ...] [KEY=VALUE,VALUE ...] [yaml=FILE] [method=grid]
denoiselab sweep workspace SWEEP [project=NAME] [entity=NAME] [json=FILE]

export-wandb writes W&B's form of the sweep that `denoiselab train -m` would run: a parameter for each key with several
choices, all else in the command that its agents run; and prints the commands that start it. method= is grid, random or
bayes; with the last two a key may have interval(LOW,HIGH). What W&B has no word for is refused by name. yaml= is
sweep.yaml unless given.

workspace writes a saved view of a sweep that ran with logger=wandb (SWEEP is the folder that train -m printed, or one
that has sweeps): runs grouped by the axes, the best first, curves by each axis, parallel coordinates, the importance of
each axis, samples side by side. It is saved at W&B where a key is configured and the server answers; in any case its
specification is in a file, SWEEP/workspace.json unless json= is given. Again for the same file, it is the same view."""
SUBCOMMANDS = ("export-wandb", "workspace")


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments} or not arguments:
        print(HELP)
        return
    name, *rest = arguments
    if name not in SUBCOMMANDS:
        raise Refused(f"sweep has no subcommand {name!r}", " ".join(arguments), near(name, SUBCOMMANDS))
    (exported if name == "export-wandb" else workspace)(rest)


def exported(arguments: list[str]) -> None:
    from denoiselab.launch import wandb_sweep

    words, options = taken(arguments, {"yaml": "sweep.yaml", "method": "grid"})
    if options["method"] not in wandb_sweep.METHODS:
        fix = near(options["method"], wandb_sweep.METHODS)
        raise Refused("method is how W&B goes through the values", f"method={options['method']}", fix)
    file = writable("yaml", options["yaml"])
    sweep = wandb_sweep.sweep([word for word in words if word not in ("-m", "--multirun")], options["method"])
    wandb_sweep.save(sweep, file)
    where = "/".join(filter(None, (sweep.get("entity", "ENTITY"), sweep["project"], "SWEEP_ID")))
    print(f"{file}: {wandb_sweep.counted(sweep)}")
    print("start it, and as many agents as there are machines:")
    print(f"  wandb sweep {file}   # prints SWEEP_ID")
    print(f"  wandb agent {where}")


def workspace(arguments: list[str]) -> None:
    from denoiselab.launch import plan
    from denoiselab.launch import workspace as view

    paths, options = taken(arguments, {"project": None, "entity": None, "json": None})
    if len(paths) != 1 or "=" in paths[0]:
        got = " ".join(paths) or "no folder"
        known = near(paths[0].partition("=")[0], options) if paths and "=" in paths[0] else ""
        raise Refused("workspace takes one sweep", got, known or "denoiselab sweep workspace outputs/NAME/sweeps/SWEEP")
    if not (found := plan.found(Path(paths[0]))):
        raise Refused("there is no sweep in this folder", paths[0], "give the folder that train -m printed")
    file = writable("json", options["json"] or str(found[0] / "workspace.json"))
    print(f"sweep: {found[0]}")
    for line in view.made(found[0], file, options["project"], options["entity"]):
        print(line)


def taken(arguments: list[str], options: dict) -> tuple[list[str], dict]:
    """The words, and the options that were given as KEY=VALUE; `Refused` for one given twice."""
    words, found = [], dict(options)
    given = [word.partition("=")[0] for word in arguments if word.partition("=")[0] in options and "=" in word]
    for key in given:
        if given.count(key) > 1:
            raise Refused(f"{key} is given twice", " ".join(arguments), "leave one of them out")
    for word in arguments:
        key, equals, value = word.partition("=")
        if equals and key in options:
            found[key] = value
        else:
            words.append(word)
    return words, found


def writable(key: str, name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        got = "a folder is there" if path.is_dir() else f"{path.parent} is no folder"
        raise Refused(f"{name} cannot be written", got, f"give another {key}=FILE")
    return path
