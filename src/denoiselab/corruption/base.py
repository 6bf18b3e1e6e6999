"""Corruptions: clean x and a time t to what the network sees and is asked.

Three interfaces, each a promise more. A `Corruption` can be trained on. A `Reversible` one can be sampled from: it has
a prior p(x_1) and, given a belief about x, a kernel p(x_s | x_t) for s < t. A `Markov` one can also go forth,
q(x_t | x_s): churn, restarts, inpainting, likelihood. Kernels and prior are posteriors, so they can be drawn from,
compared (KL) and read (mean). Both kernels take their times first: what depends on times alone is done once, before a
sampler's first move. `forward` at t has the law of `forth(0, t)(x)`, drawn the quick way.

What belongs to a sample and to no step (where a block lies) is drawn once and travels in `context`; kernels take the
context, as the network does.

A corruption never changes its input in place, draws from the `random` it is given alone, and is the identity where the
severity is 0.
"""

import abc
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.posterior import Posterior
from denoiselab.schedule import Schedule
from denoiselab.spec import Refused, Spec, name


class Batch(NamedTuple):
    """What data gives: x (B, *), the samples' identities (B,) int64, and what else is known of them."""

    x: Tensor
    key: Tensor
    context: Mapping[str, Tensor] = {}


class Corrupted(NamedTuple):
    """What a corruption gives; see each field."""

    x_t: Tensor  # the state: what c_skip multiplies and sampling continues from
    seen: Tensor  # what the network gets: x_t, unless perturbed or reduced
    target: Tensor  # what is asked: x itself where there is a way back
    touched: Tensor  # bool, shape of the clean x: chosen by the corruption, changed or kept
    scored: Tensor  # >= 0, shape of target: where it counts, and how much
    context: Mapping[str, Tensor] = {}

    def knowing(self, **context: Tensor) -> "Corrupted":
        return self._replace(context={**self.context, **context})


def everywhere(x: Tensor) -> Tensor:
    """True of the shape of x, in one byte of memory."""
    return torch.ones((), dtype=torch.bool, device=x.device).expand_as(x)


def corrupted(batch: Batch, x_t: Tensor, **fields) -> Corrupted:
    """The usual answer: the network sees x_t and is asked for x, everywhere."""
    yes = everywhere(batch.x)
    usual = dict(seen=x_t, target=batch.x, touched=yes, scored=yes, context=batch.context)
    return Corrupted(x_t, **{**usual, **fields})


class Corruption(nn.Module, abc.ABC):
    """Can be trained on. `schedule` says how much at which time."""

    schedule: Schedule

    @abc.abstractmethod
    def forward(self, batch: Batch, t: Tensor, random) -> Corrupted:
        """Corrupts batch.x (B, *) as at t (B,), with the draws of `random`."""

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec:
        """What is agreed after this part; raises `Refused`."""


class Reversible(Corruption):
    """A fact: there is a way back, p(x_s | x_t), given a belief about clean x."""

    @abc.abstractmethod
    def prior(self, like: Tensor) -> Posterior:
        """p(x_1), of the shape, type and device of `like`."""

    @abc.abstractmethod
    def own(self, like: Tensor, random) -> Mapping[str, Tensor]:
        """What belongs to a new sample and to no step (where a block lies), as context for kernels and network."""

    @abc.abstractmethod
    def transition(self, t: Tensor, s: Tensor, noise: float = 1.0) -> Callable[..., Posterior]:
        """p(x_s | x_t), s < t, as a function of (x_t, belief, **context).

        All that depends on times alone is done here, once. `noise` scales what is drawn afresh: 1 is ancestral,
        0 deterministic (DDIM's eta); a corruption with one way back alone ignores it.
        """


class Markov(Reversible):
    """A fact: the corruption also goes forth, q(x_t | x_s)."""

    @abc.abstractmethod
    def forth(self, s: Tensor, t: Tensor) -> Callable[..., Posterior]:
        """q(x_t | x_s), s <= t, as a function of (x_s, **context)."""


class Degrading(Reversible):
    """A fact: x_t is a function of x, t and what belongs to the sample, D(x, t).

    That is all that cold diffusion's ways back ask for (Bansal et al., 2022, arXiv:2208.09392).
    """

    @abc.abstractmethod
    def degrade(self, t: Tensor) -> Callable[..., Tensor]:
        """D(x, t) as a function of (x, **context), for t () or (B,): what depends on t alone is done here, once."""


class Additive(Corruption):
    """A fact: x_t = alpha x + sigma z with alpha and sigma known (gaussian noise)."""


class Absorbing(Corruption):
    """A fact: a token is shown as it is or as the mask, never as another (token_mask without swapped or kept ones)."""


class Discrete(Corruption):
    """A fact: the schedule is a table of steps."""


class Terminal(Corruption):
    """A fact: nothing is left of x at t = 1 (alpha is 0)."""


class Generative(Corruption):
    """A fact: at t = 1 the corruption is its prior, so that sampling may start there."""


class Written(Corruption):
    """A fact: what is asked is a text of its own, written token by token behind what is seen.

    The context has `prefix`, (B, T) ids, the target moved right by one behind `end`; `scored` (B, T) says where the
    target is.
    """

    mask: int  # the id of the mask, whether it is shown or not
    end: int  # the id that begins and ends what is written
    longest: int  # T, the most tokens that are asked, `end` among them

    @abc.abstractmethod
    def rebuilt(self, x_t: Tensor, written: Tensor, context: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The whole text (B, L) that an answer (B, T) to x_t means, and where it has text, (B, L) bool. What follows
        the first `end` of an answer is not looked at."""

    @abc.abstractmethod
    def hidden(self, x: Tensor, ok: Tensor, lost: Tensor, context: Mapping[str, Tensor],
               random) -> tuple[Tensor, Mapping[str, Tensor]]:  # fmt: skip
        """What is seen, (B, <= S), with its context, of text x (B, L), there where `ok`, without the tokens that are
        `lost`: hidden as this corruption hides tokens, as masks where it hides none. Raises `Refused` where they are
        more than it is made for."""


class Local(Corruption):
    """A fact: some places are touched and the others are as they were; all are asked."""


def reversible_facts(schedule: Schedule) -> list[type]:
    """The facts of a Markov corruption under `schedule`."""
    facts: list[type] = [Reversible, Markov]
    if schedule.terminal:
        facts.append(Terminal)
    if schedule.reaches_prior:
        facts.append(Generative)
    return facts


def severity(spec: Spec, corruption: Corruption) -> Spec:
    """Refuses a schedule whose sigma is no share, for a corruption that reads it as one."""
    highest = corruption.schedule.sigma(torch.ones(())).item()
    if highest > 1:
        raise Refused(
            f"{name(corruption)} reads sigma as a share, in [0, 1]", f"sigma up to {highest:g}",
            "use schedule=linear or cosine, or a constant level of at most 1",
        )  # fmt: skip
    return spec
