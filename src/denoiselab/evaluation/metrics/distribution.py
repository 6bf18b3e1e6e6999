"""Metrics of new pictures: how far the distribution of their features is from that of the test split.

All take an extractor's features (`denoiselab.evaluation.features`), which are part of what is said: values by different
extractors cannot be compared, nor can those of different n, but for the kernel distance.

References:
    Dowson and Landau, 1982, The Frechet distance between multivariate normal distributions.
    Heusel et al., 2017, GANs trained by a two time-scale update rule (arXiv:1706.08500).
    Binkowski et al., 2018, Demystifying MMD GANs (arXiv:1801.01401).
    Kynkaanniemi et al., 2019, Improved precision and recall metric for assessing generative models (arXiv:1904.06991).
    Naeem et al., 2020, Reliable fidelity and diversity metrics for generative models (arXiv:2002.09797).
"""

import abc
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.evaluation.features import Available, Features
from denoiselab.evaluation.metrics.base import Evidence, Metric, Value, evenly, made
from denoiselab.spec import Refused

REFERENCE = 10_000  # pictures of the test split that samples are compared with
BLOCK = 2_000  # rows of a matrix of distances that are in memory at a time


class Compared(NamedTuple):
    """Features, float64, where the extractor lies: of the test split (N, d) and of new samples (n, d); its names."""

    real: Tensor
    fake: Tensor
    short: str
    full: str


def compared(evidence: Evidence, plan: Features) -> Compared:
    """The features of both, computed once for all metrics of the same plan."""
    kept = {} if evidence.kept is None else evidence.kept
    if plan not in kept:
        data, made = evidence.data.seen, evidence.data.codec.decode(evidence.samples)
        extractor = plan(data, evidence.device)
        real = data.codec.decode(data.split(evidence.split).x[:REFERENCE])
        real, fake = (extractor(x, evidence.pulse).double() for x in (real, made))
        kept[plan] = Compared(real, fake, extractor.short, extractor.full)
    return kept[plan]


class OfFeatures(Metric):
    """What is said of the features of new samples and of the test split; nan where a sample is no number."""

    least = 2  # pictures of each that there must be

    def __init__(self, extractor: Features | None = None):
        self.extractor = extractor or Available()

    @abc.abstractmethod
    def judge(self, real: Tensor, fake: Tensor, seed: int) -> tuple[dict[str, float], int]:
        """Values by name, of features (N, d) and (n, d), float64, and how many samples they are of. `{}` in a name is
        where the extractor's goes."""

    def accepts(self, spec):
        return made(spec, self)

    def __call__(self, evidence):
        assert evidence.samples is not None, "a sampler that generates gives samples"
        real, fake, short, full = compared(evidence, self.extractor)
        if min(len(real), len(fake)) < self.least:
            got = f"{len(real)} test pictures and {len(fake)} samples"
            what = f"{type(self).__name__} needs {self.least} pictures of each"
            raise Refused(what, got, "more data or evaluation.samples")
        said, n = self.judge(real, fake, evidence.seed)
        sound = evidence.sound
        return {name.format(short): Value(value if sound else math.nan, n, evidence.split, full)
                for name, value in said.items()}  # fmt: skip


class FrechetDistance(OfFeatures):
    """Frechet distance of the features of new samples and of the test split, each taken for a Gaussian.

    `fd_smallcnn` by a classifier of the data's labels, `fd_random` by a random network where there are none,
    `fd_inception` by Inception: the FID. Smaller is better. It is biased upwards where samples are few: compare values
    of the same n alone.
    """

    def judge(self, real, fake, seed):
        return {"fd_{}": frechet_distance(real, fake)}, len(fake)


class AsTheyAre(nn.Module):
    """Features as an extractor's answer to themselves."""

    def __init__(self, d: int):
        super().__init__()
        self.num_features = d  # asked for by torchmetrics

    def forward(self, features):
        return features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of features (N, d) and (n, d), two of each at least, in float64."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=AsTheyAre(real.shape[1]))
    metric.update(real.cpu(), real=True)
    metric.update(fake.cpu(), real=False)
    return metric.compute().item()


