"""How runs are called on a dashboard: by what was varied."""

import pytest

from denoiselab.run import label

CONFIG = {"name": "flow", "schedule": {"_target_": "Linear"}, "optimizer": {"lr": 0.001}, "seed": 3, "outputs": "o",
          "guidance": {"weight": 2.0}, "data": {"weight": 1, "api_key": "k"}}  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in (label.SWEEP, label.CELL):
        monkeypatch.delenv(name, raising=False)


def test_a_run_by_itself_is_named_by_what_was_typed():
    found = label.of(CONFIG, ["schedule=linear", "optimizer.lr=1e-3", "seed=3", "outputs=/x", "logger.project=p"])
    assert found.name == "lr=1e-3 schedule=linear seed=3"
    assert found.axes == {"axis/schedule": "linear", "axis/lr": 0.001, "axis/seed": 3}
    assert found.tags == ["schedule=linear", "lr=0.001", "seed=3"]
    assert (found.group, found.job) == (None, "train")
    assert label.of(CONFIG, []).name == "flow"
    assert label.of(CONFIG, [], scored=True).job == "score"


def test_a_cell_of_a_sweep_is_named_by_what_varies_there(monkeypatch):
    for name, value in label.told("lr-seed-0123456789", "arm=a lr=1e-3 seed=3").items():
        monkeypatch.setenv(name, value)
    found = label.of(CONFIG, ["arm=a", "schedule=linear", "optimizer.lr=1e-3", "seed=3"])
    assert (found.name, found.group) == ("arm=a lr=1e-3 seed=3", "lr-seed-0123456789")
    assert found.axes == {"axis/arm": "a", "axis/lr": 0.001, "axis/seed": 3}
    assert label.axes(["arm=a lr=1e-3 seed=3", "arm=a lr=1e-2 seed=3"]) == [*found.axes]


def test_keys_that_end_alike_keep_their_whole_path_and_no_dot():
    found = label.of(CONFIG, ["guidance.weight=2", "data.weight=1"])
    assert found.axes == {"axis/guidance/weight": 2.0, "axis/data/weight": 1}
    assert found.name == "data.weight=1 guidance.weight=2"


def test_no_secret_and_no_endless_tag():
    found = label.of({**CONFIG, "text": "x" * 200}, ["+data.api_key=k12345678", f"text={'x' * 200}", "seed=3"])
    assert set(found.axes) == {"axis/text", "axis/seed"}
    assert found.tags == ["seed=3"]
    assert len(found.name) == label.LONGEST
    assert "k12345678" not in str(found)
