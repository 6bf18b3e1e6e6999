"""Classifier guidance: a network that knows nothing of labels, pushed by one that tells them apart under noise.

    E[x | x_t, y] = E[x | x_t] + sigma^2 / alpha grad log p(y | x_t)

(Tweedie's formula on both sides). The classifier reads u = alpha x_t / (alpha^2 + sigma^2), the best linear guess at x
of unit variance. So the push is sigma^2 / (alpha^2 + sigma^2) times its gradient by u: finite where alpha is 0.

The classifier is trained on the spot, always the same, on the training split and the schedule of the run, and kept in
the cache by the fingerprints of both.
"""

import copy
import dataclasses
import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.architecture.base import TimeEmbedding
from denoiselab.corruption import Additive
from denoiselab.data.base import Loaded, floating
from denoiselab.denoiser import Denoiser
from denoiselab.evaluation.extractor import descend, drawn, kept, uncut
from denoiselab.files import cache
from denoiselab.guidance.base import Guidance, strength
from denoiselab.schedule import Schedule
from denoiselab.spec import Refused

RECIPE = 1  # raise it with any change that changes the classifier: older files are then not read
STEPS, BATCH, WIDTH, RATE = 1_000, 128, 32, 2e-3


class Classifier(Guidance):
    """The mean of the belief moves by `weight` times sigma^2 / alpha grad log p(label | x_t) (Dhariwal and Nichol,
    2021, arXiv:2105.05233). 0 is without it, 1 what a label says by Bayes. It works on runs that were told no label.
    """

    def __init__(self, weight: float = 1.0):
        self.weight = strength(weight, "without it")

    def build(self, denoiser, corruption, data):
        classifier = noisy_classifier(data, corruption.schedule)
        weight = next(denoiser.parameters(), None)
        return Pushed(denoiser, classifier if weight is None else classifier.to(weight.device), corruption.schedule,
                      self.weight)  # fmt: skip

    def accepts(self, spec):
        spec = spec.of(("image",), self).needs(Additive, self, "use corruption=gaussian, or guidance=classifier_free")
        if "label" not in spec.context or spec.classes < 1:
            got = f"context of {', '.join(sorted(spec.context)) or 'nothing'}"
            raise Refused("Classifier needs samples with labels", got, "use data with classes, such as data=digits")
        return spec.having(asks=spec.asks | {"label"})


class Pushed(Denoiser):
    """`classifier(u, t)` gives logits (B, classes); `label` (B,) is in the context."""

    def __init__(self, inner: Denoiser, classifier: nn.Module, schedule: Schedule, weight: float):
        super().__init__()
        self.inner, self.classifier, self.schedule, self.weight = inner, classifier, schedule, weight

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        belief = self.inner(x_t, t, seen=seen, previous=previous, **context)
        alpha, sigma = (a.to(x_t.dtype) for a in self.schedule.at(t, x_t))
        n = alpha**2 + sigma**2
        push = gradient(self.classifier, alpha * x_t / n, t.expand(len(x_t)), context["label"])
        return dataclasses.replace(belief, mean=belief.mean + self.weight * sigma**2 / n * push)


def gradient(classifier: nn.Module, u: Tensor, t: Tensor, label: Tensor) -> Tensor:
    """Of log p(label | u) by u, of its shape; whoever samples has switched gradients off."""
    with torch.inference_mode(False), torch.enable_grad():
        u = u.clone().requires_grad_()
        said = classifier(u, t).log_softmax(1).gather(1, label[:, None])
        return torch.autograd.grad(said.sum(), u)[0]


class NoisyClassifier(nn.Module):
    """u (B, C, H, W) of any size and t (B,) to logits (B, classes)."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        widths = (WIDTH, 2 * WIDTH, 4 * WIDTH)
        self.time = TimeEmbedding(4 * WIDTH)
        self.first = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in zip((WIDTH, *widths), widths, (1, 2, 2), strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in widths)
        self.told = nn.ModuleList(nn.Linear(4 * WIDTH, 2 * width) for width in widths)
        self.last = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9 * widths[-1], classes))

    def forward(self, u, t):
        e = F.silu(self.time(t.float()))
        h = self.first(u.float())
        for layer, norm, told in zip(self.layers, self.norms, self.told, strict=True):
            scale, shift = told(e)[:, :, None, None].chunk(2, 1)
            h = F.silu(norm(layer(h)) * (1 + scale) + shift)
        return self.last(h)


def noisy_classifier(data: Loaded, schedule: Schedule) -> NoisyClassifier:
    """Trained, in evaluation mode, on the CPU."""
    schedule = copy.deepcopy(schedule).cpu()
    data = uncut(data)
    channels, classes = len(data.train.x[0]), data.spec.classes
    network = drawn(lambda: NoisyClassifier(channels, classes), 0)
    path = cache() / f"noisycnn-{RECIPE}-{data.fingerprint()}-{mark(schedule)}.safetensors"
    kept(path, network, lambda: train(network, data, schedule))
    return network.eval().requires_grad_(False)


def mark(schedule: Schedule) -> str:
    """What a schedule does, as 16 hexadecimal digits."""
    t = torch.linspace(schedule.t_min, schedule.t_max, 65, dtype=torch.float64)
    alpha, sigma = schedule(t)
    # Rounded: machines differ in the last digit of a cosine.
    said = " ".join(f"{a:.6g} {s:.6g}" for a, s in zip(alpha.tolist(), sigma.tolist(), strict=True))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def train(network: NoisyClassifier, data: Loaded, schedule: Schedule) -> float:
    """Trains in place; gives the accuracy on the test split, all times alike."""
    x, label = data.train.x, data.train.context["label"].long()

    def asked(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, t = floating(x), torch.rand(len(x), generator=generator)
        t = schedule.t_min + (schedule.t_max - schedule.t_min) * t
        alpha, sigma = (a.float() for a in schedule.at(t, x))
        x_t = alpha * x + sigma * torch.randn(x.shape, generator=generator)
        return alpha * x_t / (alpha**2 + sigma**2), t

    def loss(generator: torch.Generator) -> Tensor:
        index = torch.randint(len(x), (BATCH,), generator=generator)
        return F.cross_entropy(network(*asked(x[index], generator)), label[index])

    network.train()
    descend(network, loss, STEPS, RATE)
    network.eval()
    with torch.no_grad():
        test = data.test.take(slice(2_000))
        said = network(*asked(test.x, torch.Generator().manual_seed(2))).argmax(1)
    return (said == test.context["label"]).double().mean().item()
