"""The end of a run: the best weights are evaluated, and what was found is written down."""

import math
import time
from pathlib import Path

import torch

from denoiselab.objective import Likelihood
from denoiselab.run import budget, checkpoint, lock, record, report
from denoiselab.run.job import Job
from denoiselab.run.log import Log
from denoiselab.spec import Failed


def settle(job: Job, place: Path, log: Log) -> None:
    """Evaluates the best weights of the fit; writes summary.json and the last pictures into `place`."""
    (config, _, _, data, _, fit, score, folder), module, cost = job.cell, job.module, job.cost
    evaluation, logger, trainer, _ = job.tools
    try:
        best = checkpoint.load(folder / "checkpoints" / "best.ckpt")
    except (OSError, checkpoint.Damaged) as e:
        raise Failed(f"the best checkpoint of this run cannot be read: {e}\n  fix: rerun=true trains it anew") from e
    module.load_state_dict(best["state_dict"])
    # Lightning leaves it on the CPU.
    module.to(trainer.strategy.root_device)
    began = time.perf_counter()
    found = evaluation(module, data, pulse=lock.Pulse(lock.path(folder.parent, fit)))
    rows, seed = record.read(folder), evaluation.seed
    name, mode = config["monitor"]["name"], config["monitor"]["mode"]
    last = rows[-1]
    limit = budget.ended_by(config, last["step"], last["seconds"])
    validated = [row for row in rows if math.isfinite(row.get(name, math.nan))]
    best_row = (min if mode == "min" else max)(validated, key=lambda row: row[name])
    n = len(evaluation.some(data.val).x)
    metrics = {name: record.score(*value, seed) for name, value in found.values.items()}
    metrics |= {k: record.score(v, n, "val", None, seed) for k, v in best_row.items() if k.startswith("val/")}
    for why in found.left_out:
        log.say(f"left out: {why}")
    bound = data.entropy if Likelihood in module.parts.agreed.facts else None
    record.summarize(
        place, metrics, seconds=last["seconds"], samples=last["samples"], parameters=cost.parameters,
        steps=last["step"], hardware=hardware(module.device), best_step=best_row["step"], score=score,
        multiply_adds=cost.multiply_adds, entropy=bound, sampling=found.sampling, left_out=found.left_out,
        evaluation_seconds=time.perf_counter() - began, ended_by=limit,
    )  # fmt: skip
    logger.log({name: value.value for name, value in found.values.items()}, last["step"])
    report.comparison(place, data, module.parts.spec, found.evidence, logger, last["step"])
    if found.evidence.samples is not None:
        report.samples(place, data, found.evidence.samples, found.evidence.asked, logger, last["step"])
    report.shown(place, found.shown, logger, last["step"])
    logger.summary({f"best/{name}": best_row[name], "best/step": best_row["step"]}, last["step"])


def hardware(device: torch.device) -> str | None:
    """The accelerator's name; None leaves the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
