"""Mistakes as they are typed: the whole command refuses them, says the fix, and does not wait for torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import denoiselab
from denoiselab import check
from denoiselab.commands.main import run
from denoiselab.files import CONF
from denoiselab.spec import Refused

SAMPLE = {
    "typed": (["optimizer.lrr=1"], "optimizer.lr"),
    "nested": (["callbacks.averging.ramp=1"], "callbacks.averaging.ramp"),
    "added": (["+sede=1"], "seed"), "forced": (["++schedul.level=0.1"], "schedule.level"),
    "argument": (["++architecture.widht=8"], "architecture.width"),
    "saver": (["++checkpoint.kep=1"], "checkpoint.keep"),
    "hydra": (["++hydra.swep.dir=x"], "hydra.sweep.dir"),
    "launcher": (["++hydra.launcher.n_job=1"], "hydra.launcher.n_jobs"),
    "class": (["schedule._target_=denoiselab.schedule.Cosin"], "denoiselab.schedule.Cosine"),
    "weight": (["weight._target_=denoiselab.objective.MSE"], "denoiselab list"),
    "grid": (["grid._target_=denoiselab.schedule.Cosine"], "denoiselab list"),
    "codec": (["codec._target_=denoiselab.objective.MSE"], "denoiselab list"),
    "word": (["trainer.strategy=ddpp"], "ddp"), "choice": (["schedule=cosin"], "cosine"),
    "other": (["optimizer.momentum=0.9"], "optimizer=sgd"),
    "deleted_root": (["~seed"], "seed=..."), "deleted_group": (["~corruption"], "corruption=..."),
    "deleted_key": (["~optimizer.lr"], "optimizer.lr=VALUE"),
    "partial": (["++schedule._partial_=true"], "schedule._partial_"),
    "nan": (["optimizer.lr=nan"], "optimizer.lr"), "no_key": (["data.=1"], "data.n"),
    "vocabulary": (["experiment=mdlm", "corruption.vocabulary=3"], "corruption.vocabulary"),
    "twice": (["+schedule=cosine"], "schedule=CHOICE"),
    "forced_group": (["++schedule=cosine"], "schedule=CHOICE"), "no_choice": (["logger=null"], "denoiselab list"),
    "sweep_launcher": (["-m", "seed=0,1", "++hydra.launcher.n_job=2"], "hydra.launcher.n_jobs"),
    "sweep_sweeper": (["-m", "seed=0,1", "++hydra.sweeper.parms=2"], "hydra.sweeper.params"),
    "there": (["+seed=1"], "seed=VALUE"),
    "deleted_reference": (["~corruption.schedule.level", "schedule=constant"], "corruption.schedule.level=VALUE"),
    "deleted_nothing": (["~optimizr"], "optimizer"),
    "trim": (["trim=true"], "trim=false"), "trim_windows": (["experiment=bert", "trim=true"], "data.layout=padded"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", SAMPLE)
def test_the_command_says_so(mistake, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, right = SAMPLE[mistake]
    short = [] if "logger" in words[0] else ["logger=none"]
    assert run(["train", *words, *short, "trainer.max_steps=1"]) == 2
    fix = capsys.readouterr().err.rpartition("  fix: ")[2]
    assert right in fix, fix
    assert not [*tmp_path.iterdir()]


def test_what_an_experiment_gives_to_a_part_that_is_not_chosen_can_be_left_out(capsys):
    words = ["experiment=bart", "schedule=linear"]
    assert run(["train", *words, "logger=none"]) == 2
    assert "'~schedule.level'" in capsys.readouterr().err
    with initialize_config_dir(str(CONF), version_base="1.3"):
        raw = OmegaConf.to_container(compose("train", [*words, "~schedule.level"]), resolve=False)
    check.node(raw["schedule"], "schedule")
    check.read(raw, ["~schedule.level"])
    with pytest.raises(Refused, match="cannot be deleted"):
        check.read(raw, ["~optimizer.lr"])


QUICK = """
import sys
from denoiselab.commands.main import run
for word in WORDS:
    assert run(["train", word]) == 2, word
    assert not {"torch", "pytorch_lightning"} & {*sys.modules}, word
"""


def test_an_unknown_name_does_not_wait_for_torch(tmp_path):
    words = ["optimizer.lrr=1", "schedul=cosine", "schedule=cosin", "lr=1", "data.=1", "+lr=1", "++sede=1",
             "++hydra.swep.dir=x", "~optimizer.lr", "~optimizr"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(denoiselab.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", f"WORDS = {words!r}\n{QUICK}"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("refused: ") == len(words)
