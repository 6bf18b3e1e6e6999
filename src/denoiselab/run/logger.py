"""Loggers: mirrors of the record for looking at while a run goes on. None is the only copy of anything, so none may
stop, delay or disturb a run: all of them are called on rank zero alone, and W&B, which needs a network, an account and
a process of its own, becomes one warning when it fails.

W&B goes online only where a key is configured and the server (or the proxy before it) answers within a second;
otherwise it writes beneath the run's folder, to be uploaded with the command that `finish` gives. `WANDB_MODE` is
obeyed, but `online` cannot conjure a network. Its run id is the run's fit hash: a resumed run is the same run there.

A run that is killed and goes on from a checkpoint logs some steps again. Whichever logger it has, each metric of each
step is there once, and none is missing: `start` is told the step it goes on from, cuts what lies after it or skips it
when it comes again, and fills what was lost from the run's record, which lost nothing.
"""

import abc
import csv
import importlib.util
import json
import os
import random
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from denoiselab.files import replacing
from denoiselab.run import online, record
from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused

Picture = Image.Image | str | Path


class Logger(abc.ABC):
    """What a run tells, and where it goes."""

    @abc.abstractmethod
    def start(self, folder: Path, identity: str, name: str, config: Mapping, step: int = 0) -> None:
        """Opens the log of the run in `folder`; `identity` is its fit hash, `name` is for people, `config` maps groups
        to the names of what was chosen, and "config" to the whole. `step` is the optimizer step that the run goes on
        from: what was logged after it may be logged again."""

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

    def start(self, folder, identity, name, config, step=0):
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

    def start(self, folder, identity, name, config, step=0):
        self.path = Path(folder) / "metrics.csv"
        self.rows: dict[int, dict] = {}
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(line for line in file if line.endswith("\n")))
            self.rows = {int(r["step"]): {k: v for k, v in r.items() if v} for r in rows if int(r["step"]) <= step}
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
    """Event files in the run's folder."""

    def __init__(self):
        if importlib.util.find_spec("tensorboard") is None:
            raise Refused("logger=tensorboard needs a package", "no tensorboard", "pip install tensorboard")

    def start(self, folder, identity, name, config, step=0):
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.step = Path(folder), step
        self.known = at(step, self.folder / "tensorboard")
        # Readers drop the numbers and pictures that earlier attempts wrote from purge_step on.
        self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)
        if not step and "config/text_summary" not in self.known:
            whole = json.dumps(redacted(config), indent=2)
            self.writer.add_text("config", f"```json\n{whole}\n```", 0)
            self.writer.flush()

    def new(self, name: str, step: int) -> bool:
        """Was it not logged yet? Of steps after the one that the run goes on from, nothing was."""
        return step > self.step or name not in self.known

    def log(self, values, step):
        new = {name: float(value) for name, value in values.items() if self.new(name, step)}
        for name, value in new.items():
            self.writer.add_scalar(name, value, step)
        # The writer keeps two minutes to itself, and a kill would take them.
        self.writer.flush()

    def image(self, name, picture, step):
        import numpy as np

        if self.new(name, step):
            self.writer.add_image(name, np.asarray(opened(picture)), step, dataformats="HWC")

    def table(self, name, columns, rows, step):
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines)
        if self.new(f"{name}/text_summary", step):
            self.writer.add_text(name, text, step)

    def finish(self):
        self.writer.close()
        return f"tensorboard --logdir {shlex.quote(str(self.folder))}"


