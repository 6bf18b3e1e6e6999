"""`denoiselab restore run=FOLDER input=PATH`: a finished run on pictures or on a text of one's own."""

from pathlib import Path

from denoiselab.commands import restore_text
from denoiselab.commands.arguments import parse, sampling, wished
from denoiselab.spec import Refused

HELP = """denoiselab restore run=FOLDER input=PICTURE [noise=25 | mask=PICTURE] [output=FOLDER] [sampler=NAME] [steps=N]
                  [sampler.KEY=VALUE] [grid=NAME] [grid.KEY=VALUE] [rounds=1]
                  [label=3 | caption=WORDS] [seed=0] [resize=false] [weights=best] [plugins=PACKAGE]

Restores pictures: a file, or all below a folder. A classical denoiser takes them as they are. A run that generates
removes Gaussian noise of a known strength (noise=, the standard deviation on the 0 .. 255 scale), or makes anew what a
mask hides (mask=, white where something is missing; rounds= repeats every move, for borders that fit). What is known
stays as it is. resize=true cuts the centered square and resizes it to what the run knows.

A PNG each and a comparison go to output, by default a folder below FOLDER/samples/; nothing is written over.

denoiselab restore run=FOLDER input=TEXT [output=FILE] [sampler=NAME] [steps=N] [sampler.KEY=VALUE] [seed=0]
                   [label=3]

Restores a text file in UTF-8 with a run on text. It is cut at lines, sentences and words into pieces that the run can
take. Line ends, byte order marks and characters that the model does not know are kept, and said. What changed is
shown, removed red and added green; without colors [-removed-] and {+added+}. Where the text has [MASK] (a token) or
[MASK*5] (five), these alone are filled. label= says what the text is, to runs that are told.
The restored text goes to output, by default a file below FOLDER/samples/."""
DEFAULTS = {"run": None, "input": None, "mask": None, "noise": None, "output": None, "sampler": None, "steps": int,
            "grid": None, "rounds": 1, "seed": 0, "label": None, "caption": None,
            "resize": "false", "weights": "best", "plugins": ""}  # fmt: skip


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
        return
    asked = parse(arguments, DEFAULTS)
    if not asked["input"]:
        raise Refused("which picture?", "no input=", "input=PICTURE, a folder of pictures, or a text file")
    if asked["resize"] not in ("true", "false"):
        raise Refused("resize is true or false", asked["resize"], "resize=true")
    if asked["mask"] == "":
        raise Refused("which mask?", "mask=", "mask=PICTURE, white where something is missing")
    if asked["rounds"] < 1:
        raise Refused("rounds counts how often a move is made", asked["rounds"], "give at least 1")
    noise, wish = strength(asked["noise"]), wished(asked)

    from denoiselab.run.loaded import Run

    run = Run(asked["run"], asked["weights"], plugins=asked["plugins"].split(","))
    if run.spec.kind == "tokens":
        restore_text.command(run, asked)
    else:
        pictures(run, asked, noise, wish)


def pictures(run, asked: dict, noise: float | None, wish: dict) -> None:
    """Restored pictures and a comparison, in a folder."""
    from denoiselab.commands.progress import bar
    from denoiselab.evaluation import figures
    from denoiselab.run import restoring

    name, steps = sampling(asked)
    sampler = run.sampler(name, **steps)
    source, resize = Path(asked["input"]), asked["resize"] == "true"
    names, x = restoring.pictures(run, source, resize)
    missing = restoring.hidden(run, Path(asked["mask"]), len(x), resize) if asked["mask"] else None
    how = f"noise{noise:g}" if noise is not None else "mask" if missing is not None else "denoised"
    folder = Path(asked["output"] or run.folder / "samples" / f"restored-{source.stem}-{how}-seed{asked['seed']}")
    files = [folder / Path(name).with_suffix(".png") for name in names]
    if len({*files, folder / "comparison.png"}) <= len(files):
        got = ", ".join(sorted(name for name, file in zip(names, files, strict=True) if repeated(file, files, folder)))
        raise Refused("two pictures would have one name, or that of the comparison", got, "rename one of them")
    if taken := [file for file in (*files, folder / "comparison.png") if file.exists()]:
        raise Refused("nothing is written over", f"{taken[0]} is there", "give another folder: output=FOLDER")
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise Refused(f"{folder} cannot be made", f"{there} is a file", "give another folder: output=FOLDER")
    with bar(sampler.steps * -(-len(x) // restoring.BATCH)) as pulse:
        y = restoring.restored(run, x, sampler, noise, missing, asked["rounds"], asked["seed"], pulse, **wish)
    decode = run.data.codec.decode
    for file, picture in zip(files, decode(y), strict=True):
        figures.save(figures.plain(picture), file)
    seen = x if missing is None else x.masked_fill(missing, 0.0)
    shown = {"input": seen[:12], "restored": y[:12]}
    figures.save(figures.rows({name: decode(z) for name, z in shown.items()}, columns=12), folder / "comparison.png")
    print(f"{len(files)} pictures restored: {folder}")


def repeated(file: Path, files: list[Path], folder: Path) -> bool:
    return files.count(file) > 1 or file == folder / "comparison.png"


def strength(text: str | None) -> float | None:
    """The value of noise=."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise Refused("noise= is a standard deviation on the 0 .. 255 scale", text, "for example noise=25")
    return value
