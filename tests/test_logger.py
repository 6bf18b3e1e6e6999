"""Loggers that are files, or none: what is told arrives."""

import csv
import importlib.util
import io
from pathlib import Path

import pytest
from PIL import Image
from telling import PICTURE, tell

from denoiselab.run.label import Label
from denoiselab.run.logger import CSV, Logger, Nothing, TensorBoard
from denoiselab.spec import Refused


def test_csv_has_a_line_a_step_and_a_column_a_metric(tmp_path):
    assert tell(CSV(), tmp_path) is None
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
def test_tensorboard_has_all_that_was_told(tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert tell(TensorBoard(), tmp_path) == f"tensorboard --logdir {tmp_path}"
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (20, pytest.approx(1 / 3))]
    [image] = events.Images("samples")
    assert Image.open(io.BytesIO(image.encoded_image_string)).tobytes() == PICTURE.tobytes()
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert any('"schedule": "linear"' in text for text in texts.values())
    assert any("| a\\|b | 1.0 |" in text for text in texts.values())


def test_tensorboard_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="pip install tensorboard"):
        TensorBoard()


def test_nothing_is_written_by_nothing(tmp_path):
    assert tell(Nothing(), tmp_path) is None
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
