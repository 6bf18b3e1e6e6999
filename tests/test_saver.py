"""When checkpoints are saved, and what is left when one cannot be: a run stopped at any moment of a save goes on to the
same best and last files."""

import os
import resource
import shutil
from contextlib import contextmanager

import pytest
import pytorch_lightning as pl
import torch
from common import Forever
from runs import same
from torch import nn

from denoiselab.run import checkpoint
from denoiselab.run.averaging import EMA
from denoiselab.run.checkpoint import SafeIO, load
from denoiselab.run.saver import PREEMPTED, Saver, last_good, steps
from denoiselab.spec import Failed, Refused

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::UserWarning:pytorch_lightning")
STEPS, VALIDATIONS = 12, 4
BEST = {4: 3.0, 8: 5.0, 12: 4.0}  # a metric whose best is neither the last nor the last but one


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Toy(pl.LightningModule):
    """A second passes in each micro-batch; a validation finds `values` at its step; `at`: what happens in a step."""

    def __init__(self, values=None, at=None):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(3, 3)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.values, self.at, self.clock = values or BEST, at or {}, Clock()

    def on_fit_start(self):
        self.clock.now += 1000  # what is done before training counts for nothing

    def training_step(self, x, i):
        self.clock.now += 1
        self.at.pop(self.global_step + 1, lambda: None)()
        return (self.net(x) - x).square().mean()

    def validation_step(self, x, i):
        self.log("val/loss", torch.tensor(self.values[self.global_step]), batch_size=4)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2)


def fit(folder, module=None, *, max_steps=STEPS, validations=VALIDATIONS, accumulate=1, path=None, mode="min", **more):
    """Trains; gives the saver and the trainer."""
    module = module or Toy()
    saver = Saver(folder, "val/loss", mode, fit="0123456789", about={"seed": 1}, clock=module.clock, **more)
    module.saver = saver
    trainer = pl.Trainer(
        max_steps=max_steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, val_check_interval=validations * accumulate, check_val_every_n_epoch=None,
        num_sanity_val_steps=0, accumulate_grad_batches=accumulate, default_root_dir=folder,
        callbacks=[EMA(100, ramp=0.1), saver], plugins=[SafeIO()],
    )  # fmt: skip
    module.trainer = trainer
    held_out = torch.utils.data.DataLoader(torch.zeros(4, 3), batch_size=4)
    batches = Forever(lambda: trainer.global_step * accumulate, 4, 3)
    trainer.fit(module, batches, held_out, ckpt_path=path, weights_only=False)
    return saver, trainer


@pytest.fixture
def saves(monkeypatch):
    """The steps of all files that are written, in order."""
    found, real = [], checkpoint.save

    def save(tree, path):
        real(tree, path)
        found.append(tree["global_step"])

    monkeypatch.setattr(checkpoint, "save", save)
    return found


def best_of(saved):
    [state] = [state for name, state in saved["callbacks"].items() if "Saver" in name]
    return state["best"]


# -- when


@pytest.mark.parametrize("more, expected", [
    (dict(seconds=None), [4, 8, 12]),
    (dict(seconds=60.0), [4, 8, 12]),
    (dict(seconds=3.0), [3, 4, 7, 8, 11, 12]),
    (dict(seconds=2.0), [2, 4, 6, 8, 10, 12]),
    (dict(seconds=0.5), list(range(1, 13))),
    (dict(seconds=None, every=5), [4, 5, 8, 10, 12]),
    (dict(seconds=None, every=1), list(range(1, 13))),
    (dict(seconds=3.0, every=5), [3, 4, 5, 8, 10, 12]),
    (dict(seconds=5.0, validations=99), [5, 10, 12]),
    (dict(seconds=5.0, validations=99, accumulate=2), [3, 6, 9, 12]),
    (dict(seconds=None, validations=99, accumulate=2), [12]),
])  # fmt: skip
def test_a_checkpoint_is_saved_when_seconds_or_steps_passed_at_validations_and_at_the_end(
    more, expected, saves, tmp_path
):
    """A step's file is written once, whatever asks for it; each micro-batch takes a second."""
    fit(tmp_path, **more)
    assert saves == expected
    assert [int(path.stem) for path in steps(tmp_path / "checkpoints")] == expected[-2:]


def test_the_seconds_are_of_this_attempt(saves, tmp_path):
    fit(tmp_path, seconds=3.0, max_steps=6)
    assert saves.pop() == 6
    saves.clear()
    fit(tmp_path, seconds=3.0, path=last_good(tmp_path))
    assert saves == [8, 11, 12]


