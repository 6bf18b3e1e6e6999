"""Checkpoints: what is saved comes back, what is damaged is refused, and a run killed anywhere goes on to the bit."""

import os
import random
import warnings
from collections import Counter, OrderedDict, namedtuple

import pytest
import pytorch_lightning as pl
import torch
from common import Forever
from torch import nn

from denoiselab.run import identity
from denoiselab.run.averaging import EMA
from denoiselab.run.checkpoint import Damaged, SafeIO, digest_of, load, save
from denoiselab.run.saver import PREEMPTED, Saver, last_good, steps
from denoiselab.spec import Refused

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::UserWarning:pytorch_lightning")


def same(a, b, place="tree"):
    """Equal in type, order and value, tensors to the bit."""
    kind = torch.Tensor if isinstance(a, torch.Tensor) else type(a)
    assert type(b) is kind, place
    if isinstance(a, torch.Tensor):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), place
        as_bytes = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b)] if a.numel() else [a, b]
        assert torch.equal(*as_bytes), place
    elif isinstance(a, dict):
        assert [(type(k), k) for k in a] == [(type(k), k) for k in b], place
        for k in a:
            same(a[k], b[k], f"{place}.{k}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            same(left, right, f"{place}[{i}]")
    else:
        assert a == b or (a != a and b != b), place


class Thrice:
    def __len__(self):
        return 3

    def __iter__(self):
        return iter(torch.linspace(0, 1, 3 * 8 * 4).view(3, 8, 4))


class Toy(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 4))
        self.register_buffer("table", torch.arange(3))
        self.losses, self.validated = {}, {}
        self.at = {}  # step to what happens at its end

    def training_step(self, x, i):
        torch.manual_seed(i)
        loss = (self.net(x) - x).pow(2).mean()
        self.losses[self.global_step + 1] = loss.item()
        return loss

    def on_train_batch_end(self, outputs, batch, i):
        self.at.pop(self.global_step, lambda: None)()

    def validation_step(self, x, i):
        self.log("val/loss", (self.net(x) - x).pow(2).mean(), batch_size=8)

    def on_validation_epoch_end(self):
        self.validated[self.global_step] = self.trainer.callback_metrics["val/loss"].item()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), 1e-2)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}


def fit(folder, module=None, *, max_steps=24, every=5, accumulate=1, more=(), validations=4, path=None):
    """Trains; gives the module and the trainer."""
    module = module or Toy()
    saver = Saver(folder, "val/loss", "min", every=every, fit="0123456789")
    trainer = pl.Trainer(
        max_steps=max_steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, val_check_interval=validations * accumulate, check_val_every_n_epoch=None,
        num_sanity_val_steps=0, accumulate_grad_batches=accumulate, default_root_dir=folder,
        callbacks=[EMA(100, ramp=0.1), *more, saver], plugins=[SafeIO()],
    )  # fmt: skip
    module.at = {step: lambda act=act: act(saver) for step, act in module.at.items()}
    trainer.fit(module, Forever(lambda: trainer.global_step * accumulate, 8, 4), Thrice(), ckpt_path=path)
    return module, trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    stop = pl.callbacks.EarlyStopping("val/loss", patience=100)
    module, trainer = fit(folder, more=[stop])
    return folder, module, trainer


# -- the file --------------------------------------------------------------------------------------------


