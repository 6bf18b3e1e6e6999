"""Histograms of a network for its logger: right counts, at the steps that were asked for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from denoiselab.run.histograms import BINS, Histograms, counted
from denoiselab.run.logger import Nothing, TensorBoard, Wandb, Watched
from denoiselab.spec import Refused


@pytest.mark.parametrize("shape", [(1,), (7,), (100, 30)])
def test_counts_are_those_of_numpy(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    bars = counted(x)
    assert (len(bars.counts), len(bars.edges), sum(bars.counts)) == (BINS, BINS + 1, x.numel())
    edges = np.array(bars.edges)
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= float(x.min()) <= float(x.max()) <= edges[-1]
    theirs = np.histogram(x.double().numpy(), edges)[0]
    # A value at an edge may fall to either side, by rounding.
    assert np.abs(np.cumsum(bars.counts) - np.cumsum(theirs)).max() <= 1


def test_what_is_not_finite_is_left_out():
    assert sum(counted(torch.tensor([1.0, float("nan"), float("inf"), 2.0])).counts) == 2
    assert counted(torch.tensor([float("nan")])) is None
    assert counted(torch.zeros(0)) is None


class Keeps(Nothing):
    def __init__(self, watch, every):
        self.watched, self.kept = Watched.of(watch, every), []

    def histogram(self, name, bars, step):
        self.kept.append((step, name, sum(bars.counts)))


@pytest.mark.parametrize("watch, kinds", [("gradients", 1), ("parameters", 1), ("all", 2), (None, 0)])
def test_they_are_drawn_at_every_so_many_steps_by_the_first_process(watch, kinds):
    logger, network = Keeps(watch, 3), nn.Linear(4, 2)
    network.bias.requires_grad_(False)  # no gradient, and so no histogram of one
    network(torch.ones(4)).sum().backward()
    drawn, trainer = Histograms(logger), SimpleNamespace(global_step=0, is_global_zero=True)
    for trainer.global_step in range(7):
        drawn.on_before_optimizer_step(trainer, network, None)
    gradients, parameters = [("gradients/weight", 8)], [("parameters/weight", 8), ("parameters/bias", 2)]
    expected = {"gradients": gradients, "parameters": parameters, "all": gradients + parameters, None: []}[watch]
    assert logger.kept == [(step, *one) for step in (3, 6) for one in expected]
    trainer.is_global_zero, trainer.global_step, before = False, 2, len(logger.kept)
    drawn.on_before_optimizer_step(trainer, network, None)
    assert len(logger.kept) == before


def test_a_watch_that_is_none_is_refused():
    with pytest.raises(Refused, match=r"logger.watch .*|gradients, parameters, all"):
        Wandb(watch="grads")
    with pytest.raises(Refused, match="watch_every"):
        Wandb(watch="all", watch_every=0)
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    assert TensorBoard(watch="all").watched == (("gradients", "parameters"), 500)
