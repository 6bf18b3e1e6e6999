"""Metrics against closed forms, and the extractor's promises: always the same, the cache never needed."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.datasets import load_digits
from torch import nn

from denoiselab.data.base import Identity, Loaded, Table
from denoiselab.evaluation import extractor
from denoiselab.evaluation.features import Features, Named
from denoiselab.evaluation.metrics import (
    PSNR,
    SSIM,
    Distinct,
    Evidence,
    FrechetDistance,
    TokenAccuracy,
    frechet_distance,
    psnr,
)  # fmt: skip
from denoiselab.sampler import Generates
from denoiselab.spec import Refused, Spec

IMAGE, TEXT = Spec("image", (1, 28, 28)), Spec("tokens", (16,), vocabulary=5)


def digits(labels: bool = True) -> Loaded:
    raw = load_digits()
    x = torch.from_numpy(raw.images * (255 / 16)).round().to(torch.uint8)[:, None]
    label = torch.from_numpy(raw.target).long()
    tables = [
        Table(x[a:b], {"label": label[a:b]} if labels else {}) for a, b in ((0, 1200), (1200, 1400), (1400, 1797))
    ]
    return Loaded(Spec("image", (1, 8, 8), classes=10 if labels else 0), *tables, codec=Identity())


def evidence(clean, x_t=None, restored=None, touched=None, samples=None, data=None) -> Evidence:
    data = data or digits(labels=False)
    return Evidence(data, "test", clean, clean if x_t is None else x_t, clean if restored is None else restored,
                    torch.ones_like(clean, dtype=torch.bool) if touched is None else touched, samples)  # fmt: skip


def noisy(x: torch.Tensor, sigma: float, seed: int = 0) -> torch.Tensor:
    """uint8 pictures to floats with noise of so many gray levels."""
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x / 127.5 - 1 + sigma / 127.5 * z).float()


class AsFeatures(Features):
    """Pixels, as features."""

    def __call__(self, data, device):
        return Named(nn.Flatten(), device, "pixels", "pixels")


def exactly(covariance: np.ndarray, mean: list[float], seed: int) -> torch.Tensor:
    """Samples whose mean and covariance are these, to rounding."""
    z = torch.randn(200, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T.cov())).T
    return z @ torch.linalg.cholesky(torch.from_numpy(covariance)).T + torch.tensor(mean, dtype=torch.float64)


# -- Frechet distance


def test_distance_of_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    for seed in range(5):
        a, b = (m @ m.T + np.eye(3) for m in rng.standard_normal((2, 3, 3)))
        m, k = rng.standard_normal((2, 3)).tolist()
        true = np.square(np.subtract(m, k)).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
        found = frechet_distance(exactly(a, m, 2 * seed), exactly(b, k, 2 * seed + 1))
        assert found == pytest.approx(true, rel=1e-8)


def test_distance_of_gaussians_with_scaled_axes():
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    found = frechet_distance(exactly(a, [0, 0, 0], 0), exactly(b, [2, 0, 0], 1))
    assert found == pytest.approx(4 + 1 + 0 + 4)


@pytest.mark.parametrize("labels", [True, False])
def test_distance_is_zero_of_itself_and_rises_with_noise(labels):
    data = digits(labels)
    x, found = data.test.x, []
    for sigma in (0, 10, 20, 40, 80, 160):
        values = FrechetDistance()(evidence(x[:1], samples=noisy(x, sigma), data=data))
        ((name, value),) = values.items()
        assert name == ("fd_smallcnn" if labels else "fd_random")
        assert (value.n, value.split) == (len(x), "test")
        assert value.extractor.startswith("smallcnn-d32-" if labels else "random-d32")
        found.append(value.value)
    assert abs(found[0]) < 1e-4 * found[-1]
    assert found == sorted(found)
    assert found[-1] > 10 * found[1]


def test_samples_are_judged_as_they_are_saved():
    data = digits(labels=False)
    x = data.test.x
    shifted = x / 127.5 - 1 + 0.4 / 127.5  # less than half a gray level: rounding takes it back
    (value,) = FrechetDistance()(evidence(x[:1], samples=shifted, data=data)).values()
    assert value.value == pytest.approx(0, abs=1e-5)


def test_samples_that_are_not_numbers_have_no_distance():
    data = digits(labels=False)
    samples = noisy(data.test.x[:20], 10)
    samples[3, 0, 2, 2] = torch.nan
    (value,) = FrechetDistance()(evidence(data.test.x[:1], samples=samples, data=data)).values()
    assert math.isnan(value.value)
    assert value.n == 20


# -- the extractor


def test_the_classifier_tells_digits_apart_and_leaves_the_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.no_grad():
        network, name = extractor.small_classifier(digits())
    extractor.random_features(3)
    assert torch.equal(before, torch.get_rng_state())
    assert float(name.split("accuracy ")[1][:-1]) > 0.9
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    x = digits().test.x[:700]
    assert network(x).shape == (len(x), 32)
    assert torch.equal(network(x), network(x / 127.5 - 1))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 5, 90)])
def test_random_features_are_the_same_for_ever(shape):
    x = torch.arange(2 * math.prod(shape)).reshape(2, *shape).remainder(251).to(torch.uint8)
    first, second = (extractor.random_features(shape[0])[0](x) for _ in range(2))
    assert first.shape == (2, 32)
    assert torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A classifier of a few steps, in a cache of its own."""
    monkeypatch.setattr(extractor, "STEPS", 5)
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def weights(data: Loaded):
    network, name = extractor.small_classifier(data)
    return name, torch.cat([v.double().flatten() for v in network.state_dict().values()])


