"""A job: a cell made. What can be refused is refused here, before anything is written."""

import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch

from denoiselab import build
from denoiselab.data.batches import Batches
from denoiselab.evaluation.evaluate import Evaluation
from denoiselab.module import DenoisingModule
from denoiselab.run import budget, lock, record, start
from denoiselab.run.cell import Cell
from denoiselab.run.checkpoint import SafeIO
from denoiselab.run.cost import Cost
from denoiselab.run.histograms import Histograms
from denoiselab.run.logger import Logger
from denoiselab.run.progress import Progress
from denoiselab.run.pruning import Pruning
from denoiselab.run.saver import Saver
from denoiselab.run.watch import SeedEachStep, Watch
from denoiselab.spec import Refused, near

MONITORED = ("val/loss",)  # what a validation measures
BYTES = 16  # a parameter in a checkpoint: weight, average, two moments of the optimizer
# What Lightning's trainer takes, and what would be overwritten, or end a run by something else than its steps.
CLOSED = (
    "min_epochs", "max_epochs", "min_steps", "limit_train_batches", "limit_val_batches",
    "limit_test_batches", "limit_predict_batches", "overfit_batches", "fast_dev_run", "check_val_every_n_epoch",
    "num_sanity_val_steps", "reload_dataloaders_every_n_epochs", "logger", "callbacks", "plugins", "barebones",
    "enable_checkpointing", "enable_model_summary", "use_distributed_sampler", "default_root_dir",
)  # fmt: skip
NOTHING = Cost(0, 0, 0, 1, 0)  # of a job that is checked and not run


class Tools(NamedTuple):
    """What a cell is trained with."""

    evaluation: Evaluation
    logger: Logger
    trainer: pl.Trainer
    batches: Batches


class Job(NamedTuple):
    """All that a run needs."""

    cell: Cell
    module: DenoisingModule
    cost: Cost
    tools: Tools


def made(cell: Cell) -> Job:
    module = build.module(cell.config, cell.data.spec)
    start.extendable(cell.config, cell.about)
    start.initialize(cell.config, module)
    cost = Cost.of(module, cell.data, cell.config["data"]["batch_size"])
    room(cell, cost.parameters)
    accelerate(cell.config, module)
    return Job(cell, module, cost, tools(cell, cost))


def accelerate(config: dict, module: DenoisingModule) -> None:
    """What makes training faster and changes how sums are rounded; parameters keep their names."""
    if config["channels_last"]:
        module.to(memory_format=torch.channels_last)
    if config["compile"]:
        module.denoiser.compile(fullgraph=True)


def checked(cell: Cell) -> pl.Trainer:
    """All but the network, which may be large: the trainer, or `Refused`."""
    build.agree(cell.config, cell.data.spec)
    build.optimizer(cell.config)
    build.make(cell.config, "lr_schedule")
    start.extendable(cell.config, cell.about)
    return tools(cell, NOTHING).trainer


def promised(trainer: dict) -> int:
    """How many processes a trainer's configuration asks for, whatever this machine has."""
    devices, nodes = trainer["devices"], trainer["num_nodes"]
    for name, count in (("devices", devices), ("num_nodes", nodes)):
        if not (isinstance(count, int) and count >= 1):
            raise Refused(f"a cluster must know trainer.{name} before the job starts", count, "give a number")
    return devices * nodes


def portable(cell: Cell) -> Cell:
    """A cell that is trained on another machine, as this one can check it: all but the hardware."""
    trainer = {**cell.config["trainer"], "accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto"}
    return cell._replace(config={**cell.config, "trainer": trainer})


