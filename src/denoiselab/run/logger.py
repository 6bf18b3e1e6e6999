"""Loggers: mirrors of the record for looking at while a run goes on. None is the only copy of anything, so none may
stop, delay or disturb a run: all of them are called on rank zero alone, and W&B, which needs a network, an account and
a process of its own, becomes one warning when it fails.

W&B goes online only where a key is configured and the server (or the proxy before it) answers within a second;
otherwise it writes beneath the run's folder, to be uploaded with the command that `finish` gives. `WANDB_MODE` is
obeyed, but `online` cannot conjure a network. Its run id is the run's fit hash: a resumed run is the same run there.
"""

import abc
import csv
import importlib.util
import json
import os
import random
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from denoiselab.files import replacing
from denoiselab.run.online import mode
from denoiselab.spec import Refused

Picture = Image.Image | str | Path


class Logger(abc.ABC):
    """What a run tells, and where it goes."""

    @abc.abstractmethod
    def start(self, folder: Path, identity: str, name: str, config: Mapping) -> None:
        """Opens the log of the run in `folder`; `identity` is its fit hash, `name` is for people, `config` maps groups
        to the names of what was chosen, and "config" to the whole."""

    @abc.abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers, or one-element tensors, after `step` optimizer steps."""

    @abc.abstractmethod
    def image(self, name: str, picture: Picture, step: int) -> None:
        """A picture, or the path of its file."""

    @abc.abstractmethod
    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence], step: int) -> None:
        """Rows of numbers and strings."""

    @abc.abstractmethod
    def finish(self) -> str | None:
        """Closes the log; gives what the user should be told, if anything."""


class Nothing(Logger):
    """No log: the record in the run's folder is enough."""

    def start(self, folder, identity, name, config):
        pass

    def log(self, values, step):
        pass

    def image(self, name, picture, step):
        pass

    def table(self, name, columns, rows, step):
        pass

    def finish(self):
        return None


class CSV(Logger):
    """metrics.csv in the run's folder: a line a step, a column a metric; a step logged again replaces its values.
    Tables go to tables/; pictures lie in the run's folder anyway."""

    def start(self, folder, identity, name, config):
        self.path = Path(folder) / "metrics.csv"
        self.rows: dict[int, dict] = {}
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as file:
                self.rows = {int(row["step"]): {k: v for k, v in row.items() if v} for row in csv.DictReader(file)}
        self.columns = list(dict.fromkeys(["step", *(name for row in self.rows.values() for name in row)]))
        self.write()

    def log(self, values, step):
        new = [name for name in values if name not in self.columns]
        last = next(reversed(self.rows), -1)
        row = self.rows.setdefault(step, {"step": step})
        row |= {name: repr(float(value)) for name, value in values.items()}
        self.columns += new
        if new or step <= last:
            self.write()
        else:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    def write(self) -> None:
        """The whole file: where columns are added or a line changes."""
        with replacing(self.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.rows))

    def image(self, name, picture, step):
        pass

    def table(self, name, columns, rows, step):
        path = self.path.parent / "tables" / f"{name.replace('/', '_')}-{step:09}.csv"
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])

    def finish(self):
        return None


class TensorBoard(Logger):
    """Event files in the run's folder, by Lightning's logger."""

    def __init__(self):
        if importlib.util.find_spec("tensorboard") is None:
            raise Refused("logger=tensorboard needs a package", "no tensorboard", "pip install tensorboard")

    def start(self, folder, identity, name, config):
        from pytorch_lightning.loggers import TensorBoardLogger

        self.folder = Path(folder)
        self.logger = TensorBoardLogger(self.folder, name="tensorboard", version="")
        self.writer = self.logger.experiment
        self.writer.add_text("config", f"```json\n{json.dumps(config, indent=2)}\n```")

    def log(self, values, step):
        self.logger.log_metrics({name: float(value) for name, value in values.items()}, step)

    def image(self, name, picture, step):
        import numpy as np

        self.writer.add_image(name, np.asarray(opened(picture)), step, dataformats="HWC")

    def table(self, name, columns, rows, step):
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines)
        self.writer.add_text(name, text, step)

    def finish(self):
        self.writer.close()
        return f"tensorboard --logdir {shlex.quote(str(self.folder))}"