class KernelDistance(OfFeatures):
    """Squared maximum mean discrepancy of the features under the kernel (x y / d + 1)^3, the KID: `kd_smallcnn` and so
    on is the mean over `subsets` of `size` pictures of each (fewer where there are fewer), `..._std` their standard
    deviation. Unbiased, so that it may be below 0 and values of different n can be compared; smaller is better."""

    def __init__(self, extractor: Features | None = None, subsets: int = 100, size: int = 1000):
        super().__init__(extractor)
        if subsets < 1:
            raise Refused("KernelDistance averages over subsets", f"subsets={subsets}", "give at least 1")
        if size < 2:
            raise Refused("a subset of KernelDistance has two pictures at least", f"size={size}", "give more, as 1000")
        self.subsets, self.size = subsets, size

    def judge(self, real, fake, seed):
        generator, found = torch.Generator().manual_seed(seed), []
        size = min(self.size, len(real), len(fake))
        for _ in range(self.subsets):
            some = [x[torch.randperm(len(x), generator=generator)[:size]] for x in (real, fake)]
            found.append(discrepancy(*some))
        each = torch.tensor(found, dtype=torch.float64)
        return {"kd_{}": each.mean().item(), "kd_{}_std": each.std(correction=0).item()}, len(fake)


def discrepancy(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy of features (m, d) and (n, d)."""
    m, n, d = len(x), len(y), x.shape[1]
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - xx.trace()) / (m * (m - 1)) + (yy.sum() - yy.trace()) / (n * (n - 1))
    return (within - 2 * xy.mean()).item()


# -- neighborhoods ----------------------------------------------------------------------------------------------


def distances(x: Tensor, y: Tensor) -> Tensor:
    """(m, n), of features (m, d) and (n, d). By differences: the distance of two is the same in any matrix, and 0 of
    equal ones, so that what lies on the edge of a ball does so wherever it is asked."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def radii(x: Tensor, k: int) -> Tensor:
    """(N,): the distance of each of x (N, d) to its k-th nearest other one."""
    return torch.cat([distances(part, x).kthvalue(k + 1, 1).values for part in x.split(BLOCK)])


class Neighborhoods(OfFeatures):
    """What is said by balls around features, each reaching to the `k`-th nearest of its own set. Both sets have the
    same size: of the larger some are taken, evenly spread."""

    def __init__(self, extractor: Features | None, k: int):
        super().__init__(extractor)
        if k < 1:
            raise Refused(f"{type(self).__name__} looks at the k-th neighbor", f"k={k}", "give at least 1, such as 5")
        self.k, self.least = k, k + 1

    @abc.abstractmethod
    def count(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        """Values by name, of as many features (N, d) of each."""

    def judge(self, real, fake, seed):
        n = min(len(real), len(fake))
        return self.count(*(x[evenly(len(x), n)] for x in (real, fake))), n


class PrecisionRecall(Neighborhoods):
    """`precision`: the share of new samples that lie in the ball of some test picture; `recall`: the share of test
    pictures that lie in the ball of some sample, a ball reaching to the `k`-th neighbor, 3 as published (Kynkaanniemi
    et al., 2019, eq. 1 and 2). Both rise with n: compare values of the same n alone."""

    def __init__(self, extractor: Features | None = None, k: int = 3):
        super().__init__(extractor, k)

    def count(self, real, fake):
        return {"precision": within(fake, real, self.k), "recall": within(real, fake, self.k)}


def within(x: Tensor, others: Tensor, k: int) -> float:
    """The share of x in the ball of some of the others."""
    reach = radii(others, k)
    return torch.cat([(distances(part, others) <= reach).any(1) for part in x.split(BLOCK)]).double().mean().item()


class DensityCoverage(Neighborhoods):
    """`density`: in how many balls of test pictures a new sample lies, on average, by `k`: 1 where both are one
    distribution, and beyond where samples crowd; `coverage`: the share of test pictures in whose ball some sample
    lies. A ball reaches to the `k`-th neighbor and does not include it, 5 as published (Naeem et al., 2020, eq. 3 and
    4). Compare values of the same n alone."""

    def __init__(self, extractor: Features | None = None, k: int = 5):
        super().__init__(extractor, k)

    def count(self, real, fake):
        reach = radii(real, self.k)
        inside = [distances(part, real) < reach for part in fake.split(BLOCK)]
        lying = sum(some.sum().item() for some in inside)
        covered = torch.stack([some.any(0) for some in inside]).any(0)
        return {"density": lying / (self.k * len(fake)), "coverage": covered.double().mean().item()}
