"""Logs that are files in the run's folder: a table, and TensorBoard's events."""

import csv
import importlib.util
import json
import shlex
from pathlib import Path

from denoiselab.files import replacing
from denoiselab.run.logger.base import Logger, Tabular, Watch, Watched, opened
from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused


class CSV(Tabular):
    """metrics.csv in the run's folder: a line a step, a column a metric; a step logged again replaces its values.
    Tables go to tables/; pictures lie in the run's folder anyway."""

    def start(self, folder, identity, label, config, step=0):
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

    def table(self, name, columns, rows, step):
        path = self.path.parent / "tables" / f"{name.replace('/', '_')}-{step:09}.csv"
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])


class TensorBoard(Logger):
    """Event files in the run's folder."""

    def __init__(self, watch: Watch | None = None, watch_every: int = 500):
        self.watched = Watched.of(watch, watch_every)
        if importlib.util.find_spec("tensorboard") is None:
            raise Refused("logger=tensorboard needs a package", "no tensorboard", "pip install tensorboard")

    def start(self, folder, identity, label, config, step=0):
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

    def histogram(self, name, bars, step):
        import numpy as np

        if self.new(name, step):
            counts, edges = np.array(bars.counts, float), np.array(bars.edges)
            middles = (edges[1:] + edges[:-1]) / 2
            self.writer.add_histogram_raw(
                name, edges[0], edges[-1], counts.sum(), counts @ middles, counts @ middles**2, edges[1:], counts, step
            )

    def summary(self, values, step):
        self.log(values, step)

    def finish(self):
        self.writer.close()
        return f"tensorboard --logdir {shlex.quote(str(self.folder))}"

    def together(self, folders):
        parents = dict.fromkeys(str(folder.parent) for folder in folders)
        return "\n".join(f"tensorboard --logdir {shlex.quote(parent)}" for parent in parents)


def at(step: int, folder: Path) -> set[str]:
    """The names of what the event files in `folder` hold of that step."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    names: set[str] = set()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            names |= {value.tag for value in event.summary.value if event.step == step}
    return names