def test_the_cache_gives_what_training_gave(quick, monkeypatch):
    name, trained = weights(digits())
    (path,) = quick.iterdir()
    monkeypatch.setattr(extractor, "train", lambda *_: pytest.fail("trained again"))
    again, read = weights(digits())
    assert name == again
    assert torch.equal(trained, read)
    other = digits()
    other.train.x[0, 0, 0, 0] += 1
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        weights(other)
    assert list(quick.iterdir()) == [path]


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty", "other", "folder"])
def test_a_damaged_cache_is_made_anew(quick, harm):
    name, trained = weights(digits())
    (path,) = quick.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    other = extractor.save({"a": torch.ones(2)}, {"sha256": extractor.digest({"a": torch.ones(2)})})
    path.unlink()
    if harm == "folder":
        path.mkdir()
    else:
        path.write_bytes({"flip": content, "truncate": content[:100], "empty": b"", "other": other}[harm])
    again, made = weights(digits())
    assert name == again
    assert torch.equal(trained, made)
    assert list(quick.iterdir()) == [path]


def test_a_cache_that_cannot_be_written_costs_the_training_alone(quick, monkeypatch, tmp_path):
    name, trained = weights(digits())
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path / "file" / "cache"))
    again, made = weights(digits())
    assert name == again
    assert torch.equal(trained, made)


# -- restored pictures


@pytest.mark.parametrize("error", [1, 10, 25])
def test_psnr_of_a_constant_error(error):
    clean = torch.full((4, 3, 12, 12), 100)
    shown = PSNR()(evidence(clean / 127.5 - 1, restored=(clean + error) / 127.5 - 1, x_t=(clean + 0.5) / 127.5 - 1))
    assert shown["psnr"].value == pytest.approx(20 * math.log10(255 / error))
    assert shown["psnr_input"].value == pytest.approx(20 * math.log10(255 / 0.5), abs=1e-3)
    assert shown["psnr"].n == 4


def test_psnr_is_the_mean_over_pictures():
    clean = torch.zeros(2, 1, 4, 4)
    x = torch.stack((torch.full((1, 4, 4), 1.0), torch.full((1, 4, 4), 100.0)))
    assert psnr(x, clean) == pytest.approx((20 * math.log10(255) + 20 * math.log10(2.55)) / 2)


def test_psnr_of_noise_is_the_published_one():
    x = torch.full((4, 1, 128, 128), 20, dtype=torch.uint8)  # dark: clipping would take noise away
    found = PSNR()(evidence(noisy(x, 0), x_t=noisy(x, 25)))
    assert found["psnr_input"].value == pytest.approx(20.17, abs=0.05)
    assert found["psnr"].value == 100


