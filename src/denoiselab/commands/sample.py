"""`denoiselab sample run=FOLDER [n=64] [sampler=...] [steps=...] [label=...] [guidance=...]`: new samples of a run."""

import hashlib
import re
import time
from pathlib import Path

from denoiselab.commands import template
from denoiselab.commands.arguments import guiding, parse, sampling, wished
from denoiselab.commands.progress import bar
from denoiselab.spec import Refused

HELP = """denoiselab sample run=FOLDER [n=64] [sampler=NAME] [steps=N] [sampler.KEY=VALUE] [grid=NAME] [grid.KEY=VALUE]
                  [seed=0] [batch_size=256] [weights=best] [label=3] [caption="a red circle"]
                  [guidance=NAME] [guidance.KEY=VALUE] [template=TEXT] [output=FOLDER] [plugins=PACKAGE]

Makes n new samples with a finished run: a grid (or a text file), the raw arrays (samples.safetensors) and the
timing (timing.json) go to output, by default a folder below FOLDER/samples/. Sample i is the same whatever the batch
size. A run that was trained with plugins imports them only if they are named here (several: with commas).

label= and caption= say what to make, one or several with commas, given to the samples in turn; left out, it is what
the test split has. What each was asked for is in samples.json, and the grid is sorted by it. guidance=3 is short for
guidance=classifier_free guidance.weight=3; guidance=classifier works on runs that were told no label too.

sampler.KEY=VALUE and grid.KEY=VALUE give arguments of the sampler and of its grid: sampler.temperature=0.8, grid.rho=5.

template="The scientist [MASK] the solution" completes a text, of which all else is kept: [MASK] is one token, [MASK*5]
five. n is 4 where it is not given. Runs on masked text take it, with any sampler that they take, and with
sampler=one_shot, which gives the likeliest answer; so do runs with uniform noise."""
DEFAULTS = {"run": None, "n": int, "sampler": None, "steps": int, "grid": None, "seed": 0, "batch_size": 256,
            "weights": "best", "label": None, "caption": None, "guidance": None, "template": None, "output": None,
            "plugins": ""}  # fmt: skip

LONGEST = 100  # letters of what was typed in a folder's name


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
        return
    asked = parse(arguments, DEFAULTS)
    if asked["n"] is None:
        asked["n"] = 64 if asked["template"] is None else 4
    if asked["n"] < 1 or asked["batch_size"] < 1:
        raise Refused(
            "n and batch_size count samples", f"n={asked['n']} batch_size={asked['batch_size']}", "at least 1"
        )
    wish = wished(asked)

    from safetensors.torch import save_file

    from denoiselab.files import write_json
    from denoiselab.run import report
    from denoiselab.run.loaded import Run

    run = Run(asked["run"], asked["weights"], plugins=asked["plugins"].split(","))
    name, steps = sampling(asked)
    if asked["template"] is not None:
        template.complete(run, asked, name, run.sampler(name, **steps), wish)
        return
    guidance, pushes = guiding(asked)
    sampler, guide = run.sampler(name, **steps), run.guidance(guidance, **pushes)
    wanted = run.wanted(asked["n"], run.agreed(sampler, guide), **wish)
    calls = guide.calls * sampler.calls
    run.guided(guide)  # a classifier that it needs is trained now: the time below is that of samples
    began = time.perf_counter()
    batches = -(-asked["n"] // asked["batch_size"])
    with bar(batches * sampler.steps) as pulse:
        samples = run.sample(asked["n"], sampler, asked["seed"], asked["batch_size"], guide, pulse, **wish)
    seconds = time.perf_counter() - began
    label = f"{name or 'own'}-{calls}calls-n{asked['n']}-seed{asked['seed']}-{asked['weights']}"
    folder = Path(asked["output"] or run.folder / "samples" / (label + readable(arguments)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Refused(f"{folder} cannot be made", e, "give another folder: output=FOLDER") from e
    save_file({"samples": samples.contiguous()}, folder / "samples.safetensors")
    write_json(
        folder / "timing.json",
        {"n": asked["n"], "seconds": seconds, "samples_per_second": asked["n"] / seconds,
         "network_calls_per_sample": calls},
    )  # fmt: skip
    shown = report.save_samples(folder, run.data, samples, wanted)
    print(f"{asked['n']} samples in {seconds:.1f} s, {calls} network calls each: {shown}")


def readable(arguments: list[str]) -> str:
    """What was typed of wishes, guidance and the sampler's arguments, as the end of a folder's name."""
    said = [word for word in arguments if re.match(r"label=|caption=|grid[.=]|guidance[.=]|sampler\.", word)]
    words = "".join(f"-{re.sub(r'[^A-Za-z0-9._]+', '_', word).strip('_')}" for word in said)
    # A name has an end; what is cut off is told apart all the same.
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
