"""A sweep as W&B knows it: its sweep.yaml gives the cells of the command line, its view is of the sweep's runs."""

import importlib.util
import itertools
import json
import warnings
from types import SimpleNamespace

import pytest
import wandb
import wandb_server
import yaml

from denoiselab.commands.main import run
from denoiselab.launch import wandb_sweep
from denoiselab.launch import workspace as views
from denoiselab.run import online


def words_of(sweep: dict) -> list[list[str]]:
    """What W&B's own agent types for each cell."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    keys, typed = list(sweep["parameters"]), []
    for cell in itertools.product(*(sweep["parameters"][key]["values"] for key in keys)):
        said = {"args": {key: {"value": value} for key, value in zip(keys, cell, strict=True)}}
        macros = {
            "${env}": [],
            "${program}": [],
            "${args_no_hyphens}": create_sweep_command_args(said)["args_no_hyphens"],
        }
        typed.append([word for part in sweep["command"] for word in macros.get(part, [part])])
    return typed


def test_the_file_gives_the_cells_of_the_command_line(tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    words = ["schedule=cosine,linear", "trainer.gradient_clip_val=null,1.0", "trainer.max_steps=10"]
    assert run(["sweep", "export-wandb", "-m", *words, "seed=range(2)", f"yaml={file}", "logger.project=mine"]) == 0
    said = capsys.readouterr().out
    assert "8 cells over schedule, trainer.gradient_clip_val, seed" in said
    assert f"wandb sweep {file}" in said
    assert "wandb agent ENTITY/mine/SWEEP_ID" in said
    sweep = yaml.safe_load(file.read_text())
    assert (sweep["method"], sweep["metric"]) == ("grid", {"name": "val/loss", "goal": "minimize"})
    assert (sweep["project"], sweep["name"]) == ("mine", "schedule-gradient_clip_val-seed")
    found = words_of(sweep)
    assert all(cell[0] == "train" for cell in found)
    ours = itertools.product(["cosine", "linear"], [None, 1.0], [0, 1])
    configs = [wandb_sweep.composed(cell[1:]) for cell in found]
    theirs = [(choices["schedule"], config["trainer"]["gradient_clip_val"], config["seed"])
              for config, choices in configs]  # fmt: skip
    assert theirs == [*ours]
    assert all(config["trainer"]["max_steps"] == 10 for config, _ in configs)


def test_every_value_comes_back_as_it_was_typed():
    """Quoted words, lists, truths and small numbers go through W&B's file and its agent's command line."""
    constants, swept = wandb_sweep.parted(["a='x, y',z", "b=[1,2],[3]", "c=true,false", "d=1e-05,3", "e=1"], "grid")
    assert constants == ["e=1"]
    sweep = {"command": ["${args_no_hyphens}"], "parameters": {key: each["parameter"] for key, each in swept.items()}}
    cells = words_of(yaml.safe_load(yaml.safe_dump(sweep)))
    assert cells[0] == ["a='x, y'", "b=[1,2]", "c=True", "d=1e-05"]
    assert cells[-1] == ["a=z", "b=[3]", "c=False", "d=3"]


def test_an_interval_is_for_random_and_bayes(tmp_path, capsys):
    words = ["sweep", "export-wandb", "optimizer.lr=interval(1e-4,1e-2)", f"yaml={tmp_path / 's.yaml'}"]
    assert run([*words, "method=bayes"]) == 0
    sweep = yaml.safe_load((tmp_path / "s.yaml").read_text())
    assert sweep["parameters"] == {"optimizer.lr": {"distribution": "uniform", "min": 1e-4, "max": 1e-2}}
    assert run(words) == 2
    assert "method=bayes" in capsys.readouterr().err


BAD = {
    "nothing_varies": (["export-wandb", "seed=0"], ["several choices", "seed=0"]),
    "no_value": (["export-wandb", "seed=range(0)"], ["no value", "seed=range(0)"]),
    "glob": (["export-wandb", "schedule=glob(l*)"], ["no glob", "schedule=A,B"]),
    "choice": (["export-wandb", "schedule=cosine,linaer"], ["linaer", "did you mean linear"]),
    "key": (["export-wandb", "optimizer.lrr=1,2"], ["optimizer.lrr", "did you mean optimizer.lr"]),
    "arms": (["export-wandb", "arms=a.yaml", "seed=0,1"], ["cannot express arms", "arms=a.yaml"]),
    "launcher": (["export-wandb", "hydra/launcher=local", "seed=0,1"], ["cannot express hydra"]),
    "budget": (["export-wandb", "budget.seconds=3", "seed=0,1"], ["cannot express budget", "--count"]),
    "logger": (["export-wandb", "logger=csv", "seed=0,1"], ["logger=csv", "logger=wandb"]),
    "secret": (["export-wandb", "+data.api_key=abcdefgh", "seed=0,1"], ["secret", "<redacted>"]),
    "method": (["export-wandb", "method=gird", "seed=0,1"], ["gird", "did you mean grid"]),
    "file": (["export-wandb", "seed=0,1", "yaml={here}/no/sweep.yaml"], ["{here}/no/sweep.yaml", "no folder"]),
    "twice": (["export-wandb", "seed=0,1", "seed=2,3"], ["seed", "twice"]),
    "subcommand": (["exprot-wandb"], ["exprot-wandb", "did you mean export-wandb"]),
    "no_sweep": (["workspace", "{here}"], ["{here}", "train -m"]),
    "none": (["workspace"], ["one sweep"]),
    "option": (["workspace", "projct=a"], ["projct", "did you mean project"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_refused_and_leaves_no_file(mistake, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words, said = BAD[mistake]
    assert run(["sweep", *(word.format(here=tmp_path) for word in words)]) == 2
    screen = capfd.readouterr().err
    assert screen.startswith("refused: ")
    assert not [word for word in said if word.format(here=tmp_path) not in screen], screen
    assert not [*tmp_path.iterdir()]


def test_help_is_printed(capsys):
    assert run(["sweep", "--help"]) == 0
    assert "export-wandb" in capsys.readouterr().out


# -- the saved view


@pytest.fixture
def swept(tmp_path):
    """A sweep's folder, and a run of it."""
    folder = tmp_path / "flow" / "sweeps" / "schedule-lr-seed-0123456789"
    folder.mkdir(parents=True)
    product = itertools.product(["cosine", "linear"], [0.1, 0.2], [0, 1])
    cells = [{"cell": f"flow/{i}", "number": i, "words": f"schedule={s} lr={lr} seed={seed}", "fit": f"fit{i}",
              "runs": "../..", "steps": 10} for i, (s, lr, seed) in enumerate(product)]  # fmt: skip
    (folder / "sweep.json").write_text(json.dumps({"monitor": {"name": "val/loss", "mode": "min"}, "cells": cells}))
    samples = tmp_path / "flow" / "readable-fit0" / "samples"
    samples.mkdir(parents=True)
    (samples / "samples.png").touch()
    (samples / "restored.txt").touch()
    (samples.parent / "config.yaml").write_text(yaml.safe_dump({"logger": {"project": "mine", "entity": None}}))
    return folder