def test_each_says_what_it_is_of(tmp_path):
    fit(tmp_path, every=1, keep=99)
    files = list((tmp_path / "checkpoints").iterdir())
    assert len(files) == STEPS + 1
    for file in files:
        saved = load(file)
        assert (saved["fit"], saved["about"]) == ("0123456789", {"seed": 1})


@pytest.mark.parametrize("ranks", [dict(once=True), dict(once=False)], ids=["clock", "signal"])
def test_ranks_save_together_after_one_reduction_a_step(ranks, saves, tmp_path, monkeypatch):
    """Another rank's clock says yes at the end of step 3, or a signal has reached that rank, and no other."""
    asked = []

    def reduce(self, decision, all=True):
        assert not all
        asked.append(module.global_step)
        return bool(decision) or (module.global_step == 3 and (asked.count(3) == 1 or not ranks["once"]))

    module = Toy()
    monkeypatch.setattr(pl.strategies.SingleDeviceStrategy, "reduce_boolean_decision", reduce)
    if ranks["once"]:
        fit(tmp_path, module, max_steps=7, seconds=None)
        assert saves == [3, 4, 7]
        assert [asked.count(step) for step in range(1, 8)] == [1, 1, 2, 2, 1, 1, 2], "one a step, one a save"
    else:
        with pytest.raises(SystemExit) as left:
            fit(tmp_path, module, seconds=None)
        assert (left.value.code, saves) == (PREEMPTED, [3])


def test_who_asks_while_a_checkpoint_is_written_is_heard(tmp_path, monkeypatch):
    module, real = Toy(), checkpoint.save

    def save(tree, path):
        real(tree, path)
        module.saver.ask()

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(SystemExit):
        fit(tmp_path, module)
    assert module.global_step == 4


# -- the best


@pytest.mark.parametrize("mode, step", [("min", 4), ("max", 8)])
@pytest.mark.parametrize("keep", [1, 2])
def test_the_best_outlives_what_is_kept(mode, step, keep, tmp_path):
    fit(tmp_path, every=1, keep=keep, mode=mode)
    best = load(tmp_path / "checkpoints" / "best.ckpt")
    assert (best["global_step"], best_of(best)) == (step, BEST[step])
    assert len(steps(tmp_path / "checkpoints")) == keep


def no_links(*_):
    raise OSError("this file system has no hard links")


@pytest.mark.parametrize("links", [True, False], ids=["link", "copy"])
def test_the_best_and_its_step_are_one_file_where_there_are_links(links, saves, tmp_path, monkeypatch):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    fit(tmp_path, max_steps=4)
    best, step = (tmp_path / "checkpoints" / name for name in ("best.ckpt", "000000004.ckpt"))
    assert best.samefile(step) == links
    assert best.read_bytes() == step.read_bytes()
    assert saves == [4], "written once"


class Killed(BaseException):
    pass


class Life:
    """Ends at the n-th of the calls by which files change, before it or after it; the dead do nothing more, so that
    what they were about to remove stays."""

    def __init__(self, n, after):
        self.n, self.after, self.calls = n, after, 0

    def ending(self, real):
        def call(*arguments, **named):
            self.calls += 1
            if self.calls > self.n or (self.calls == self.n and not self.after):
                raise Killed
            done = real(*arguments, **named)
            if self.calls == self.n:
                raise Killed
            return done

        return call

    @contextmanager
    def lived(self):
        with pytest.MonkeyPatch.context() as patch:
            for module, name in ((os, "fsync"), (os, "replace"), (os, "link"), (os, "unlink"), (shutil, "copyfile"),
                                 (checkpoint, "save_file")):  # fmt: skip
                patch.setattr(module, name, self.ending(getattr(module, name)))
            yield


