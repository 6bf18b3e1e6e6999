"""Steps of one network call, or two: ancestral, DDIM, and the probability flow by Euler and Heun."""

from torch import Tensor

from denoiselab.corruption import Additive, Corruption, Reversible
from denoiselab.denoiser import Denoiser
from denoiselab.posterior import Posterior
from denoiselab.sampler.base import Past, Step
from denoiselab.schedule import match
from denoiselab.spec import Refused, Spec

ONE_SHOT = "use sampler=one_shot, or a corruption with a way back (gaussian; token_mask without swapped or kept ones)"


def asked(denoiser: Denoiser, x_t: Tensor, t: Tensor, past: Past | None, context: dict) -> Posterior:
    """What is believed at t, by a denoiser that may look at the belief of the move before."""
    return denoiser(x_t, t, previous=None if past is None else past.belief, **context)


def additive(spec: Spec, who: Step) -> Spec:
    return spec.needs(Reversible, who, ONE_SHOT).needs(Additive, who, "use sampler=ancestral")


class Ancestral(Step):
    """A draw from p(x_s | x_t): DDPM (Ho et al., 2020, arXiv:2006.11239), D3PM and MDLM alike."""

    def plan(self, corruption, t, s, before=()):
        back = corruption.transition(t, s)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            return back(x_t, belief, **context).sample(random), Past(belief)

        return move

    def accepts(self, spec):
        return spec.needs(Reversible, self, ONE_SHOT)


class DDIM(Step):
    """Ancestral with its fresh noise scaled by `eta`; at 0 it draws nothing (Song et al., 2021, arXiv:2010.02502)."""

    def __init__(self, eta: float = 0.0):
        if not 0 <= eta <= 1:
            raise Refused("eta scales the fresh noise", eta, "give 0 (deterministic) to 1 (ancestral)")
        self.eta = eta

    def plan(self, corruption, t, s, before=()):
        back = corruption.transition(t, s, self.eta)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            kernel = back(x_t, belief, **context)
            return (kernel.sample(random) if self.eta else kernel.mode), Past(belief)

        return move

    def accepts(self, spec):
        return additive(spec, self)


class Flow:
    """The probability flow dx/dt = (sigma' / sigma) x + (alpha' - alpha sigma' / sigma) mean at one time (Song et al.,
    2021, arXiv:2011.13456; this form: Karras et al., 2022, arXiv:2206.00364, algorithm 1)."""

    def __init__(self, corruption: Corruption, t: Tensor):
        alpha, sigma = corruption.schedule(t)
        rise, fall = corruption.schedule.rates(t)
        self.of_x = fall / sigma
        self.of_mean = rise - alpha * self.of_x

    def __call__(self, x_t: Tensor, belief: Posterior) -> Tensor:
        return match(self.of_x.to(x_t.dtype), x_t) * x_t + match(self.of_mean.to(x_t.dtype), x_t) * belief.mean


class Euler(Step):
    """One slope of the probability flow a move."""

    def plan(self, corruption, t, s, before=()):
        slope, far = Flow(corruption, t), s - t

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            return x_t + far.to(x_t.dtype) * slope(x_t, belief), Past(belief)

        return move

    def accepts(self, spec):
        return additive(spec, self)


class Heun(Step):
    """Second order: the mean of the slopes at both ends; the last move, to 0, is Euler's (Karras et al., 2022,
    arXiv:2206.00364, algorithm 1)."""

    calls = 2

    def plan(self, corruption, t, s, before=()):
        slope, far = Flow(corruption, t), s - t
        final = not bool(s > 0)
        later = None if final else Flow(corruption, s)

        def move(denoiser, x_t, random, past, context):
            belief = asked(denoiser, x_t, t, past, context)
            first = slope(x_t, belief)
            x_s = x_t + far.to(x_t.dtype) * first
            if final:
                return x_s, Past(belief)
            second = denoiser(x_s, s, previous=belief, **context)
            return x_t + far.to(x_t.dtype) * (first + later(x_s, second)) / 2, Past(second)

        return move

    def accepts(self, spec):
        return additive(spec, self)
