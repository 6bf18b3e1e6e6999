"""`denoiselab sample run=FOLDER template="The scientist [MASK] the solution" [n=4]`: text with holes, completed."""

import time
from pathlib import Path

from denoiselab.commands.progress import bar
from denoiselab.spec import Refused

LISTED = 16  # on the screen


def complete(run, asked: dict, name: str | None, sampler, wish: dict) -> None:
    """n completions, on the screen and in samples.txt."""
    from rich.console import Console
    from rich.text import Text
    from safetensors.torch import save_file

    from denoiselab.evaluation.figures.text import visible
    from denoiselab.files import replacing
    from denoiselab.run import infilling
    from denoiselab.sampler import Generates

    if asked["guidance"] is not None or asked["guidance."]:
        raise Refused("a template is completed under the run's own guidance", "guidance=", "leave it out")
    agreed = infilling.accepts(run, sampler)
    template = infilling.read(asked["template"], run.data.codec, run.spec.shape[0])
    label = f"template-{name or 'own'}-n{asked['n']}-seed{asked['seed']}-{asked['weights']}-{hashed(asked)}"
    folder = Path(asked["output"] or run.folder / "samples" / label)
    began, n = time.perf_counter(), asked["n"]
    with bar(-(-n // asked["batch_size"]) * sampler.steps) as pulse:
        found = infilling.completed(run, [template] * n, sampler, asked["seed"], pulse, asked["batch_size"], **wish)
    seconds = time.perf_counter() - began
    written = infilling.texts(run, found, template)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Refused(f"{folder} cannot be made", e, "give another folder: output=FOLDER") from e
    save_file({"samples": found.contiguous()}, folder / "samples.safetensors")
    with replacing(folder / "samples.txt") as temporary:
        lines = ("".join(text for text, _ in row).replace("\n", "↵") for row in written)
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for row in written[:LISTED]:
        line = Text()
        for text, new in row:
            line.append(visible(text), "bold cyan" if new else "")
        console.print(line)
    if n > 1 and Generates not in agreed.facts:
        console.print("all are alike: each hole has its likeliest answer, and nothing is drawn", style="dim")
    console.print(f"{n} completions in {seconds:.1f} s, at most {sampler.calls} network calls each: {folder}")


def hashed(asked: dict) -> str:
    """What tells folders apart beside what their names say."""
    import hashlib

    return hashlib.sha256(repr(sorted(asked.items(), key=lambda item: item[0])).encode()).hexdigest()[:8]
