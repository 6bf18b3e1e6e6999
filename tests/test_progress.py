"""Progress: a log gets lines, a terminal a line that moves, and neither slows training."""

import io
import itertools
import re
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import nn

from denoiselab.run import progress as bar
from denoiselab.run.progress import Progress, clock
from denoiselab.spec import Refused


class Loss:
    """A tensor on a device, as it were: counts how often it is read."""

    reads = 0

    def __float__(self):
        self.reads += 1
        return 0.5


class Toy(pl.LightningModule):
    def __init__(self, said=""):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.last_loss, self.loss, self.said = None, Loss(), said

    def training_step(self, x, i):
        self.last_loss = self.loss
        return (self.w * x).sum()

    def validation_step(self, x, i):
        self.log("val/loss", torch.tensor(0.25), batch_size=1)

    def on_validation_epoch_end(self):
        if self.said:
            print(self.said)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Forever:
    def __iter__(self):
        return itertools.repeat(torch.ones(1))


class Once:
    def __iter__(self):
        return iter([torch.ones(1)])

    def __len__(self):
        return 1


def trained(console, steps=40, validations=20, refresh=10, module=None):
    """A run, and what was read of its loss."""
    module = module or Toy()
    bar = Progress(refresh, console=console)
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, val_check_interval=validations,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, callbacks=[bar],
    )  # fmt: skip
    trainer.fit(module, Forever(), Once())
    return module.loss


def terminal(**more):
    # What a terminal would see: the same wherever the tests run.
    return Console(file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"}, **more)


progress = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore::UserWarning:pytorch_lightning")


@progress
def test_a_log_gets_a_line_a_validation_and_one_at_the_end():
    console = Console(file=io.StringIO(), width=40)
    loss = trained(console, steps=2500, validations=1000)
    lines = [re.sub(r"[\d.e+]+ steps/s  \d:\d\d", "...", line) for line in console.file.getvalue().splitlines()]
    assert lines == [
        "step 1,000/2,500  loss 0.5  val/loss 0.25  ... left",
        "step 2,000/2,500  loss 0.5  val/loss 0.25  ... left",
        "step 2,500/2,500  loss 0.5  val/loss 0.25  ... in all",
    ]
    assert loss.reads == 3


@progress
def test_the_end_is_not_told_twice():
    console = Console(file=io.StringIO(), width=40)
    trained(console)
    assert [line.split("  ")[0] for line in console.file.getvalue().splitlines()] == ["step 20/40", "step 40/40"]


@progress
def test_a_terminal_gets_a_line_that_moves():
    console = terminal()
    trained(console, module=Toy("a line [in] the midst"))
    shown = console.file.getvalue()
    assert "\x1b[2K" in shown
    assert "20/40" in shown
    assert "40/40" in shown
    assert "val/loss 0.25" in shown
    assert "a line [in] the midst" in shown, "what is printed stands above"
    assert shown.rstrip().endswith("\x1b[?25h"), "the cursor is given back"


@progress
def test_a_terminal_is_given_back_when_training_fails():
    class Failing(Toy):
        def on_validation_epoch_end(self):
            raise KeyError

    console = terminal()
    with pytest.raises(KeyError):
        trained(console, module=Failing())
    assert console.file.getvalue().rstrip().endswith("\x1b[?25h")


@progress
def test_the_loss_is_read_when_the_line_is_drawn_alone(monkeypatch):
    now = itertools.count()
    monkeypatch.setattr(bar, "time", SimpleNamespace(perf_counter=lambda: float(next(now))))
    assert trained(terminal(), steps=400, validations=400, refresh=100).reads == 4 + 2
    # However often it may look, ten times a second are enough.
    monkeypatch.setattr(bar, "time", SimpleNamespace(perf_counter=lambda: 1000.0 + next(now) * 0.01))
    assert 30 <= trained(terminal(), steps=400, validations=400, refresh=1).reads <= 50


def test_other_ranks_are_silent():
    trainer = SimpleNamespace(global_step=0, max_steps=9, is_global_zero=False, state=SimpleNamespace(fn="fit"),
                              sanity_checking=False)  # fmt: skip
    for console in (terminal(), Console(file=io.StringIO())):
        line = Progress(1, console=console)
        line.on_train_start(trainer, None)
        line.on_train_batch_end(trainer, None, None, None, 0)
        line.on_validation_end(trainer, None)
        line.on_train_end(trainer, None)
        assert console.file.getvalue() == ""


def test_clocks():
    assert [clock(s) for s in (0, 0.2, 59.5, 61, 3600, 36061)] == [
        "0:00",
        "0:01",
        "1:00",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]
    with pytest.raises(Refused, match="refresh"):
        Progress(0)
