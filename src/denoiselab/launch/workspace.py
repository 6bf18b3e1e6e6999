"""The saved view of a sweep at W&B, by its own library: runs grouped by the axes, curves, parallel coordinates,
samples. Imports no torch."""

import importlib.util
import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import yaml

from denoiselab.files import write_json
from denoiselab.launch import plan
from denoiselab.run import label, online
from denoiselab.run.secrets import redacted
from denoiselab.spec import Refused

PATIENCE = 60.0  # seconds for the server
SEEDS = ("axis/seed", "axis/fold", "axis/data/fold")  # axes to average over, not to look along
MEDIA = ("samples", "restored")  # where no run says what it logged


def made(folder: Path, file: Path, project: str | None, entity: str | None) -> Iterator[str]:
    """Writes the view of the sweep in `folder` into `file`, and saves it at W&B where that can be reached; yields what
    to say."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        fix = 'pip install "denoiselab[dashboard]"'
        raise Refused("a saved view needs a package", "no wandb-workspaces", fix)
    sweep, runs = plan.read(folder), list(found(folder))
    said = of_runs(runs)
    project = project or said.get("project") or "denoiselab"
    entity = entity or said.get("entity") or os.environ.get("WANDB_ENTITY") or ""
    mode, why = online.mode()
    view = workspace(folder, sweep, runs, project, entity)
    again(view, file)
    if mode == "online":
        why = saved(view)
    write_json(file, spoken(view))
    yield f"the view: {file}"
    if mode == "online" and why is None:
        yield f"saved at W&B: {view.url}"
    else:
        yield f"not saved at W&B: {redacted(why or 'no key is configured (wandb login)')}; the same command saves it"
        yield "where a key is configured and the server answers"


def found(folder: Path) -> Iterator[Path]:
    """The run folders of a sweep's cells that are there."""
    for cell in plan.read(folder)["cells"]:
        yield from sorted((folder / cell["runs"]).glob(f"*-{cell['fit']}"))[:1]


def of_runs(runs: list[Path]) -> dict:
    """What the first run that can be read says of its logger."""
    for run in runs:
        with suppress(OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
            said = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["logger"]
            return {key: str(said[key]) for key in ("project", "entity", "group") if said.get(key)}
    return {}


def logged(runs: list[Path]) -> tuple[list[str], list[str]]:
    """Names of the pictures and of the tables of the runs."""
    files = {file for run in runs for file in (run / "samples").glob("*")}
    pictures = sorted({file.stem for file in files if file.suffix == ".png"})
    texts = sorted({file.stem for file in files if file.suffix == ".txt"})
    return pictures if files else list(MEDIA), texts


def workspace(folder: Path, sweep: dict, runs: list[Path], project: str, entity: str):
    """The view as the library has it."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    name, mode = sweep["monitor"]["name"], sweep["monitor"]["mode"]
    best = f"best/{name}"
    axes = label.axes(cell["words"] for cell in sweep["cells"])
    looked = [axis for axis in axes if axis not in SEEDS] or axes
    group = of_runs(runs).get("group") or folder.name

    def curve(axis: str):
        return wr.LinePlot(
            title=f"{name} by {axis.removeprefix(label.AXIS)}", x=online.STEP, y=[name], groupby=wr.Config(axis),
            groupby_aggfunc="mean", groupby_rangefunc="stddev", max_runs_to_show=100,
        )  # fmt: skip

    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(axis), display_name=axis.removeprefix(label.AXIS))
               for axis in axes]  # fmt: skip
    columns.append(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(best), display_name=best))
    pictures, tables = logged(runs)
    sections = [
        ws.Section("Curves", [
            *map(curve, looked), wr.LinePlot(title="train/loss", x=online.STEP, y=["train/loss"]),
        ], is_open=True),
        ws.Section("Axes", [
            wr.ParallelCoordinatesPlot(columns=columns), wr.ParameterImportancePlot(with_respect_to=best),
        ], is_open=True),
        ws.Section("Samples", [
            *(wr.MediaBrowser(title=each, media_keys=[each], mode="grid", grid_x_axis="step", grid_y_axis="run")
              for each in pictures),
            *(wr.WeavePanelSummaryTable(table_name=each) for each in tables),
        ], is_open=True),
    ]  # fmt: skip
    return ws.Workspace(
        entity=entity, project=project, name=f"sweep {group}", sections=sections,
        settings=ws.WorkspaceSettings(x_axis=online.STEP, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("Group") == group), groupby=[ws.Config(axis) for axis in looked],
            order=[ws.Ordering(ws.Summary(best), ascending=mode == "min")],
            pinned_columns=[f"summary:{best}", *(f"config:{axis}.value" for axis in axes)],
        ),
    )  # fmt: skip


def spoken(view) -> dict:
    """The view as JSON: where it belongs, and the specification that W&B keeps of it."""
    model = view._to_model()
    return {
        "entity": view.entity, "project": view.project, "display_name": view.name, "id": view._internal_id,
        "name": view._internal_name,
        "spec": json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True)),
    }  # fmt: skip


def again(view, file: Path) -> None:
    """Makes it the view that `file` was saved as, if it was."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        known = json.loads(file.read_text(encoding="utf-8"))
        if (known["entity"], known["project"]) == (view.entity, view.project) or not view.entity:
            view.entity = view.entity or str(known["entity"])
            view._internal_id, view._internal_name = str(known["id"]), str(known["name"])


def saved(view) -> str | None:
    """Saves it at W&B; or says why it could not be."""
    ended: list[str | None] = []

    def work() -> None:
        try:
            import wandb

            view.entity = view.entity or wandb.Api().default_entity
            view.save()
            ended.append(None)
        except Exception as e:  # of the network, the server, the library
            ended.append(f"{type(e).__name__}: {str(e).partition(chr(10))[0]:.200}")

    # In a thread: the library waits for a server that stalls as long as it likes.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return ended[0] if ended else f"the server did not answer in {PATIENCE:.0f} seconds"
