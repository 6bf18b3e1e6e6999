"""Guidance against closed forms: what two labeled Gaussians say, and what others compute of the same tensors."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from denoiselab.corruption import GaussianNoise, TokenMask
from denoiselab.corruption.edits import Withheld, Withhold
from denoiselab.data.base import Identity
from denoiselab.data.image import Digits
from denoiselab.denoiser import Denoiser
from denoiselab.evaluation.evaluate import generate
from denoiselab.grid import even
from denoiselab.guidance import Classifier, ClassifierFree, Unguided
from denoiselab.guidance import classifier as noisy
from denoiselab.guidance.classifier import Pushed, gradient
from denoiselab.guidance.classifier_free import Guided, rescaled
from denoiselab.posterior import Categorical, Dirac, Gaussian
from denoiselab.sampler import DDIM, Loop
from denoiselab.schedule import Cosine, Exploding, Linear
from denoiselab.spec import Refused, Spec

SCHEDULES = {"linear": Linear(), "cosine": Cosine(), "exploding": Exploding()}
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
CENTERS, STD, SHARE = torch.tensor([[-0.6, 0.2], [0.7, 0.5], [0.1, -0.8]]).double(), 0.3, torch.tensor([0.5, 0.3, 0.2])
LABEL = torch.tensor([0, 1, 2, 1, 0])
X_T = torch.tensor([[0.3, -0.2], [1.1, 0.4], [-0.9, 0.1], [0.0, 0.0], [0.5, 0.5]]).double()
TIMES = torch.tensor([0.05, 0.3, 0.6, 0.9, 0.99]).double()
UNLABELED = Spec("image", (1, 8, 8), classes=10, context=frozenset({"label"}))


def log_density(x_t, t, schedule):
    """log p(x_t, label) of each label, (B, 3)."""
    alpha, sigma = schedule.at(t, x_t)
    var = alpha**2 * STD**2 + sigma**2
    far = (x_t[:, None] - alpha[..., None] * CENTERS).square().sum(2)
    return SHARE.double().log() - far / (2 * var) - (2 * math.pi * var).log()


class Labeled(Denoiser):
    """The exact belief's mean about x, of the label where it is told, and of all where it is not."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.calls = schedule, 0

    def forward(self, x_t, t, *, label, seen=None, previous=None, told=None, **context):
        self.calls += 1
        t = t.expand(len(x_t))
        alpha, sigma = self.schedule.at(t, x_t)
        gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        each = CENTERS + gain[..., None] * (x_t[:, None] - alpha[..., None] * CENTERS)  # (B, 3, 2)
        share = log_density(x_t, t, self.schedule).softmax(1)
        known = torch.eye(3).double()[label]
        share = known if told is None else torch.where(told[:, None], known, share)
        return Dirac((share[..., None] * each).sum(1))


def free(schedule, **arguments):
    return ClassifierFree(**arguments).build(Labeled(schedule), GaussianNoise(schedule), None)


# -- classifier-free


@each_schedule
def test_weight_1_is_the_condition_and_0_is_none_to_the_bit(schedule):
    oracle, no = Labeled(schedule), torch.zeros(5, dtype=torch.bool)
    told = oracle(X_T, TIMES, label=LABEL).mean
    blind = oracle(X_T, TIMES, label=LABEL, told=no).mean
    for weight, expected in ((1.0, told), (0.0, blind)):
        assert torch.equal(free(schedule, weight=weight)(X_T, TIMES, label=LABEL).mean, expected)
        assert torch.equal(Guided(oracle, weight, (0.0, 1.0), 0.0)(X_T, TIMES, label=LABEL).mean, expected)
        assert ClassifierFree(weight).calls == 1
    assert not torch.allclose(told, blind)


@each_schedule
def test_it_is_linear_in_the_weight(schedule):
    means = torch.stack([free(schedule, weight=w)(X_T, TIMES, label=LABEL).mean for w in (0.0, 0.5, 1.0, 1.5, 4.0)])
    step = means[1] - means[0]
    for mean, w in zip(means, (0, 1, 2, 3, 8), strict=True):
        torch.testing.assert_close(mean, means[0] + w * step, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0, 3.0])
@each_schedule
def test_its_score_is_that_of_the_product_of_powers(schedule, weight):
    """grad log of p(x_t)^(1 - w) p(x_t | y)^w, with (alpha E[x] - x_t) / sigma^2 as the score."""
    x_t = X_T.clone().requires_grad_()
    joint = log_density(x_t, TIMES, schedule)
    tilted = (1 - weight) * joint.logsumexp(1) + weight * joint.gather(1, LABEL[:, None])[:, 0]
    (score,) = torch.autograd.grad(tilted.sum(), x_t)
    alpha, sigma = schedule.at(TIMES, X_T)
    mean = free(schedule, weight=weight)(X_T, TIMES, label=LABEL).mean
    torch.testing.assert_close((alpha * mean - X_T) / sigma**2, score, rtol=1e-9, atol=1e-9)


