"""Metrics that ask the denoiser: the loss at each time, and likelihoods against closed forms."""

import csv
import math
from dataclasses import replace

import pytest
import torch
from test_evaluate import data, sampling
from test_module import SYSTEMS, module

from denoiselab.corruption import GaussianNoise, SaltAndPepper
from denoiselab.data.base import Identity, Loaded, Table
from denoiselab.data.batches import Once
from denoiselab.denoiser import Denoiser
from denoiselab.evaluation.evaluate import Evaluation
from denoiselab.evaluation.metrics import BitsPerDim, FlowBitsPerDim, LossByTime
from denoiselab.evaluation.shown import Curve
from denoiselab.module import DenoisingModule, Parts
from denoiselab.objective import MSE, Unit, Weighted
from denoiselab.optim import Constant
from denoiselab.oracle import Normal
from denoiselab.posterior import Dirac
from denoiselab.sampler import OneShot
from denoiselab.schedule import Constant as Level
from denoiselab.schedule import Cosine, Linear
from denoiselab.spec import Refused, Spec
from denoiselab.times import Stratified


def asked(metric, made, loaded, batch_size=256, samples=20):
    """What a metric says of a module, and shows."""
    found = Evaluation([metric], samples=samples, batch_size=batch_size)(made, loaded)
    assert not found.left_out, found.left_out
    return found.values, found.shown


# -- the loss at each time


@pytest.mark.parametrize("system", ["diffusion", "normal_times", "mdlm", "d3pm"])
def test_the_curve_averages_to_the_loss(system):
    """The mean over all parts is the objective on the same samples at as many times."""
    made, loaded = sampling(system), data(system)
    _, shown = asked(LossByTime(bins=5, n=8), made, loaded)
    curve = shown["loss_by_time"]
    table = loaded.test.take(slice(8))
    many = Table(table.x.repeat(5, *[1] * (table.x.ndim - 1)),
                 {name: value.repeat(5, *[1] * (value.ndim - 1)) for name, value in table.context.items()})  # fmt: skip
    with torch.no_grad():
        [share] = Once(many, 40)
        share = share._replace(batch=share.batch._replace(key=share.place % 8))
        once = made.eval().examine(share)
    assert sum(curve.ys["loss"]) / 5 == pytest.approx((once.cost.sum() / once.count).item(), rel=1e-5)
    assert all(i / 5 - 0.05 <= t <= (i + 1) / 5 + 0.1 for i, t in enumerate(curve.x))
    assert curve.x == sorted(curve.x)


@pytest.mark.parametrize("system", ["diffusion", "mdlm"])
def test_the_curve_is_that_of_no_batch_size(system):
    curves = [asked(LossByTime(3, 7), sampling(system), data(system), size)[1]["loss_by_time"] for size in (256, 2)]
    assert curves[0].x == pytest.approx(curves[1].x, abs=1e-7)
    assert curves[0].ys["loss"] == pytest.approx(curves[1].ys["loss"], rel=1e-5)