def tools(cell: Cell, cost: Cost) -> Tools:
    config, folder = cell.config, cell.folder
    evaluation: Evaluation = build.make(config, "evaluation", cell.data.spec)
    logger: Logger = build.make(config, "logger")
    monitor, seed, batch_size = config["monitor"], int(config["seed"]), config["data"]["batch_size"]
    if monitor["name"] not in MONITORED:
        raise Refused("monitor.name is a metric of validation", monitor["name"], near(monitor["name"], MONITORED))
    pulse = lock.Pulse(lock.path(folder.parent, cell.fit))
    watch = Watch(record.Record(folder), logger, cost, every=config["trainer"]["log_every_n_steps"], pulse=pulse)
    saver = Saver(folder, monitor["name"], monitor["mode"], fit=cell.fit, about=cell.about, **config["checkpoint"])
    extra = [build.instantiated(node, f"callbacks.{name}") for name, node in config["callbacks"].items() if node]
    trial, every = config["trial"], config["trainer"]["val_check_interval"]
    if trial["study"] is not None:
        extra.append(Pruning(trial["study"], trial["number"], monitor["name"], every, cell.fit))
    end = [budget.Deadline(seconds, lambda: watch.seconds)] if (seconds := config["trainer"].get("max_time")) else []
    bar = [Progress()] if config["trainer"]["enable_progress_bar"] else []
    drawn = [Histograms(logger)] if logger.watched.kinds else []
    trainer = make_trainer(config, [SeedEachStep(seed), *extra, *end, watch, *drawn, *bar, saver], folder)
    batches = Batches(
        cell.data.train, batch_size, seed, lambda: trainer.global_step, trainer.accumulate_grad_batches,
        trainer.global_rank, trainer.world_size, config["overfit"], config["data"]["num_workers"],
        config["trim"],
    )  # fmt: skip
    return Tools(evaluation, logger, trainer, batches)


def room(cell: Cell, parameters: int) -> None:
    """Refuses a disk that cannot hold the run's checkpoints: those that are kept, the best, and one being written."""
    here = cell.folder
    while not here.exists():
        here = here.parent
    disk, need = shutil.disk_usage(here), BYTES * parameters * (cell.config["checkpoint"]["keep"] + 2)
    free = disk.free
    if disk.total and free < need:
        raise Refused(
            f"the disk has no room for the checkpoints of {parameters:,} parameters",
            f"{free / 1e9:.2f} GB free in {here}, {need / 1e9:.2f} GB needed",
            "make room, give another root (outputs=FOLDER) or keep fewer (checkpoint.keep=1)",
        )


def make_trainer(config: dict, callbacks: list[pl.Callback], folder: Path) -> pl.Trainer:
    node = {key: value for key, value in config["trainer"].items() if key not in ("max_samples", "max_time")}
    for name in CLOSED:
        if name in node:
            got = f"trainer.{name}={node[name]}"
            fix = "say how long by trainer.max_steps, max_samples or max_time, how often by val_check_interval"
            raise Refused(f"trainer.{name} has no meaning here: training is one run of steps", got, fix)
    for name in ("max_steps", "val_check_interval", "accumulate_grad_batches", "log_every_n_steps"):
        if not isinstance(node[name], int) or node[name] < 1:
            raise Refused(f"trainer.{name} is a count", node[name], "give a whole number of at least 1")
    if node["gradient_clip_val"] is not None and node["gradient_clip_val"] <= 0:
        got = node["gradient_clip_val"]
        raise Refused("trainer.gradient_clip_val is the largest norm of the gradient", got, "give null, or above 0")
    budget.checked(config["trainer"])
    # Endless for Lightning: epochs are arithmetic on the step (denoiselab.data.batches), so that nothing need be saved.
    node |= {
        "max_epochs": -1, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0, "logger": False,
        "val_check_interval": min(node["val_check_interval"], node["max_steps"]) * node["accumulate_grad_batches"],
        "enable_model_summary": False, "use_distributed_sampler": False, "enable_progress_bar": False,
        "default_root_dir": str(folder),
    }  # fmt: skip
    # What Lightning says of its hardware and of itself is not what a person asked.
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # What starts the processes of a job is decided here, whether or not there is a Slurm.
        warnings.filterwarnings("ignore", ".*`srun` command is available")
        trainer = build.instantiated(node, "trainer", callbacks=callbacks, plugins=[SafeIO()])
    if trainer.num_nodes > 1 and "LOCAL_RANK" not in os.environ:
        start_it = (
            "a launcher that starts a process a device on each: torchrun -m denoiselab train ..., or a sweep (-m) with "
            "hydra/launcher=submitit_slurm"
        )
        raise Refused("one machine cannot start the processes of others", f"num_nodes={trainer.num_nodes}", start_it)
    return trainer


def lacks_ranks(trainer: pl.Trainer) -> bool:
    """Must somebody start a process for each device? Lightning would do it from this command line, once for each cell
    of a sweep."""
    return trainer.world_size > 1 and "LOCAL_RANK" not in os.environ
