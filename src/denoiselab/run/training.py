"""One run, from a plain configuration to a finished folder.

A run folder holds config.yaml (resolved, hashed), overrides.yaml, metrics.jsonl (the record), summary.json, samples/,
checkpoints/, log.txt and, when it is trained, COMPLETED. The same command again finds the same folder: what is finished
is said, what is partial goes on from its last checkpoint. What differs in the sampler or the evaluation alone is not
trained again: it is scored, in scores/HASH/ of the same folder.
"""

import logging
import math
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch
import yaml

from denoiselab import build
from denoiselab.data.base import Batches, Loaded, Once
from denoiselab.evaluation.evaluate import Evaluation
from denoiselab.module import DenoisingModule
from denoiselab.run import identity, record, report
from denoiselab.run.checkpoint import SafeIO
from denoiselab.run.cost import Cost
from denoiselab.run.logger import Logger
from denoiselab.run.progress import Progress
from denoiselab.run.saver import Saver, last_good
from denoiselab.run.watch import SeedEachStep, Watch
from denoiselab.spec import Refused


class Job(NamedTuple):
    """A cell made, with the place where it lies."""

    config: dict
    data: Loaded
    module: DenoisingModule
    evaluation: Evaluation
    cost: Cost
    folder: Path  # of the fit
    fit: str  # the hash of what changes the weights
    score: str  # the hash of the fit and what is done with it
    log: logging.Logger


def train(config: dict, choices: dict[str, str], overrides: list[str]) -> Path:
    """Trains, evaluates and records one cell; gives the folder of its results. Raises `Refused` before any work for
    what the user can mend."""
    identity.checked_name(config["name"])
    build.allow(config)
    data = build.load(config)
    module, evaluation = build.module(config, data.spec), build.make(config, "evaluation")
    fingerprint = data.fingerprint()
    fit, score = identity.fit_hash(config, fingerprint), identity.score_hash(config, fingerprint)
    folder = identity.run_folder(Path(config["outputs"]), config["name"], overrides, fit)
    if config["rerun"]:
        identity.forget(folder)
    if (known := scored(folder, score)) is not None:
        print(f"finished before: {known} (rerun=true trains anew)")
        report.show(known)
        return known
    prepare(folder)
    cost = Cost.of(module, data, config["data"]["batch_size"])
    job = Job(config, data, module, evaluation, cost, folder, fit, score, log_file(folder))
    for note in data.notes:
        job.log.warning(note)
        print(f"note: {note}")
    logger: Logger = build.make(config, "logger")
    trained = (folder / "COMPLETED").exists()
    place = folder / "scores" / score if trained else folder
    prepare(place)
    describe(place, config, overrides)
    logger.start(
        place, score if trained else fit, place.name, {**choices, "fingerprint": fingerprint, "config": config}
    )
    try:
        if not trained:
            train_to_the_end(job, logger)
        settle(job, place, logger)
    finally:
        said = logger.finish()
    (folder / "COMPLETED").touch()
    job.log.info("completed" if not trained else f"scored in {place}")
    report.show(place)
    if said:
        print(said)
    return place


def scored(folder: Path, score: str) -> Path | None:
    """Where the results of this fit and this score lie, if they are there."""
    if not (folder / "COMPLETED").exists():
        return None
    for place in (folder, folder / "scores" / score):
        if (place / "summary.json").is_file() and record.read_summary(place)["score"] == score:
            return place
    return None


