"""Loggers and progress: what is told arrives, and nothing that fails there reaches training."""

import csv
import importlib.util
import io
import itertools
import json
import os
import random
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import wandb
import wandb_server
from PIL import Image
from rich.console import Console
from torch import nn

from denoiselab.run import online
from denoiselab.run import progress as bar
from denoiselab.run.label import Label
from denoiselab.run.logger import CSV, Bars, Logger, Nothing, TensorBoard, Wandb
from denoiselab.run.progress import Progress, clock
from denoiselab.spec import Refused

CONFIG = {"schedule": "linear", "corruption": "gaussian", "config": {"seed": 1, "data": {"batch_size": 8}}}

LABEL = Label("schedule=linear lr=0.1", "sweep-of-two", "train", {"axis/schedule": "linear", "axis/lr": 0.1})


def tell(logger: Logger, folder: Path, picture) -> str | None:
    """Everything that a run may tell."""
    logger.start(folder, "0123456789", LABEL, CONFIG)
    logger.log({"train/loss": torch.tensor(0.5)}, 1)
    logger.log({"train/loss": 1 / 3}, 20)
    logger.log({"val/loss": 0.25}, 20)
    logger.image("samples", picture, 20)
    logger.table("texts", ["text", "loss"], [["a|b", 1.0], ["ä", 2.5]], 20)
    logger.histogram("gradients/w", Bars([1, 0, 3], [-1.0, 0.0, 1.0, 2.0]), 20)
    logger.summary({"best/val/loss": 0.125, "best/step": 10}, 20)
    return logger.finish()


@pytest.fixture
def picture():
    return Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without a key: no setting, no netrc file."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return SimpleNamespace(mode="online", api_key=None, base_url="https://api.example.org")


# -- W&B ---------------------------------------------------------------------------------------------------