VALUES = {2: 3.0, 4: 5.0, 6: 1.0}
SHORT = dict(max_steps=6, validations=2, keep=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The files of a run that nobody stops, and how many calls it makes."""
    folder, life = tmp_path_factory.mktemp("undisturbed"), Life(10**9, True)
    with life.lived():
        fit(folder, Toy(VALUES), **SHORT)
    assert life.calls > 20
    return files(folder), life.calls


def files(folder):
    """Name to content, less what a clock says."""
    content = {file.name: load(file) for file in (folder / "checkpoints").iterdir()}
    return {name: {key: saved[key] for key in ("state_dict", "current_model_state", "averaging_state",
            "optimizer_states", "global_step", "fit", "about")} | {"best": best_of(saved)}
            for name, saved in content.items()}  # fmt: skip


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_moment_of_a_save_it_goes_on_to_the_same_files(after, undisturbed, tmp_path):
    whole, calls = undisturbed
    for n in range(1, calls + 1):
        folder, life = tmp_path / str(n), Life(n, after)
        with life.lived(), pytest.raises(Killed):
            fit(folder, Toy(VALUES), **SHORT)
        fit(folder, Toy(VALUES), path=last_good(folder), **SHORT)
        if (found := files(folder)).keys() != whole.keys():
            # Killed between the last file and the removal of the one before: training has ended, nobody looks again.
            assert found.keys() - whole.keys() == {"000000004.ckpt"}, n
            del found["000000004.ckpt"]
        assert same(found, whole), n


# -- what cannot be saved


def spoiled(value, step):
    """A module with a weight that is spoiled in a step: after it, all are."""

    def spoil():
        with torch.no_grad():
            module.net.weight[0, 0] = value

    module = Toy(at={step: spoil})
    return module


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("step, saved", [(5, 4), (8, 7), (1, None)])
def test_weights_that_are_not_finite_are_not_saved(value, step, saved, tmp_path):
    """Infinities in a buffer are nobody's fault."""
    there = f"from {saved:09}.ckpt" if saved else "there is no checkpoint"
    with pytest.raises(Failed, match=rf"weights of step {step} are not finite, in net.bias, net.weight; .*{there}"):
        fit(tmp_path, spoiled(value, step), every=1)
    assert last_good(tmp_path) == (tmp_path / "checkpoints" / f"{saved:09}.ckpt" if saved else None)
    if saved:
        content = files(tmp_path)
        assert all(v.isfinite().all() for c in content.values() for k, v in c["state_dict"].items() if k != "mask")
        assert content["best.ckpt"]["global_step"] == 4


@pytest.mark.parametrize("part", ["state_dict", "current_model_state"])
def test_raw_weights_and_their_average_are_looked_at(part, tmp_path):
    module = Toy()
    saved = {name: {k: v.clone() for k, v in module.state_dict().items()}
             for name in ("state_dict", "current_model_state")}  # fmt: skip
    saved["global_step"], saver = 7, Saver(tmp_path, "val/loss", "min")
    saver.on_save_checkpoint(None, module, saved)
    saved[part]["net.bias"][1] = torch.nan
    with pytest.raises(Failed, match=r"step 7 are not finite, in net\.bias;"):
        saver.on_save_checkpoint(None, module, saved)


@contextmanager
def full(folder):
    """No file may grow beyond some bytes: as on a disk that is full, for root too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def gone(folder):
    """A file lies where the folder was."""
    folder.rename(folder.with_name("elsewhere"))
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        folder.with_name("elsewhere").rename(folder)


@contextmanager
def forbidden(folder):
    """Names cannot be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", denied)
        yield


def denied(*_):
    raise PermissionError(13, "Permission denied")


# A way in which writing fails, and a word of it; a new one is an entry.
BROKEN = {"full": (full, "File too large"), "gone": (gone, "File exists|Not a directory"),
          "forbidden": (forbidden, "Permission denied")}  # fmt: skip


@pytest.mark.parametrize("broken, word", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("step, there", [(6, "000000005.ckpt"), (8, "000000007.ckpt")])
def test_a_save_that_fails_is_said_and_loses_nothing(broken, word, step, there, tmp_path, monkeypatch):
    """8 is where a best one would be written."""
    folder, values, before, real = tmp_path / "checkpoints", {4: 3.0, 8: 2.0, 12: 1.0}, {}, checkpoint.save

    def save(tree, path):
        if tree["global_step"] < step:
            return real(tree, path)
        before.update((file.name, file.read_bytes()) for file in folder.iterdir())
        with broken(folder):
            real(tree, path)

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(Failed, match=word) as failed:
        fit(tmp_path, Toy(values), every=1)
    assert f"step {step}" in str(failed.value)
    assert str(folder) in str(failed.value)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before, "and no temporary file"
    assert last_good(tmp_path).name == there
    monkeypatch.setattr(checkpoint, "save", real)
    fit(tmp_path, Toy(values), every=1, path=last_good(tmp_path))
    assert load(folder / "best.ckpt")["global_step"] == STEPS


@pytest.mark.parametrize("bad, word", [
    (dict(mode="mni"), "min"), (dict(every=0), "every"), (dict(every=-1), "every"), (dict(keep=0), "keep"),
    (dict(seconds=0), "seconds"), (dict(seconds=-1.0), "seconds"), (dict(seconds=float("nan")), "seconds"),
    (dict(seconds=float("inf")), "seconds"),
])  # fmt: skip
def test_what_means_nothing_is_refused(bad, word, tmp_path):
    with pytest.raises(Refused, match=word):
        Saver(**{"folder": tmp_path, "monitor": "val/loss", "mode": "min"} | bad)