@pytest.fixture
def library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own, on import
        return pytest.importorskip(
            "wandb_workspaces.workspaces", reason="the package wandb-workspaces is not installed"
        )


def test_the_view_is_a_file_where_no_key_works(swept, library, monkeypatch, capsys):
    monkeypatch.setattr(online, "mode", lambda: ("offline", None))
    assert run(["sweep", "workspace", str(swept)]) == 0
    said = capsys.readouterr().out
    assert str(swept / "workspace.json") in said
    assert "not saved at W&B: no key is configured" in said
    view = json.loads((swept / "workspace.json").read_text())
    assert view["project"] == "mine"
    section = view["spec"]["section"]
    [runs] = section["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["axis/schedule.value", "axis/lr.value"], "seeds are averaged"
    assert swept.name in json.dumps(runs["filters"]), "the group is the sweep"
    assert [(key["key"]["section"], key["key"]["name"], key["ascending"]) for key in runs["sort"]["keys"]] == [
        ("summary", "best/val/loss", True)
    ]
    panels = {each["viewType"]: each["config"] for s in section["panelBankConfig"]["sections"] for each in s["panels"]}
    columns = [column["accessor"] for column in panels["Parallel Coordinates Plot"]["columns"]]
    axes = [f"config:axis/{axis}.value" for axis in ("schedule", "lr", "seed")]
    assert columns == [*axes, "summary:best/val/loss"]
    assert panels["Parameter Importance"]["targetKey"] == "best/val/loss"
    assert panels["Media Browser"]["mediaKeys"] == ["samples"]
    curves = [each["config"] for s in section["panelBankConfig"]["sections"] for each in s["panels"]
              if each["viewType"] == "Run History Line Plot" and each["config"].get("groupBy")]  # fmt: skip
    assert [curve["groupBy"] for curve in curves] == ["axis/schedule.value", "axis/lr.value"]
    assert all((c["metrics"], c["xAxis"]) == (["val/loss"], "trainer/global_step") for c in curves)


def test_the_view_is_saved_where_a_key_works_and_is_the_same_the_next_time(swept, library, monkeypatch, capsys):
    with wandb_server.serving() as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("WANDB_MODE", raising=False)
        wandb.teardown()  # its settings were read from another environment
        for _ in range(2):
            assert run(["sweep", "workspace", str(swept), "entity=me"]) == 0, capsys.readouterr()
            assert "saved at W&B: http" in capsys.readouterr().out
    wandb.teardown()
    first, second = server.views
    assert (first["entityName"], first["projectName"]) == ("me", "mine")
    assert "id" not in first
    assert (second["id"], second["name"]) == ("view-id", first["name"])
    assert "Parallel Coordinates Plot" in first["spec"]


def test_a_server_that_fails_leaves_the_file_and_says_why(swept, library, monkeypatch, capsys):
    monkeypatch.setattr(online, "mode", lambda: ("online", None))

    def fails(view):
        raise wandb.errors.CommError("permission denied")

    monkeypatch.setattr(library.Workspace, "save", fails)
    assert run(["sweep", "workspace", str(swept), "entity=me", f"json={swept / 'v.json'}"]) == 0
    assert "not saved at W&B: CommError: permission denied" in capsys.readouterr().out
    assert json.loads((swept / "v.json").read_text())["entity"] == "me"
    monkeypatch.setattr(views, "PATIENCE", 0.0)
    monkeypatch.setattr(views.threading, "Thread", lambda **_: SimpleNamespace(start=print, join=lambda patience: None))
    assert run(["sweep", "workspace", str(swept), "entity=me"]) == 0
    assert "the server did not answer in 0 seconds" in capsys.readouterr().out


def test_without_its_library_it_is_refused(swept, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(["sweep", "workspace", str(swept)]) == 2
    assert "denoiselab[dashboard]" in capsys.readouterr().err
    assert not (swept / "workspace.json").exists()
