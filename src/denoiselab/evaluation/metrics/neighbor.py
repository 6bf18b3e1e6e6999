"""Copies: are new pictures those of the training split again?"""

import math

import torch
from torch import Tensor

from denoiselab.data.base import Loaded
from denoiselab.evaluation.metrics.base import Metric, Value, evenly, made
from denoiselab.evaluation.shown import Rows

BLOCK = 4_096  # training pictures compared at a time
COLUMNS = 12  # samples shown


class NearestNeighbor(Metric):
    """`nearest_train`: the distance of a new sample to the nearest picture of the training split, the mean over
    samples; `nearest_train_test`: the same of as many test pictures. Samples that are far nearer than test pictures are
    copies. Euclidean over all pixels, on the 0 .. 255 scale. Both fall with the size of the training split.

    Also shows samples over their nearest training pictures, from the nearest pair to the farthest: samples/nearest.png.
    """

    def accepts(self, spec):
        return made(spec, self)

    def __call__(self, evidence):
        assert evidence.samples is not None, "a sampler that generates gives samples"
        data, n = evidence.data, len(evidence.samples)
        some = data.test.x[evenly(len(data.test.x), n)]
        samples, tests = (data.codec.decode(x) for x in (evidence.samples, some))
        distance, place = nearest(torch.cat((samples, tests)), data, evidence.device, evidence.pulse)
        ours, theirs = distance[:n], distance[n:]
        shown = ours.argsort()[evenly(n, COLUMNS)]
        copies = data.codec.decode(data.train.x[place[:n][shown]])
        return {
            "nearest_train": Value(ours.mean().item() if evidence.sound else math.nan, n, "test"),
            "nearest_train_test": Value(theirs.mean().item(), len(some), "test"),
            "nearest": Rows({"sample": samples[shown], "nearest in training": copies}, COLUMNS),
        }


def nearest(pictures: Tensor, data: Loaded, device: torch.device, pulse) -> tuple[Tensor, Tensor]:
    """Of each of pictures (N, C, H, W) uint8 the distance (N,) to the nearest training picture and its place (N,), the
    first of equals; float64, on the CPU."""
    # Whole numbers below 2^53 are exact in float64: so are sums of squares, and a copy has the distance 0.
    x = pictures.flatten(1).to(device).double()
    own, best = x.square().sum(1), torch.full((len(x),), torch.inf, dtype=torch.float64, device=device)
    place = torch.zeros(len(x), dtype=torch.int64, device=device)
    for first in range(0, len(data.train.x), BLOCK):
        pulse()
        y = data.codec.decode(data.train.x[first : first + BLOCK]).flatten(1).to(device).double()
        least, at = (y.square().sum(1) - 2 * (x @ y.T)).min(1)
        better = least + own < best
        best, place = torch.where(better, least + own, best), torch.where(better, at + first, place)
    return best.sqrt().cpu(), place.cpu()
