"""Steps that look at one move alone: ancestral, DDIM, and the probability flow by Euler and Heun."""

import torch
from torch import Tensor

from denoiselab.corruption import Additive, Corruption, Reversible, Terminal
from denoiselab.denoiser import Denoiser
from denoiselab.mixing import mixed
from denoiselab.posterior import Posterior
from denoiselab.sampler.base import Past, Step
from denoiselab.spec import Refused, Spec

ONE_SHOT = ("use sampler=one_shot (autoregressive, of what is written token by token), "
            "or a corruption with a way back (gaussian; token_mask without swapped or kept ones)")  # fmt: skip


def asked(denoiser: Denoiser, x_t: Tensor, t: Tensor, past: Past | None, context: dict) -> Posterior:
    """What is believed at t, by a denoiser that may look at the belief of the move before."""
    return denoiser(x_t, t, previous=None if past is None else past.belief, **context)


def additive(spec: Spec, who: Step) -> Spec:
    return spec.needs(Reversible, who, ONE_SHOT).needs(Additive, who, "use sampler=ancestral")


class Ancestral(Step):
    """A draw from p(x_s | x_t): DDPM (Ho et al., 2020, arXiv:2006.11239), D3PM and MDLM alike."""

    def plan(self, corruption, t, s, before=(), after=()):
        back = corruption.transition(t, s)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            return back(x_t, belief, **context).sample(random), Past(belief)

        return move

    def accepts(self, spec):
        return spec.needs(Reversible, self, ONE_SHOT)


class AncestralMean(Step):
    """The most likely of p(x_s | x_t) in the place of a draw: the ancestral way back without its stochastic term."""

    def plan(self, corruption, t, s, before=(), after=()):
        back = corruption.transition(t, s)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            return back(x_t, belief, **context).mode, Past(belief)

        return move

    def accepts(self, spec):
        # The first draw hides x_1, if nothing of x is in it: without it every sample is the same.
        fix = "all samples would be one: use sampler=ddim, or schedule=linear_beta or exploding"
        return spec.needs(Reversible, self, ONE_SHOT).refuses(Terminal, self, fix)


class DDIM(Step):
    """Ancestral with its fresh noise scaled by `eta`; at 0 it draws nothing (Song et al., 2021, arXiv:2010.02502)."""

    def __init__(self, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise Refused("eta scales the fresh noise", eta, "give 0 (deterministic) to 1 (ancestral)")
        self.eta = eta

    def plan(self, corruption, t, s, before=(), after=()):
        back = corruption.transition(t, s, self.eta)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            kernel = back(x_t, belief, **context)
            return (kernel.sample(random) if self.eta else kernel.mode), Past(belief)

        return move

    def accepts(self, spec):
        return additive(spec, self)


def flow(corruption: Corruption, *times: Tensor) -> list[list[float]]:
    """The probability flow dx/dt at times, as weights of x_t and of the mean: sigma' / sigma and
    alpha' - alpha sigma' / sigma (Song et al., 2021, arXiv:2011.13456; this form: Karras et al., 2022,
    arXiv:2206.00364, algorithm 1)."""
    t = torch.stack(times)
    (alpha, sigma), (rise, fall) = corruption.schedule(t), corruption.schedule.rates(t)
    of_x = fall / sigma
    return torch.stack((of_x, rise - alpha * of_x), 1).tolist()


class Euler(Step):
    """One slope of the probability flow a move."""

    def plan(self, corruption, t, s, before=(), after=()):
        far, [(of_x, of_mean)] = (s - t).item(), flow(corruption, t)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            return mixed(1 + far * of_x, x_t, (far * of_mean, belief.mean)), Past(belief)

        return move

    def accepts(self, spec):
        return additive(spec, self)


class Heun(Step):
    """Second order: the mean of the slopes at both ends; the last move, to 0, is Euler's (Karras et al., 2022,
    arXiv:2206.00364, algorithm 1)."""

    calls = 2

    def plan(self, corruption, t, s, before=(), after=()):
        far, final = (s - t).item(), not bool(s > 0)
        (of_x, of_mean), *later = flow(corruption, *((t,) if final else (t, s)))

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            x_s = mixed(1 + far * of_x, x_t, (far * of_mean, belief.mean))
            if final:
                return x_s, Past(belief)
            second = denoiser(x_s, s, previous=belief, **context)
            half, [(of_end, of_second)] = far / 2, later
            return mixed(1 + half * of_x, x_t, (half * of_mean, belief.mean), (half * of_end, x_s),
                         (half * of_second, second.mean)), Past(second)  # fmt: skip

        return move

    def accepts(self, spec):
        return additive(spec, self)
