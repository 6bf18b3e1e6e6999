"""How long a run trains: steps, samples or seconds. Whoever is killed and goes on trains neither more nor less."""

import pytest
from runs import equal_runs, rows, same, scores, train, weights
from test_identity import CONFIG, hashes
from test_training import Killed, killed_at

import denoiselab
from denoiselab.commands.main import run
from denoiselab.data.base import Table
from denoiselab.data.batches import Batches
from denoiselab.run import budget, record
from denoiselab.run.watch import SeedEachStep, Watch

MOONS = ["data=moons", "data.n=40"]
NO_STEPS = "trainer.max_steps=null"


@pytest.mark.parametrize("n, batch_size", [(100, 64), (7, 7), (7, 3), (64, 100), (96, 32)])
def test_samples_are_whole_batches_and_never_exceeded(n, batch_size):
    import torch

    seen, sizes = [0], Batches(Table(torch.arange(n)), batch_size, 0).cut(0)
    while seen[-1] <= 3 * n:
        seen.append(seen[-1] + len(next(sizes).place))
    for samples in range(1, 3 * n + 1):
        steps = budget.steps_of(samples, n, batch_size)
        assert seen[steps] <= samples < seen[steps + 1]


def test_a_run_of_samples_is_the_run_of_as_many_steps(tmp_path, capfd):
    [samples] = train(tmp_path, *MOONS, NO_STEPS, "trainer.max_samples=100", without="trainer.max_steps")
    out = capfd.readouterr().out
    assert "trainer.max_samples ended the training after 12 steps, 96 samples" in out
    summary = record.read_summary(samples)
    assert (summary["steps"], summary["samples"], summary["ended_by"]) == (12, 96, "trainer.max_samples")
    [steps] = train(tmp_path, *MOONS)  # 12 of them; the rate falls to zero there
    assert rows(samples) == rows(steps)
    assert same(weights(samples), weights(steps))
    assert record.read_summary(steps)["ended_by"] == "trainer.max_steps"
    # What was written down is the run itself.
    assert denoiselab.load(samples).config["trainer"]["max_steps"] == 12
    assert train(tmp_path, *MOONS, NO_STEPS, "trainer.max_samples=100", without="trainer.max_steps") == []
    assert "finished before" in capfd.readouterr().out


def test_arms_with_other_batches_see_as_many_samples(tmp_path, capfd):
    words = ["-m", *MOONS, NO_STEPS, "trainer.max_samples=80", "data.batch_size=4,8,20"]
    tiny = [word for word in words if not word.startswith("trainer.max_steps")]
    dry = [*tiny, NO_STEPS, "trainer.max_time=1000", "--dry-run"]
    assert train(tmp_path, *dry, without="data.batch_size") == []
    out = capfd.readouterr().out
    for steps in (20, 10, 4):
        assert f"to be trained │ {steps:>10} │" in out, out
    made = train(tmp_path, *words, without="data.batch_size")
    assert {record.read_summary(place)["samples"] for place in made} == {80}
    assert sorted(record.read_summary(place)["steps"] for place in made) == [4, 10, 20]


@pytest.fixture
def ticking(monkeypatch):
    """A clock on which each step takes a second, and nothing else takes any."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()

    def tick(self, trainer, module, share, index):
        clock.now += 1.0
        seed(self, trainer, module, share, index)

    seed = SeedEachStep.on_train_batch_start
    monkeypatch.setattr("denoiselab.run.watch.time", clock)
    monkeypatch.setattr(SeedEachStep, "on_train_batch_start", tick)
    return clock


TIMED = [*MOONS, "trainer.max_time=6.5"]


@pytest.fixture
def timed(ticking, tmp_path):
    [whole] = train(tmp_path / "whole", *TIMED)
    return whole


def test_when_the_time_is_up_the_run_validates_and_is_completed(timed, tmp_path, capfd):
    summary = record.read_summary(timed)
    assert (summary["steps"], summary["ended_by"]) == (7, "trainer.max_time")
    assert (timed / "COMPLETED").exists()
    assert [row["step"] for row in record.read(timed) if "val/loss" in row] == [4, 7]
    assert "val/loss" in scores(timed)
    assert train(tmp_path / "whole", *TIMED) == []
    assert "finished before" in capfd.readouterr().out


@pytest.mark.parametrize("step", [1, 5, 6])
def test_a_run_that_was_killed_gets_no_more_time(step, timed, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "write", killed_at(step, "train/loss"))
        with pytest.raises(Killed):
            train(tmp_path / "killed", *TIMED)
    [resumed] = train(tmp_path / "killed", *TIMED)
    equal_runs(resumed, timed)
    assert record.read_summary(resumed)["seconds"] == record.read_summary(timed)["seconds"] == 7.0


def test_time_that_is_up_at_a_validation_ends_there(ticking, tmp_path):
    [made] = train(tmp_path, *MOONS, "trainer.max_time=4")
    assert record.read_summary(made)["steps"] == 4
    assert [row["step"] for row in record.read(made) if "val/loss" in row] == [4]


def test_time_that_is_not_reached_changes_nothing(ticking, tmp_path):
    [made] = train(tmp_path / "a", *MOONS, "trainer.max_time=12.5")
    [plain] = train(tmp_path / "b", *MOONS)
    assert rows(made) == rows(plain)
    assert record.read_summary(made)["ended_by"] == "trainer.max_steps"


def test_an_accumulated_step_ends_whole(ticking, tmp_path):
    [made] = train(tmp_path, *MOONS, "trainer.max_time=7", "trainer.accumulate_grad_batches=2", "data.batch_size=8")
    assert record.read_summary(made)["steps"] == 4  # the clock ticks twice a step
    assert [row["step"] for row in record.read(made) if "val/loss" in row] == [4]


def test_a_run_that_time_ended_is_extended(timed, tmp_path):
    [longer] = train(tmp_path / "whole", f"extend={timed}", *MOONS, "trainer.max_time=9", "lr_schedule=constant")
    assert record.read_summary(longer)["steps"] == 9
    [samples] = train(tmp_path / "whole", f"extend={timed}", *MOONS, NO_STEPS, "trainer.max_samples=88",
                      "trainer.max_time=null", without="trainer.max_steps")  # fmt: skip
    assert record.read_summary(samples)["steps"] == 11


@pytest.mark.parametrize("words, said", [
    (["trainer.max_samples=1000"], "add trainer.max_steps=null"),
    ([NO_STEPS], "trainer.max_samples=N"),
    ([NO_STEPS, "trainer.max_time=5"], "trainer.max_samples=N"),
    ([NO_STEPS, "trainer.max_samples=3"], "at least data.batch_size=8"),
    (["trainer.max_time=soon"], "trainer.max_time takes a value of type"),
    (["trainer.max_sample=3"], "did you mean trainer.max_samples"),
])  # fmt: skip
def test_what_is_no_length_is_refused(words, said, tmp_path, capfd):
    assert train(tmp_path, *MOONS, *words, code=2) == []
    assert said in capfd.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_runs_from_before_these_keys_are_the_same_runs():
    trainer = CONFIG["trainer"]
    for key in ("max_samples", "max_time"):
        assert hashes(CONFIG | {"trainer": {**trainer, key: None}}) == hashes(CONFIG)
        assert hashes(CONFIG | {"trainer": {**trainer, key: 7}})[0] != hashes(CONFIG)[0]


def test_help_of_a_sweep_s_budget_is_another_matter(tmp_path, capfd):
    assert run(["train", "budget.seconds=3", f"outputs={tmp_path}", "logger=none"]) == 2
    assert "add -m" in capfd.readouterr().err
