"""The record: every digit, valid JSON whatever was logged, and after a kill as if nothing had happened."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import denoiselab
from denoiselab.run import report
from denoiselab.run.record import Record, read, score, summarize


def strict(text):
    """JSON as a strict reader takes it: no NaN, no infinities."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(st.text(min_size=1), st.floats() | st.integers(-(2**53), 2**53)), max_size=5))
def test_all_digits_come_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("r")
    record = Record(folder)
    rows = [{k: v for k, v in row.items() if k != "step"} for row in rows]
    for step, row in enumerate(rows):
        record.write(step, row)
    back = read(folder)
    assert [row.pop("step") for row in back] == list(range(len(rows)))
    for row, again in zip(rows, back, strict=True):
        assert list(row) == list(again)
        for name, value in row.items():
            assert again[name] == value if math.isfinite(value) else math.isnan(again[name])
            assert type(again[name]) is type(value)
    if rows:
        text = record.path.read_text(encoding="utf-8")
        assert all(strict(line)["step"] == i for i, line in enumerate(text.split("\n")[:-1]))


def test_tensors_are_numbers(tmp_path):
    Record(tmp_path).write(1, {"a": torch.tensor(0.1), "b": torch.tensor([2]), "c": torch.tensor(float("inf"))})
    [row] = read(tmp_path / "metrics.jsonl")
    assert row["a"] == torch.tensor(0.1).item()
    assert row["b"] == 2.0
    assert math.isnan(row["c"])


def test_a_row_is_there_when_it_was_written(tmp_path):
    record = Record(tmp_path)
    record.write(1, {"train/loss": 0.5})
    assert record.path.read_bytes() == b'{"step": 1, "train/loss": 0.5}\n'


def test_a_cut_is_what_a_run_that_never_went_on_had_written(tmp_path):
    def write(record, rows):
        for step, name, value in rows:
            record.write(step, {name: value})

    # The validation at a checkpoint's step came before the checkpoint: it stays.
    rows = [(s, "train/loss", 1 / s) for s in range(1, 6)] + [(5, "val/loss", 0.2)]
    after = [(6, "train/loss", 0.1), (10, "val/loss", 0.1)]
    plain, dying = Record(tmp_path / "plain"), Record(tmp_path / "dying")
    write(plain, rows)
    write(dying, rows + after)
    with dying.path.open("a") as file:
        file.write('{"step": 11, "tra')
    assert len(read(tmp_path / "dying")) == 8
    dying.cut(5)
    assert dying.path.read_bytes() == plain.path.read_bytes()
    for record in (plain, dying):
        write(record, after)
    assert dying.path.read_bytes() == plain.path.read_bytes()
    dying.cut(0)
    assert read(tmp_path / "dying") == []


def test_a_record_that_is_not_there_is_empty(tmp_path):
    assert read(tmp_path) == []
    Record(tmp_path).cut(3)
    assert read(tmp_path) == []


def test_a_summary_says_where_each_value_comes_from(tmp_path):
    metrics = {"val/loss": score(0.1, 397, "val"), "fd": score(math.nan, 256, "test", "fd_smallcnn", seed=0)}
    said = summarize(tmp_path, metrics, seconds=2.0, samples=640, parameters=10, steps=5, fit="0123456789")
    read_back = strict((tmp_path / "summary.json").read_text())
    assert read_back == said
    assert said["metrics"]["val/loss"] == {"value": 0.1, "n": 397, "split": "val", "extractor": None, "seed": None}
    assert said["metrics"]["fd"]["value"] is None
    assert said["metrics"]["fd"]["extractor"] == "fd_smallcnn"
    assert (said["samples_per_second"], said["steps"], said["fit"]) == (320.0, 5, "0123456789")
    assert said["code"]["version"] == denoiselab.__version__
    assert {"commit", "changed"} <= set(said["code"])
    assert said["versions"]["torch"] == torch.__version__
    assert "pytorch_lightning" in said["versions"]
    assert said["hardware"]


def test_a_summary_holds_json_alone(tmp_path):
    with pytest.raises(TypeError):
        summarize(tmp_path, {}, seconds=1, samples=1, parameters=1, steps=1, more=torch.ones(1))
    assert not (tmp_path / "summary.json").exists()


def test_the_end_of_a_run_is_said_whole(tmp_path, capsys, monkeypatch):
    """Names of metrics on a narrow screen, and commands with brackets, which are no markup."""
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"test/masked_accuracy_{share}" for share in ("0.15", "0.5", "0.85")]
    score = {"value": 0.5, "n": 12_480, "split": "test", "extractor": None}
    summary = {"metrics": dict.fromkeys(names, score), "entropy": None, "seconds": 1.0, "samples_per_second": 1.0,
               "parameters": 10, "sampling": {"samples_per_second": 1.0, "network_calls_per_sample": 50}}  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "overrides.yaml").write_text("['data.marks=[word]', 'data.path=a[/b].txt']")
    report.show(tmp_path)
    said = capsys.readouterr().out
    assert all(name in said for name in names)
    assert "data.marks=[word]" in said
    assert "a[/b].txt" in said
