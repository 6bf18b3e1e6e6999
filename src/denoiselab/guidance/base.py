"""A guidance is a plan, which wraps a denoiser when samples are made. Training knows nothing of it, so cells that
differ in the guidance alone train once."""

import abc

from denoiselab.corruption import Corruption
from denoiselab.data.base import Loaded
from denoiselab.denoiser import Denoiser
from denoiselab.spec import Refused, Spec


class Guidance(abc.ABC):
    """`calls` counts network calls for each one that the sampler makes."""

    calls: int = 1

    @abc.abstractmethod
    def build(self, denoiser: Denoiser, corruption: Corruption, data: Loaded) -> Denoiser:
        """The denoiser that samples are made with; `data` is what the run was trained on."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """What is agreed after this part, what may be asked of samples (`asks`) included; raises `Refused`."""


class Unguided(Guidance):
    """The denoiser as it is."""

    def build(self, denoiser, corruption, data):
        return denoiser

    def accepts(self, spec):
        return spec


def strength(weight: float, least: str) -> float:
    """Refuses what is no weight of a guidance; `least` says what 0 is."""
    if not 0 <= weight <= 1000:
        raise Refused(f"guidance.weight is 0 ({least}) or more", weight, "give 0 to 1000")
    return weight
