"""One run, from a plain configuration to a finished folder.

A run folder holds config.yaml (resolved, hashed), overrides.yaml, metrics.jsonl (the record), summary.json, samples/,
checkpoints/, log.txt and, when it is trained, COMPLETED. The same command again finds the same folder: what is finished
is said, what is partial goes on from its last checkpoint. What differs in the sampler or the evaluation alone is not
trained again: it is scored, in scores/HASH/ of the same folder.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytorch_lightning as pl
import yaml

from denoiselab import build, check
from denoiselab.data.base import Batches, Loaded, Once
from denoiselab.run import identity, record, report, scoring
from denoiselab.run.checkpoint import SafeIO
from denoiselab.run.cost import Cost
from denoiselab.run.job import Job
from denoiselab.run.logger import Logger
from denoiselab.run.progress import Progress
from denoiselab.run.saver import INTERRUPTED, PREEMPTED, Saver, handlers, last_good
from denoiselab.run.watch import SeedEachStep, Watch
from denoiselab.spec import Refused, near

MONITORED = ("val/loss",)  # what a validation measures


def train(config: dict, choices: dict[str, str], overrides: list[str]) -> Path:
    """Trains, evaluates and records one cell; gives the folder of its results. Raises `Refused` before any work for
    what the user can mend."""
    identity.checked_name(config["name"])
    build.allow(config)
    check.config(config)
    data = build.load(config)
    fingerprint = data.fingerprint()
    fit, score = identity.fit_hash(config, fingerprint), identity.score_hash(config, fingerprint)
    folder = identity.run_folder(Path(config["outputs"]), config["name"], overrides, fit)
    job = made(config, data, folder, fit, score)
    with identity.held(folder.parent, fit):
        return run(job, fit, choices, overrides, fingerprint)


def run(job: Job, fit: str, choices: dict[str, str], overrides: list[str], fingerprint: str) -> Path:
    """Trains and scores what is not there yet."""
    config, data, folder, score = job.config, job.data, job.folder, job.score
    if config["rerun"]:
        identity.forget(folder)
    if (known := scored(folder, score)) is not None:
        print(f"finished before: {known} (rerun=true trains anew)")
        report.show(known)
        return known
    trained = (folder / "COMPLETED").exists()
    place = folder / "scores" / score if trained else folder
    prepare(place)
    describe(place, absolute(config), overrides)
    with log_file(folder) as log:
        for note in data.notes:
            log.warning(note)
            print(f"note: {note}")
        told = {**choices, "fingerprint": fingerprint, "config": config}
        job.logger.start(place, score if trained else fit, place.name, told)
        try:
            if not trained:
                train_to_the_end(job, log)
            scoring.settle(job, place, log)
        finally:
            said = job.logger.finish()
        (folder / "COMPLETED").touch()
        log.info(f"scored in {place}" if trained else "completed")
    report.show(place)
    if said:
        print(said)
    return place


def made(config: dict, data: Loaded, folder: Path, fit: str, score: str) -> Job:
    """Everything that can be refused, made before anything is written."""
    module, evaluation = build.module(config, data.spec), build.make(config, "evaluation")
    logger: Logger = build.make(config, "logger")
    monitor, seed, batch_size = config["monitor"], int(config["seed"]), config["data"]["batch_size"]
    if monitor["name"] not in MONITORED:
        raise Refused("monitor.name is a metric of validation", monitor["name"], near(monitor["name"], MONITORED))
    cost = Cost.of(module, data, batch_size)
    watch = Watch(record.Record(folder), logger, cost, every=config["trainer"]["log_every_n_steps"])
    saver = Saver(folder, monitor["name"], monitor["mode"], fit=fit, **config["checkpoint"])
    extra = [build.instantiated(node, f"callbacks.{name}") for name, node in config["callbacks"].items() if node]
    bar = [Progress()] if config["trainer"]["enable_progress_bar"] else []
    trainer = make_trainer(config, [SeedEachStep(seed), *extra, watch, *bar, saver], folder)
    ranks = {"rank": trainer.global_rank, "ranks": trainer.world_size}
    batches = Batches(data.train, batch_size, seed, lambda: trainer.global_step, trainer.accumulate_grad_batches,
                      **ranks, frozen=config["overfit"])  # fmt: skip
    return Job(config, data, module, evaluation, logger, trainer, batches, cost, folder, score)


def scored(folder: Path, score: str) -> Path | None:
    """Where the results of this fit and this score lie, if they are there."""
    if not (folder / "COMPLETED").exists():
        return None
    for place in (folder, folder / "scores" / score):
        with suppress(OSError, ValueError):  # one that cannot be read is made anew
            if record.read_summary(place)["score"] == score:
                return place
    return None


def prepare(folder: Path) -> None:
    try:
        (folder / "samples").mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Refused(f"the run folder {folder} cannot be made", e, "give another root: outputs=FOLDER") from e


def absolute(config: dict) -> dict:
    """The configuration with the paths of its data made absolute, so that the run can be opened from anywhere."""
    here = {name: str(Path(value).expanduser().resolve()) for name, value in config["data"].items()
            if name in ("root", "path", "dataset") and value and Path(value).expanduser().exists()}  # fmt: skip
    return {**config, "data": {**config["data"], **here}}


def describe(folder: Path, config: dict, overrides: list[str]) -> None:
    for name, value in {"config": config, "overrides": overrides}.items():
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


@contextmanager
def log_file(folder: Path) -> Iterator[logging.Logger]:
    """Lines with a time, in log.txt alone."""
    log = logging.Logger(str(folder), logging.INFO)
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    finally:
        handler.close()


def train_to_the_end(job: Job, log: logging.Logger) -> None:
    """From the last good checkpoint, or from the start."""
    path, trainer = last_good(job.folder), job.trainer
    step = int(path.stem) if path else 0
    record.Record(job.folder).cut(step)
    said = f"resumed at step {step}" if path else "started"
    log.info(said)
    print(f"{said}: {job.folder}")
    held_out = Once(job.evaluation.some(job.data.val), job.evaluation.batch_size, job.batches.rank, job.batches.ranks)
    with warnings.catch_warnings(), handlers():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            trainer.fit(job.module, job.batches, held_out, ckpt_path=path, weights_only=False)
        except SystemExit as e:
            if e.code in (INTERRUPTED, PREEMPTED):
                said = f"stopped and saved at step {trainer.global_step}: the same command goes on from there"
                log.info(said)
                print(said)
            raise


def make_trainer(config: dict, callbacks: list[pl.Callback], folder: Path) -> pl.Trainer:
    node = dict(config["trainer"])
    for name in ("max_steps", "val_check_interval", "accumulate_grad_batches", "log_every_n_steps"):
        if not isinstance(node[name], int) or node[name] < 1:
            raise Refused(f"trainer.{name} is a count", node[name], "give a whole number of at least 1")
    if (node["gradient_clip_val"] or 0) < 0:
        got = node["gradient_clip_val"]
        raise Refused("trainer.gradient_clip_val is the largest norm of the gradient", got, "give null, or above 0")
    # Endless for Lightning: epochs are arithmetic on the step (denoiselab.data.base), so that nothing need be saved.
    node |= {
        "max_epochs": -1, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0, "logger": False,
        "val_check_interval": min(node["val_check_interval"], node["max_steps"]) * node["accumulate_grad_batches"],
        "enable_model_summary": False, "use_distributed_sampler": False, "enable_progress_bar": False,
        "default_root_dir": str(folder),
    }  # fmt: skip
    # What Lightning says of its hardware and of itself is not what a person asked.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = build.instantiated(node, "trainer", callbacks=callbacks, plugins=[SafeIO()])
    if trainer.world_size > 1 and "LOCAL_RANK" not in os.environ:
        # Lightning would start them from this command line, once for each cell of a sweep.
        start = f"torchrun --nproc-per-node={trainer.num_devices} -m denoiselab train ..."
        raise Refused("several devices need a process each", f"{trainer.world_size} ranks, one process", start)
    return trainer
