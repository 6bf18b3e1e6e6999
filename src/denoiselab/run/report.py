"""What a run shows a person: pictures or text in samples/, and a table on the screen."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table as Screen
from torch import Tensor

from denoiselab.corruption import everywhere
from denoiselab.data.base import Loaded
from denoiselab.evaluation import asked as asking
from denoiselab.evaluation import figures, page
from denoiselab.evaluation.metrics.base import Evidence, evenly
from denoiselab.evaluation.shown import Shown
from denoiselab.files import write_json
from denoiselab.run import record
from denoiselab.run.logger import Logger
from denoiselab.spec import Spec

SHOWN = 64  # samples in a grid
COMPARED = 12  # samples in a comparison of clean, corrupted, restored
LISTED = 16  # texts in a table


def words(data: Loaded, ids: Tensor, specials: Sequence[str], valid: Tensor | None = None) -> list[list[str]]:
    """Each token of texts (N, L) as a string by itself, the special ones as the corruption shows them; without the
    padding, where `valid` (N, L) says what is none."""
    known = [*data.codec.decode(torch.arange(data.spec.vocabulary)[:, None]), *specials]
    there = torch.ones_like(ids, dtype=torch.bool) if valid is None else valid
    return [[known[i] for i in row[places].tolist()] for row, places in zip(ids, there, strict=True)]


def comparison(folder: Path, data: Loaded, spec: Spec, evidence: Evidence, logger: Logger, step: int) -> None:
    """Clean, corrupted, restored: samples/restored.png, or .txt and a colored .html, and the log."""
    # Evenly: all severities, since the times of a held-out split rise with the place.
    n = len(evidence.clean)
    if spec.kind == "tokens":
        some = evenly(n, LISTED)
        named = ((evidence.clean, evidence.valid), (evidence.x_t, evidence.x_t_valid),
                 (evidence.restored, evidence.restored_valid))  # fmt: skip
        texts = [words(data, x[some], spec.specials, None if valid is None else valid[some]) for x, valid in named]
        there = everywhere(evidence.clean) if evidence.valid is None else evidence.valid
        touched = [row[places].tolist() for row, places in zip(evidence.touched[some], there[some], strict=True)]
        figures.save_text(folder / "samples" / "restored.txt", *texts, touched)
        page.save(folder / "samples" / "restored.html", *texts, touched)
        logger.table("restored", *figures.text_rows(*texts, touched), step)
        return
    named = {"clean": evidence.clean, "corrupted": evidence.x_t, "restored": evidence.restored}
    some = evenly(n, COMPARED if spec.kind == "image" else n)
    picture = figures.rows({name: data.codec.decode(x[some]) for name, x in named.items()}, columns=COMPARED)
    figures.save(picture, folder / "samples" / "restored.png")
    logger.image("restored", picture, step)


def save_samples(folder: Path, data: Loaded, samples: Tensor, asked: Mapping[str, Tensor] = {}) -> Path:
    """A grid, samples.png, sorted by what was `asked`, or lines, samples.txt; gives its path. Beside it, samples.json
    says what each sample was asked for."""
    shown, words = data.codec.decode(samples), asking.spoken(data, asked)
    if words:
        write_json(folder / "samples.json", asking.records(data, asked))
    if data.spec.kind == "tokens":
        path = folder / "samples.txt"
        path.write_text("".join(text.replace("\n", "↵") + "\n" for text in shown), encoding="utf-8")
        return path
    path = folder / "samples.png"
    if words and data.spec.kind == "image":
        figures.save(asking.figure(shown, words), path)
        return path
    figures.save(figures.grid(shown[:SHOWN] if data.spec.kind == "image" else shown), path)
    return path


def samples(folder: Path, data: Loaded, made: Tensor, asked: Mapping[str, Tensor], logger: Logger,
            step: int) -> None:  # fmt: skip
    """New samples and what they were asked for: into samples/ and the log."""
    path = save_samples(folder / "samples", data, made, asked)
    if data.spec.kind == "tokens":
        logger.table("samples", ["text"], [[text] for text in data.codec.decode(made[:LISTED])], step)
    else:
        logger.image("samples", path, step)


def shown(folder: Path, things: Mapping[str, Shown], logger: Logger, step: int) -> None:
    """Curves and pictures of the metrics: into samples/ and the log."""
    for name, thing in things.items():
        logger.image(name, thing.save(folder / "samples", name), step)


def show(folder: Path) -> None:
    """The table at the end of a run, and what a person may want next."""
    summary = record.read_summary(folder)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    table = Screen(title=None, header_style="bold")
    for name in ("metric", "value", "n", "split", "by"):
        table.add_column(name, justify="right" if name in ("value", "n") else "left", no_wrap=name != "by")
    for name, score in summary["metrics"].items():
        value = "not finite" if score["value"] is None else f"{score['value']:.4g}"
        table.add_row(name, value, str(score["n"] or ""), score["split"], score["extractor"] or "")
    for name, unit, value in costs(summary):
        table.add_row(name, f"{value:,.4g}", "", "", unit, style="dim")
    console.print(table)
    if summary["entropy"] is not None:
        console.print(f"the loss bounds -log p: no model can be below {summary['entropy']:.4f} nats a token here")
    if (limit := summary.get("ended_by", "trainer.max_steps")) != "trainer.max_steps":
        spent = f"{summary['steps']:,} steps, {summary['samples']:,} samples, {summary['seconds']:.4g} s"
        console.print(f"{limit} ended the training after {spent}")
    console.print(f"{'scores' if folder.parent.name == 'scores' else 'run folder'}: {folder}")
    console.print("next:")
    for line in nexts(folder, summary):
        console.print(f"  {line}")


def costs(summary: dict) -> list[tuple[str, str, float]]:
    found = [
        ("training", "seconds", summary["seconds"]),
        ("training", "samples a second", summary["samples_per_second"] or 0),
    ]
    found.append(("parameters", "", summary["parameters"]))
    if "samples_per_second" in summary["sampling"]:
        calls = summary["sampling"]["network_calls_per_sample"]
        found.append(
            ("sampling", f"samples a second, {calls} network calls each", summary["sampling"]["samples_per_second"])
        )
    return found


def nexts(folder: Path, summary: dict) -> list[str]:
    generates = bool(summary["sampling"])
    fit = folder.parents[1] if folder.parent.name == "scores" else folder
    looks = f"denoiselab show run={fit}"
    again = f"denoiselab sample run={fit} n=64 steps=20" if generates else "denoiselab list experiment"
    wish = folder / "samples" / "samples.json"
    asks = [f"denoiselab sample run={folder} {wished(wish)}   # of what is asked for"] if wish.is_file() else []
    return [
        f"{looks}   # " + ("the trajectory, and what is recovered from each t" if generates else "what is recovered"),
        again + ("   # more samples, in fewer steps" if generates else "   # other systems of the same grid"),
        *asks,
        sweep(fit),
    ]


def sweep(fit: Path) -> str:
    """A first sweep: the cell of a run with other seeds, or, of the default, another schedule too."""
    file = fit / "overrides.yaml"
    words = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else []
    own = " ".join(shlex.quote(word) for word in words or [] if not word.startswith("seed="))
    if not own:
        return "denoiselab train -m schedule=cosine,linear seed=0,1   # a sweep of four"
    return f"denoiselab train -m {own} seed=0,1,2   # the same, with three seeds"


def wished(path: Path) -> str:
    """What the first sample of a samples.json was asked for, as words of a command line."""
    first = json.loads(path.read_text(encoding="utf-8"))[0]
    return " ".join(f'{name}="{wish}"' if isinstance(wish, str) else f"{name}={wish}" for name, wish in first.items())
