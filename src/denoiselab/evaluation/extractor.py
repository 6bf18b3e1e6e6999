"""Feature extractors: pictures to vectors, whose distributions are compared (Frechet distance).

No weights are downloaded. Where data has labels, a small classifier is trained on the training split, always the same:
fixed seed, fixed steps, the global generators untouched. Where it has none, a fixed random network has to do; its
distance ranks what is alike, and knows nothing of meaning. Scores of different extractors are not comparable: a score
carries the name of its own.

What was trained is kept in `$DENOISELAB_CACHE` (default ~/.cache/denoiselab) by the data's fingerprint. The cache is
never needed: a damaged file is made anew, a folder that cannot be written costs the training again.
"""

import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from denoiselab.data.base import Loaded, floating
from denoiselab.files import cache, replacing

FEATURES = 32  # few: the covariance of 256 samples must mean something
RECIPE = 2  # raise it with any change that changes the classifier: older files are then not read
TRAINED, STEPS, BATCH, TESTED = 20_000, 600, 64, 2_000


class Extractor(nn.Module):
    """Pictures (N, C, H, W), uint8 or float in [-1, 1], of any size, to features (N, 32)."""

    num_features = FEATURES  # asked for by torchmetrics

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            *layer(channels, 16, 2), *layer(16, 32, 1), *layer(32, 64, 2),
            nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(576, FEATURES),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        # In parts: a large split must not need all of its activations at once.
        return torch.cat([self.body(floating(part)) for part in x.split(500)])


def layer(n: int, m: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(n, m, 3, stride, 1, bias=False), nn.BatchNorm2d(m), nn.ReLU()


def drawn(make, seed: int) -> nn.Module:
    """`make()` with its first weights from `seed`, the global generators (CUDA's too) as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def random_features(channels: int) -> tuple[Extractor, str]:
    """A fixed random network for pictures of so many channels, and its name."""
    return drawn(lambda: Extractor(channels), 0).eval().requires_grad_(False), f"random-d{FEATURES}"


class Classifier(nn.Module):
    """An extractor and a last layer: pictures to logits (N, classes)."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.features = drawn(lambda: Extractor(channels), 0)
        self.last = drawn(lambda: nn.Linear(FEATURES, classes), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x).relu())


def small_classifier(data: Loaded) -> tuple[Extractor, str]:
    """The features of `classifier`, and its name."""
    network, name = classifier(data)
    return network.features, name


def classifier(data: Loaded) -> tuple[Classifier, str]:
    """A network trained to tell the labels of `data.train` apart, in evaluation mode; and its name, with the data's
    fingerprint and its accuracy on the test split. Labels are `context["label"]`, (N,) int64."""
    data = whole(data)
    assert "label" in data.train.context, "a classifier needs labels"
    x, fingerprint = data.codec.decode(data.train.x[:1]), data.fingerprint()
    network = Classifier(x.shape[1], max(data.spec.classes, int(data.train.context["label"].max()) + 1))
    path = cache() / f"smallcnn-{RECIPE}-{fingerprint}.safetensors"
    accuracy = kept(path, network, lambda: train(network, data))
    name = f"smallcnn-d{FEATURES}-{fingerprint[:6]} (test accuracy {accuracy:.3f})"
    return network.eval().requires_grad_(False), name


def uncut(data: Loaded) -> Loaded:
    """With the whole training split, whatever data.n is."""
    return replace(data, train=data.uncut or data.train)


def whole(data: Loaded) -> Loaded:
    """The same of the data before there were folds: all arms of a data.n ablation, and all folds, are judged by one
    network."""
    return uncut(data.unfolded or data)


def train(network: Classifier, data: Loaded) -> float:
    """Trains in place, on at most 20,000 samples; gives the accuracy on at most 2,000 of the test split."""
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randperm(len(data.train.x), generator=generator)[:TRAINED]
    x, label = data.codec.decode(data.train.x[chosen]), data.train.context["label"][chosen].long()

    def loss(generator: torch.Generator) -> Tensor:
        index = torch.randint(len(x), (BATCH,), generator=generator)
        return F.cross_entropy(network(x[index]), label[index], label_smoothing=0.1)

    network.train()
    descend(network, loss, STEPS, 4e-3, generator)
    network.eval()
    with torch.no_grad():
        said = network(data.codec.decode(data.test.x[:TESTED])).argmax(1)
    return (said == data.test.context["label"][:TESTED]).double().mean().item()


def descend(network: nn.Module, loss: Callable[[torch.Generator], Tensor], steps: int, rate: float,
            generator: torch.Generator | None = None) -> None:  # fmt: skip
    """`steps` of AdamW at a rate that falls to 0, of a loss that draws from a generator, which has a fixed seed unless
    it is given."""
    generator = generator or torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    # The caller may be evaluating: gradients are wanted here whatever is switched off there.
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(steps):
            value = loss(generator)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            decay.step()


# -- the cache --------------------------------------------------------------------------------------------


def digest(tensors: dict[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].contiguous().numpy().tobytes())
    return sha.hexdigest()


def kept(path: Path, network: nn.Module, train: Callable[[], float]) -> float:
    """The accuracy of a network whose weights are in `path`; where they are not it is trained, and they are put there.
    Afterwards `network` has them."""
    accuracy = read(path, network)
    if accuracy is None:
        print(f"training {path.stem}, once for this data", file=sys.stderr)
        accuracy = train()
        write(path, network, accuracy)
    return accuracy


def read(path: Path, network: nn.Module) -> float | None:
    """Loads the weights in `path` and gives the accuracy noted there; None, and the network as it was, where there is
    no such file or it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            names, notes = file.keys(), file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError):
        return None
    mine = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if notes.get("sha256") != digest(tensors) or mine != {name: tensor.shape for name, tensor in tensors.items()}:
        return None
    network.load_state_dict(tensors)
    return float(notes["accuracy"])


def write(path: Path, network: nn.Module, accuracy: float) -> None:
    """Saves whole or not at all: where a folder is somebody else's or a disk full, the training is lost, no score."""
    tensors = network.state_dict()
    content = save(tensors, {"sha256": digest(tensors), "accuracy": repr(accuracy)})
    with suppress(OSError), replacing(path) as temporary:
        temporary.write_bytes(content)