def test_a_real_checkpoint_round_trips(whole, tmp_path):
    """AdamW, a schedule, averaged weights, early stopping and the saver's own state, as Lightning gives them."""
    _, _, trainer = whole
    tree = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    assert {"current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "loops"} <= set(tree)
    assert any("EarlyStopping" in name for name in tree["callbacks"])
    assert tree["fit"] == "0123456789"
    save(tree, tmp_path / "a.ckpt")
    same(tree, load(tmp_path / "a.ckpt"))


def test_everything_that_may_be_saved_round_trips(tmp_path):
    base = torch.arange(12.0)
    tree = {
        "scalars": [None, True, 0, -1, 2**70, 0.1, float("inf"), float("nan"), "ä\u0000\n\"", ""],
        "containers": [(), [], {}, ((1,), [2]), OrderedDict(b=1, a=2), Counter({3: 2}), {1: 0, "1": 1, (2,): 0}],
        "marks": {"__tensor__": "no", "__tuple__": [1]},
        "types": [torch.zeros(2, dtype=d) for d in (torch.float64, torch.bfloat16, torch.float16, torch.int64,
                                                    torch.uint8, torch.bool, torch.complex64)],
        "shapes": [torch.tensor(3.0), torch.empty(0), torch.empty(2, 0, 3), base.view(3, 4).T, base[::2], base[3:5]],
        "special": torch.tensor([float("nan"), float("-inf"), -0.0]),
        "parameter": nn.Parameter(torch.ones(2)),
    }  # fmt: skip
    save(tree, tmp_path / "a.ckpt")
    same(tree, load(tmp_path / "a.ckpt"))


def test_one_tensor_with_two_names_stays_one(tmp_path):
    tied = torch.zeros(1000)
    save({"a": tied, "b": tied, "c": tied[:500], "d": torch.empty(0), "e": torch.empty(0)}, tmp_path / "a.ckpt")
    back = load(tmp_path / "a.ckpt")
    assert back["a"].data_ptr() == back["b"].data_ptr() != back["c"].data_ptr()
    assert (tmp_path / "a.ckpt").stat().st_size < 7000


class Odd:
    pass


@pytest.mark.parametrize("bad, word", [
    (Odd(), "Odd"), ({1, 2}, "set"), (b"bytes", "bytes"), (1j, "complex"), (Odd, "type"), (len, "builtin"),
    (torch.float32, "dtype"), (torch.Generator(), "Generator"), (namedtuple("Pair", "a b")(1, 2), "Pair"),
    (torch.eye(2).to_sparse(), "Tensor"), (lambda: 0, "function"),
])  # fmt: skip
def test_what_is_no_tensor_and_no_json_is_named(bad, word, tmp_path):
    path = tmp_path / "a.ckpt"
    save({"before": 1}, path)
    with pytest.raises(TypeError, match=rf"checkpoint\.callbacks\.it\[1\] is a .*{word}"):
        save({"callbacks": {"it": [0, bad]}}, path)
    assert load(path) == {"before": 1}
    assert os.listdir(tmp_path) == ["a.ckpt"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "a.ckpt"
    save({"w": torch.randn(40, 8), "i": torch.arange(9), "é": [1.5, "x", (None,)], "state": {0: torch.ones(3)}}, path)
    return path, path.read_bytes()


def test_every_truncation_is_refused(small):
    path, data = small
    for percent in range(100):
        path.write_bytes(data[: len(data) * percent // 100])
        with pytest.raises(Damaged, match="damaged"):
            load(path)
    path.write_bytes(data + b"x")
    with pytest.raises(Damaged):
        load(path)


def test_every_flipped_bit_is_refused(small):
    path, data = small
    chance = random.Random(0)
    # 1000 anywhere, and 300 more in the header, which is parsed before it is checked.
    for end in [len(data)] * 1000 + [900] * 300:
        bit = chance.randrange(8 * end)
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(Damaged):
            load(path)
    path.write_bytes(data)
    assert load(path)["i"].tolist() == list(range(9))


def test_files_of_others_are_refused_and_none_is_unpickled(tmp_path):
    path = tmp_path / "a.ckpt"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    torch.save({"a": Bomb()}, path)
    with pytest.raises(Damaged):
        load(path)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.ckpt")


def test_a_checkpoint_is_named_by_the_digest_it_was_written_with(tmp_path):
    a, b, c = (tmp_path / f"{name}.ckpt" for name in "abc")
    save({"w": torch.zeros(3)}, a)
    save({"w": torch.zeros(3)}, b)
    save({"w": torch.ones(3)}, c)
    assert digest_of(a) == digest_of(b) != digest_of(c)
    assert len(digest_of(a)) == 64
    c.write_bytes(b"x" * 99)
    with pytest.raises(Damaged):
        digest_of(c)


def test_a_checkpoint_says_what_it_is_of_and_another_run_is_told_the_difference(tmp_path):
    scoring = {"sampler": {"steps": 3}, "outputs": "somewhere"}
    config = {"seed": 0, "monitor": {"name": "val/loss"}, "optimizer": {"lr": 0.001, "betas": [0.9, 0.99]}, **scoring}
    ours = identity.about(config, "f1")
    save({"fit": "1", "about": ours}, tmp_path / "a.ckpt")
    saved = load(tmp_path / "a.ckpt")
    assert saved["about"] == ours
    assert ours["fingerprint"] == "f1"
    assert not set(scoring) & set(ours)
    assert identity.difference(ours, identity.about(config | {"sampler": None, "seed": 0.0}, "f1")) == []
    theirs = identity.about(config | {"optimizer": {"lr": 0.002, "betas": [0.9]}, "width": 8}, "f2")
    lines = ["optimizer.lr: 0.001 -> 0.002", "optimizer.betas.1: 0.99 -> (absent)", "fingerprint: 'f1' -> 'f2'",
             "width: (absent) -> 8"]  # fmt: skip
    assert sorted(identity.difference(ours, theirs)) == sorted(lines)
    identity.refuse_other(saved, "1", theirs, "a.ckpt")
    with pytest.raises(Refused, match=r"a\.ckpt was saved by another run") as refused:
        identity.refuse_other(saved, "2", theirs, "a.ckpt")
    assert all(line in str(refused.value) for line in lines)
    with pytest.raises(Refused, match="fit '1', and not 2"):
        identity.refuse_other({"fit": "1"}, "2", theirs, "a.ckpt")


def test_two_runs_are_different_where_their_hashes_are(tmp_path):
    config = {"seed": 0, "monitor": {"name": "val/loss"}, "data": {"n": 5, "root": "a"}, "sampler": 1, "a": {"b": {}}}
    for change in (
        {"seed": 1}, {"seed": 0.0}, {"data": {"n": 5, "root": "b"}}, {"data": {"root": "a"}}, {"sampler": 2},
        {"monitor": {"name": "test/fd"}}, {"a": {"b": {"c": None}}}, {"a": {}}, {"a": {"b": []}},
    ):  # fmt: skip
        two = config | change
        differ = identity.difference(identity.about(config, "f"), identity.about(two, "f"))
        assert bool(differ) == (identity.fit_hash(config, "f") != identity.fit_hash(two, "f")), change
    assert identity.difference(identity.about(config, "f"), identity.about(config, "g")) == ["fingerprint: 'f' -> 'g'"]


@pytest.mark.parametrize("n, more", [(12, []), (13, ["and 1 more"]), (40, ["and 28 more"])])
def test_a_dozen_differences_are_told(n, more):
    lines = identity.difference({"a": [0] * n}, {"a": [1] * n})
    assert lines == [f"a.{i}: 0 -> 1" for i in range(12)] + more
    [line] = identity.difference({"a": 0}, {"a": "x" * 10_000})
    assert len(line) < 100


def test_a_save_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    save({"old": 1}, path)

    def full(*_):
        raise OSError("no space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="no space"):
                save({"new": torch.ones(3)}, path)
        assert load(path) == {"old": 1}
        assert os.listdir(tmp_path) == ["a.ckpt"]


# -- saving and resuming ------------------------------------------------------------------------------------


def test_the_last_two_and_the_best_are_kept(whole):
    folder, module, _ = whole
    assert sorted(os.listdir(folder / "checkpoints")) == ["000000020.ckpt", "000000024.ckpt", "best.ckpt"]
    best = load(folder / "checkpoints" / "best.ckpt")
    step = min(module.validated, key=module.validated.get)
    assert best["global_step"] == step
    [state] = [state for name, state in best["callbacks"].items() if "Saver" in name]
    assert state == {"best": module.validated[step], "ended": False}


def killed():
    raise KeyError("killed")


def raising(saver):
    killed()


@pytest.mark.parametrize("accumulate, at", [(1, 3), (1, 5), (1, 11), (1, 20), (1, 24), (2, 11)])
def test_a_run_killed_and_resumed_is_the_same_to_the_bit(tmp_path, whole, accumulate, at):
    """Every loss, every validation, the weights and their average; 20 is where a checkpoint and a validation fall
    together."""
    _, plain, trainer = whole if accumulate == 1 else (None, *fit(tmp_path / "whole", accumulate=2))
    dying = Toy()
    dying.at = {at: raising}
    with pytest.raises(KeyError):
        fit(tmp_path, dying, accumulate=accumulate)
    path = last_good(tmp_path)
    # The module's hooks run after those of callbacks, so the checkpoint of step `at` may be there.
    assert (path is None) == (at < 5)
    since = int(path.stem) if path else 0
    again, resumed = fit(tmp_path, Toy(), accumulate=accumulate, path=path)
    before = {k: v for k, v in dying.losses.items() if k <= since}
    assert before | again.losses == plain.losses
    assert {k: v for k, v in dying.validated.items() if k <= since} | again.validated == plain.validated
    same(trainer.callbacks[0]._average_model.state_dict(), resumed.callbacks[0]._average_model.state_dict())
    same(plain.state_dict(), again.state_dict())
    best = [load(t.checkpoint_callback.folder / "best.ckpt") for t in (trainer, resumed)]
    for part in ("global_step", "state_dict", "current_model_state", "averaging_state", "optimizer_states", "fit"):
        same(best[0][part], best[1][part])


@pytest.mark.parametrize("at", [7, 8])
def test_asked_to_leave_it_saves_the_step_and_says_so(tmp_path, whole, at):
    """8 is where a validation is due, which must not be lost."""
    module = Toy()
    module.at = {at - 1: lambda saver: saver.ask()}
    with pytest.raises(SystemExit) as left:
        fit(tmp_path, module)
    assert left.value.code == PREEMPTED == 75
    assert last_good(tmp_path) == tmp_path / "checkpoints" / f"{at:09}.ckpt"
    assert (8 in module.validated) == (at == 8)
    again, _ = fit(tmp_path, path=last_good(tmp_path))
    assert module.losses | again.losses == whole[1].losses
    assert module.validated | again.validated == whole[1].validated


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path):
    folder = tmp_path / "checkpoints"
    for step in (5, 10, 15):
        save({"global_step": step, "w": torch.ones(9)}, folder / f"{step:09}.ckpt")
    save({"global_step": 99}, folder / "best.ckpt")
    newest = folder / "000000015.ckpt"
    assert last_good(tmp_path) == newest
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="000000015.ckpt is damaged"):
        assert last_good(tmp_path) == folder / "000000010.ckpt"
    for path in steps(folder):
        path.write_bytes(b"")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert last_good(tmp_path) is None
    assert [str(w.message).split(" is damaged")[0][-14:] for w in said] == [p.name for p in reversed(steps(folder))]
    assert last_good(tmp_path / "nowhere") is None


def test_what_a_killed_save_left_is_removed(tmp_path):
    left = tmp_path / "checkpoints" / ".000000005.ckpt.1.tmp"
    left.parent.mkdir()
    left.touch()
    fit(tmp_path, max_steps=1)
    assert [p.name for p in left.parent.iterdir()] == ["000000001.ckpt"]


def test_early_stopping_saves_where_it_stops(tmp_path):
    stop = pl.callbacks.EarlyStopping("val/loss", patience=1, stopping_threshold=1e9)
    fit(tmp_path, more=[stop], every=100)
    assert last_good(tmp_path).name == "000000004.ckpt"


def test_a_metric_that_is_not_there_and_a_mode_that_is_none_are_refused(tmp_path):
    with pytest.raises(Refused, match="min"):
        Saver(tmp_path, "val/loss", "mni")
    with pytest.raises(Refused, match="every"):
        Saver(tmp_path, "val/loss", "min", every=0)
    module = Toy()
    saver = Saver(tmp_path, "val/los", "min")
    trainer = pl.Trainer(max_steps=2, val_check_interval=1, num_sanity_val_steps=0, callbacks=[saver], logger=False,
                         enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
                         check_val_every_n_epoch=None, plugins=[SafeIO()])  # fmt: skip
    with pytest.raises(Refused, match="did you mean val/loss"):
        trainer.fit(module, Forever(lambda: 0, 8, 4), Thrice())
