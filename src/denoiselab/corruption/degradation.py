"""Degradations: a picture made worse without noise, by an operator of severity sigma_t (cold diffusion; Bansal et al.,
2022, arXiv:2208.09392).

x_t = D(x, t) is a function of x, of t and of what was drawn for the sample once (where a block lies, how snow falls):
it travels as `operator` in the context, the same at every t. Severity 0 is the identity, and what is lost at a severity
is lost at every higher one. What an operator leaves of x at severity 1 is its cold start, from which new samples are
made; a schedule that never reaches 1 has none.

The way back is the published algorithm 2: with a belief about x, x_s = x_t - D(x, t) + D(x, s). Given the truth it is
D(x, s), and to first order in t it forgives a wrong belief. It draws nothing.
"""

import abc
from collections.abc import Callable

import torch
from torch import Tensor

from denoiselab.corruption.base import Degrading, Generative, Reversible, corrupted, severity
from denoiselab.posterior import Dirac, Posterior
from denoiselab.schedule import Schedule
from denoiselab.spec import Spec


class Operator(abc.ABC):
    """What makes pictures worse. Severities are () or (B,), in [0, 1]; `drawn` is what `draw` gave."""

    @abc.abstractmethod
    def draw(self, x: Tensor, random) -> Tensor:
        """What is random, for samples like x: (B, ...), or (B, 0) where nothing is."""

    @abc.abstractmethod
    def plan(self, severity: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """A function of (x, drawn), differentiable in x: what depends on the severity alone is done here, once."""

    @abc.abstractmethod
    def touched(self, x: Tensor, severity: Tensor, drawn: Tensor) -> Tensor:
        """Where it acts, bool of the shape of x."""

    @abc.abstractmethod
    def start(self, like: Tensor) -> Posterior:
        """What is left at severity 1, over all data."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """Adds Generative if `start` is known, and Local; raises `Refused`."""


class Degradation(Degrading):
    """x_t = operator(x, sigma_t): cold diffusion."""

    def __init__(self, schedule: Schedule, operator: Operator):
        super().__init__()
        self.schedule, self.operator = schedule, operator

    def degrade(self, t):
        planned = self.operator.plan(self.schedule.sigma(t))
        return lambda x, *, operator, **context: planned(x, operator)

    def forward(self, batch, t, random):
        drawn = batch.context.get("operator")
        if drawn is None:
            drawn = self.operator.draw(batch.x, random.child("operator"))
        touched = self.operator.touched(batch.x, self.schedule.sigma(t), drawn)
        c = corrupted(batch, self.degrade(t)(batch.x, operator=drawn), touched=touched)
        return c.knowing(operator=drawn)

    def prior(self, like):
        return self.operator.start(like)

    def own(self, like, random):
        return {"operator": self.operator.draw(like, random)}

    def transition(self, t, s, noise=1.0):
        now, then = self.degrade(t), self.degrade(s)
        return lambda x_t, belief, **context: Dirac(
            x_t - now(belief.mean, **context) + then(belief.mean, **context))  # fmt: skip

    def accepts(self, spec):
        spec = self.operator.accepts(spec)
        spec = severity(spec, self).having(Reversible, Degrading, context=("operator",))
        whole = self.schedule.sigma(torch.ones(())).item() == 1
        if not (whole and self.schedule.reaches_prior):
            spec = spec._replace(facts=spec.facts - {Generative})
        return spec
