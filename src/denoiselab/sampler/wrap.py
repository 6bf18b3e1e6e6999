"""Steps around steps, for what a user knows of the sample: inpainting and its restarts.

They hold tensors, so commands make them, around the step of a sampler that is chosen. Restarts go around inpainting.
"""

import torch
from torch import Tensor

from denoiselab.corruption import Markov
from denoiselab.sampler.base import Step
from denoiselab.spec import Refused, name

FORTH = "use a corruption that goes forth from any time: gaussian, token_mask, token_uniform"


def single(inner: Step, who: Step) -> None:
    """Refuses to wrap a step that builds on the moves before: what happens in between would make them false."""
    if inner.looks_back:
        fix = "use a step that looks at one move alone, such as sampler=ancestral, ddim, euler or heun"
        raise Refused(f"{name(who)} cannot go around a multistep solver", name(inner), fix)


class Inpaint(Step):
    """Where `known` is True x_s is `picture`, as corrupted at s: at the end the picture itself (Lugmayr et al., 2022,
    arXiv:2201.09865, eq. 8).

    Args:
        picture: clean, (B, *) or (1, *), in the form of x; of tokens, their ids.
        known: bool, broadcasts against the picture.
    """

    def __init__(self, inner: Step, picture: Tensor, known: Tensor):
        self.inner, self.picture, self.known, self.calls = inner, picture, known, inner.calls

    def plan(self, corruption, t, s, before=(), after=()):
        inner = self.inner.plan(corruption, t, s, before, after)
        forth = corruption.forth(torch.zeros_like(s), s) if s > 0 else None

        def move(denoiser, x_t, random, past, context):
            x_s, past = inner(denoiser, x_t, random, past, context)
            there = self.picture.expand_as(x_s).to(x_s)
            if forth is not None:
                there = forth(there, **context).sample(random.child("known")).to(x_s)
            return torch.where(self.known.to(x_s.device), there, x_s), past

        return move

    def accepts(self, spec):
        single(self.inner, self)
        return self.inner.accepts(spec.needs(Markov, self, FORTH))


class Restart(Step):
    """Every move but the last is made `times` times, each time undone by going forth from s to t: what is known and
    what is made come to agree (RePaint: Lugmayr et al., 2022, arXiv:2201.09865, algorithm 1, a jump of one move)."""

    def __init__(self, inner: Step, times: int):
        if times < 1:
            raise Refused("a restart counts how often a move is made", times, "give at least 1")
        self.inner, self.times, self.calls = inner, times, times * inner.calls

    def plan(self, corruption, t, s, before=(), after=()):
        inner = self.inner.plan(corruption, t, s, before, after)
        if not s > 0:
            return inner
        forth = corruption.forth(s, t)

        def move(denoiser, x_t, random, past, context):
            x_s, past = inner(denoiser, x_t, random.child("try 0"), past, context)
            for i in range(1, self.times):
                again = forth(x_s, **context).sample(random.child(f"undo {i}"))
                x_s, past = inner(denoiser, again, random.child(f"try {i}"), past, context)
            return x_s, past

        return move

    def accepts(self, spec):
        single(self.inner, self)
        return self.inner.accepts(spec.needs(Markov, self, FORTH))
