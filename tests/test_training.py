"""A run: trained once, scored again without training, killed and resumed to the bit; loggers, ranks and accumulation
change no loss; what it leaves is what the contract says."""

import json
import math
import shutil
import socket
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from runs import STEPS, TINY, equal_runs, losses, marks, process, rows, same, scores, train, weights

import denoiselab
from denoiselab.commands.main import run
from denoiselab.run import checkpoint, record, scoring
from denoiselab.run.watch import Watch
from denoiselab.spec import Refused


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def folder(root):
    """One run, for all who only look."""
    [made] = train(root)
    return made


# -- what a run leaves


def test_a_run_folder_holds_what_the_contract_says(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "overrides.yaml", "metrics.jsonl", "summary.json", "samples", "checkpoints", "log.txt",
            "COMPLETED"} <= names  # fmt: skip
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
    assert (folder / "samples" / "samples.png").stat().st_size > 100
    assert (folder / "samples" / "restored.png").stat().st_size > 100
    assert {path.suffix for path in (folder / "checkpoints").iterdir()} == {".ckpt"}
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["corruption"]["schedule"]["_target_"] == "denoiselab.schedule.Cosine"
    assert "hydra" not in config
    assert "${" not in (folder / "config.yaml").read_text(encoding="utf-8")
    assert "seed=" not in str(yaml.safe_load((folder / "overrides.yaml").read_text(encoding="utf-8")))
    assert set(folder.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_the_record_has_every_step_and_what_was_spent(folder):
    found = record.read(folder)
    trained = [row for row in found if "train/loss" in row]
    assert [row["step"] for row in trained] == list(range(1, STEPS + 1))
    assert [row["step"] for row in found if "val/loss" in row] == [4, 8, 12]
    assert all({"step", "train/loss", "lr", "samples", "multiply_adds", "seconds"} <= row.keys() for row in trained)
    assert [row["samples"] for row in trained] == [8 * (i + 1) for i in range(STEPS)]
    assert all(math.isfinite(value) for row in found for value in row.values())
    assert all(a["seconds"] <= b["seconds"] for a, b in pairwise(found))
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        assert isinstance(json.loads(line), dict)


def test_the_summary_says_values_and_where_they_come_from(folder):
    summary = record.read_summary(folder)
    assert {"metrics", "seconds", "samples", "samples_per_second", "steps", "parameters", "multiply_adds", "code",
            "versions", "hardware", "best_step", "score", "entropy", "sampling"} <= summary.keys()  # fmt: skip
    assert {"val/loss", "test/loss"} <= summary["metrics"].keys()
    for name, score in summary["metrics"].items():
        assert {"value", "n", "split", "extractor", "seed"} <= score.keys()
        assert name.startswith(score["split"])
        assert score["n"] > 0
    best = min((row for row in record.read(folder) if "val/loss" in row), key=lambda row: row["val/loss"])
    assert summary["metrics"]["val/loss"]["value"] == best["val/loss"]
    assert summary["best_step"] == best["step"]
    assert (summary["steps"], summary["samples"]) == (STEPS, 8 * STEPS)
    assert {"torch", "pytorch_lightning"} <= summary["versions"].keys()
    run_ = denoiselab.load(folder)
    assert summary["parameters"] == sum(p.numel() for p in run_.denoiser.parameters())


def test_a_checkpoint_holds_raw_and_averaged_weights_and_the_fit(folder):
    saved = checkpoint.load(folder / "checkpoints" / f"{STEPS:09}.ckpt")
    averaged, raw = saved["state_dict"], saved["current_model_state"]
    assert averaged.keys() == raw.keys()
    assert any(not torch.equal(averaged[name], raw[name]) for name in raw)
    assert saved["fit"] == folder.name.rpartition("-")[2]
    assert saved["global_step"] == STEPS
    assert saved["optimizer_states"]


def test_what_is_best_is_what_is_scored(folder):
    best = checkpoint.load(folder / "checkpoints" / "best.ckpt")
    assert best["global_step"] == record.read_summary(folder)["best_step"]
    loaded = denoiselab.load(folder).module
    assert same(dict(loaded.state_dict()), dict(best["state_dict"]))
    assert denoiselab.load(folder).evaluation.loss(loaded, denoiselab.load(folder).data.test) == pytest.approx(
        scores(folder)["test/loss"], rel=1e-6
    )


# -- once


def test_the_same_command_again_is_said_to_be_finished(folder, root, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert train(root) == []
    assert "finished before" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    "override", ["trainer.log_every_n_steps=5", "name=other", "trainer.enable_progress_bar=true", "logger=csv"]
)
def test_what_changes_no_weight_is_no_other_run(override, folder, tmp_path):
    [other] = train(tmp_path, override)
    assert other.name.rpartition("-")[2] == folder.name.rpartition("-")[2]
    assert same(weights(other), weights(folder))


def test_what_differs_in_the_sampler_alone_is_scored_and_not_trained(tmp_path, capsys):
    [first] = train(tmp_path, "sampler=ddim")
    record_, saved = (first / "metrics.jsonl").read_bytes(), sorted((first / "checkpoints").iterdir())
    times = [path.stat().st_mtime_ns for path in saved]
    capsys.readouterr()
    [second] = train(tmp_path, "sampler=heun", "sampler.steps=2")
    assert "started" not in capsys.readouterr().out
    assert second.parent == first / "scores"
    assert (first / "metrics.jsonl").read_bytes() == record_
    assert [path.stat().st_mtime_ns for path in sorted((first / "checkpoints").iterdir())] == times
    assert not (second / "COMPLETED").exists()
    calls = [record.read_summary(place)["sampling"]["network_calls_per_sample"] for place in (first, second)]
    assert calls == [3, 3]
    assert record.read_summary(first)["score"] != record.read_summary(second)["score"] == second.name
    assert scores(first)["test/loss"] == scores(second)["test/loss"]
    assert train(tmp_path, "sampler=heun", "sampler.steps=2") == []
    assert train(tmp_path, "sampler=ddim") == []


def test_rerun_trains_anew_to_the_same(tmp_path):
    [first] = train(tmp_path)
    before, when = rows(first), (first / "COMPLETED").stat().st_mtime_ns
    train(tmp_path, "rerun=true")
    assert (first / "COMPLETED").stat().st_mtime_ns > when
    assert rows(first) == before


@pytest.mark.parametrize(
    "override", ["seed=1", "optimizer.lr=2e-3", "data.n=500", "schedule=linear", "trainer.max_steps=11"]
)
def test_what_changes_weights_is_another_run(override, root, folder):
    [other] = train(root, override)
    assert other != folder
    assert losses(other)[:11] != losses(folder)[:11] or override.startswith("trainer")


# -- killed


class Killed(BaseException):
    pass


def killed_at(step, where):
    """A watch that ends the process's life in the words of a test."""

    def write(self, values, trainer):
        if trainer.global_step == step and where in values:
            raise Killed
        real_write(self, values, trainer)

    return write


real_write = Watch.write
EVERY = 3
# Dropout, two micro-batches, an average, a rate that moves, an epoch that ends in the midst.
RICH = ["architecture.dropout=0.2", "trainer.accumulate_grad_batches=2", "data.n=36", "lr_schedule.warmup=3"]
RICH.append(f"checkpoint.every={EVERY}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody kills."""
    [made] = train(tmp_path_factory.mktemp("whole"), *RICH)
    return made


@pytest.mark.parametrize(
    "step, where",
    [(1, "train/loss"), (3, "train/loss"), (4, "val/loss"), (7, "train/loss"), (9, "train/loss"), (12, "val/loss")],
)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(step, where, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Watch, "write", killed_at(step, where))
    with pytest.raises(Killed):
        run(["train", *TINY, *RICH, f"outputs={tmp_path}"])
    assert not [*tmp_path.rglob("COMPLETED")]
    monkeypatch.setattr(Watch, "write", real_write)
    [resumed] = train(tmp_path, *RICH)
    saved = max(s for s in range(step) if not s % EVERY or not s % 4)  # and at each validation
    assert (f"resumed at step {saved}" if saved else "started") in capsys.readouterr().out
    equal_runs(resumed, whole)


def test_a_run_that_was_killed_in_its_evaluation_is_not_trained_again(whole, tmp_path, monkeypatch):
    real = scoring.settle
    monkeypatch.setattr(scoring, "settle", raising(Killed))
    with pytest.raises(Killed):
        run(["train", *TINY, *RICH, f"outputs={tmp_path}"])
    monkeypatch.setattr(scoring, "settle", real)
    [resumed] = train(tmp_path, *RICH)
    equal_runs(resumed, whole)


EARLY = [
    "callbacks=early_stopping",
    "callbacks.early_stopping.patience=1",
    "optimizer.lr=1e-30",
    "trainer.max_steps=40",
]


ENDINGS = {"training": (Watch, "write"), "evaluation": (scoring, "settle")}


@pytest.mark.parametrize("where", ENDINGS)
def test_a_run_that_ended_early_ends_there_after_a_kill_too(where, tmp_path, monkeypatch):
    [early] = train(tmp_path / "whole", *EARLY)
    with monkeypatch.context() as patched:
        patched.setattr(*ENDINGS[where], killed_at(6, "train/loss") if where == "training" else raising(Killed))
        with pytest.raises(Killed):
            run(["train", *TINY, *EARLY, f"outputs={tmp_path / 'out'}"])
    [resumed] = train(tmp_path / "out", *EARLY)
    assert record.read_summary(resumed)["steps"] == record.read_summary(early)["steps"] < 40
    equal_runs(resumed, early)


@pytest.mark.parametrize("rerun", ["true", "stale"])
def test_rerun_does_not_begin_again_what_was_not_finished(rerun, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "write", killed_at(9, "train/loss"))
        with pytest.raises(Killed):
            run(["train", *TINY, f"outputs={tmp_path}", f"rerun={rerun}"])
    train(tmp_path, f"rerun={rerun}")
    assert "resumed at step 8" in capsys.readouterr().out


def test_rerun_stale_trains_what_other_code_made_and_nothing_else(tmp_path, monkeypatch, capsys):
    [made] = train(tmp_path)
    assert train(tmp_path, "rerun=stale") == []
    [scored] = train(tmp_path, "rerun=stale", "sampler=heun", "sampler.steps=2")
    assert scored.parent == made / "scores"
    monkeypatch.setattr(record, "source", lambda: "0123456789ab")
    capsys.readouterr()
    assert train(tmp_path) == []
    assert "rerun=stale" in capsys.readouterr().out
    assert train(tmp_path, "rerun=stale") == []
    assert "started: " in capsys.readouterr().out
    assert record.read_summary(made)["code"]["source"] == "0123456789ab"
    assert not (made / "scores").exists()
    assert (made / "log.txt").read_text(encoding="utf-8").count("started: ") == 2


@pytest.mark.parametrize(
    "key", ["max_epochs=3", "limit_val_batches=0", "fast_dev_run=true", "overfit_batches=1", "logger=true"]
)
def test_a_knob_of_the_trainer_that_would_not_be_obeyed_is_refused(key, tmp_path, capfd):
    train(tmp_path, f"+trainer.{key}", code=2)
    assert "training is one run of steps" in capfd.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(Watch, "write", killed_at(10, "train/loss"))
    with pytest.raises(Killed):
        run(["train", *TINY, *RICH, f"outputs={tmp_path}"])
    monkeypatch.setattr(Watch, "write", real_write)
    [newest] = tmp_path.rglob("000000009.ckpt")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="000000009.ckpt is damaged"):
        [resumed] = train(tmp_path, *RICH)
    equal_runs(resumed, whole)


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [damaged, Path.unlink])
def test_a_lost_best_checkpoint_is_named_and_made_again(harm, whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "write", killed_at(10, "train/loss"))
        with pytest.raises(Killed):
            run(["train", *TINY, *RICH, f"outputs={tmp_path}"])
    [best] = tmp_path.rglob("best.ckpt")
    if harm is damaged:  # a file of its own, not the one the run goes on from
        content = best.read_bytes()
        best.unlink()
        best.write_bytes(content)
    harm(best)
    [resumed] = train(tmp_path, *RICH)
    assert "the best checkpoint is lost" in capsys.readouterr().out
    equal_runs(resumed, whole)
    harm(resumed / "checkpoints" / "best.ckpt")
    assert run(["train", *TINY, *RICH, f"outputs={tmp_path}", "sampler.steps=2"]) == 1
    assert "rerun=true trains it anew" in capsys.readouterr().err


