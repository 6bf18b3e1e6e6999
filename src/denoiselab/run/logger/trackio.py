"""trackio: the same dashboard on one's own machine, with nothing to sign up for and no network.

All runs of an outputs folder share one store, `outputs/trackio`, which `trackio show` opens. Its run id is the run's
fit hash, so a resumed run is the same run. Several processes may write at once; a store on a network file system is
written as trackio does there, in pieces that `trackio show` gathers.
"""

import importlib.util
import io
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path

from denoiselab.run import record
from denoiselab.run.logger.base import Bars, Watch, Watched
from denoiselab.run.logger.mirror import Mirror
from denoiselab.spec import Refused

# What would lead it to a server.
AWAY = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID", "TRACKIO_WEBHOOK_URL")


class Trackio(Mirror):
    """`directory` is the store; `watch` draws histograms of gradients, parameters or all, every `watch_every` steps."""

    service = "trackio"

    def __init__(self, project: str = "denoiselab", directory: str = "outputs/trackio", group: str | None = None,
                 watch: Watch | None = None, watch_every: int = 500):  # fmt: skip
        if importlib.util.find_spec("trackio") is None:
            raise Refused("logger=trackio needs a package", "no trackio", 'pip install "denoiselab[dashboard]"')
        self.project, self.directory, self.group = project, Path(directory).expanduser().resolve(), group
        self.watched = Watched.of(watch, watch_every)

    def environment(self):
        return {**dict.fromkeys(AWAY), "TRACKIO_DIR": str(self.directory), "HF_HUB_OFFLINE": "1"}

    def open(self, identity, label, config):
        run_class, storage = self.imported()

        class Here(run_class):
            """Asks nobody who holds the key of this machine."""

            def _get_username(self):
                return None

        storage.validate_project_name(self.project)
        name = label.name.replace("/", "_")  # becomes a folder
        rows = storage.get_logs(self.project, name, run_id=identity)
        self.known = {(row["step"], name) for row in rows for name in row}
        self.trackio = sys.modules["trackio"]
        self.run = Here(
            url=None, project=self.project, client=None, name=name, run_id=identity, group=self.group or label.group,
            config={**config, "code": record.code()}, existing_runs=[],
        )  # fmt: skip
        return []

    def imported(self):
        """trackio's run and storage, for this store: it reads the folder once, when it is imported."""
        known = sys.modules.get("trackio")
        if known is not None and Path(known.TRACKIO_DIR) != self.directory:
            for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
                del sys.modules[name]
        from trackio.run import Run
        from trackio.sqlite_storage import SQLiteStorage

        return Run, SQLiteStorage

    def told(self, name, step):
        return (step, name) in self.known

    def send(self, values, step):
        self.run.log(dict(values), step=step)

    def picture(self, image):
        return self.trackio.Image(image)

    def rows(self, columns, rows):
        return self.trackio.Table(columns=columns, data=rows)

    def bars(self, bars: Bars):
        return self.trackio.Histogram(np_histogram=bars)

    def stand(self, values, step):
        self.tell(values, step)

    def close(self):
        with redirect_stdout(io.StringIO()):
            self.run.finish()
        return self.together([])

    def together(self, folders):
        return f"TRACKIO_DIR={shlex.quote(str(self.directory))} trackio show --project {shlex.quote(self.project)}"
