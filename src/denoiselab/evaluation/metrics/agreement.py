"""Do samples show what was asked for? Judged by networks that learned it from the training split, and that are named
beside the score with their own accuracy on the test split: no sample can be expected to agree more often.

A label is judged by the extractor's classifier. Of a caption each attribute that can be checked (number, color ...) is
judged by itself by a network with a head for each, trained on the spot, always the same, and kept in the cache.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.data.base import Loaded, floating
from denoiselab.evaluation.extractor import TESTED, TRAINED, classifier, descend, drawn, kept, layer, whole
from denoiselab.evaluation.metrics.base import MAKES, Metric, Value
from denoiselab.files import cache
from denoiselab.sampler import Generates
from denoiselab.spec import Refused

RECIPE = 1  # raise it with any change that changes the judge: older files are then not read
STEPS, BATCH, RATE = 2_000, 64, 3e-3
ASKS = "leave this metric out, or ask for something: conditioning=label, or guidance=classifier"


class Agreement(Metric):
    """Share of the samples that show what was asked: `agreement_label`; of captions `agreement_NAME` for each attribute
    and `agreement_caption` where all are right. Larger is better, up to the judge's own accuracy."""

    def accepts(self, spec):
        spec.of(("image",), self).needs(Generates, self, MAKES)
        if "label" not in spec.asks and not {"caption", "truth"} <= spec.asks | (spec.context & {"truth"}):
            got = f"asked: {', '.join(sorted(spec.asks)) or 'nothing'}"
            raise Refused("Agreement is of samples with what was asked for, a label or a checked caption", got, ASKS)
        return spec

    def __call__(self, evidence):
        data, asked, n = evidence.data.seen, evidence.asked, len(evidence.samples)
        # Rounding would hide what is not a number.
        sound = bool(evidence.samples.isfinite().all())
        pictures, found = evidence.data.codec.decode(evidence.samples), {}
        if "label" in asked:
            network, name = classifier(data)
            found["label"] = network(pictures).argmax(1) == asked["label"], name
        if "caption" in asked and data.captions is not None:
            judge, accuracy, name = attribute_judge(data)
            right = judge.says(pictures) == data.captions.truth(asked)
            for i, attribute in enumerate(data.captions.attributes):
                found[attribute] = right[:, i], f"{name} (test accuracy {accuracy[attribute]:.3f})"
            found["caption"] = right.all(1), f"{name} (test accuracy {accuracy['caption']:.3f})"
        return {
            f"agreement_{what}": Value(right.double().mean().item() if sound else float("nan"), n, evidence.split, name)
            for what, (right, name) in found.items()
        }


class Judge(nn.Module):
    """Pictures (N, C, H, W), uint8 or float in [-1, 1], to logits of each attribute, side by side."""

    def __init__(self, channels: int, sizes: Mapping[str, int]):
        super().__init__()
        self.sizes = list(sizes.values())
        self.body = nn.Sequential(
            *layer(channels + 1, 24, 1), *layer(24, 48, 2), *layer(48, 96, 2), *layer(96, 128, 1), *layer(128, 128, 1),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, sum(self.sizes)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = floating(x)
        # The brightest channel besides: a form is the same in any color.
        return self.body(torch.cat((x, x.amax(1, keepdim=True)), 1)).split(self.sizes, 1)

    def says(self, x: Tensor) -> Tensor:
        """The likeliest value of each attribute, (N, attributes)."""
        return torch.cat([torch.stack([a.argmax(1) for a in self(part)], 1) for part in x.split(500)])


def attribute_judge(data: Loaded) -> tuple[Judge, dict[str, float], str]:
    """The judge in evaluation mode, its accuracy on at most 2,000 of the test split of each attribute and of whole
    captions ("caption"), and its name with the data's fingerprint."""
    data = whole(data)
    assert data.captions is not None, "a judge needs captions that can be checked"
    x, fingerprint, attributes = data.codec.decode(data.train.x[:1]), data.fingerprint(), data.captions.attributes
    judge = drawn(lambda: Judge(x.shape[1], attributes), 0)
    kept(cache() / f"attributecnn-{RECIPE}-{fingerprint}.safetensors", judge, lambda: train(judge, data))
    judge.eval().requires_grad_(False)
    right = rights(judge, data)
    accuracy = dict(zip(attributes, right.double().mean(0).tolist(), strict=True))
    accuracy["caption"] = right.all(1).double().mean().item()
    return judge, accuracy, f"attributecnn-{fingerprint[:6]}"


@torch.no_grad()
def rights(judge: Judge, data: Loaded) -> Tensor:
    """Which attributes of the test split's pictures are judged right, (N, attributes)."""
    test = data.test.take(slice(TESTED))
    return judge.says(data.codec.decode(test.x)) == test.context["truth"]


def train(judge: Judge, data: Loaded) -> float:
    """Trains in place, on at most 20,000 samples; gives the share of captions judged right."""
    x, truth = data.codec.decode(data.train.x[:TRAINED]), data.train.context["truth"][:TRAINED]

    def loss(generator: torch.Generator) -> Tensor:
        index = torch.randint(len(x), (BATCH,), generator=generator)
        said = zip(judge(x[index]), truth[index].unbind(1), strict=True)
        return torch.stack([F.cross_entropy(logits, true) for logits, true in said]).sum()

    judge.train()
    descend(judge, loss, STEPS, RATE)
    judge.eval()
    return rights(judge, data).all(1).double().mean().item()