def test_two_calls_where_two_are_needed():
    oracle = Labeled(Linear())
    for weight, calls in ((0.0, 1), (1.0, 1), (2.0, 2)):
        oracle.calls, guidance = 0, ClassifierFree(weight)
        guidance.build(oracle, None, None)(X_T, TIMES, label=LABEL)
        assert oracle.calls == guidance.calls == calls
    assert ClassifierFree(0.0, interval=(0.1, 1.0)).calls == 2
    assert Unguided().calls == Classifier().calls == 1


def test_outside_of_the_interval_the_condition_is_as_trained():
    schedule = Linear()
    told = Labeled(schedule)(X_T, TIMES, label=LABEL).mean
    whole = free(schedule, weight=3.0)(X_T, TIMES, label=LABEL).mean
    some = free(schedule, weight=3.0, interval=(0.2, 0.7))(X_T, TIMES, label=LABEL).mean
    inside = (TIMES >= 0.2) & (TIMES <= 0.7)
    assert inside.tolist() == [False, True, True, False, False]
    assert torch.equal(some[inside], whole[inside])
    assert torch.equal(some[~inside], told[~inside])
    one = free(schedule, weight=3.0, interval=(0.2, 0.7))(X_T[:1], torch.tensor(0.3).double(), label=LABEL[:1]).mean
    assert torch.equal(one, free(schedule, weight=3.0)(X_T[:1], torch.tensor(0.3).double(), label=LABEL[:1]).mean)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rescaling_is_that_of_diffusers(share):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    generator = torch.Generator().manual_seed(0)
    told, guided = torch.randn(2, 4, 3, 8, 8, generator=generator).double()
    expected = rescale_noise_cfg(guided, told, share)
    torch.testing.assert_close(rescaled(Dirac(guided), Dirac(told), share).mean, expected, rtol=1e-12, atol=1e-12)
    wide = rescaled(Gaussian(guided, 0.5), Dirac(told), share)
    torch.testing.assert_close(wide.mean, expected, rtol=1e-12, atol=1e-12)
    assert wide.var == 0.5


def test_rescaled_beliefs_are_as_wide_as_those_with_the_condition():
    told = Labeled(Linear())(X_T, TIMES, label=LABEL).mean
    mean = free(Linear(), weight=3.0, rescale=1.0)(X_T, TIMES, label=LABEL).mean
    torch.testing.assert_close(mean.std(1), told.std(1), rtol=1e-9, atol=1e-12)


class Words(Denoiser):
    """Logits of a text of two tokens, that depend on whether the label is told; the last of five cannot be."""

    def forward(self, x_t, t, *, label, told=None, **context):
        table = torch.linspace(-1, 2, 3 * 2 * 5).reshape(3, 2, 5).sin().double()
        table[..., 4] = -torch.inf
        logits = table[label]
        return Categorical(logits if told is None else torch.where(told[:, None, None], logits, table.mean(0)))


@pytest.mark.parametrize("t", [TIMES, TIMES[1]], ids=["each", "all"])
def test_tokens_are_guided_too(t):
    x_t, no = torch.zeros(5, 2, dtype=torch.int64), torch.zeros(5, dtype=torch.bool)
    told, blind = (Words()(x_t, t, label=LABEL, **more).mean for more in ({}, {"told": no}))
    for weight in (0.0, 0.5, 1.0, 3.0):
        found = ClassifierFree(weight, interval=(0.0, 0.95)).build(Words(), None, None)(x_t, t, label=LABEL).mean
        acts = (t <= 0.95).expand(5)[:, None, None]
        power = blind ** (1 - weight) * told**weight
        power = torch.where((blind == 0) & (told == 0), 0, power)
        expected = torch.where(acts, power / power.sum(-1, keepdim=True), told)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [{"weight": -1.0}, {"weight": math.nan}, {"weight": 1e4}, {"interval": (0.5, 0.5)}, {"interval": (-0.1, 1.0)},
     {"rescale": 1.5}, {"rescale": math.nan}],
)  # fmt: skip
def test_a_guidance_that_cannot_be_is_refused(wrong):
    with pytest.raises(Refused, match="guidance"):
        ClassifierFree(**wrong)


