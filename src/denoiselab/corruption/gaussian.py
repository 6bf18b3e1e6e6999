"""Additive Gaussian noise: diffusion, flow, and the classical denoising of pictures and points."""

import torch

from denoiselab.corruption.base import Additive, Discrete, Markov, corrupted, reversible_facts
from denoiselab.mixing import mixed, number, shaped
from denoiselab.posterior import Gaussian
from denoiselab.schedule import Schedule
from denoiselab.spec import CONTINUOUS


class GaussianNoise(Markov):
    """x_t = alpha x + sigma z, z standard normal (Ho et al., 2020, arXiv:2006.11239).

    With r = alpha_t / alpha_s and b = sigma_t^2 - r^2 sigma_s^2 (never formed as a difference: b = -sigma_t^2
    expm1(lambda_t - lambda_s), lambda the log-SNR), q(x_s | x_t, x) has variance b sigma_s^2 / sigma_t^2, scaled by
    `noise`^2 as in DDIM (Song et al., 2021, arXiv:2010.02502, eq. 12 and 16). DDPM's small variance is a Dirac belief
    about x, its large one a Gaussian belief of variance sigma^2 / (alpha^2 + sigma^2).
    """

    def __init__(self, schedule: Schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, batch, t, random):
        alpha, sigma = self.schedule.at(t, batch.x)
        return corrupted(batch, alpha * batch.x + sigma * random.normal(batch.x.shape).to(batch.x))

    def prior(self, like):
        one = torch.ones((), dtype=like.dtype, device=like.device)
        return Gaussian(torch.zeros_like(like), self.schedule.sigma(one) ** 2)

    def own(self, like, random):
        return {}

    def levels(self, t, s):
        """alpha, sigma at t and at s, and the share of sigma_t^2 that was added in between."""
        both = torch.stack(torch.broadcast_tensors(t, s))
        (alpha, sigma), (now, then) = self.schedule(both), self.schedule.log_snr(both)
        return alpha, sigma, -torch.expm1(now - then)

    def transition(self, t, s, noise=1.0):
        (a_t, a_s), (s_t, s_s), fresh = self.levels(t, s)
        small = noise**2 * fresh * s_s**2
        kept = (s_s**2 - small).clamp(min=0).sqrt() / s_t
        kept, moved, small = (number(a) for a in (kept, a_s - kept * a_t, small))

        def back(x_t, belief, **context):
            m, v = shaped(moved, x_t), shaped(small, x_t)
            return Gaussian(mixed(kept, x_t, (moved, belief.mean)), v + m**2 * belief.var)

        return back

    def forth(self, s, t):
        (a_t, a_s), (s_t, _), fresh = self.levels(t, s)
        kept, added = number(a_t / a_s), number(s_t**2 * fresh)
        return lambda x_s, **context: Gaussian(mixed(kept, x_s), shaped(added, x_s))

    def accepts(self, spec):
        spec = spec.of(CONTINUOUS, self)
        # At level 0 nothing is added: whoever divides by sigma must not take it for noise.
        adds = [Additive] if self.schedule.sigma(torch.tensor(self.schedule.t_min)) > 0 else []
        table = [Discrete] if self.schedule.steps is not None else []
        return spec.having(*adds, *table, *reversible_facts(self.schedule))