def test_what_was_restored_is_clipped_and_rounded():
    clean = torch.full((1, 1, 4, 4), 1.0)
    assert PSNR()(evidence(clean, restored=clean + 3))["psnr"].value == 100
    assert PSNR()(evidence(clean, restored=clean - 0.4 / 127.5))["psnr"].value == 100
    assert math.isnan(PSNR()(evidence(clean, restored=clean * torch.nan))["psnr"].value)


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b, c = 50.0, 200.0, (0.01 * 255) ** 2
    x, y = (torch.full((2, 1, 16, 16), v) / 127.5 - 1 for v in (a, b))
    assert SSIM()(evidence(x, restored=y))["ssim"].value == pytest.approx((2 * a * b + c) / (a * a + b * b + c))


def test_ssim_is_one_of_equal_pictures_and_falls_with_noise():
    x = torch.arange(4 * 32 * 32).reshape(4, 1, 32, 32).remainder(200).to(torch.uint8)
    found = [SSIM()(evidence(noisy(x, 0), restored=noisy(x, s)))["ssim"].value for s in (0, 10, 20, 40, 80)]
    assert found[0] == pytest.approx(1)
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.9


# -- text


def test_accuracy_counts_touched_tokens_alone():
    clean = torch.tensor([[0, 1, 2, 3], [4, 0, 1, 2]])
    touched = torch.tensor([[True, True, False, False], [False, False, False, True]])
    restored = torch.tensor([[0, 4, 4, 4], [0, 4, 4, 2]])
    value = TokenAccuracy()(evidence(clean, restored=restored, touched=touched))["masked_accuracy"]
    assert value.value == pytest.approx(2 / 3)
    assert (value.n, value.split) == (3, "test")
    nothing = TokenAccuracy()(evidence(clean, touched=torch.zeros_like(touched)))["masked_accuracy"]
    assert math.isnan(nothing.value)
    assert nothing.n == 0


def test_distinct_counts_pairs_of_neighbors():
    samples = torch.tensor([[0, 1, 0, 1], [1, 0, 2, 2]])  # 01 10 01, 10 02 22
    assert Distinct()(evidence(samples, samples=samples))["distinct_2"].value == pytest.approx(4 / 6)
    same = torch.zeros(5, 9, dtype=torch.int64)
    assert Distinct()(evidence(same, samples=same))["distinct_2"].value == pytest.approx(1 / 40)


# -- which cells they speak about

MADE = {FrechetDistance: "image", Distinct: "tokens"}
RESTORED = {PSNR: "image", SSIM: "image", TokenAccuracy: "tokens"}


@pytest.mark.parametrize("metric", [*MADE, *RESTORED])
@pytest.mark.parametrize("spec", [IMAGE, TEXT, Spec("points", (2,))], ids=lambda spec: spec.kind)
@pytest.mark.parametrize("makes", [True, False])
def test_a_metric_speaks_of_its_kind_alone(metric, spec, makes):
    spec = spec.having(Generates) if makes else spec
    if spec.kind == (MADE if makes else RESTORED).get(metric):
        assert metric().accepts(spec) == spec
    else:
        with pytest.raises(Refused, match=metric.__name__):
            metric().accepts(spec)


def test_places_are_compared_only_where_shapes_agree():
    with pytest.raises(Refused, match="place by place"):
        TokenAccuracy().accepts(TEXT.having(target=(20,)))
    assert TokenAccuracy().accepts(TEXT.having(target=TEXT.shape))
    with pytest.raises(Refused, match="11x11"):
        SSIM().accepts(Spec("image", (1, 8, 8)))
    assert SSIM().accepts(Spec("image", (1, 11, 11)))


@pytest.mark.parametrize("metric", [PSNR, SSIM, FrechetDistance])
def test_evidence_is_left_as_it_was(metric):
    data = digits(labels=False)
    shown = evidence(noisy(data.test.x, 0), noisy(data.test.x, 20), noisy(data.test.x, 5),
                     samples=noisy(data.test.x, 5), data=data)  # fmt: skip
    large = shown._replace(**{k: getattr(shown, k).repeat(1, 1, 2, 2) for k in ("clean", "x_t", "restored", "samples")})
    before = [t.clone() for t in (large.clean, large.x_t, large.restored, large.samples)]
    assert metric()(large) == metric()(large)
    after = (large.clean, large.x_t, large.restored, large.samples)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