def test_a_record_that_was_changed_is_named(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "write", killed_at(10, "train/loss"))
        with pytest.raises(Killed):
            run(["train", *TINY, *RICH, f"outputs={tmp_path}"])
    [file] = tmp_path.rglob("metrics.jsonl")
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([*lines[:2], "garbage\n", *lines[7:]]), encoding="utf-8")
    with pytest.warns(UserWarning, match="line 3, is damaged"):
        train(tmp_path, *RICH)
    assert "the record has no validation at step 4" in capsys.readouterr().out


def raising(error):
    def call(*arguments, **named):
        raise error

    return call


SIGKILL = """
import functools, os, signal, sys
import torch
torch.set_num_threads(1)
from denoiselab.commands.main import run
from denoiselab.run import watch
write = watch.Watch.write
def until(self, values, trainer):
    write(self, values, trainer)
    if trainer.global_step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
watch.Watch.write = until
run(WORDS)
"""


def test_a_process_that_was_killed_is_resumed_to_the_same_bits(whole, tmp_path):
    words = ["train", *TINY, *RICH, f"outputs={tmp_path}"]
    killed = process(SIGKILL.replace("EVERY", str(EVERY)).replace("WORDS", repr(words)))
    said, _ = killed.communicate(timeout=120)
    assert killed.returncode == -9, said
    [resumed] = train(tmp_path, *RICH)
    equal_runs(resumed, whole)


