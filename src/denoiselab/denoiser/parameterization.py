"""The contract of a parameterization: what the network is asked to say, and the denoiser that it makes."""

import abc

from torch import nn

from denoiselab.corruption import Corruption
from denoiselab.denoiser.base import Denoiser
from denoiselab.denoiser.head import Head
from denoiselab.spec import Spec


class Parameterization(abc.ABC):
    """What the network is asked to say."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def build(self, network: nn.Module, corruption: Corruption, head: Head, spec: Spec | None = None) -> Denoiser:
        """Around a network of what was agreed; `spec` says that to those that hold another network too."""