class Wandb(Logger):
    """Weights & Biases. Its step is the optimizer's, and so is the axis of all curves."""

    def __init__(self, project: str = "denoiselab", entity: str | None = None, group: str | None = None,
                 tags: Sequence[str] = (), job_type: str = "train"):  # fmt: skip
        self.project, self.entity, self.group, self.tags = project, entity, group, list(tags)
        self.job_type = job_type
        self.run = None

    def start(self, folder, identity, name, config, step=0):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.harmless("start"), arguments():
            self.known = online.written(self.folder, identity)
            self.run = self.open(online.mode(), identity, name, redacted(config))
            # Of a run that it resumes online, the server says its next step and the last value of all that it knows.
            self.next, self.names = self.run.starting_step, set(self.run.summary.keys())
            for row in record.read(self.folder):
                if row["step"] <= step:
                    self.tell({name: value for name, value in row.items() if name != "step"}, row["step"])

    def open(self, mode: str, identity: str, name: str, config: Mapping):
        """A run of wandb's in the given mode; offline where online fails, such as by a key that is not valid."""
        import wandb

        # create_new: neither a run of the user's own nor that of a job before is continued. disable_git: wandb looks
        # at the folder where the command was typed; "code" is about this package.
        settings = wandb.Settings(silent=True, console="off", reinit="create_new", init_timeout=20, finish_timeout=60,
                                  disable_git=True, disable_code=True)  # fmt: skip
        # Nested dictionaries become columns joined by dots.
        arguments = {
            "project": self.project, "entity": self.entity, "group": self.group, "tags": self.tags,
            "job_type": self.job_type, "dir": str(self.folder), "id": identity, "name": name,
            "notes": redacted(os.environ.get("WANDB_NOTES")),
            "config": {**config, "code": record.code()}, "resume": "allow", "settings": settings,
        }  # fmt: skip
        try:
            run = wandb.init(mode=mode, **arguments)
        except wandb.Error:
            if mode != "online":
                raise
            run = wandb.init(mode="offline", **arguments)
        run.define_metric(online.STEP)
        run.define_metric("*", step_metric=online.STEP, step_sync=True)
        return run

    def tell(self, values: Mapping, step: int) -> None:
        """Gives wandb what it was not given by an attempt before."""
        new = {name: value for name, value in values.items() if not self.told(name, step)}
        if new:
            # It drops what is before its next step, without a word: a metric that is new there comes with that one.
            self.run.log({**new, online.STEP: step}, step=max(step, self.next))

    def told(self, name: str, step: int) -> bool:
        """Offline, earlier segments say it; online, the server has all steps before the next, of all names it knows."""
        return (step, name) in self.known if self.run.offline else step < self.next and name in self.names

    def log(self, values, step):
        with self.harmless("log"):
            if self.run is not None:
                self.tell({name: float(value) for name, value in values.items()}, step)

    def image(self, name, picture, step):
        with self.harmless("log a picture"):
            if self.run is not None:
                import wandb

                self.tell({name: [wandb.Image(opened(picture))]}, step)

    def table(self, name, columns, rows, step):
        with self.harmless("log a table"):
            if self.run is not None:
                import wandb

                self.tell({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])}, step)

    def finish(self):
        said = None
        with self.harmless("finish"):
            if self.run is not None:
                self.run.finish()
                if self.run.settings.mode == "offline":
                    parts = online.segments(self.folder, self.run.id)
                    said = "wandb sync " + " ".join(shlex.quote(str(part)) for part in parts)
                    if len(parts) > 1:
                        said += f"  # one run, in {len(parts)} parts: give them together, in this order"
        self.run = None
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
                self.run = None
                warnings.warn(
                    f"W&B could not {doing} ({type(error).__name__}: {redacted(str(error))}); this run goes on without "
                    f"it, its record is in {self.folder}", stacklevel=4,
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


@contextmanager
def arguments() -> Iterator[None]:
    """The command line without its secrets: wandb writes it down."""
    before, sys.argv = sys.argv, redacted(sys.argv)
    try:
        yield
    finally:
        sys.argv = before


def at(step: int, folder: Path) -> set[str]:
    """The names of what the event files in `folder` hold of that step."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    names: set[str] = set()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            names |= {value.tag for value in event.summary.value if event.step == step}
    return names


def opened(picture: Picture) -> Image.Image:
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return image.convert("RGB")
