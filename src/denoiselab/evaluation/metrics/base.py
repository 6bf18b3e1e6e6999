"""Metrics: what is said of a cell in one number, and with how much behind it.

A metric is asked twice: `accepts(spec)`, before anything is trained, whether it speaks about the cell; and later, with
the `Evidence` of one split, for its values. Samplers that generate are judged by the distribution of their samples,
those that restore by the distance of each restored sample to its clean one; the denoiser itself by its likelihood and
by its loss at each time. What is no number (a curve, rows of pictures) is `Shown`.

Pictures are judged as they are saved: clipped and rounded to 0 .. 255. A value that does not exist (no token was
touched, samples that are not numbers) is nan, never left out. Many scores are biased where samples are few, each in its
own way: values of the same n alone can be compared.
"""

import abc
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.data.base import Loaded
from denoiselab.evaluation.shown import Shown
from denoiselab.module import DenoisingModule
from denoiselab.sampler import Generates
from denoiselab.sampler.base import nothing
from denoiselab.spec import Spec

RESTORES = "leave this metric out, or use a sampler that restores, such as sampler=one_shot"
MAKES = "leave this metric out, or use a sampler that starts from the prior, such as sampler=ancestral"


class Value(NamedTuple):
    """A score and where it comes from; what `summary.json` holds for each metric."""

    value: float
    n: int  # samples that were averaged or compared; for masked_accuracy: tokens
    split: str
    extractor: str = ""


class Evidence(NamedTuple):
    """What a metric may look at: tensors on the CPU, pictures as float in [-1, 1], text as ids; and the module itself,
    in evaluation mode, for what only the denoiser can say."""

    data: Loaded
    split: str  # where `clean` comes from
    clean: Tensor  # (N, *)
    x_t: Tensor  # corrupted
    restored: Tensor  # what the sampler made of it, of the shape of the target
    touched: Tensor  # bool, of the shape of `clean`
    samples: Tensor | None = None  # new samples, if the sampler generates
    asked: Mapping[str, Tensor] = {}  # the context that told the network what to make, (N, ...) each
    module: DenoisingModule | None = None
    seed: int = 0  # of what a metric draws
    batch_size: int = 256  # of what the module is asked at a time
    pulse: Callable[[], None] = nothing  # called now and then, as a sign of life
    kept: dict | None = None  # what metrics made and share, such as features
    valid: Tensor | None = None  # bool: where `clean` is text, if it is padded
    restored_valid: Tensor | None = None  # the same of `restored`
    x_t_valid: Tensor | None = None  # and of `x_t`

    @property
    def device(self) -> torch.device:
        """Where heavy work is done."""
        return torch.device("cpu") if self.module is None else self.module.device

    @property
    def sound(self) -> bool:
        """Are all new samples numbers? Rounding would hide what is not."""
        return self.samples is not None and bool(self.samples.isfinite().all())


class Metric(abc.ABC):
    """One or a few named values; and curves and pictures that belong to them."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """`spec` as it is, where the metric speaks about this cell; raises `Refused` where it does not."""

    @abc.abstractmethod
    def __call__(self, evidence: Evidence) -> dict[str, Value | Shown]: ...


def made(spec: Spec, who: Metric) -> Spec:
    """Of new pictures."""
    return spec.of(("image",), who).needs(Generates, who, MAKES)


def evenly(n: int, most: int) -> Tensor:
    """At most `most` of n places, evenly spread."""
    return torch.linspace(0, n - 1, min(n, most)).round().long()