def prepare(folder: Path) -> None:
    try:
        for name in ("samples", "checkpoints"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Refused(f"the run folder {folder} cannot be made", e, "give another root: outputs=FOLDER") from e


def describe(folder: Path, config: dict, overrides: list[str]) -> None:
    for name, value in {"config": config, "overrides": overrides}.items():
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def log_file(folder: Path) -> logging.Logger:
    """Lines with a time, in log.txt alone."""
    log = logging.Logger(str(folder), logging.INFO)
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    return log


def train_to_the_end(job: Job, logger: Logger) -> None:
    """From the last good checkpoint, or from the start."""
    config, seed = job.config, int(job.config["seed"])
    monitor, path = config["monitor"], last_good(job.folder)
    rows = record.Record(job.folder)
    if path:
        rows.cut(int(path.stem))
    said = f"resumed at step {int(path.stem)}" if path else "started"
    job.log.info(said)
    print(f"{said}: {job.folder}")
    extra = [build.instantiated(node, f"callbacks.{name}") for name, node in config["callbacks"].items() if node]
    watch = Watch(rows, logger, job.cost, every=config["trainer"]["log_every_n_steps"])
    bar = [Progress()] if config["trainer"]["enable_progress_bar"] else []
    saver = Saver(job.folder, monitor["name"], monitor["mode"], fit=job.fit)
    trainer = make_trainer(config, [SeedEachStep(seed), *extra, watch, *bar, saver], job.folder)
    ranks = {"rank": trainer.global_rank, "ranks": trainer.world_size}
    batches = Batches(job.data.train, config["data"]["batch_size"], seed, lambda: trainer.global_step,
                      trainer.accumulate_grad_batches, **ranks, frozen=config["overfit"])  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer.fit(job.module, batches, Once(job.data.val, job.evaluation.batch_size, **ranks), ckpt_path=path,
                    weights_only=False)  # fmt: skip


def make_trainer(config: dict, callbacks: list[pl.Callback], folder: Path) -> pl.Trainer:
    node = dict(config["trainer"])
    for name in ("max_steps", "val_check_interval", "accumulate_grad_batches", "log_every_n_steps"):
        if not isinstance(node[name], int) or node[name] < 1:
            raise Refused(f"trainer.{name} counts optimizer steps", node[name], "give a whole number of at least 1")
    # Endless for Lightning: epochs are arithmetic on the step (denoiselab.data.base), so that nothing need be saved.
    node |= {
        "max_epochs": -1, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0, "logger": False,
        "val_check_interval": min(node["val_check_interval"], node["max_steps"]) * node["accumulate_grad_batches"],
        "enable_model_summary": False, "use_distributed_sampler": False, "enable_progress_bar": False,
        "default_root_dir": str(folder),
    }  # fmt: skip
    # What Lightning says of its hardware and of itself is not what a person asked.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return build.instantiated(node, "trainer", callbacks=callbacks, plugins=[SafeIO()])


def settle(job: Job, place: Path, logger: Logger) -> None:
    """Evaluates the best weights; writes summary.json and the last pictures."""
    best = SafeIO().load_checkpoint(job.folder / "checkpoints" / "best.ckpt")
    job.module.load_state_dict(best["state_dict"])
    began = time.perf_counter()
    values, evidence, sampling = job.evaluation(job.module, job.data)
    rows = record.read(job.folder)
    steps = max(row["step"] for row in rows)
    seed = job.evaluation.seed
    metrics = {name: record.score(*value, seed) for name, value in values.items()}
    monitor, mode = job.config["monitor"]["name"], job.config["monitor"]["mode"]
    finite = [row for row in rows if math.isfinite(row.get(monitor, math.nan))]
    best_row = (min if mode == "min" else max)(finite, key=lambda row: row[monitor])
    metrics |= {
        name: record.score(value, len(job.data.val.x), "val", None, seed)
        for name, value in best_row.items() if name.startswith("val/")
    }  # fmt: skip
    record.summarize(
        place, metrics, seconds=rows[-1]["seconds"], samples=rows[-1]["samples"], parameters=job.cost.parameters,
        steps=steps, hardware=hardware(job.module.device), best_step=best_row["step"], score=job.score,
        multiply_adds=job.cost.multiply_adds, entropy=job.data.entropy, sampling=sampling,
        evaluation_seconds=time.perf_counter() - began,
    )  # fmt: skip
    logger.log({name: value.value for name, value in values.items()}, steps)
    report.comparison(place, job.data, job.module.parts.spec, evidence, logger, steps)
    if evidence.samples is not None:
        report.samples(place, job.data, evidence.samples, logger, steps)


def hardware(device: torch.device) -> str | None:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