@pytest.mark.parametrize("system", ["restoring", "bert"])
def test_a_schedule_that_ignores_time_has_no_curve(system):
    values, shown = asked(LossByTime(), sampling(system), data(system))
    assert shown == {}
    assert set(values) == {"test/loss"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_cell_has_a_loss(system):
    spec = module(system).parts.spec
    assert LossByTime().accepts(spec) == spec


def test_a_curve_is_a_picture_and_its_numbers(tmp_path):
    curve = Curve([0.25, 0.5], {"a": [1.0, math.nan], "b": [0.1, 1 / 3]}, "t", "loss", log=True)
    assert curve.save(tmp_path, "c") == tmp_path / "c.png"
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["t", "a", "b"]
    assert [float(cell) for cell in rows[2]] == pytest.approx([0.5, math.nan, 1 / 3], rel=1e-15, nan_ok=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c.csv", "c.png"]


def test_a_logarithm_of_nothing_is_drawn_too(tmp_path):
    Curve([0.0, 1.0], {"a": [0.0, math.nan]}, "t", "loss", log=True).save(tmp_path, "c")
    assert (tmp_path / "c.png").stat().st_size > 1000


# -- likelihoods


def normal(kind, std, schedule, mean=0.0):
    """A cell whose denoiser is the exact posterior of N(mean, std^2), and data drawn from it; pictures are rounded."""
    spec = Spec(kind, (1, 4, 4) if kind == "image" else (6,))
    corruption = GaussianNoise(schedule)
    agreed = corruption.accepts(spec)
    parts = Parts(agreed, corruption, Normal(mean, std, schedule), Stratified(), Weighted(MSE(), Unit()), OneShot())
    z = torch.randn(400, *spec.shape, generator=torch.Generator().manual_seed(0))
    x = mean + std * z
    x = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8) if kind == "image" else x
    table = Table(x)
    return DenoisingModule(parts, torch.optim.SGD, Constant(), 0), Loaded(agreed, table, table, table, Identity())


def exact(table, std, mean=0.0, bin=None):
    """Bits a dimension of the density, or of the bins."""
    law = torch.distributions.Normal(mean, std)
    x = table.x.double()
    if bin is None:
        return -law.log_prob(x).mean().item() / math.log(2)
    x = x / 127.5 - 1
    return -(law.cdf(x + bin / 2) - law.cdf(x - bin / 2)).log().mean().item() / math.log(2)


@pytest.mark.parametrize("schedule", [Cosine(), Linear()], ids=["cosine", "linear"])
def test_the_flow_gives_the_density_of_a_gaussian(schedule):
    made, loaded = normal("points", 0.5, schedule, mean=0.2)
    values, _ = asked(FlowBitsPerDim(steps=40, probes=None, n=300), made, loaded)
    true = exact(loaded.test.take(slice(300)), 0.5, mean=0.2)
    assert values["test/nll_ode"].value == pytest.approx(true, abs=0.01)
    assert (values["test/nll_ode"].n, values["test/nll_ode"].split) == (300, "test")


def test_the_flow_bounds_the_bits_of_rounded_pictures():
    made, loaded = normal("image", 0.3, Cosine())
    values, _ = asked(FlowBitsPerDim(steps=40, probes=1, n=300), made, loaded)
    true = exact(loaded.test.take(slice(300)), 0.3, bin=2 / 255)
    assert values["test/nll_ode"].value == pytest.approx(true, abs=0.02)


def test_the_bound_of_an_exact_belief_is_the_likelihood():
    """A complete belief loses nothing on the way but the rounding of the data."""
    made, loaded = normal("image", 0.3, Cosine())
    values, shown = asked(BitsPerDim(steps=200, looks=None, n=300), made, loaded)
    true = exact(loaded.test.take(slice(300)), 0.3, bin=2 / 255)
    assert values["test/nll_vlb"].value == pytest.approx(true, abs=0.05)
    assert values["test/nll_vlb_prior"].value == pytest.approx(0, abs=1e-3)
    curve = shown["vlb_terms"]
    assert len(curve.x) == 200
    total = sum(curve.ys["term"]) + values["test/nll_vlb_prior"].value
    assert total == pytest.approx(values["test/nll_vlb"].value, rel=1e-6)


def test_some_of_the_steps_estimate_all_of_them():
    made, loaded = normal("image", 0.3, Cosine())
    values, shown = asked(BitsPerDim(steps=200, looks=40, n=400), made, loaded)
    true = exact(loaded.test, 0.3, bin=2 / 255)
    assert values["test/nll_vlb"].value == pytest.approx(true, abs=0.3)
    assert len(shown["vlb_terms"].x) == 40


def test_likelihoods_are_those_of_no_batch_size():
    for metric in (BitsPerDim(20, 10, 9), FlowBitsPerDim(4, 1, 9)):
        found = [asked(metric, *normal("image", 0.3, Cosine()), size)[0] for size in (256, 2)]
        for name, value in found[0].items():
            assert found[1][name].value == pytest.approx(value.value, rel=1e-4, abs=1e-6), name


class Certain(Denoiser):
    """The mean of another, without its width."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x_t, t, **context):
        return Dirac(self.inner(x_t, t, **context).mean)


def test_a_belief_without_a_width_has_ddpms_small_variance():
    """It is finite, and above what the exact belief says of the same data."""
    made, loaded = normal("image", 0.3, Cosine())
    exactly, _ = asked(BitsPerDim(50, None, 50), made, loaded)
    made.denoiser = Certain(made.denoiser)
    certainly, _ = asked(BitsPerDim(50, None, 50), made, loaded)
    assert exactly["test/nll_vlb"].value < certainly["test/nll_vlb"].value < 100
    assert not made.denoiser._forward_pre_hooks


def test_latents_have_a_density_and_no_levels():
    """What is shaped like pictures and not rounded."""
    made, loaded = normal("image", 0.3, Cosine())
    table = Table(0.3 * torch.randn(200, 1, 4, 4, generator=torch.Generator().manual_seed(1)))
    found = Evaluation([BitsPerDim(), FlowBitsPerDim(40, 1, 200)], samples=4)(made, replace(loaded, test=table))
    assert "256 levels" in found.left_out[0]
    assert found.values["test/nll_ode"].value == pytest.approx(exact(table, 0.3), abs=0.02)


@pytest.mark.parametrize("metric", [BitsPerDim, FlowBitsPerDim])
def test_they_speak_of_added_noise_alone(metric):
    image = Spec("image", (1, 8, 8))
    noisy = GaussianNoise(Cosine()).accepts(image)
    assert metric().accepts(noisy) == noisy
    for refused in (SaltAndPepper(Linear()).accepts(image), GaussianNoise(Level(0.2)).accepts(image), image):
        with pytest.raises(Refused, match=metric.__name__):
            metric().accepts(refused)
    points = GaussianNoise(Cosine()).accepts(Spec("points", (2,)))
    assert FlowBitsPerDim().accepts(points) == points
    with pytest.raises(Refused, match="image"):
        BitsPerDim().accepts(points)


@pytest.mark.parametrize("make", [
    lambda: LossByTime(bins=1), lambda: LossByTime(n=0), lambda: BitsPerDim(steps=0), lambda: BitsPerDim(10, 11),
    lambda: BitsPerDim(n=0), lambda: BitsPerDim(looks=0), lambda: FlowBitsPerDim(steps=0),
    lambda: FlowBitsPerDim(probes=0), lambda: FlowBitsPerDim(n=-1),
])  # fmt: skip
def test_counts_that_mean_nothing_are_refused(make):
    with pytest.raises(Refused):
        make()


def test_each_question_is_a_sign_of_life():
    felt = []
    made, loaded = normal("image", 0.3, Cosine())
    Evaluation([BitsPerDim(30, None, 4)], samples=4)(made, loaded, pulse=lambda: felt.append(1))
    assert len(felt) > 30
