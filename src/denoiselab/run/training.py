"""One run, from a plain configuration to a finished folder.

A run folder holds config.yaml (resolved, hashed), overrides.yaml, metrics.jsonl (the record), summary.json, samples/,
checkpoints/, log.txt and, when it is trained, COMPLETED. The same command again finds the same folder: what is finished
is said, what is partial goes on from its last checkpoint. What differs in the sampler or the evaluation alone is not
trained again: it is scored, in scores/HASH/ of the same folder.

With several devices each has a process. The first one decides, writes and evaluates; the others are told what to resume
from, and train.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from denoiselab.data.batches import Once
from denoiselab.files import replacing
from denoiselab.run import cell, checkpoint, first, identity, label, lock, record, report, scoring, start
from denoiselab.run.job import Job, made
from denoiselab.run.log import Log
from denoiselab.run.saver import Saver, handlers, last_good, steps
from denoiselab.run.secrets import redacted
from denoiselab.run.signals import INTERRUPTED, PREEMPTED, preemptible
from denoiselab.spec import Failed, Refused


class Resume(NamedTuple):
    """What the first process tells the others: train, from this checkpoint if there is one."""

    checkpoint: str | None


def train(config: dict, choices: dict[str, str], overrides: list[str], wait: bool = False) -> None:
    """Trains, evaluates and records one cell; `wait` for another process that works on it, or raise `Refused`, as for
    all that the user can mend, before any work."""
    run(made(cell.known(config, choices, overrides)), wait)


def run(job: Job, wait: bool = False) -> None:
    strategy = job.tools.trainer.strategy
    with preemptible():
        if job.tools.trainer.world_size > 1:
            # Now, and not at the start of training: what to do must be agreed before.
            strategy.setup_environment()
        if strategy.is_global_zero:
            lead(job, wait)
        elif (told := strategy.broadcast(None)) is not None:
            fit(job, told)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def lead(job: Job, wait: bool) -> None:
    """Trains and scores what is not there yet."""
    here = job.cell
    with lock.held(here.folder.parent, here.fit, wait):
        if (now := here.located()).folder != here.folder:
            job = made(here := now)
        broadcast = job.tools.trainer.strategy.broadcast
        if (known := here.results()) is not None:
            broadcast(None)
            print(f"finished before{by_whom(known)}: {known} (rerun=true trains anew)")
            report.show(known)
            return
        if here.outdated:
            identity.forget(here.folder)
        place, trained = here.place, here.place != here.folder
        prepare(place)
        describe(place, here)
        first.keep(here.data, here.folder)
        with Log(here.folder / "log.txt") as log:
            for note in here.data.notes:
                log.say(f"note: {note}")
            resume = None if trained else resumed(job, log)
            told = {**here.choices, "fingerprint": here.fingerprint, "config": redacted(absolute(here.config))}
            step = steps_done(here.folder) if trained else at(resume)
            called = label.of(here.config, here.overrides, scored=trained)
            job.tools.logger.start(place, here.score if trained else here.fit, called, told, step)
            try:
                broadcast(resume)
                if resume is not None:
                    trained_to_the_end(job, resume, log)
                scoring.settle(job, place, log)
            finally:
                said = job.tools.logger.finish()
            (here.folder / "COMPLETED").touch()
            log.write(f"scored in {place}" if trained else "completed")
        report.show(place)
        if said:
            print(said)


def by_whom(known: Path) -> str:
    """Says whether results were made by other code than this."""
    code = record.read_summary(known)["code"]
    if not cell.stale(known):
        return ""
    commit = f", commit {code['commit'][:10]}" if code["commit"] else ""
    return f" by other code (version {code['version']}{commit}; rerun=stale trains such runs anew)"


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


def describe(folder: Path, here: cell.Cell) -> None:
    for name, value in {"config": absolute(here.config), "overrides": here.overrides}.items():
        text = yaml.safe_dump(redacted(value), sort_keys=False, allow_unicode=True)
        with replacing(folder / f"{name}.yaml") as temporary:
            temporary.write_text(text, encoding="utf-8")


def resumed(job: Job, log: Log) -> Resume:
    """Where training goes on: at the last good checkpoint, at the end of what is extended, or at the beginning. The
    record is cut to it."""
    here = job.cell
    path = found(here, log)
    if path is None:
        start.extend(here.config, here.folder, here.fit, here.about, job.module.rate)
        path = found(here, log)
    resume = Resume(str(path) if path else None)
    for newer in steps(here.folder / "checkpoints"):
        if int(newer.stem) > at(resume):  # damaged; it must not be counted among those that are kept
            newer.unlink()
    record.Record(here.folder).cut(at(resume))
    if missing := lacking(here, at(resume)):
        log.say(f"warning: the record has no validation at step {missing}: its file was changed")
    log.say(f"{f'resumed at step {at(resume)}' if path else 'started'}: {here.folder}")
    return resume


def found(here: cell.Cell, log: Log) -> Path | None:
    """The last good checkpoint of this run; refused where it is another's."""
    with warnings.catch_warnings(record=True) as damaged:
        warnings.simplefilter("always")
        path = last_good(here.folder)
    for warning in damaged:
        log.write(f"warning: {warning.message}")
        warnings.warn(warning.message, stacklevel=2)
    if path is None:
        return None
    identity.refuse_other(checkpoint.load(path), here.fit, here.about, path)
    try:
        if any(here.folder.glob("metrics.jsonl")) and validated(here.folder, int(path.stem)):
            checkpoint.load(here.folder / "checkpoints" / "best.ckpt")
    except (OSError, checkpoint.Damaged) as e:
        # The best weights cannot be had from the last ones, but training is a function of its configuration.
        log.say(f"warning: the best checkpoint is lost, so training begins again: {e}")
        return None
    return path


