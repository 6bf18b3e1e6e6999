"""Metrics: what is said of a cell in one number, and with how much behind it.

A metric is asked twice: `accepts(spec)`, before anything is trained, whether it speaks about the cell; and later, with
the `Evidence` of one split, for its values. Samplers that generate are judged by the distribution of their samples,
those that restore by the distance of each restored sample to its clean one.

Pictures are judged as they are saved: clipped and rounded to 0 .. 255. A value that does not exist (no token was
touched, samples that are not numbers) is nan, never left out.

References:
    Dowson and Landau, 1982, The Frechet distance between multivariate normal distributions.
    Heusel et al., 2017, GANs trained by a two time-scale update rule (arXiv:1706.08500): the distance of features.
    Wang et al., 2004, Image quality assessment: from error visibility to structural similarity.
"""

import abc
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.data.base import Encoded, Loaded
from denoiselab.evaluation.extractor import random_features, small_classifier
from denoiselab.sampler import Generates
from denoiselab.spec import Refused, Spec

REFERENCE = 10_000  # pictures of the test split that samples are compared with
PERFECT = 100.0  # dB, in the place of infinity where nothing differs
WINDOW = 11  # pixels, the side of SSIM's Gaussian window
RESTORES = "leave this metric out, or use a sampler that restores, such as sampler=one_shot"
MAKES = "leave this metric out, or use a sampler that starts from the prior, such as sampler=ancestral"


class Value(NamedTuple):
    """A score and where it comes from; what `summary.json` holds for each metric."""

    value: float
    n: int  # samples that were averaged or compared; for masked_accuracy: tokens
    split: str
    extractor: str = ""


class Evidence(NamedTuple):
    """What a metric may look at: tensors on the CPU, pictures as float in [-1, 1], text as ids."""

    data: Loaded
    split: str  # where `clean` comes from
    clean: Tensor  # (N, *)
    x_t: Tensor  # corrupted
    restored: Tensor  # what the sampler made of it, of the shape of the target
    touched: Tensor  # bool, of the shape of `clean`
    samples: Tensor | None = None  # new samples, if the sampler generates
    asked: Mapping[str, Tensor] = {}  # the context that told the network what to make, (N, ...) each


