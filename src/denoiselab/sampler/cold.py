"""Cold diffusion: two ways back of a corruption that is a function D(x, t) (Bansal et al., 2022, arXiv:2208.09392)."""

from denoiselab.corruption import Degrading
from denoiselab.sampler.base import Past, Step
from denoiselab.sampler.steps import asked

DEGRADING = "use sampler=ancestral or ddim, or a corruption that degrades without noise"


class Cold(Step):
    """Algorithm 2: x_s = x_t - D(mean, t) + D(mean, s). What the belief has wrong falls out, as far as D(x, t) is
    x + t e."""

    def plan(self, corruption, t, s, before=(), after=()):
        now, then = corruption.degrade(t), corruption.degrade(s)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            return x_t - now(belief.mean, **context) + then(belief.mean, **context), Past(belief)

        return move

    def accepts(self, spec):
        return spec.needs(Degrading, self, DEGRADING)


class ColdNaive(Step):
    """Algorithm 1: x_s = D(mean, s)."""

    def plan(self, corruption, t, s, before=(), after=()):
        then = corruption.degrade(s)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            return then(belief.mean, **context), Past(belief)

        return move

    def accepts(self, spec):
        return spec.needs(Degrading, self, DEGRADING)
