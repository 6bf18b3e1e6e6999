"""`denoiselab sample run=FOLDER [n=64] [sampler=...] [steps=...] [seed=0]`: new samples of a finished run."""

import time
from pathlib import Path

from denoiselab.spec import Refused, near

HELP = """denoiselab sample run=FOLDER [n=64] [sampler=NAME] [steps=N] [seed=0] [batch_size=256] [weights=best]
                  [output=FOLDER] [plugins=PACKAGE]

Makes n new samples with a finished run: a grid (or a text file), the raw arrays (samples.safetensors) and the
timing (timing.json) go to output, by default a folder below FOLDER/samples/. Sample i is the same whatever the batch
size. A run that was trained with plugins imports them only if they are named here (several: with commas)."""
DEFAULTS = {"run": None, "n": 64, "sampler": None, "steps": None, "seed": 0, "batch_size": 256, "weights": "best",
            "output": None, "plugins": ""}  # fmt: skip


def parse(arguments: list[str], defaults: dict) -> dict:
    """KEY=VALUE words; a value has the type of its default where that is a number."""
    values = dict(defaults)
    for word in arguments:
        key, equals, value = word.partition("=")
        if not equals or key not in defaults:
            raise Refused(f"there is no argument {key!r}", word, near(key, defaults))
        if isinstance(defaults[key], int) or key == "steps":
            try:
                values[key] = int(value)
            except ValueError:
                raise Refused(f"{key} is a whole number", word, f"for example {key}={defaults[key] or 20}") from None
        else:
            values[key] = value
    if not values["run"]:
        raise Refused("which run?", "no run=", "run=FOLDER, the folder that train printed")
    return values


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
        return
    asked = parse(arguments, DEFAULTS)
    if asked["n"] < 1 or asked["batch_size"] < 1:
        raise Refused(
            "n and batch_size count samples", f"n={asked['n']} batch_size={asked['batch_size']}", "at least 1"
        )

    from safetensors.torch import save_file

    from denoiselab.files import write_json
    from denoiselab.run import report
    from denoiselab.run.loaded import Run

    run = Run(asked["run"], asked["weights"], plugins=asked["plugins"].split(","))
    name = asked["sampler"]
    steps = {} if asked["steps"] is None else {"steps": asked["steps"]}
    sampler = run.sampler(name, **steps)
    began = time.perf_counter()
    samples = run.sample(asked["n"], sampler, asked["seed"], asked["batch_size"])
    seconds = time.perf_counter() - began
    label = f"{name or 'own'}-{sampler.calls}calls-n{asked['n']}-seed{asked['seed']}-{asked['weights']}"
    folder = Path(asked["output"] or run.folder / "samples" / label)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Refused(f"{folder} cannot be made", e, "give another folder: output=FOLDER") from e
    save_file({"samples": samples.contiguous()}, folder / "samples.safetensors")
    write_json(
        folder / "timing.json",
        {"n": asked["n"], "seconds": seconds, "samples_per_second": asked["n"] / seconds,
         "network_calls_per_sample": sampler.calls},
    )  # fmt: skip
    shown = report.save_samples(folder, run.data, samples)
    print(f"{asked['n']} samples in {seconds:.1f} s, {sampler.calls} network calls each: {shown}")