class Metric(abc.ABC):
    """One or a few named values."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """`spec` as it is, where the metric speaks about this cell; raises `Refused` where it does not."""

    @abc.abstractmethod
    def __call__(self, evidence: Evidence) -> dict[str, Value]: ...


# -- of samplers that generate --------------------------------------------------------------------------------


class FrechetDistance(Metric):
    """Frechet distance of the features of new samples and of the test split, each taken for a Gaussian.

    `fd_smallcnn` by a classifier of the data's labels, `fd_random` by a random network where there are none. Smaller is
    better. It is biased upwards where samples are few: compare values of the same n alone.
    """

    def accepts(self, spec):
        return spec.of(("image",), self).needs(Generates, self, MAKES)

    def __call__(self, evidence):
        assert evidence.samples is not None, "a sampler that generates gives samples"
        data, fake = evidence.data.seen, evidence.data.codec.decode(evidence.samples)
        real = data.codec.decode(data.test.x[:REFERENCE])
        if min(len(real), len(fake)) < 2:
            got = f"{len(real)} test pictures and {len(fake)} samples"
            raise Refused("a Frechet distance needs two pictures of each", got, "more data or evaluation.samples")
        labelled = "label" in data.train.context
        extractor, name = small_classifier(data) if labelled else random_features(real.shape[1])
        # Rounding would hide what is not a number.
        sound = bool(evidence.samples.isfinite().all())
        distance = frechet_distance(extractor, real, fake) if sound else float("nan")
        return {"fd_smallcnn" if labelled else "fd_random": Value(distance, len(fake), "test", name)}


@torch.no_grad()
def frechet_distance(extractor: nn.Module, real: Tensor, fake: Tensor) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of the features (N, d) of two sets, N at least 2, in float64."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=extractor)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric.compute().item()


class Distinct(Metric):
    """Share of pairs of neighboring tokens that differ from all others, `distinct_2` (Li et al., 2016,
    arXiv:1510.03055): near 0 where a sampler repeats itself. It falls with the amount of text: compare values of the
    same n alone."""

    def accepts(self, spec):
        return spec.of(("tokens",), self).needs(Generates, self, MAKES)

    def __call__(self, evidence):
        assert evidence.samples is not None, "a sampler that generates gives samples"
        pairs = evidence.samples.unfold(1, 2, 1).flatten(0, 1)
        share = len(pairs.unique(dim=0)) / max(len(pairs), 1)
        return {"distinct_2": Value(share, len(evidence.samples), evidence.split)}


# -- of samplers that restore ---------------------------------------------------------------------------------


def pictures(x: Tensor) -> Tensor:
    """Float pictures in [-1, 1] as they are saved, 0 .. 255, in float64; what is not a number stays so."""
    return ((x.double() + 1) * 127.5).round().clamp(0, 255)


def restoring(spec: Spec, who: Metric) -> Spec:
    """Of pictures, restored, of the shape of the clean ones."""
    spec = spec.of(("image",), who).refuses(Encoded, who, "leave this metric out: it compares pixels")
    return same_shape(spec.refuses(Generates, who, RESTORES), who)


def same_shape(spec: Spec, who: Metric) -> Spec:
    if spec.target and spec.target != spec.shape:
        raise Refused(
            f"{type(who).__name__} compares place by place", f"target {spec.target} of clean {spec.shape}",
            "leave this metric out, or use a corruption that keeps the shape",
        )  # fmt: skip
    return spec


class PSNR(Metric):
    """Peak signal-to-noise ratio in dB on the 0 .. 255 scale, the mean over pictures of each one's own: `psnr` of what
    was restored, `psnr_input` of what was corrupted, which is neither clipped nor rounded (20.17 at sigma 25, as
    published). Larger is better; equal pictures count 100 dB."""

    def accepts(self, spec):
        return restoring(spec, self)

    def __call__(self, evidence):
        clean, n = pictures(evidence.clean), len(evidence.clean)
        corrupted = (evidence.x_t.double() + 1) * 127.5
        return {
            "psnr": Value(psnr(pictures(evidence.restored), clean), n, evidence.split),
            "psnr_input": Value(psnr(corrupted, clean), n, evidence.split),
        }


def psnr(x: Tensor, clean: Tensor) -> float:
    """Of pictures (N, C, H, W) on the 0 .. 255 scale."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    each = peak_signal_noise_ratio(x, clean, data_range=255.0, dim=(1, 2, 3), reduction="none")
    return each.clamp(max=PERFECT).mean().item()


class SSIM(Metric):
    """Structural similarity, the mean over pictures, with the published 11 x 11 Gaussian window of width 1.5; 1 is
    equal."""

    def accepts(self, spec):
        if min(restoring(spec, self).shape[1:]) < WINDOW:
            raise Refused(
                f"SSIM looks through a window of {WINDOW}x{WINDOW} pixels", f"pictures of shape {spec.shape}",
                "leave this metric out, or use larger pictures",
            )  # fmt: skip
        return spec

    def __call__(self, evidence):
        from torchmetrics.functional.image import structural_similarity_index_measure

        clean, restored = pictures(evidence.clean), pictures(evidence.restored)
        value = structural_similarity_index_measure(restored, clean, data_range=255.0).item()
        return {"ssim": Value(value, len(clean), evidence.split)}


class TokenAccuracy(Metric):
    """`masked_accuracy`: share of the touched tokens that were restored right, those that were chosen and kept among
    them; n counts tokens."""

    def accepts(self, spec):
        return same_shape(spec.of(("tokens",), self).refuses(Generates, self, RESTORES), self)

    def __call__(self, evidence):
        right = (evidence.restored == evidence.clean)[evidence.touched]
        return {"masked_accuracy": Value(right.double().mean().item(), len(right), evidence.split)}
