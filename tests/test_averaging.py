"""Averaged weights: the average is what its rule says, at any batch size, and survives a checkpoint."""

import math

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from denoiselab.run.averaging import EMA
from denoiselab.run.checkpoint import SafeIO
from denoiselab.spec import Refused

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::UserWarning:pytorch_lightning")


class Walk(pl.LightningModule):
    """Parameters that move by 1 a step, a statistic, a counter, and parameters that do not move."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.short = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
        self.still = nn.Parameter(torch.tensor([0.1, 1 / 3]), requires_grad=False)
        self.places = nn.Parameter(torch.arange(3), requires_grad=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(2))
        self.validated = []

    def training_step(self, x, i):
        self.seen += 1
        self.places += 1
        self.mean += 0.5
        return -(self.w.sum() + self.short.sum())

    def validation_step(self, x, i):
        self.validated.append((self.global_step, self.w[0].item()))

    def configure_optimizers(self):
        return torch.optim.SGD([self.w, self.short], 1.0)


def fit(folder, average, steps, path=None, module=None):
    module = module or Walk()
    trainer = pl.Trainer(max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
                         enable_model_summary=False, enable_checkpointing=False, val_check_interval=2,
                         check_val_every_n_epoch=None, num_sanity_val_steps=0, callbacks=[average],
                         plugins=[SafeIO()], default_root_dir=folder)  # fmt: skip
    batches = torch.utils.data.DataLoader(torch.zeros(100, 1))
    trainer.fit(module, batches, torch.utils.data.DataLoader(torch.zeros(1, 1)), ckpt_path=path)
    return module, trainer


def expected(average, steps):
    """The average of the weights 1, 2, ... by the rule, in Python."""
    value = 1.0
    for step in range(1, steps):
        decay = average.decay_at(step)
        value = decay * value + (1 - decay) * (step + 1)
    return value


@pytest.mark.parametrize("ramp", [None, 0.05, 0.5])
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_average_is_what_its_rule_says(tmp_path, ramp):
    average = EMA(half_life=5.0, batch_size=2, ramp=ramp)
    module, _ = fit(tmp_path, average, 7)
    # After training the module has the average.
    assert module.w.tolist() == pytest.approx([expected(average, 7)] * 3, rel=1e-14)
    assert module.short.tolist() == pytest.approx([expected(average, 7)] * 2, rel=0.02)
    assert module.still.tolist() == Walk().still.tolist(), "an average of equals is equal, to the bit"
    assert module.places.tolist() == [7, 8, 9], "integers have no mean"
    assert (module.seen.item(), module.mean.tolist()) == (7, [3.5, 3.5]), "buffers are of the present"
    assert module.validated == [(s, pytest.approx(expected(average, s), rel=1e-14)) for s in (2, 4, 6)]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_counter_and_both_weights_come_back_exactly(tmp_path):
    def rule():
        return EMA(half_life=50.0, ramp=0.2)

    plain, _ = fit(tmp_path, rule(), 9)
    path = tmp_path / "half.ckpt"

    class Half(Walk):
        def on_train_batch_end(self, *_):
            if self.global_step == 5:
                self.trainer.save_checkpoint(path)

    fit(tmp_path, rule(), 5, module=Half())
    saved = SafeIO().load_checkpoint(path)
    assert saved["current_model_state"]["w"].tolist() == [5.0] * 3
    assert saved["state_dict"]["w"][0] < 5
    assert saved["averaging_state"]["n_averaged"].item() == 5
    again, trainer = fit(tmp_path, rule(), 9, path)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), again.state_dict().values(), strict=True))
    assert trainer.callbacks[0]._average_model.n_averaged.item() == 9


def test_a_half_life_in_samples_is_one_at_any_batch_size():
    small, large = EMA(1000, batch_size=1), EMA(1000, batch_size=50)
    assert math.prod(small.decay_at(10**6) for _ in range(50)) == pytest.approx(large.decay_at(10**6))
    # After so many samples half of a weight's share is left.
    assert math.prod(large.decay_at(10**6) for _ in range(20)) == pytest.approx(0.5)
    published = EMA(128 * math.log(0.5) / math.log(0.9999), batch_size=128, ramp=None)
    assert published.decay_at(1) == pytest.approx(0.9999, rel=1e-12)


def test_the_ramp_rises_to_the_half_life():
    average = EMA(half_life=1000, ramp=0.05)
    decays = [average.decay_at(step) for step in range(1, 30000)]
    assert 0 < decays[0] < 1e-5
    assert decays == sorted(decays)
    assert decays[-1] == EMA(1000, ramp=None).decay_at(1) > decays[19000]
    # As the customary (1 + step) / (10 + step), for long runs.
    customary = EMA(1e12, ramp=math.log(2) / 9)
    assert customary.decay_at(5000) == pytest.approx(5001 / 5010, abs=1e-5)


@pytest.mark.parametrize("bad", [{"half_life": 0}, {"batch_size": 0}, {"ramp": 0.0}, {"ramp": -1.0}])
def test_what_means_nothing_is_refused(bad):
    with pytest.raises(Refused, match="half_life"):
        EMA(**bad)
