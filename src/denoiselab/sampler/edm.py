"""EDM's sampler (Karras et al., 2022, arXiv:2206.00364, algorithm 2): Heun in the noise level, and churn around it.

Their noise level is q = sigma / alpha, their state y = x_t / alpha: on these every additive corruption is the one that
they write, x + q z, and its probability flow is dy/dq = (y - mean) / q.
"""

import math

import torch

from denoiselab.corruption import Additive, Markov, Terminal
from denoiselab.mixing import mixed
from denoiselab.posterior import Gaussian
from denoiselab.sampler.base import Past, Step
from denoiselab.sampler.steps import additive, asked
from denoiselab.sampler.wrap import single
from denoiselab.schedule import LOUDEST
from denoiselab.spec import Refused


class EDMHeun(Step):
    """Second order in the noise level; the last move, to 0, is the mean. `Heun` does the same in t."""

    calls = 2

    def plan(self, corruption, t, s, before=(), after=()):
        (a_t, a_s), (s_t, s_s) = (a.tolist() for a in corruption.schedule(torch.stack((t, s))))
        q_t, q_s = s_t / a_t, s_s / a_s
        far, final = q_s - q_t, s_s == 0

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            # DDIM, which is Euler in q.
            x_s = mixed(s_s / s_t, x_t, (-a_s * far / q_t, belief.mean))
            if final:
                return x_s, Past(belief)
            second, half = denoiser(x_s, s, previous=belief, **context), a_s * far / 2
            return mixed(a_s / a_t + half / q_t / a_t, x_t, (-half / q_t, belief.mean), (half / q_s / a_s, x_s),
                         (-half / q_s, second.mean)), Past(second)  # fmt: skip

        return move

    def accepts(self, spec):
        fix = "use sampler=heun or dpm_solver_pp, or a schedule that leaves some of x: exploding, linear_beta"
        return additive(spec, self).refuses(Terminal, self, fix)


class Churn(Step):
    """Before a move of `inner`, forth to a noise level higher by min(s_churn / moves, sqrt(2) - 1) of itself, where it
    lies within s_min and s_max, with fresh noise times `s_noise`. Nothing goes beyond t = 1; s_churn 0 draws nothing.

    They recommend 0, or for ImageNet at 64 x 64 40, 0.05, 50 and 1.003.
    """

    def __init__(self, inner: Step, s_churn: float = 0.0, s_min: float = 0.0, s_max: float = LOUDEST,
                 s_noise: float = 1.0):  # fmt: skip
        for key, value in {"s_churn": s_churn, "s_min": s_min, "s_max": s_max, "s_noise": s_noise}.items():
            if not 0 <= value <= LOUDEST:
                raise Refused(f"sampler.step.{key} is at least 0", value, f"give 0 to {LOUDEST:g}")
        self.inner, self.calls = inner, inner.calls
        self.s_churn, self.s_min, self.s_max, self.s_noise = s_churn, s_min, s_max, s_noise

    def plan(self, corruption, t, s, before=(), after=()):
        alpha, sigma = corruption.schedule(t)
        gamma = min(self.s_churn / (len(before) + 1 + len(after)), math.sqrt(2) - 1)
        if not gamma or not self.s_min * alpha <= sigma <= self.s_max * alpha:
            return self.inner.plan(corruption, t, s, before, after)
        more = corruption.schedule.time(corruption.schedule.log_snr(t) - 2 * math.log1p(gamma))
        if not more > t:  # at t = 1
            return self.inner.plan(corruption, t, s, before, after)
        forth, inner = corruption.forth(t, more), self.inner.plan(corruption, more, s, before, after)

        def move(denoiser, x_t, random, past, context):
            there = forth(x_t, **context)
            noisier = Gaussian(there.mean, self.s_noise**2 * there.var).sample(random.child("churn"))
            return inner(denoiser, noisier, random, past, context)

        return move

    def accepts(self, spec):
        single(self.inner, self)
        fix = "use sampler=ancestral or ddim"
        return self.inner.accepts(spec).needs(Markov, self, fix).needs(Additive, self, fix)