def records(folder: Path) -> list[dict]:
    """What wandb wrote, as its own reader prints it."""
    [path] = (folder / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def test_wandb_offline_has_all_that_was_told(tmp_path, picture, capfd):
    picture.save(tmp_path / "p.png")
    said = tell(Wandb(entity=None, tags=["a"]), tmp_path / "run", tmp_path / "p.png")
    assert capfd.readouterr() == ("", "")
    [path] = (tmp_path / "run" / "wandb").glob("offline-run-*-0123456789")
    assert said == f"wandb sync {path}"

    rows = records(tmp_path / "run")
    [run] = [row["run"] for row in rows if row["type"] == "run"]
    config = run["config"]["update"]
    assert (config["schedule"], config["corruption"]) == ("linear", "gaussian")
    assert config["config"] == CONFIG["config"]
    assert (config["axis/schedule"], config["axis/lr"]) == ("linear", 0.1)
    assert set(config["code"]) == {"version", "source", "commit", "changed"}
    assert (run["run_id"], run["display_name"], run["project"]) == ("0123456789", LABEL.name, "denoiselab")
    assert (run["run_group"], run["job_type"]) == ("sweep-of-two", "train")
    assert run["tags"] == ["a", "schedule=linear", "lr=0.1"]
    history = [row["history"]["item"] for row in rows if row["type"] == "history"]
    losses = [(item["trainer/global_step"], item["train/loss"]) for item in history if "train/loss" in item]
    assert losses == [(1, 0.5), (20, 1 / 3)]
    assert [item["val/loss"] for item in history if "val/loss" in item] == [0.25]
    [image] = (path / "files" / "media" / "images").rglob("*.png")
    assert Image.open(image).tobytes() == picture.tobytes()
    [table] = (path / "files" / "media" / "table").rglob("*.json")
    assert json.loads(table.read_text())["data"] == [["a|b", 1.0], ["ä", 2.5]]
    staged = [row["artifact"]["manifest"]["contents"][0]["local_path"] for row in rows if row["type"] == "artifact"]
    [bars] = [item for item in history if item.get("gradients/w._type") == "histogram"]
    assert (bars["gradients/w.values"], bars["gradients/w.bins"]) == ([1, 0, 3], [-1, 0, 1, 2])
    summary = {}
    for row in rows:
        summary |= row["summary"]["update"] if row["type"] == "summary" else {}
    assert (summary["best/val/loss"], summary["best/step"], summary["val/loss"]) == (0.125, 10, 0.25)
    assert staged
    assert all(Path(s).is_relative_to(tmp_path / "run") and Path(s).exists() for s in staged)


def test_wandb_changes_no_global_state(tmp_path, picture):
    def states():
        generators = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
        return generators, dict(os.environ), wandb.run

    before = states()
    tell(Wandb(), tmp_path, picture)
    assert states() == before


def test_one_command_sends_all_runs_of_a_sweep(tmp_path, picture):
    folders = [tmp_path / name for name in ("a b", "c")]
    for folder in folders:
        tell(Wandb(), folder, picture)
    said = Wandb().together([*folders, tmp_path / "online"])
    # As a shell understands it: each run's parts together, in their order.
    printed = subprocess.run(["sh", "-c", said.replace("wandb sync", "printf '%s|'")], capture_output=True, text=True)
    parts = [str(part) for folder in folders for part in sorted((folder / "wandb").glob("offline-run-*"))]
    assert printed.stdout.split("|")[:-1] == parts
    assert Wandb().together([tmp_path / "online"]) is None
    assert Nothing().together(folders) is CSV().together(folders) is None


def test_two_runs_in_one_process_stay_two(tmp_path, picture):
    for name in ("a", "b"):
        tell(Wandb(), tmp_path / name, picture)
        assert (
            sum(row["type"] == "history" and "val/loss" in row["history"]["item"] for row in records(tmp_path / name))
            == 1
        )


class Failing:
    """Some function of wandb's, failing after `good` calls; it spoils the global random state before."""

    def __init__(self, function, good=0):
        self.function, self.good = function, good

    def __call__(self, *args, **kwargs):
        self.good -= 1
        if self.good >= 0:
            return self.function(*args, **kwargs)
        torch.manual_seed(99)
        random.seed(99)
        raise RuntimeError("the service has died")


@pytest.mark.parametrize("owner, name, good, doing", [
    (wandb, "init", 0, "start"), (wandb, "Settings", 0, "start"), (wandb.Run, "log", 0, "log"),
    (wandb.Run, "log", 2, "log"), (wandb, "Image", 0, "log a picture"), (wandb, "Table", 0, "log a table"),
    (wandb.Run, "finish", 0, "finish"),
])  # fmt: skip
def test_a_failing_wandb_is_one_warning(tmp_path, picture, monkeypatch, owner, name, good, doing):
    state = torch.get_rng_state(), random.getstate()
    function = getattr(owner, name)
    failing = Failing(function, good)
    replacement = failing if owner is wandb else lambda *args, **kwargs: failing(*args, **kwargs)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, replacement)
        with pytest.warns(UserWarning, match=f"W&B could not {doing} .*service has died.*goes on") as said:
            assert tell(Wandb(), tmp_path, picture) is None
    assert len(said) == 1
    assert Path(said[0].filename) == Path(__file__)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    wandb.teardown()


def test_a_key_that_is_refused_means_offline(tmp_path, picture, monkeypatch):
    init, modes = wandb.init, []

    def refusing(mode, **arguments):
        modes.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("401")
        return init(mode=mode, **arguments)

    monkeypatch.setattr(wandb, "init", refusing)
    monkeypatch.setattr(online, "mode", lambda: ("online", None))
    with pytest.warns(UserWarning, match="lets nobody in .CommError: 401.*logged offline"):
        assert tell(Wandb(), tmp_path, picture).startswith("wandb sync ")
    assert modes == ["online", "offline"]


