"""Metrics of new samples against formulas written out, published implementations, and what must hold of equal sets."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_metrics import AsFeatures, digits, evidence, noisy
from torchmetrics.image.kid import KernelInceptionDistance

from denoiselab.data.base import Identity, Loaded, Table
from denoiselab.evaluation.features import Available, Inception, Random, SmallCNN
from denoiselab.evaluation.metrics import (
    DensityCoverage,
    FrechetDistance,
    KernelDistance,
    NearestNeighbor,
    PrecisionRecall,
)
from denoiselab.evaluation.metrics.base import evenly
from denoiselab.evaluation.metrics.distribution import AsTheyAre, discrepancy
from denoiselab.evaluation.metrics.neighbor import BLOCK, nearest
from denoiselab.sampler import Generates
from denoiselab.spec import Refused, Spec

OF_FEATURES = [FrechetDistance, KernelDistance, PrecisionRecall, DensityCoverage]
CPU = torch.device("cpu")


def features(n, d=5, seed=0, shift=0.0):
    return shift + torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def judged(metric, real, fake, seed=0):
    return metric.judge(real, fake, seed)[0]


# -- the kernel distance


def test_the_discrepancy_is_the_published_sum():
    x, y = features(7), features(9, seed=1, shift=0.3)
    k = [[[(a @ b / 5 + 1) ** 3 for b in q] for a in p] for p, q in ((x, x), (y, y), (x, y))]
    own = [sum(k[i][a][b] for a in range(n) for b in range(n) if a != b) / (n * (n - 1)) for i, n in ((0, 7), (1, 9))]
    cross = sum(k[2][a][b] for a in range(7) for b in range(9)) / 63
    assert discrepancy(x, y) == pytest.approx((sum(own) - 2 * cross).item(), rel=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all:UserWarning")
def test_the_kernel_distance_is_that_of_torchmetrics():
    """Of subsets that are the whole sets, in whatever order they are drawn."""
    real, fake = features(60, 8), features(60, 8, seed=1, shift=0.2)
    theirs = KernelInceptionDistance(feature=AsTheyAre(8), subsets=2, subset_size=60)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    ours = judged(KernelDistance(subsets=2, size=60), real, fake)
    assert ours["kd_{}"] == pytest.approx(theirs.compute()[0].item(), rel=1e-5)
    assert ours["kd_{}_std"] == pytest.approx(0, abs=1e-12)


def test_the_kernel_distance_is_unbiased():
    """Of two sets of one law it is 0 on average: not above, as a Frechet distance."""
    found = torch.tensor([discrepancy(features(20, seed=2 * i), features(20, seed=2 * i + 1)) for i in range(400)])
    assert abs(found.mean()) < 4 * found.std() / 20
    assert (found < 0).any()


def test_subsets_are_a_function_of_the_seed():
    real, fake = features(80), features(80, seed=1)
    metric = KernelDistance(subsets=4, size=20)
    assert judged(metric, real, fake) == judged(metric, real, fake)
    assert judged(metric, real, fake) != judged(metric, real, fake, seed=1)
    assert judged(metric, real, fake)["kd_{}_std"] > 0


# -- neighborhoods


def brute(real, fake, k):
    """The four values, by loops (Kynkaanniemi et al., eq. 1 and 2; Naeem et al., eq. 3 and 4)."""

    def far(a, b):
        return math.sqrt(sum((u - v) ** 2 for u, v in zip(a, b, strict=True)))

    def reach(x):
        return [sorted(far(a, b) for j, b in enumerate(x) if j != i)[k - 1] for i, a in enumerate(x)]

    real, fake = real.tolist(), fake.tolist()
    of_real, of_fake = reach(real), reach(fake)
    inside = [[far(y, x) < r for x, r in zip(real, of_real, strict=True)] for y in fake]
    return {
        "precision": np.mean([any(far(y, x) <= r for x, r in zip(real, of_real, strict=True)) for y in fake]),
        "recall": np.mean([any(far(x, y) <= r for y, r in zip(fake, of_fake, strict=True)) for x in real]),
        "density": np.sum(inside) / (k * len(fake)),
        "coverage": np.mean(np.any(inside, 0)),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 0.7, 2.0])
def test_neighborhoods_are_those_written_out(k, shift):
    real, fake = features(40, 3), features(40, 3, seed=1, shift=shift)
    found = judged(PrecisionRecall(k=k), real, fake) | judged(DensityCoverage(k=k), real, fake)
    assert found == pytest.approx(brute(real, fake, k), abs=1e-12)


@pytest.mark.parametrize("n", [30, 2500])
def test_of_identical_sets_all_are_one(n):
    x = features(n, 4)
    found = judged(PrecisionRecall(), x, x.flip(0)) | judged(DensityCoverage(), x, x.flip(0))
    assert found == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}


def test_one_sample_again_and_again_is_precise_and_recalls_nothing():
    real = features(200, 3)
    fake = real[:1].expand(200, 3)
    found = judged(PrecisionRecall(), real, fake) | judged(DensityCoverage(), real, fake)
    assert found["precision"] == 1
    assert found["recall"] == 1 / 200  # itself
    assert found["coverage"] < 0.1


def test_far_samples_have_nothing_in_common():
    found = [judged(metric(), features(50), features(50, shift=100.0)) for metric in (PrecisionRecall, DensityCoverage)]
    assert found[0] | found[1] == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_of_the_larger_set_some_are_taken():
    values, n = PrecisionRecall().judge(features(90), features(30, seed=1), 0)
    assert n == 30
    assert values == judged(PrecisionRecall(), features(90)[evenly(90, 30)], features(30, seed=1))


def test_places_are_even():
    assert evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly(101, 5).tolist() == [0, 25, 50, 75, 100]


# -- what all say


@pytest.mark.parametrize("metric", OF_FEATURES)
@pytest.mark.parametrize("plan, short", [(SmallCNN, "smallcnn"), (Random, "random")])
def test_the_extractor_is_named(metric, plan, short):
    data = digits()
    shown = metric(extractor=plan())(evidence(data.test.x[:1], samples=noisy(data.test.x[:50], 30), data=data))
    assert {value.extractor.split("-")[0] for value in shown.values()} == {short}
    assert {(value.n, value.split) for value in shown.values()} == {(50, "test")}
    named = {FrechetDistance: {f"fd_{short}"}, KernelDistance: {f"kd_{short}", f"kd_{short}_std"},
             PrecisionRecall: {"precision", "recall"}, DensityCoverage: {"density", "coverage"}}  # fmt: skip
    assert set(shown) == named[metric]
    assert all(math.isfinite(value.value) for value in shown.values())


@pytest.mark.parametrize("metric", [*OF_FEATURES, NearestNeighbor])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_samples_that_are_not_numbers_are_not_judged(metric, broken):
    data = digits(labels=False)
    samples = noisy(data.test.x[:20], 10)
    samples[3, 0, 2, 2] = broken
    shown = metric()(evidence(data.test.x[:1], samples=samples, data=data))
    values = {name: value for name, value in shown.items() if isinstance(value, tuple)}
    assert {name for name, value in values.items() if not math.isnan(value.value)} <= {"nearest_train_test"}
    assert all(value.n == 20 for value in values.values())


def test_features_are_computed_once_for_all_metrics():
    data, calls = digits(), []

    class Counting(AsFeatures):
        def __call__(self, data, device):
            calls.append(device)
            return super().__call__(data, device)

    shown = evidence(data.test.x[:1], samples=noisy(data.test.x[:50], 30), data=data)._replace(kept={})
    for metric in OF_FEATURES:
        metric(Counting())(shown)
    assert calls == [CPU]


def test_too_few_pictures_are_refused():
    data = digits(labels=False)
    for metric, n in [(FrechetDistance(), 1), (KernelDistance(), 1), (PrecisionRecall(k=3), 3), (DensityCoverage(), 5)]:
        with pytest.raises(Refused, match=f"needs {n + 1} pictures"):
            metric(evidence(data.test.x[:1], samples=noisy(data.test.x[:n], 5), data=data))
        metric(evidence(data.test.x[:1], samples=noisy(data.test.x[: n + 1], 5), data=data))


@pytest.mark.parametrize("make", [
    lambda: KernelDistance(subsets=0), lambda: KernelDistance(size=1), lambda: PrecisionRecall(k=0),
    lambda: DensityCoverage(k=-1),
])  # fmt: skip
def test_counts_that_mean_nothing_are_refused(make):
    with pytest.raises(Refused):
        make()


def test_the_default_extractor_is_what_the_data_allows():
    assert Available()(digits(), CPU).short == "smallcnn"
    assert Available()(digits(labels=False), CPU).short == "random"
    with pytest.raises(Refused, match="labels"):
        SmallCNN()(digits(labels=False), CPU)


def test_equal_plans_are_one():
    assert {Available(), Available(), Random()} == {Random(), Available()}
    with pytest.raises(Refused, match="local file"):
        Inception()


# -- copies


def test_a_copy_is_found_and_has_no_distance():
    data = digits(labels=False)
    x = data.train.x
    some = torch.tensor([5, 700, 1199])
    distance, place = nearest(x[some], data, CPU, lambda: None)
    assert torch.equal(distance, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(x[place], x[some])


def test_the_nearest_is_that_of_all_pairs():
    """Over more training pictures than are compared at a time."""
    draw = torch.Generator().manual_seed(0)
    train, asked = (torch.randint(0, 256, (n, 1, 4, 3), generator=draw, dtype=torch.uint8) for n in (BLOCK + 500, 40))
    data = Loaded(Spec("image", (1, 4, 3)), Table(train), Table(asked), Table(asked), Identity())
    distance, place = nearest(asked, data, CPU, lambda: None)
    every = torch.cdist(asked.flatten(1).double(), train.flatten(1).double())
    assert torch.equal(place, every.argmin(1))
    assert (place >= BLOCK).any()
    torch.testing.assert_close(distance, every.min(1).values)


def test_a_copy_machine_is_seen():
    data = digits(labels=False)
    copies, new = (NearestNeighbor()(evidence(data.test.x[:1], samples=noisy(x, 0), data=data))
                   for x in (data.train.x[: len(data.test.x)], data.test.x))  # fmt: skip
    assert copies["nearest_train"].value == 0
    assert copies["nearest_train_test"] == new["nearest_train_test"] == new["nearest_train"]
    assert new["nearest_train"].value > 100
    assert new["nearest_train"].n == len(data.test.x)


def test_samples_are_shown_over_their_nearest(tmp_path: Path):
    data = digits(labels=False)
    rows = NearestNeighbor()(evidence(data.test.x[:1], samples=noisy(data.train.x[:30], 3), data=data))["nearest"]
    above, below = rows.named.values()
    assert above.shape == below.shape == (12, 1, 8, 8)
    assert (above.int() - below.int()).abs().max() < 20
    assert rows.save(tmp_path, "nearest") == tmp_path / "nearest.png"
    assert [file.name for file in tmp_path.iterdir()] == ["nearest.png"]


@pytest.mark.parametrize("metric", [*OF_FEATURES, NearestNeighbor])
def test_they_speak_of_new_pictures_alone(metric):
    image = Spec("image", (1, 8, 8))
    assert metric().accepts(image.having(Generates)) == image.having(Generates)
    for spec in (image, Spec("tokens", (4,), 3).having(Generates), Spec("points", (2,)).having(Generates)):
        with pytest.raises(Refused, match=metric.__name__):
            metric().accepts(spec)
