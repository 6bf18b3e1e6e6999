"""What a run starts from: an extended run is the longer run, to the bit; an initialized one has the other's weights;
both are runs of their own, by content."""

import shutil

import pytest
import torch
import yaml
from runs import STEPS, TINY, losses, rows, same, train, weights

import denoiselab
from denoiselab.commands.main import run
from denoiselab.run import checkpoint, record

LONGER = 20
CONSTANT = ["lr_schedule=constant", "lr_schedule.warmup=3", "architecture.dropout=0.2"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def source(root):
    [made] = train(root / "source", *CONSTANT)
    return made


def test_an_extended_run_is_the_longer_run_to_the_bit(source, root):
    [long] = train(root / "long", *CONSTANT, f"trainer.max_steps={LONGER}")
    [extended] = train(root / "extended", *CONSTANT, f"trainer.max_steps={LONGER}", f"extend={source}")
    assert extended.name != long.name
    assert rows(extended) == rows(long)
    assert same(weights(extended), weights(long))
    assert same(weights(extended, "best"), weights(long, "best"))
    assert f"resumed at step {STEPS}" in (extended / "log.txt").read_text(encoding="utf-8")


def test_what_was_typed_for_the_run_need_not_be_typed_again(source, root, capfd):
    again = root / "typed"
    assert run(["train", f"extend={source}", f"trainer.max_steps={LONGER}", f"outputs={again}"]) == 0
    [folder] = {path.parent for path in again.rglob("COMPLETED")}
    assert record.read_summary(folder)["steps"] == LONGER
    assert rows(folder)[: len(rows(source))] == rows(source)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["architecture"]["dropout"] == 0.2
    assert run(["train", f"extend={source}", f"trainer.max_steps={LONGER}", f"outputs={again}"]) == 0
    assert "finished before" in capfd.readouterr().out


def test_another_schedule_of_the_rate_holds_from_the_step_on(source, root):
    words = ["architecture.dropout=0.2", f"trainer.max_steps={LONGER}", "lr_schedule.warmup=3"]
    [folder] = train(root / "schedule", *words, "lr_schedule=cosine", f"extend={source}")
    [fresh] = train(root / "fresh", *words, "lr_schedule=cosine")
    rate = {row["step"]: row["lr"] for row in record.read(fresh) if "lr" in row}
    for row in record.read(folder):
        if "lr" in row and row["step"] > STEPS:
            assert row["lr"] == pytest.approx(rate[row["step"]])


def test_what_was_extended_or_initialized_can_be_extended(source, root):
    [first] = train(root / "chain", *CONSTANT, "trainer.max_steps=16", f"extend={source}")
    words = [f"outputs={root / 'chain'}"]
    assert run(["train", f"extend={first}", f"trainer.max_steps={LONGER}", *words]) == 0
    [second] = {path.parent for path in (root / "chain").rglob("COMPLETED")} - {first}
    [long] = train(root / "chain_long", *CONSTANT, f"trainer.max_steps={LONGER}")
    assert rows(second) == rows(long)
    [begun] = train(root / "chain_init", *CONSTANT, f"init={source}")
    assert run(["train", f"extend={begun}", f"trainer.max_steps={LONGER}", f"outputs={root / 'chain_init'}"]) == 0
    [longer] = {path.parent for path in (root / "chain_init").rglob("COMPLETED")} - {begun}
    assert rows(longer)[: len(rows(begun))] == rows(begun)


EVIL = "import pathlib\npathlib.Path('canary').touch()\n"


@pytest.mark.parametrize(
    "content",
    ["null", "3", "[1]", "[a, {b: c}]", "{a: b}", "[", "['plugins=[evil]']", "['hydra.searchpath=[file://.]']"],
)
def test_what_was_typed_for_a_run_is_only_data(content, source, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "theirs"
    shutil.copytree(source, folder)
    (folder / "overrides.yaml").write_text(content, encoding="utf-8")
    (tmp_path / "evil.py").write_text(EVIL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run(["train", *TINY, *CONSTANT, f"trainer.max_steps={LONGER}", f"extend={folder}"]) in (0, 2)
    assert not (tmp_path / "canary").exists()
    assert "Traceback" not in capfd.readouterr().err


REFUSED = {
    "another_network": (["architecture.width=24"], ["architecture.width: 16 -> 24", "init="]),
    "another_rate": (["optimizer.lr=1"], ["optimizer.lr", "-> 1"]),
    "other_data": (["data.n=100"], ["data.n"]),
    "no_more_steps": ([f"trainer.max_steps={STEPS}"], [f"{STEPS} steps are done", f"give more than {STEPS}"]),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_is_no_extension_is_refused(mistake, source, tmp_path, capfd):
    words, said = REFUSED[mistake]
    train(tmp_path, *CONSTANT, f"trainer.max_steps={LONGER}", f"extend={source}", *words, code=2)
    err = capfd.readouterr().err
    assert all(part in err for part in said), err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("kind", ["extend", "init"])
@pytest.mark.parametrize("other", ["{here}/nothing", "{here}"])
def test_a_start_that_is_no_run_is_refused(kind, other, tmp_path, capfd):
    train(tmp_path / "out", f"{kind}={other.format(here=tmp_path)}", code=2)
    err = capfd.readouterr().err
    assert f"{kind}=" in err
    assert str(tmp_path) in err
    assert not (tmp_path / "out").exists()


def test_a_run_starts_from_one_other(source, tmp_path, capfd):
    train(tmp_path, *CONSTANT, f"trainer.max_steps={LONGER}", f"extend={source}", f"init={source}", code=2)
    assert "init and extend" in capfd.readouterr().err


def test_initialized_from_the_best_weights(source, root):
    words = [*CONSTANT, "optimizer.lr=1e-30", "callbacks=none"]
    [made] = train(root / "init", *words, f"init={source}")
    best = checkpoint.load(source / "checkpoints" / "best.ckpt")["state_dict"]
    got = checkpoint.load(made / "checkpoints" / f"{STEPS:09}.ckpt")["state_dict"]
    assert all(torch.equal(got[name], best[name]) for name in best)
    [fresh] = train(root / "init", *words)
    assert fresh != made
    assert losses(fresh) != losses(made)


def test_a_start_is_known_by_content_and_may_go(source, root, tmp_path, capfd):
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    [first] = train(root / "content", *CONSTANT, f"init={source}")
    assert train(root / "content", *CONSTANT, f"init={moved}") == []
    assert "finished before" in capfd.readouterr().out
    [other] = train(root / "gone", *CONSTANT, f"init={moved}")
    shutil.rmtree(moved)
    assert other.name.rpartition("-")[2] == first.name.rpartition("-")[2]
    assert denoiselab.load(other).sample(2).shape[0] == 2


def test_another_network_is_not_initialized(source, tmp_path, capfd):
    train(tmp_path, *CONSTANT, "architecture.width=24", f"init={source}", code=2)
    err = capfd.readouterr().err
    assert "same network" in err
    assert len(err.splitlines()) < 24
    assert not [*tmp_path.iterdir()]