def test_online_needs_a_key_and_a_server(nowhere, monkeypatch, tmp_path):
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=nowhere))
    with wandb_server.serving() as server:
        nowhere.base_url = server.variables["WANDB_BASE_URL"]
        assert online.mode() == ("offline", None), "no key"
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        assert online.mode() == ("online", None)
        for asked, mode in [("offline", "offline"), ("disabled", "disabled"), ("online", "online")]:
            monkeypatch.setenv("WANDB_MODE", asked)
            assert online.mode() == (mode, None)
        server.refusing = True
        assert online.mode() == ("offline", f"{nowhere.base_url} refuses the key (401 Unauthorized)")
        server.stalling = True
        monkeypatch.setattr(online, "LONGEST", 0.1)
        assert online.mode()[0] == "offline"
        assert "accepts a connection and does not answer" in online.mode()[1]
    assert online.mode() == ("offline", f"{nowhere.base_url} does not answer"), "whatever WANDB_MODE wishes"
    monkeypatch.delenv("WANDB_API_KEY")
    assert online.mode() == ("offline", "no key is configured (wandb login)")
    monkeypatch.delenv("WANDB_MODE")
    nowhere.mode = "disabled"
    assert online.mode() == ("disabled", None), "wandb's own settings"


@pytest.mark.parametrize("failing", ["refusing", "stalling"])
def test_a_server_that_will_not_do_means_offline_and_a_word(failing, nowhere, tmp_path, picture, monkeypatch):
    monkeypatch.setattr(online, "LONGEST", 0.1)
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=nowhere))
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with wandb_server.serving(**{failing: True}) as server:
        nowhere.base_url = server.variables["WANDB_BASE_URL"]
        mode, why = online.mode()
        monkeypatch.undo()
        monkeypatch.setattr(online, "mode", lambda: (mode, why))
        with pytest.warns(UserWarning, match=f"W&B: {re.escape(why)}; this run is logged offline, in ") as said:
            assert tell(Wandb(), tmp_path, picture).startswith("wandb sync ")
    assert len(said) == 1


def test_keys_are_found_where_wandb_looks(nowhere, tmp_path):
    assert online.key_of(nowhere) is None
    (tmp_path / "netrc").write_text("machine elsewhere.org login user password p\n")
    assert online.key_of(nowhere) is None
    (tmp_path / "netrc").write_text("machine api.example.org login user password p\n")
    assert online.key_of(nowhere) == "p"
    (tmp_path / "netrc").write_text("what is this")
    assert online.key_of(nowhere) is None
    nowhere.api_key = "k"
    assert online.key_of(nowhere) == "k"


