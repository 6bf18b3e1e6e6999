"""A loss or a gradient that is not finite stops training before the optimizer's step: nothing has moved, and it is said
where it came from."""

import re
import socket
from copy import deepcopy

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from runs import TINY, process, same
from test_module import module, table

from denoiselab.data.batches import Batches, Once
from denoiselab.run.averaging import EMA
from denoiselab.run.checkpoint import SafeIO, load
from denoiselab.run.saver import Saver, last_good
from denoiselab.run.watch import Watch
from denoiselab.spec import Failed

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::UserWarning:pytorch_lightning")
BAD, RATE, SIZE = 4, 0.01, 12  # the step that goes wrong


def a_sample(value):
    """The cost of a sample is no number."""

    def spoil(made, cost):
        cost = cost.clone()
        cost.view(len(cost), -1)[1, 0] = value
        return cost

    return spoil


def two_samples(made, cost):
    return a_sample(torch.inf)(made, a_sample(torch.nan)(made, cost.flip(0)).flip(0))


def the_gradient(made, cost):
    """A term that is 0, with a gradient that is infinite, of the last parameter."""
    *_, w = made.parameters()
    return cost + (w - w.detach()).sqrt().sum()


def the_gradient_is_none(made, cost):
    """Likewise, with a gradient that is no number: clipping by its norm would spoil all others."""
    *_, w = made.parameters()
    return cost + (w - w.detach()).abs().sqrt().sum()


# What goes wrong, and whose cost is not finite: places in the micro-batch. A new way is an entry.
WAYS = {
    "nan": (a_sample(torch.nan), [1]), "inf": (a_sample(torch.inf), [1]), "minus": (a_sample(-torch.inf), [1]),
    "two": (two_samples, [1, -2]), "gradient": (the_gradient, []),
    "no_gradient": (the_gradient_is_none, []),
}  # fmt: skip


class Spoiler:
    """Takes the place of `ask` and spoils the `at`-th micro-batch; remembers it, and the state before."""

    def __init__(self, made, at, way):
        self.made, self.at, self.way, self.calls, self.ask = made, at, way, 0, made.ask
        self.state = self.share = self.t = None

    def __call__(self, share, *arguments, **more):
        asked = self.ask(share, *arguments, **more)
        if torch.is_grad_enabled():  # no validation
            if self.calls == self.at:
                self.state, self.share, self.t = state(self.made.trainer), share, asked.t
                asked = asked._replace(cost=self.way(self.made, asked.cost))
            self.calls += 1
        return asked


def state(trainer):
    """A copy of all that a step changes."""
    average, module = trainer.callbacks[0]._average_model, trainer.lightning_module
    [optimizer], [scheduler] = trainer.optimizers, trainer.lr_scheduler_configs
    return deepcopy([module.state_dict(), average.state_dict(), optimizer.state_dict(),
                     scheduler.scheduler.state_dict()["_last_lr"], trainer.global_step])  # fmt: skip


def fit(folder, made, steps=8, accumulate=1, clip=None, optimizer=torch.optim.AdamW, plugins=()):
    made.optimizer = lambda groups: optimizer(groups, lr=RATE)
    saver = Saver(folder, "val/loss", "min", every=1)
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, val_check_interval=3 * accumulate, check_val_every_n_epoch=None,
        num_sanity_val_steps=0, accumulate_grad_batches=accumulate, default_root_dir=folder, gradient_clip_val=clip,
        callbacks=[EMA(100), saver], plugins=[SafeIO(), *plugins],
    )  # fmt: skip
    data = table("diffusion")
    trainer.fit(made, Batches(data, SIZE, 0, lambda: trainer.global_step, accumulate), Once(data, SIZE))
    return trainer