# -- what changes no loss


@pytest.mark.parametrize("logger", ["csv", "wandb", "tensorboard", "trackio"])
def test_a_logger_changes_nothing(logger, folder, tmp_path):
    if logger in ("tensorboard", "trackio"):
        pytest.importorskip(logger, reason=f"{logger} is not here: pip install denoiselab[dashboard]")
    drawn = [] if logger == "csv" else ["logger.watch=all", "logger.watch_every=2"]
    [logged] = train(tmp_path, f"logger={logger}", *drawn)
    assert rows(logged) == rows(folder)
    assert same(weights(logged), weights(folder))
    assert scores(logged) == scores(folder)


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=ddpm", "architecture=mlp", "data.n=44"],
        [
            "experiment=mdlm",
            "architecture=mlp",
            "data.train=60",
            "data.val=20",
            "data.test=20",
            "architecture.embedding=4",
        ],
    ],
    ids=["ddpm", "mdlm"],
)
def test_accumulation_changes_rounding_alone(words, tmp_path):
    words = [*words, "trainer.max_steps=7", "optimizer.lr=1e-2"]
    one, two, four = (losses(train(tmp_path, *words, f"trainer.accumulate_grad_batches={k}")[0]) for k in (1, 2, 4))
    assert len(one) == len(two) == len(four) == 7
    torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.tensor(four), torch.tensor(one), rtol=1e-5, atol=1e-5)