def test_what_was_not_trained_for_it_is_refused():
    told = UNLABELED.having(asks=frozenset({"label"}))
    with pytest.raises(Refused, match="told what to make"):
        ClassifierFree().accepts(UNLABELED)
    with pytest.raises(Refused, match="withheld now and then"):
        ClassifierFree().accepts(told)
    assert ClassifierFree().accepts(Withhold().accepts(told)).asks == {"label"}
    text = Spec("tokens", (4,), vocabulary=5, asks=frozenset({"label"}), facts=frozenset({Withheld}))
    assert ClassifierFree().accepts(text) == text
    with pytest.raises(Refused, match="points or image"):
        ClassifierFree(rescale=0.5).accepts(text)
    with pytest.raises(Refused, match="no condition"):
        Withhold().accepts(UNLABELED)


# -- classifier


class Exact(nn.Module):
    """log p(label | x_t), read from u."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, u, t):
        alpha, sigma = self.schedule.at(t, u)
        return log_density(u * (alpha**2 + sigma**2) / alpha, t, self.schedule)


class Untold(Labeled):
    """Knows nothing of labels."""

    def forward(self, x_t, t, *, label=None, **context):
        no = torch.zeros(len(x_t), dtype=torch.bool)
        return super().forward(x_t, t, label=torch.zeros(len(x_t), dtype=torch.int64), told=no)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
@each_schedule
def test_an_exact_classifier_says_what_the_condition_says(schedule, weight):
    """At weight 1 the belief with the label; at any other what classifier-free guidance makes of it."""
    with torch.no_grad():
        found = Pushed(Untold(schedule), Exact(schedule), schedule, weight)(X_T, TIMES, label=LABEL).mean
    expected = free(schedule, weight=weight)(X_T, TIMES, label=LABEL).mean
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert not found.requires_grad


def test_gradients_are_found_where_they_are_switched_off():
    u, t, exact = X_T.clone(), TIMES, Exact(Linear())
    expected = gradient(exact, u, t, LABEL)
    with torch.no_grad():
        assert torch.equal(gradient(exact, u, t, LABEL), expected)
    with torch.inference_mode():
        assert torch.equal(gradient(exact, X_T + 0, t + 0, LABEL), expected)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(noisy, "STEPS", 60)
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path))
    return tmp_path


class Flat(Denoiser):
    def forward(self, x_t, t, **context):
        return Gaussian(torch.zeros_like(x_t), torch.ones_like(x_t))


def test_the_classifier_is_trained_once_a_schedule_and_pushes_towards_its_label(quick, monkeypatch):
    data, schedule = Digits(Identity(), 8).load(), Cosine()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    network = noisy.noisy_classifier(data, schedule)
    assert torch.equal(before, torch.get_rng_state())
    pushed = Classifier(3.0).build(Flat(), GaussianNoise(schedule), data)
    x_t = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    label, one = torch.arange(10), torch.ones(10)
    with torch.no_grad():
        for t in (0.02, 0.5, 1.0):
            belief = pushed(x_t, t * one, label=label)
            assert belief.mean.isfinite().all()
            assert torch.equal(belief.var, torch.ones_like(x_t))
            alone = pushed(x_t[3:4], t * one[3:4], label=label[3:4]).mean
            torch.testing.assert_close(alone, belief.mean[3:4], rtol=1e-4, atol=1e-5)
        before, after = (network(x, 0.5 * one).log_softmax(1).diagonal() for x in (x_t, x_t + 0.3 * belief.mean))
        assert (after > before).all()
    assert [path.name for path in quick.iterdir()] == [path.name for path in quick.glob("noisycnn-*")]
    monkeypatch.setattr(noisy, "train", lambda *_: pytest.fail("trained again"))
    again = noisy.noisy_classifier(replace(data, train=data.train.take(slice(9))), schedule)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        noisy.noisy_classifier(data, Linear())


def test_an_unconditional_run_is_asked_for_labels(quick):
    spec = GaussianNoise(Cosine()).accepts(UNLABELED)
    agreed = Classifier().accepts(spec)
    assert agreed.asks == {"label"}
    data, label = Digits(Identity(), 8).load(), torch.tensor([3, 3, 7])
    corruption = GaussianNoise(Cosine())
    denoiser = Classifier(5.0).build(Flat(), corruption, data)
    sampler = Loop(DDIM(), even, 3)
    made = generate(denoiser, corruption, sampler, agreed, 3, 0, asked={"label": label})
    other = generate(denoiser, corruption, sampler, agreed, 3, 0, asked={"label": label.flip(0)})
    assert torch.equal(made[1], other[1])
    assert not torch.allclose(made[0], other[0])


def test_what_a_classifier_cannot_guide_is_refused():
    labeled = GaussianNoise(Cosine()).accepts(UNLABELED)
    for spec, word in (
        (UNLABELED, "Additive"),
        (labeled._replace(context=frozenset()), "labels"),
        (labeled._replace(classes=0), "labels"),
        (TokenMask(Linear(), 5).accepts(Spec("tokens", (4,), vocabulary=5)), "image"),
    ):
        with pytest.raises(Refused, match=word):
            Classifier().accepts(spec)
