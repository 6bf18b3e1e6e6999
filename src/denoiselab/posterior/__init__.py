"""Posteriors: what is believed about something unseen, element by element. `base` has the theory."""

from denoiselab.posterior.base import Posterior, between
from denoiselab.posterior.bernoulli import Bernoulli
from denoiselab.posterior.categorical import Categorical, Chosen, Known
from denoiselab.posterior.detected import Detected
from denoiselab.posterior.dirac import Dirac
from denoiselab.posterior.gaussian import Gaussian, Level, log_ndtr
from denoiselab.posterior.kept import Kept

__all__ = [
    "Bernoulli", "Categorical", "Chosen", "Detected", "Dirac", "Gaussian", "Kept", "Known", "Level", "Posterior",
    "between", "log_ndtr",
]  # fmt: skip