RANK = """
import torch
torch.set_num_threads(1)
from denoiselab.commands.main import run
raise SystemExit(run(WORDS))
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["times=importance", "times.bins=4", "times.history=3", "weight=unit"]], ids=str)
def test_two_ranks_are_one_process(words, tmp_path):
    """Two gloo processes, started by somebody else, against one: the same losses up to rounding, and the same times."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    [alone] = train(tmp_path / "one", "data.n=44", *words)
    both = ["train", *TINY, "data.n=44", "trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    code = RANK.replace("WORDS", repr([*both, *words, f"outputs={tmp_path / 'two'}"]))
    shared = {"WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [process(code, RANK=str(r), LOCAL_RANK=str(r), **shared) for r in range(2)]
    said = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    [together] = marks(tmp_path / "two")
    assert len(losses(together)) == STEPS
    torch.testing.assert_close(torch.tensor(losses(together)), torch.tensor(losses(alone)), rtol=1e-5, atol=1e-5)
    for name in ("val/loss", "test/loss"):
        assert scores(together)[name] == pytest.approx(scores(alone)[name], rel=1e-5)
    drawn, want = ({key: value for key, value in weights(folder)["state_dict"].items() if key.startswith("times.")}
                   for folder in (together, alone))  # fmt: skip
    torch.testing.assert_close(drawn, want, rtol=1e-5, atol=1e-5)


# -- overlays and sweeps


def test_overfitting_brings_the_loss_near_zero(tmp_path):
    [made] = train(tmp_path, "debug=overfit", "architecture.width=128", "optimizer.lr=3e-3", "trainer.max_steps=300",
                   "trainer.val_check_interval=300", "lr_schedule.warmup=10")  # fmt: skip
    found = losses(made)
    assert min(found[-10:]) < 0.05 * found[0], (found[0], found[-1])


def test_a_sweep_is_a_folder_a_cell(tmp_path):
    made = train(tmp_path, "-m", "schedule=cosine,linear", "seed=0,1")
    assert len(made) == 4
    assert len({tuple(losses(each)) for each in made}) == 4
    assert all((each / "COMPLETED").exists() for each in made)
    [alone] = train(tmp_path / "alone", "schedule=linear", "seed=1")
    assert any(each.name.rpartition("-")[2] == alone.name.rpartition("-")[2] for each in made)
    assert any(rows(each) == rows(alone) for each in made)


def test_early_stopping_stops(tmp_path):
    [made] = train(tmp_path, "callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=1e-30")
    assert record.read_summary(made)["steps"] < STEPS
    assert (made / "COMPLETED").exists()


def test_a_loss_that_is_no_number_ends_the_run_in_words(tmp_path, capfd):
    words = ["optimizer=sgd", "optimizer.lr=1e17", "trainer.gradient_clip_val=null"]
    assert run(["train", *TINY, *words, f"outputs={tmp_path}"]) == 1
    assert "loss is" in capfd.readouterr().err
    assert not [*tmp_path.rglob("COMPLETED")]


# -- a finished run, from Python and from the shell


@pytest.fixture(scope="module", params=["ddpm", "mdlm"])
def finished(request, root):
    words = [] if request.param == "ddpm" else ["data.train=64", "data.val=16", "data.test=16", "data.length=12"]
    [made] = train(root, f"experiment={request.param}", "architecture=mlp", *words)
    return made


def test_a_sample_alone_is_the_sample_in_a_batch(finished):
    found = denoiselab.load(finished)
    eight = found.sample(8)
    assert eight.shape == (8, *found.spec.shape)
    # A product of matrices of another size is rounded otherwise; tokens are what they are.
    near = {"rtol": 0, "atol": 1e-5 * float(eight.abs().max()) if eight.is_floating_point() else 0}
    for n in (1, 3):
        torch.testing.assert_close(found.sample(n), eight[:n], **near)
    torch.testing.assert_close(found.sample(8, batch_size=1), eight, **near)
    assert torch.equal(found.sample(8), eight)
    assert not torch.equal(found.sample(8, seed=1), eight)


def test_another_sampler_is_made_by_its_name(finished):
    found = denoiselab.load(finished)
    sampler = found.sampler("ancestral", steps=2)
    assert sampler.calls == 2
    assert found.sample(2, sampler).shape == (2, *found.spec.shape)
    for wrong in (lambda: found.sampler("ddmi"), lambda: found.sampler("ancestral", step_s=2)):
        with pytest.raises(Refused):
            wrong()
    with pytest.raises(Refused):
        found.sample(2, found.sampler("one_shot"))


def test_loading_what_is_no_run_is_refused(finished, tmp_path):
    with pytest.raises(Refused, match="no run folder"):
        denoiselab.load(tmp_path)
    shutil.copy(finished / "config.yaml", tmp_path)
    with pytest.raises(Refused, match="no checkpoint"):
        denoiselab.load(tmp_path)


def test_sample_writes_what_it_made(finished, tmp_path, capsys):
    from safetensors.torch import load_file

    assert run(["sample", f"run={finished}", "n=5", "steps=2", "batch_size=2", f"output={tmp_path / 'made'}"]) == 0
    made = load_file(tmp_path / "made" / "samples.safetensors")["samples"]
    found = denoiselab.load(finished)
    assert torch.equal(made, found.sample(5, found.sampler(steps=2), batch_size=2))
    timing = json.loads((tmp_path / "made" / "timing.json").read_text(encoding="utf-8"))
    assert (timing["n"], timing["network_calls_per_sample"]) == (5, 2)
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        "samples.safetensors", "timing.json", "samples.txt" if made.dtype == torch.int64 else "samples.png",
    }  # fmt: skip
    assert str(tmp_path / "made") in capsys.readouterr().out


def test_show_draws_what_a_finished_run_does(finished, capsys):
    assert run(["show", f"run={finished}"]) == 0
    out = capsys.readouterr().out
    names = {path.name for path in (finished / "samples").iterdir()}
    assert "recovery.png" in names
    assert {"trajectory.png", "trajectory.gif"} <= names or ("belief" in out and "x_t" in out)


@pytest.mark.parametrize(
    "words", [["corruption=salt_and_pepper", "experiment=denoising_autoencoder"], ["experiment=mdlm"]]
)
def test_show_before_training_tells_one_iteration(words, tmp_path, capsys):
    assert run(["show", *words, f"outputs={tmp_path}", "data.batch_size=4"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("drawn", "seen", "asked", "lost"))
    assert not [*tmp_path.rglob("checkpoints")]
    assert bool([*tmp_path.rglob("*.png")]) == ("experiment=mdlm" not in words)