def validated(folder: Path, step: int) -> bool:
    """Was there a validation, and so a best checkpoint, until `step`?"""
    return any("val/loss" in row and row["step"] <= step for row in record.read(folder))


def lacking(here: cell.Cell, step: int) -> int | None:
    """The first step until `step` whose validation is not in the record."""
    every = min(here.config["trainer"]["val_check_interval"], here.config["trainer"]["max_steps"])
    known = {row["step"] for row in record.read(here.folder) if "val/loss" in row}
    return next((due for due in range(every, step + 1, every) if due not in known), None)


def at(resume: Resume) -> int:
    return int(Path(resume.checkpoint).stem) if resume.checkpoint else 0


def steps_done(folder: Path) -> int:
    return record.read(folder)[-1]["step"]


def trained_to_the_end(job: Job, resume: Resume, log: Log) -> None:
    try:
        fit(job, resume)
    except SystemExit as e:
        if e.code in (INTERRUPTED, PREEMPTED):
            log.say(f"stopped at step {job.tools.trainer.global_step}: the same command goes on from what is saved")
        elif not e.code:
            raise Failed(f"something left with exit code 0 at step {job.tools.trainer.global_step}, not the end") from e
        raise


def fit(job: Job, resume: Resume) -> None:
    here, (evaluation, _, trainer, batches) = job.cell, job.tools
    held_out = Once(evaluation.some(here.data.val), evaluation.batch_size, batches.rank, batches.ranks)
    with warnings.catch_warnings(), handlers():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", ".*`srun` command is available")  # who starts processes is decided
        try:
            trainer.fit(job.module, batches, held_out, ckpt_path=resume.checkpoint, weights_only=False)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as e:
            # Before the loop has asked for data, what failed is the restoring.
            if resume.checkpoint is None or trainer.train_dataloader is not None or isinstance(e, Failed):
                raise
            raise Failed(f"training cannot go on from {resume.checkpoint}: {type(e).__name__}: {e}") from e
        for saver in trainer.checkpoint_callbacks:
            if isinstance(saver, Saver) and saver.asked:  # after the last save
                raise SystemExit(saver.code)
