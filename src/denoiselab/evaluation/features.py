"""By which features pictures are compared: a choice of its own, since scores of different extractors are not
comparable. A plan makes a network when it is asked; what it made carries a short name, which is part of the score's
(`fd_smallcnn`), and a full one, which says which weights.

References:
    Szegedy et al., 2015, Rethinking the Inception architecture for computer vision (arXiv:1512.00567).
    Heusel et al., 2017, GANs trained by a two time-scale update rule (arXiv:1706.08500): its pool3 features.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.data.base import Loaded
from denoiselab.evaluation.extractor import random_features, small_classifier
from denoiselab.evaluation.inception import InceptionV3, checked, loaded
from denoiselab.spec import Refused

CHUNK = 1000  # pictures between two signs of life


class Named(NamedTuple):
    """A network in evaluation mode, pictures (N, C, H, W) uint8 to features (N, d), where it lies, and its names."""

    network: nn.Module
    device: torch.device
    short: str
    full: str

    @torch.no_grad()
    def __call__(self, pictures: Tensor, pulse: Callable[[], None]) -> Tensor:
        """Features (N, d), on the device of the network."""
        said = []
        for part in pictures.split(CHUNK):
            pulse()
            said.append(self.network(part.to(self.device)))
        return torch.cat(said)


CPU = torch.device("cpu")  # where small networks run: the same features whatever the module runs on


class Features(abc.ABC):
    """A plan of an extractor. Equal plans make equal extractors."""

    def __eq__(self, other):
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self):
        return hash((type(self), *sorted(vars(self).items())))

    @abc.abstractmethod
    def __call__(self, data: Loaded, device: torch.device) -> Named: ...


class SmallCNN(Features):
    """A small classifier of the labels, trained once per data set: `smallcnn`."""

    def __call__(self, data, device):
        if "label" not in data.train.context:
            raise Refused("extractor=smallcnn learns from labels", "data without labels", "use extractor=random")
        network, name = small_classifier(data)
        return Named(network, CPU, "smallcnn", name)


class Random(Features):
    """A fixed random network, which ranks what is alike and knows nothing of meaning: `random`."""

    def __call__(self, data, device):
        network, name = random_features(data.codec.decode(data.train.x[:1]).shape[1])
        return Named(network, CPU, "random", name)


class Available(Features):
    """The small classifier where the data has labels, else the random network."""

    def __call__(self, data, device):
        return (SmallCNN() if "label" in data.train.context else Random())(data, device)


class Inception(Features):
    """The pool3 features (2,048) of the Inception network that published Frechet distances rest on, from a local file:
    `inception`. `path` is a safetensors file with the names of pt_inception-2015-12-05 (see `inception.CONVERT`);
    raises `Refused` where it is none."""

    def __init__(self, path: str | None = None):
        self.path = checked(path)

    def __call__(self, data, device):
        network, digest = loaded(self.path)
        return Named(network.to(device), device, "inception", f"inception-d{InceptionV3.num_features}-{digest[:6]}")
