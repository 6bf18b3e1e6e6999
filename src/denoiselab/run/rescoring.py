"""Scores of a finished run with other samplers, guidances and metrics: nothing is trained.

They lie where `train` would put them, in scores/HASH/ of the run folder; those of another split or other weights than
the best in a folder of their own.
"""

import time
from pathlib import Path

from denoiselab import build
from denoiselab.objective import Likelihood
from denoiselab.run import identity, lock, record, report, start
from denoiselab.run.loaded import Run
from denoiselab.run.logger import Nothing
from denoiselab.run.scoring import hardware
from denoiselab.spec import Refused

KEPT = ("seconds", "samples", "parameters", "steps", "best_step", "multiply_adds")  # of the training
OWN = ("test", "best")  # the split and the weights that `train` scores


def scored(run: Run, nodes: dict, split: str, weights: str) -> Path:
    """The folder with the scores of a run under other `nodes` (sampler, guidance, evaluation); made, or found."""
    config = {**run.config, **nodes}
    fingerprint = start.fingerprint(config, run.data)
    if not (run.folder / "COMPLETED").exists():
        raise Refused("only what is trained to the end is scored", run.folder, "the command that began it goes on")
    other = "" if (split, weights) == OWN else f"-{split}-{weights}"
    score = identity.score_hash(config, fingerprint) + other
    if (known := record.results(run.folder, score)) is not None:
        print(f"scored before: {known}")
        return known
    # The parts first: what does not fit is refused before a folder is made.
    sampler, guidance, evaluation = (build.made(nodes[g], g, run.spec) for g in ("sampler", "guidance", "evaluation"))
    run.agreed(sampler, guidance)
    began = time.perf_counter()
    place = run.folder / "scores" / score
    with lock.held(run.folder.parent, score, wait=True):
        pulse = lock.Pulse(lock.path(run.folder.parent, score))
        found = run.evaluated(sampler, guidance, evaluation, split, pulse)
        (place / "samples").mkdir(parents=True, exist_ok=True)
        trained, parts = run.summary, run.module.parts
        # What training said of validation is of the best weights.
        kept = trained["metrics"].items() if weights == "best" and split != "val" else ()
        metrics = {name: record.score(*value, evaluation.seed) for name, value in found.values.items()}
        metrics |= {name: value for name, value in kept if name.startswith("val/")}
        bound = run.data.entropy if Likelihood in parts.agreed.facts else None
        report.comparison(place, run.data, parts.spec, found.evidence, Nothing(), trained["steps"])
        if found.evidence.samples is not None:
            report.samples(place, run.data, found.evidence.samples, found.evidence.asked, Nothing(), trained["steps"])
        report.shown(place, found.shown, Nothing(), trained["steps"])
        # Last: it says that all is there.
        record.summarize(
            place, metrics, hardware=hardware(run.module.device), score=score, entropy=bound, sampling=found.sampling,
            left_out=found.left_out, evaluation_seconds=time.perf_counter() - began,
            **{name: trained[name] for name in KEPT},
        )  # fmt: skip
    for why in found.left_out:
        print(f"left out: {why}")
    return place
