"""Weights & Biases: one run a cell, named by what was varied, grouped by its sweep.

It goes online only where a key is configured and the server (or the proxy before it) answers within a second; otherwise
it writes beneath the run's folder, to be uploaded with the command that `finish` gives. `WANDB_MODE` is obeyed, but
`online` cannot conjure a network. Its run id is the run's fit hash: a resumed run is the same run there, and all
segments that were written offline share it. Of a sweep of W&B's own the agent gives the id.
"""

import os
import shlex
from collections.abc import Mapping, Sequence

from denoiselab.run import online, record
from denoiselab.run.label import Label
from denoiselab.run.logger.base import Bars, Watch, Watched
from denoiselab.run.logger.mirror import Mirror
from denoiselab.run.secrets import redacted

PATIENCE = 20  # seconds for a server that accepts and does not answer, at the start
LAST = 60  # and for the last uploads


class Wandb(Mirror):
    """Its step is the optimizer's, and so is the axis of all curves.

    `group` is the sweep unless given, `job_type` train, or score for a trained run that is scored anew. `watch` draws
    histograms of gradients, parameters or all of them, every `watch_every` steps."""

    service = "W&B"

    def __init__(self, project: str = "denoiselab", entity: str | None = None, group: str | None = None,
                 tags: Sequence[str] = (), job_type: str | None = None, watch: Watch | None = None,
                 watch_every: int = 500):  # fmt: skip
        self.project, self.entity, self.group, self.tags = project, entity, group, list(tags)
        self.job_type, self.watched = job_type, Watched.of(watch, watch_every)

    def environment(self):
        return {"WANDB_DATA_DIR": str(self.folder / "wandb" / "data")}

    def open(self, identity, label, config):
        self.known = online.written(self.folder, identity)
        mode, why = online.mode()
        self.run, refused = self.opened(mode, identity, label, config)
        # Of a run that it resumes online, the server says its next step and the last value of all that it knows.
        self.next, self.names = self.run.starting_step, set(self.run.summary.keys())
        if why := refused or why:
            return [f"W&B: {why}; this run is logged offline, in {self.folder / 'wandb'}"]
        return []

    def opened(self, mode: str, identity: str, label: Label, config: Mapping):
        """A run of wandb's in the given mode; offline where online fails, such as by a key that is not valid, and
        why."""
        import wandb

        # create_new: neither a run of the user's own nor that of a job before is continued. disable_git: wandb looks
        # at the folder where the command was typed; "code" is about this package.
        settings = wandb.Settings(silent=True, console="off", reinit="create_new", init_timeout=PATIENCE,
                                  finish_timeout=LAST, finish_timeout_raises=True, disable_git=True,
                                  disable_code=True)  # fmt: skip
        agents = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        # Nested dictionaries become columns joined by dots.
        arguments = {
            "project": self.project, "entity": self.entity, "group": self.group or label.group,
            "tags": [*self.tags, *label.tags], "job_type": self.job_type or label.job, "dir": str(self.folder),
            "id": agents or identity, "name": label.name, "notes": redacted(os.environ.get("WANDB_NOTES")),
            "config": {**config, "code": record.code()}, "resume": "allow", "settings": settings,
        }  # fmt: skip
        why = None
        try:
            run = wandb.init(mode=mode, **arguments)
        except wandb.Error as e:
            if mode != "online":
                raise
            why = f"the server lets nobody in ({type(e).__name__}: {str(e).partition(chr(10))[0]:.200})"
            if wandb.run is None:  # wandb's own process holds the id of the run that failed
                wandb.teardown()
            run = wandb.init(mode="offline", **arguments)
        run.define_metric(online.STEP)
        run.define_metric("*", step_metric=online.STEP, step_sync=True)
        return run, why

    def send(self, values, step):
        # It drops what is before its next step, without a word: a metric that is new there comes with that one.
        self.run.log({**values, online.STEP: step}, step=max(step, self.next))

    def told(self, name, step):
        """Offline, earlier segments say it; online, the server has all steps before the next, of all names it knows."""
        return (step, name) in self.known if self.run.offline else step < self.next and name in self.names

    def picture(self, image):
        import wandb

        return [wandb.Image(image)]

    def rows(self, columns, rows):
        import wandb

        return wandb.Table(columns=columns, data=rows)

    def bars(self, bars: Bars):
        import wandb

        return wandb.Histogram(np_histogram=(bars.counts, bars.edges))

    def stand(self, values, step):
        self.run.summary.update(values)

    def close(self):
        offline, place = self.run.settings.mode == "offline", self.run.settings.sync_dir
        try:
            self.run.finish()
        except TimeoutError:
            return f"wandb sync {shlex.quote(str(place))}  # not all of it reached the server within {LAST} seconds"
        if not offline:
            return None
        parts = online.segments(self.folder, self.run.id)
        said = "wandb sync " + " ".join(shlex.quote(str(part)) for part in parts)
        if len(parts) > 1:
            said += f"  # one run, in {len(parts)} parts: give them together, in this order"
        return said

    def together(self, folders):
        offline = [folder for folder in folders if any(folder.glob("wandb/offline-run-*"))]
        if not offline:
            return None
        runs = " ".join(shlex.quote(str(folder)) for folder in offline)
        return f'for run in {runs}; do wandb sync "$run"/wandb/offline-run-*; done'
