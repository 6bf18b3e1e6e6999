"""W&B: what is told arrives, offline and online, and nothing that fails there reaches training."""

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
import torch
import wandb
import wandb_server
from PIL import Image
from telling import CONFIG, LABEL, PICTURE, tell

from denoiselab.run import online
from denoiselab.run.logger import CSV, Nothing, Wandb


def records(folder: Path) -> list[dict]:
    """What wandb wrote, as its own reader prints it."""
    [path] = (folder / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def test_wandb_offline_has_all_that_was_told(tmp_path, capfd):
    PICTURE.save(tmp_path / "p.png")
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
    assert Image.open(image).tobytes() == PICTURE.tobytes()
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


def test_wandb_changes_no_global_state(tmp_path):
    def states():
        generators = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
        return generators, dict(os.environ), wandb.run

    before = states()
    tell(Wandb(), tmp_path)
    assert states() == before


def test_one_command_sends_all_runs_of_a_sweep(tmp_path):
    folders = [tmp_path / name for name in ("a b", "c")]
    for folder in folders:
        tell(Wandb(), folder)
    said = Wandb().together([*folders, tmp_path / "online"])
    # As a shell understands it: each run's parts together, in their order.
    printed = subprocess.run(["sh", "-c", said.replace("wandb sync", "printf '%s|'")], capture_output=True, text=True)
    parts = [str(part) for folder in folders for part in sorted((folder / "wandb").glob("offline-run-*"))]
    assert printed.stdout.split("|")[:-1] == parts
    assert Wandb().together([tmp_path / "online"]) is None
    assert Nothing().together(folders) is CSV().together(folders) is None


def test_two_runs_in_one_process_stay_two(tmp_path):
    for name in ("a", "b"):
        tell(Wandb(), tmp_path / name)
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
def test_a_failing_wandb_is_one_warning(tmp_path, monkeypatch, owner, name, good, doing):
    state = torch.get_rng_state(), random.getstate()
    function = getattr(owner, name)
    failing = Failing(function, good)
    replacement = failing if owner is wandb else lambda *args, **kwargs: failing(*args, **kwargs)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, replacement)
        with pytest.warns(UserWarning, match=f"W&B could not {doing} .*service has died.*goes on") as said:
            assert tell(Wandb(), tmp_path) is None
    assert len(said) == 1
    assert said[0].filename == tell.__code__.co_filename
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    wandb.teardown()


def test_a_key_that_is_refused_means_offline(tmp_path, monkeypatch):
    init, modes = wandb.init, []

    def refusing(mode, **arguments):
        modes.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("401")
        return init(mode=mode, **arguments)

    monkeypatch.setattr(wandb, "init", refusing)
    monkeypatch.setattr(online, "mode", lambda: ("online", None))
    with pytest.warns(UserWarning, match="lets nobody in .CommError: 401.*logged offline"):
        assert tell(Wandb(), tmp_path).startswith("wandb sync ")
    assert modes == ["online", "offline"]


# -- online, or not


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without a key: no setting, no netrc file."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return SimpleNamespace(mode="online", api_key=None, base_url="https://api.example.org")


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
def test_a_server_that_will_not_do_means_offline_and_a_word(failing, nowhere, tmp_path, monkeypatch):
    monkeypatch.setattr(online, "LONGEST", 0.1)
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=nowhere))
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with wandb_server.serving(**{failing: True}) as server:
        nowhere.base_url = server.variables["WANDB_BASE_URL"]
        mode, why = online.mode()
        monkeypatch.undo()
        monkeypatch.setattr(online, "mode", lambda: (mode, why))
        with pytest.warns(UserWarning, match=f"W&B: {re.escape(why)}; this run is logged offline, in ") as said:
            assert tell(Wandb(), tmp_path).startswith("wandb sync ")
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