class Wandb(Logger):
    """Weights & Biases, through Lightning's logger."""

    def __init__(self, project: str = "denoiselab", entity: str | None = None, group: str | None = None,
                 tags: Sequence[str] = (), job_type: str = "train"):  # fmt: skip
        self.project, self.entity, self.group, self.tags = project, entity, group, list(tags)
        self.job_type = job_type
        self.logger = None

    def start(self, folder, identity, name, config):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.harmless("start"):
            from pytorch_lightning.loggers import WandbLogger

            run = self.open(mode(), identity, name, config)
            self.logger = WandbLogger(project=self.project, save_dir=self.folder, experiment=run)

    def open(self, mode: str, identity: str, name: str, config: Mapping):
        """A run of wandb's in the given mode; offline where online fails, such as by a key that is not valid."""
        import wandb

        # create_new: neither a run of the user's own nor that of a job before is continued.
        settings = wandb.Settings(silent=True, console="off", reinit="create_new", init_timeout=20, finish_timeout=60)
        # Nested dictionaries become columns joined by dots.
        arguments = {
            "project": self.project, "entity": self.entity, "group": self.group, "tags": self.tags,
            "job_type": self.job_type, "dir": str(self.folder), "id": identity, "name": name,
            "config": dict(config), "resume": "allow", "settings": settings,
        }  # fmt: skip
        try:
            run = wandb.init(mode=mode, **arguments)
        except wandb.Error:
            if mode != "online":
                raise
            run = wandb.init(mode="offline", **arguments)
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return run

    def log(self, values, step):
        with self.harmless("log"):
            if self.logger is not None:
                self.logger.log_metrics({name: float(value) for name, value in values.items()}, step)

    def image(self, name, picture, step):
        with self.harmless("log a picture"):
            if self.logger is not None:
                self.logger.log_image(name, [opened(picture)], step)

    def table(self, name, columns, rows, step):
        with self.harmless("log a table"):
            if self.logger is not None:
                self.logger.log_table(name, list(columns), [list(row) for row in rows], step=step)

    def finish(self):
        said = None
        with self.harmless("finish"):
            if self.logger is not None:
                run = self.logger.experiment
                run.finish()
                if run.settings.mode == "offline":
                    # A run that was resumed has a segment an attempt.
                    segments = sorted(Path(run.settings.sync_dir).parent.glob(f"offline-run-*-{run.id}"))
                    said = "wandb sync " + " ".join(shlex.quote(str(segment)) for segment in segments)
        self.logger = None
        return said

    @contextmanager
    def harmless(self, doing: str) -> Iterator[None]:
        """Whatever wandb does here, training does not notice: no exception, the same global random state after it, no
        file outside the run's folder. The first failure is a warning and the last call."""
        import numpy as np
        import torch

        states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002, it is guarded
        with variable("WANDB_DATA_DIR", str(self.folder / "wandb" / "data")):
            try:
                yield
            except Exception as error:
                self.logger = None
                warnings.warn(
                    f"W&B could not {doing} ({type(error).__name__}: {error}); this run goes on without it, its record "
                    f"is in {self.folder}", stacklevel=4,
                )  # fmt: skip
            finally:
                random.setstate(states[0])
                np.random.set_state(states[1])  # noqa: NPY002
                torch.set_rng_state(states[2])


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """An environment variable that the user did not set, for as long as the block runs."""
    unset = name not in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if unset:
            del os.environ[name]


def opened(picture: Picture) -> Image.Image:
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return image.convert("RGB")