@pytest.mark.parametrize("way, whose", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("clip", [None, 1.0], ids=["free", "clipped"])
@pytest.mark.parametrize("accumulate, micro", [(1, 0), (2, 0), (2, 1)])
def test_training_stops_before_the_step_and_says_where_it_came_from(accumulate, micro, clip, way, whose, tmp_path):
    made = module("diffusion")
    made.ask = spoiler = Spoiler(made, (BAD - 1) * accumulate + micro, way)
    with pytest.raises(Failed) as failed:
        fit(tmp_path, made, accumulate=accumulate, clip=clip)
    assert same(state(made.trainer), spoiler.state), "weights, average, optimizer, rate and step are those before"
    assert made.global_step == BAD - 1
    assert spoiler.calls == BAD * accumulate, "the global batch was asked, and no other"
    said = str(failed.value)
    assert f"in step {BAD}," in said
    assert f"at a rate of {RATE:.6g};" in said
    *_, last = (name for name, _ in made.named_parameters())
    parameters = re.search(r"parameters whose gradient is not finite: (.*)", said)[1]
    found = [(int(key), float(t)) for key, t in re.findall(r"key (-?\d+) at t=([\d.e-]+)", said)]
    if whose:
        key, t = spoiler.share.batch.key[whose], spoiler.t[whose]
        assert "samples whose cost is not finite" in said
        assert {k for k, _ in found} == set(key.tolist())
        assert len(found) == len(whose)
        assert dict(found) == pytest.approx(dict(zip(key.tolist(), t.tolist(), strict=True)), rel=1e-4)
        assert re.search(r"the loss is (nan|-?inf) ", said)
    else:
        assert parameters == last, "clipping has not spread it"
        assert re.search(r"the loss is \d\S* and the gradient's norm (nan|inf) ", said)
        assert "whose costs are finite" in said
        assert len(found) == 8
        assert said.count(" and 4 more") == 1
    path = last_good(tmp_path)
    assert path.stem == f"{BAD - 1:09}"
    assert same(dict(load(path)["current_model_state"]), dict(spoiler.state[0]))


@pytest.mark.parametrize("clip", [None, 0.01, 1e9])
def test_looking_changes_no_step(clip, tmp_path):
    """Stochastic gradient descent, clipped by torch's own function, step by step."""
    made, bare = module("diffusion"), module("diffusion")
    trainer = fit(tmp_path, made, steps=3, clip=clip, optimizer=torch.optim.SGD)
    bare.trainer = trainer
    optimizer = torch.optim.SGD(bare.parameters(), lr=RATE)
    batches = iter(Batches(table("diffusion"), SIZE, 0))
    for step in range(3):
        # Its own keys of the step, without a trainer's count.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(bare), "global_step", property(lambda _, step=step: step))
            loss = bare.training_step(next(batches), step)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(bare.parameters(), clip, foreach=True)
        optimizer.step()
    raw = load(last_good(tmp_path))["current_model_state"]
    assert all(torch.equal(raw[name], p) for name, p in bare.named_parameters())


def test_nothing_of_a_step_is_kept_after_it(tmp_path):
    made = module("diffusion")
    fit(tmp_path, made, steps=3, accumulate=2)
    assert made.priced == []


def scaled():
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))


@pytest.mark.parametrize("clip", [None, 1.0], ids=["free", "clipped"])
def test_a_scaler_skips_a_gradient_that_is_not_finite(clip, tmp_path):
    """It is how a scaler finds its scale; training goes on."""
    made = module("diffusion")
    made.ask = spoiler = Spoiler(made, BAD - 1, the_gradient)
    trainer = fit(tmp_path, made, steps=BAD, clip=clip, plugins=[scaled()])
    assert trainer.precision_plugin.scaler.get_scale() == 4.0
    assert same(dict(load(last_good(tmp_path))["current_model_state"]), dict(spoiler.state[0]))


def test_a_scaler_does_not_excuse_a_loss(tmp_path):
    made = module("diffusion")
    made.ask = spoiler = Spoiler(made, BAD - 1, a_sample(torch.nan))
    with pytest.raises(Failed, match=f"the loss is nan .* in step {BAD},"):
        fit(tmp_path, made, plugins=[scaled()])
    assert same(state(made.trainer), spoiler.state)


class Beats:
    def __init__(self):
        self.n = 0

    def __call__(self):
        self.n += 1


def test_every_batch_is_a_sign_of_life():
    """Of training and of validation, whether it is written or not."""
    pulse, trainer = Beats(), pl.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    watch = Watch(None, None, None, every=10**9, pulse=pulse)
    trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = 1
    for i in range(3):
        watch.on_train_batch_end(trainer, None, None, None, i)
        assert pulse.n == 2 * i + 1
        watch.on_validation_batch_end(trainer, None, None, None, i)
        assert pulse.n == 2 * i + 2


RANK = """
import os, torch
torch.set_num_threads(1)
from denoiselab.commands.main import run
from denoiselab.module import DenoisingModule
ask = DenoisingModule.ask
def spoiled(self, share, *arguments, **more):
    asked = ask(self, share, *arguments, **more)
    if os.environ["RANK"] == "1" and torch.is_grad_enabled() and self.global_step == 3:
        return asked._replace(cost=asked.cost * float("nan"))
    return asked
DenoisingModule.ask = spoiled
raise SystemExit(run(WORDS))
"""


@pytest.mark.slow
def test_all_ranks_stop_where_one_goes_wrong(tmp_path):
    """Two gloo processes; the second one's samples are bad."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["train", *TINY, "trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu",
             "data.n=44", "checkpoint.every=1", f"outputs={tmp_path}"]  # fmt: skip
    shared = {"WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    code = RANK.replace("WORDS", repr(words))
    ranks = [process(code, RANK=str(r), LOCAL_RANK=str(r), **shared) for r in range(2)]
    said = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [1, 1], "\n".join(said)
    for text, whose in zip(said, ("whose costs are finite", "samples whose cost is not finite"), strict=True):
        assert re.search(r"failed: the loss is nan .* in step 4,", text), text
        assert whose in text
    assert max(path.stem for path in tmp_path.rglob("0*.ckpt")) == f"{3:09}"
