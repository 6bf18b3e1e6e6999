"""Metrics of restored pictures: the distance of each to its clean one, on the 0 .. 255 scale.

References:
    Wang et al., 2004, Image quality assessment: from error visibility to structural similarity.
"""

from torch import Tensor

from denoiselab.corruption import Written
from denoiselab.data.base import Encoded
from denoiselab.evaluation.metrics.base import RESTORES, Metric, Value
from denoiselab.sampler import Generates
from denoiselab.spec import Refused, Spec

PERFECT = 100.0  # dB, in the place of infinity where nothing differs
WINDOW = 11  # pixels, the side of SSIM's Gaussian window


def pictures(x: Tensor) -> Tensor:
    """Float pictures in [-1, 1] as they are saved, 0 .. 255, in float64; what is not a number stays so."""
    return ((x.double() + 1) * 127.5).round().clamp(0, 255)


def restoring(spec: Spec, who: Metric) -> Spec:
    """Of pictures, restored, of the shape of the clean ones."""
    spec = spec.of(("image",), who).refuses(Encoded, who, "leave this metric out: it compares pixels")
    return same_shape(spec.refuses(Generates, who, RESTORES), who)


def same_shape(spec: Spec, who: Metric) -> Spec:
    spec.refuses(Written, who, "leave this metric out: what is written has places of its own")
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