def test_a_proxy_is_asked_in_the_server_s_place(nowhere, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert online.answers("https://no.such.host.invalid")
    assert not online.answers("https://no.such.host.invalid")


# -- the others --------------------------------------------------------------------------------------------


def test_csv_has_a_line_a_step_and_a_column_a_metric(tmp_path, picture):
    assert tell(CSV(), tmp_path, picture) is None
    rows = list(csv.reader((tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [["step", "train/loss", "val/loss"], ["1", "0.5", ""], ["20", repr(1 / 3), "0.25"]]
    assert (tmp_path / "tables" / "texts-000000020.csv").read_text().splitlines() == ["text,loss", "a|b,1.0", "ä,2.5"]


def test_csv_of_a_resumed_run_is_that_of_one_that_was_not_killed(tmp_path):
    def log(folder, first, last):
        logger = CSV()
        logger.start(folder, "i", Label("n"), {}, first)
        for step in range(first + 1, last + 1):
            logger.log({"train/loss": 1 / step}, step)
            if step % 4 == 0:
                logger.log({"val/loss": 2 / step}, step)

    log(tmp_path / "whole", 0, 10)
    log(tmp_path / "killed", 0, 9)
    with (tmp_path / "killed" / "metrics.csv").open("a") as file:
        file.write("3,0.3")
    log(tmp_path / "killed", 5, 6)
    lines = (tmp_path / "killed" / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", *"123456"]
    log(tmp_path / "killed", 5, 10)
    assert (tmp_path / "killed" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::DeprecationWarning")
def test_tensorboard_has_all_that_was_told(tmp_path, picture):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert tell(TensorBoard(), tmp_path, picture) == f"tensorboard --logdir {tmp_path}"
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (20, pytest.approx(1 / 3))]
    [image] = events.Images("samples")
    assert Image.open(io.BytesIO(image.encoded_image_string)).tobytes() == picture.tobytes()
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert any('"schedule": "linear"' in text for text in texts.values())
    assert any("| a\\|b | 1.0 |" in text for text in texts.values())


def test_tensorboard_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="pip install tensorboard"):
        TensorBoard()


def test_nothing_is_written_by_nothing(tmp_path, picture):
    assert tell(Nothing(), tmp_path, picture) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["wandb", "csv", "tensorboard", "trackio", "none"])
def test_shipped_loggers_come_to_life(name):
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    path = Path(__file__).parents[1] / "conf" / "logger" / f"{name}.yaml"
    assert path.read_text().startswith("# ")
    if name in ("tensorboard", "trackio"):
        pytest.importorskip(name, reason=f"the package {name} is not installed")
    node = OmegaConf.merge({"outputs": "x"}, {"logger": OmegaConf.load(path)}).logger
    assert isinstance(instantiate(node), Logger)


# -- runs that are killed ----------------------------------------------------------------------------------

# A run that logs until it is killed, or until its end, and then waits for either.
RUN = """
import os
import sys
import numpy as np
from PIL import Image
from denoiselab.run import logger
from denoiselab.run.record import Record

kind, folder, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
record, log = Record(folder), getattr(logger, kind)()
record.cut(first)
log.start(folder, "0123456789", logger.Label("name"), {"schedule": "linear"}, first)
for step in range(first + 1, last + 1):
    for values in [{"train/loss": 1 / step}, *[{"val/loss": 2 / step}] * (step % 4 == 0)]:
        record.write(step, values)
        log.log(values, step)
    print(step, flush=True)
if last == 480:
    log.log({"test/loss": 0.25}, last)
if last == 480 and "NUMBERS_ALONE" not in os.environ:
    log.image("samples", Image.fromarray(np.zeros((4, 4, 3), np.uint8)), last)
    log.table("texts", ["text"], [["a"]], last)
print("evaluated", flush=True)
sys.stdin.read()
print(log.finish())
"""


def attempt(kind: str, folder: Path, first: int, last: int, killed: str | None = None, **variables: str) -> str:
    """A run from step `first`: killed when it has printed that, or ended at step `last`; its last words."""
    command = [sys.executable, "-c", RUN, kind, str(folder), str(first), str(last)]
    # A process of wandb's of its own, not the one of the tests: that would hold the run of one that was killed.
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    env |= {"PYTHONWARNINGS": "ignore::DeprecationWarning", **variables}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=env) as run:  # fmt: skip
        if killed:
            assert f"{killed}\n" in iter(run.stdout.readline, "")
            run.kill()
            return ""
        out, complaints = run.communicate()
        assert complaints == ""
        return out.splitlines()[-1]


def from_csv(folder: Path, said: str) -> list[tuple[int, str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(int(r["step"]), name, float(v)) for r in rows for name, v in r.items() if v and name != "step"]


def from_tensorboard(folder: Path, said: str) -> list[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    assert all(len(events.Images(tag)) == 1 for tag in tags["images"])
    assert all(len(events.Tensors(tag)) == 1 for tag in tags["tensors"])
    assert (tags["images"], tags["tensors"]) == (["samples"], ["config/text_summary", "texts/text_summary"])
    return [(e.step, tag, e.value) for tag in tags["scalars"] for e in events.Scalars(tag)]


def from_wandb(folder: Path, said: str) -> list[tuple[int, str, float]]:
    parts = sorted((folder / "wandb").glob("offline-run-*"))
    command, _, comment = said.partition("  # ")
    assert command.split() == ["wandb", "sync", *map(str, parts)]
    assert len(parts) == 3
    assert comment.startswith("one run, in 3 parts")
    told = []
    for part in parts:
        rows = online.records(part)
        assert rows[-1]["type"] == "exit", "wandb sync stops at a part that was cut short"
        items = [row["history"]["item"] for row in rows if row["type"] == "history"]
        assert [item["_step"] for item in items] == sorted({item["_step"] for item in items})
        told += [(item["trainer/global_step"], name, value) for item in items for name, value in item.items()]
    shown = [(step, name) for step, name, _ in told if name in ("samples._type", "texts._type")]
    assert sorted(shown) == [(480, "samples._type"), (480, "texts._type")]
    return [(step, name, value) for step, name, value in told if name.endswith("/loss")]


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::DeprecationWarning")
@pytest.mark.parametrize("logger, logged", [(CSV, from_csv), (TensorBoard, from_tensorboard), (Wandb, from_wandb)])
def test_killed_runs_log_each_step_once(tmp_path, logger, logged):
    if logger is TensorBoard:
        pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    kind = logger.__name__
    attempt(kind, tmp_path, 0, 10**6, killed="3")
    attempt(kind, tmp_path, 0, 10**6, killed="420")
    attempt(kind, tmp_path, 300, 450)
    attempt(kind, tmp_path, 350, 470)
    attempt(kind, tmp_path, 460, 480, killed="evaluated")
    said = attempt(kind, tmp_path, 480, 480)
    each_once(logged(tmp_path, said))


def each_once(found: list[tuple[int, str, float]]) -> None:
    """The losses of a run of 480 steps that was not killed: each is there, and once."""
    train, val = [(s, "train/loss", 1 / s) for s in range(1, 481)], [(s, "val/loss", 2 / s) for s in range(4, 481, 4)]
    whole = sorted([*train, *val, (480, "test/loss", 0.25)])
    assert [row[:2] for row in sorted(found)] == [row[:2] for row in whole]
    assert [row[2] for row in sorted(found)] == pytest.approx([row[2] for row in whole])


@pytest.fixture
def server(monkeypatch):
    with wandb_server.serving() as server:
        for name, value in {**server.variables, "WANDB_MODE": "online", "NUMBERS_ALONE": "yes"}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.slow
def test_killed_runs_are_one_run_online(tmp_path, server):
    quiet = {"WANDB_SILENT": "true"}
    attempt("Wandb", tmp_path, 0, 10**6, killed="420")
    attempt("Wandb", tmp_path, 300, 450, **quiet)
    attempt("Wandb", tmp_path, 350, 480, **quiet)
    assert attempt("Wandb", tmp_path, 480, 480, **quiet) == "None"
    each_once([(line["trainer/global_step"], name, value) for line in server.lines for name, value in line.items()
               if name.endswith("/loss")])  # fmt: skip


@pytest.mark.slow
def test_a_server_that_falls_silent_stops_no_run(tmp_path, server):
    """It accepts the run, and then answers nothing: the run ends, and says how to send what was not sent."""
    waits = "from denoiselab.run.logger import wandb as w; w.LAST = 2\n"
    command = [sys.executable, "-c", waits + RUN, "Wandb", str(tmp_path), "0", "450"]
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as run:
        assert "1\n" in iter(run.stdout.readline, "")
        server.stalling = True
        out, _ = run.communicate()
    assert run.returncode == 0
    [place] = (tmp_path / "wandb").glob("run-*-0123456789")
    assert out.splitlines()[-1] == f"wandb sync {place}  # not all of it reached the server within 2 seconds"


@pytest.mark.slow
def test_parts_written_offline_are_one_run_when_they_are_sent(tmp_path, server):
    offline = {"WANDB_MODE": "offline"}
    attempt("Wandb", tmp_path, 0, 10**6, killed="420", **offline)
    attempt("Wandb", tmp_path, 300, 450, **offline)
    said = attempt("Wandb", tmp_path, 350, 480, **offline)
    assert server.lines == []
    command = [sys.executable, "-m", *said.partition("  # ")[0].split()]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    each_once([(line["trainer/global_step"], name, value) for line in server.lines for name, value in line.items()
               if name.endswith("/loss")])  # fmt: skip


# -- progress ----------------------------------------------------------------------------------------------


class Loss:
    """A tensor on a device, as it were: counts how often it is read."""

    reads = 0

    def __float__(self):
        self.reads += 1
        return 0.5


class Toy(pl.LightningModule):
    def __init__(self, said=""):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.last_loss, self.loss, self.said = None, Loss(), said

    def training_step(self, x, i):
        self.last_loss = self.loss
        return (self.w * x).sum()

    def validation_step(self, x, i):
        self.log("val/loss", torch.tensor(0.25), batch_size=1)

    def on_validation_epoch_end(self):
        if self.said:
            print(self.said)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Forever:
    def __iter__(self):
        return itertools.repeat(torch.ones(1))


class Once:
    def __iter__(self):
        return iter([torch.ones(1)])

    def __len__(self):
        return 1


def trained(console, steps=40, validations=20, refresh=10, module=None):
    """A run, and what was read of its loss."""
    module = module or Toy()
    bar = Progress(refresh, console=console)
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, val_check_interval=validations,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, callbacks=[bar],
    )  # fmt: skip
    trainer.fit(module, Forever(), Once())
    return module.loss


def terminal(**more):
    # What a terminal would see: the same wherever the tests run.
    return Console(file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"}, **more)


progress = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::UserWarning:pytorch_lightning")


@progress
def test_a_log_gets_a_line_a_validation_and_one_at_the_end():
    console = Console(file=io.StringIO(), width=40)
    loss = trained(console, steps=2500, validations=1000)
    lines = [re.sub(r"[\d.e+]+ steps/s  \d:\d\d", "...", line) for line in console.file.getvalue().splitlines()]
    assert lines == [
        "step 1,000/2,500  loss 0.5  val/loss 0.25  ... left",
        "step 2,000/2,500  loss 0.5  val/loss 0.25  ... left",
        "step 2,500/2,500  loss 0.5  val/loss 0.25  ... in all",
    ]
    assert loss.reads == 3


@progress
def test_the_end_is_not_told_twice():
    console = Console(file=io.StringIO(), width=40)
    trained(console)
    assert [line.split("  ")[0] for line in console.file.getvalue().splitlines()] == ["step 20/40", "step 40/40"]


@progress
def test_a_terminal_gets_a_line_that_moves():
    console = terminal()
    trained(console, module=Toy("a line [in] the midst"))
    shown = console.file.getvalue()
    assert "\x1b[2K" in shown
    assert "20/40" in shown
    assert "40/40" in shown
    assert "val/loss 0.25" in shown
    assert "a line [in] the midst" in shown, "what is printed stands above"
    assert shown.rstrip().endswith("\x1b[?25h"), "the cursor is given back"


@progress
def test_a_terminal_is_given_back_when_training_fails():
    class Failing(Toy):
        def on_validation_epoch_end(self):
            raise KeyError

    console = terminal()
    with pytest.raises(KeyError):
        trained(console, module=Failing())
    assert console.file.getvalue().rstrip().endswith("\x1b[?25h")


@progress
def test_the_loss_is_read_when_the_line_is_drawn_alone(monkeypatch):
    now = itertools.count()
    monkeypatch.setattr(bar, "time", SimpleNamespace(perf_counter=lambda: float(next(now))))
    assert trained(terminal(), steps=400, validations=400, refresh=100).reads == 4 + 2
    # However often it may look, ten times a second are enough.
    monkeypatch.setattr(bar, "time", SimpleNamespace(perf_counter=lambda: 1000.0 + next(now) * 0.01))
    assert 30 <= trained(terminal(), steps=400, validations=400, refresh=1).reads <= 50


def test_other_ranks_are_silent():
    trainer = SimpleNamespace(global_step=0, max_steps=9, is_global_zero=False, state=SimpleNamespace(fn="fit"),
                              sanity_checking=False)  # fmt: skip
    for console in (terminal(), Console(file=io.StringIO())):
        line = Progress(1, console=console)
        line.on_train_start(trainer, None)
        line.on_train_batch_end(trainer, None, None, None, 0)
        line.on_validation_end(trainer, None)
        line.on_train_end(trainer, None)
        assert console.file.getvalue() == ""


def test_clocks():
    assert [clock(s) for s in (0, 0.2, 59.5, 61, 3600, 36061)] == [
        "0:00",
        "0:01",
        "1:00",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]
    with pytest.raises(Refused, match="refresh"):
        Progress(0)
