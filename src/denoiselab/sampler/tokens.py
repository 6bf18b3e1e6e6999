"""Samplers of tokens: sharper beliefs, beliefs that are kept while nothing changed, the surest tokens first, and block
after block.

Absorbing corruption reveals tokens, and what is revealed stays. So a start where some tokens are shown already is
completed, and what it shows is kept to the bit: that is how a template is infilled. The belief of a network that is
not told the time is a function of x_t alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from denoiselab.architecture.base import Timeless
from denoiselab.corruption import Absorbing, Reversible
from denoiselab.denoiser import Denoiser
from denoiselab.posterior import Categorical, Posterior
from denoiselab.sampler.base import Loop, Past, Sampler, Step, nothing
from denoiselab.sampler.steps import ONE_SHOT, asked
from denoiselab.spec import Refused

HIDES = "use corruption=token_mask, or sampler=ancestral"


class Sharpened(Denoiser):
    """A belief about tokens at a `temperature`, cut to its nucleus: the likeliest tokens that together have at least
    `top_p` (Holtzman et al., 2019, arXiv:1904.09751). A token at least is left."""

    def __init__(self, inner: Denoiser, temperature: float, top_p: float):
        super().__init__()
        self.inner, self.temperature, self.top_p = inner, temperature, top_p

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        belief = self.inner(x_t, t, seen=seen, previous=previous, **context)
        logits = belief.logits / self.temperature
        if self.top_p < 1:
            p, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
            beyond = p.cumsum(-1) - p >= self.top_p  # the likeliest has nothing before it
            logits = logits.masked_fill(torch.zeros_like(beyond).scatter_(-1, order, beyond), -torch.inf)
        return Categorical(logits)


def sharpened(denoiser: Denoiser, temperature: float, top_p: float) -> Denoiser:
    """The denoiser itself, where nothing is asked of its beliefs."""
    return denoiser if temperature == top_p == 1 else Sharpened(denoiser, temperature, top_p)


def checked(temperature: float, top_p: float) -> tuple[float, float]:
    if not 1e-3 <= temperature <= 1e3:
        raise Refused("sampler.temperature divides the logits", temperature, "give 1.0, or less for likelier tokens")
    if not 0 < top_p <= 1:
        raise Refused("sampler.top_p is the probability of the tokens kept", top_p, "give more than 0, up to 1")
    return temperature, top_p


class Nucleus(Step):
    """Another step, its beliefs sharpened, see `Sharpened`."""

    def __init__(self, inner: Step, temperature: float = 1.0, top_p: float = 1.0):
        self.inner, self.calls, self.looks_back = inner, inner.calls, inner.looks_back
        self.temperature, self.top_p = checked(temperature, top_p)

    def plan(self, corruption, t, s, before=(), after=()):
        inner = self.inner.plan(corruption, t, s, before, after)

        def move(denoiser, x_t, random, past, context):
            return inner(sharpened(denoiser, self.temperature, self.top_p), x_t, random, past, context)

        return move

    def accepts(self, spec):
        return self.inner.accepts(spec.of(("tokens",), self))


class AncestralCached(Step):
    """A draw from p(x_s | x_t) that asks the network only about rows in which a token changed since it was asked (Sahoo
    et al., 2024, arXiv:2406.07524, section 4.2): the samples are those of `Ancestral`, in fewer calls."""

    def __init__(self, temperature: float = 1.0, top_p: float = 1.0):
        self.temperature, self.top_p = checked(temperature, top_p)

    def plan(self, corruption, t, s, before=(), after=()):
        back = corruption.transition(t, s)

        def move(denoiser, x_t, random, past, context):
            belief = known(sharpened(denoiser, self.temperature, self.top_p), x_t, t, past, context)
            return back(x_t, belief, **context).sample(random), Past(belief, (x_t,))

        return move

    def accepts(self, spec):
        spec.needs(Reversible, self, ONE_SHOT).needs(Absorbing, self, HIDES)
        return spec.needs(Timeless, self, "use architecture.time=false, or sampler=ancestral")


def known(denoiser: Denoiser, x_t: Tensor, t: Tensor, past: Past | None, context: dict) -> Posterior:
    """What is believed of x_t, asked anew of the rows that differ from those that the past belief is about."""
    if past is None:
        return denoiser(x_t, t, **context)
    [before] = past.memory
    changed = (x_t != before).any(1)
    n = int(changed.sum())
    if n == len(x_t):
        return denoiser(x_t, t, **context)
    if n == 0:
        return past.belief
    own = {name: value[changed] for name, value in context.items()}
    logits = past.belief.logits.clone()
    logits[changed] = denoiser(x_t[changed], t[changed] if t.ndim else t, **own).logits
    return Categorical(logits)


class Confident(Step):
    """The surest tokens first (MaskGIT: Chang et al., 2022, arXiv:2202.04200): every hidden token is drawn, and of all
    that were hidden at the start a share sigma_s stays hidden, those with the least log p + choice s Gumbel noise.

    `choice` 0 is greedy in the order; the noise falls along with the time. Not the law of `Ancestral`, whose order is
    chance: samples are likelier and less diverse.
    """

    def __init__(self, choice: float = 4.5, temperature: float = 1.0, top_p: float = 1.0):
        if not 0 <= choice <= 1e3:
            raise Refused("sampler.choice is the noise on the order of tokens", choice, "give 0, or 4.5 as published")
        self.choice = choice
        self.temperature, self.top_p = checked(temperature, top_p)

    def plan(self, corruption, t, s, before=(), after=()):
        mask, (hit_t, hit_s) = corruption.mask, corruption.schedule.sigma(torch.stack((t, s)).double()).tolist()
        noise = self.choice * float(s)

        def move(denoiser, x_t, random, past, context):
            belief = asked(sharpened(denoiser, self.temperature, self.top_p), x_t, t, past, context)
            hidden = x_t == mask
            # At the first move: as many as at t = 1, if a share sigma_t of them is hidden now.
            most = hidden.sum(1, keepdim=True) / hit_t if past is None else past.memory[0]
            drawn = belief.sample(random.child("token"))
            sure = belief.log_prob(drawn)
            if noise:
                u = random.child("order").uniform(x_t.shape).clamp(1e-7, 1 - 1e-7)
                sure = sure - noise * (-u.log()).log().to(sure)
            # Rounded down, but for what a division has lost: 7 of 10 must not become 6.
            left = (most * hit_s + 1e-6).floor()
            rank = sure.masked_fill(~hidden, torch.inf).argsort(dim=1, stable=True).argsort(1)
            return torch.where(hidden & (rank >= left), drawn, x_t), Past(belief, (most,))

        return move

    def accepts(self, spec):
        return spec.needs(Reversible, self, ONE_SHOT).needs(Absorbing, self, HIDES)


class Within(Denoiser):
    """A belief about the places from `first` on of a text `around` (B, L), given in the context: the rest of it is seen
    as it is."""

    def __init__(self, inner: Denoiser, first: int):
        super().__init__()
        self.inner, self.first = inner, first

    def forward(self, x_t, t, *, seen=None, previous=None, around=None, **context):
        last = self.first + x_t.shape[1]
        whole = torch.cat((around[:, : self.first], x_t, around[:, last:]), 1)
        return Categorical(self.inner(whole, t, **context).logits[:, self.first : last])


class Blocks(Sampler):
    """Semi-autoregressive: blocks of `size` tokens from left to right, each along the whole grid by `step`, with what
    is left of it done and what is right of it hidden (SSD-LM: Han et al., 2022, arXiv:2210.17432). Block diffusion
    (Arriola et al., 2025, arXiv:2503.09573) also trains so, with causal blocks; here any masked model is sampled.

    `steps` are the moves of all blocks together, at least one a block. A network that is told the time is told that of
    its block.
    """

    def __init__(self, step: Step, grid: Callable[..., Tensor], steps: int, size: int):
        if size < 1:
            raise Refused("sampler.size counts the tokens of a block", size, "give at least 1")
        self.step, self.grid, self.steps, self.size = step, grid, steps, size
        Loop(step, grid, steps)  # refuses what a loop refuses
        self.loops: dict[int, Loop] = {}  # of as many moves: each has its plan

    @torch.no_grad()
    def __call__(self, denoiser, corruption, x_t, t, random, pulse=nothing, **context):
        length = x_t.shape[1]
        for i, moves in enumerate(self.shares(length)):
            loop = self.loops.setdefault(moves, Loop(self.step, self.grid, moves))
            first, last = i * self.size, min((i + 1) * self.size, length)
            # The step sees the block alone, and asks about it within the text.
            inner, own = Within(denoiser, first), {**context, "around": x_t}
            done = loop(inner, corruption, x_t[:, first:last], t, random.child(i), pulse, **own)
            x_t = torch.cat((x_t[:, :first], done, x_t[:, last:]), 1)
        return x_t

    def shares(self, length: int) -> list[int]:
        """The moves of each block."""
        n = -(-length // self.size)
        return [self.steps * (i + 1) // n - self.steps * i // n for i in range(n)]

    @property
    def calls(self):
        return self.step.calls * self.steps

    def accepts(self, spec):
        spec = spec.of(("tokens",), self).needs(Reversible, self, ONE_SHOT).needs(Absorbing, self, HIDES)
        if 0 in (shares := self.shares(spec.shape[0])):
            got = f"{len(shares)} blocks, {self.steps} steps"
            raise Refused(f"every block of {self.size} tokens takes a move", got,
                          f"give sampler.steps={len(shares)} or more, or larger blocks: sampler.size=")  # fmt: skip
        return Loop(self.step, self.grid, self.steps).accepts(spec)
