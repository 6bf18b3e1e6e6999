"""Cold diffusion's two ways back: a true belief leads along the degradation, a wrong one falls out of algorithm 2."""

import pytest
import torch
from common import Believes, full, keys, randn

from denoiselab.corruption import Degrading, GaussianNoise, Generative, Reversible, corrupted
from denoiselab.grid import even
from denoiselab.posterior import Dirac
from denoiselab.sampler import Cold, ColdNaive, Generates, Loop
from denoiselab.schedule import Linear
from denoiselab.spec import Refused, Spec

f64 = torch.float64
ONE = torch.ones((), dtype=f64)
IMAGE = Spec("image", (1, 4, 4))


class Toy(Degrading):
    """A degradation of a function f(x, t, tint)."""

    def __init__(self, f):
        super().__init__()
        self.schedule, self.f = Linear(), f

    def forward(self, batch, t, random):
        return corrupted(batch, self.degrade(t)(batch.x, **batch.context))

    def degrade(self, t):
        return lambda x, *, tint, **context: self.f(x, t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t, tint)

    def prior(self, like):
        return Dirac(torch.zeros_like(like))

    def own(self, like, random):
        return {"tint": random.normal(like.shape)}

    def transition(self, t, s, noise=1.0):
        return lambda x_t, belief, **context: Dirac(self.degrade(s)(belief.mean, **context))

    def accepts(self, spec):
        return spec.having(Reversible, Degrading, Generative)


X, WRONG, TINT = randn(3, 5, 1, 4, 4)
FADES = {"fade": lambda x, t, tint: (1 - t) * x, "tint": lambda x, t, tint: x + t * tint,
         "blend": lambda x, t, tint: (1 - t**2) * x + t**2 * tint}  # fmt: skip
fades = pytest.mark.parametrize("f", FADES.values(), ids=FADES)
steps = pytest.mark.parametrize("step", [Cold(), ColdNaive()], ids=["cold", "cold_naive"])


@fades
@steps
@pytest.mark.parametrize("n", [1, 4])
def test_a_true_belief_leads_along_the_degradation(f, step, n):
    toy = Toy(f)
    start = toy.degrade(full(5, 1.0))(X, tint=TINT)
    for s, x_s, _ in Loop(step, even, n).moves(Believes(Dirac(X)), toy, start, keys(5), tint=TINT):
        torch.testing.assert_close(x_s, toy.degrade(s)(X, tint=TINT), rtol=1e-12, atol=1e-12)
    assert s == 0
    torch.testing.assert_close(x_s, X, rtol=1e-12, atol=1e-12)


def test_a_wrong_belief_falls_out_of_algorithm_2_where_the_degradation_is_linear_in_t():
    """Bansal et al., 2022, section 3.3: D(x, t) = x + t e, whatever is believed."""
    toy = Toy(FADES["tint"])
    start = X + TINT
    for s, x_s, _ in Loop(Cold(), even, 5).moves(Believes(Dirac(WRONG)), toy, start, keys(5), tint=TINT):
        torch.testing.assert_close(x_s, X + s * TINT, rtol=1e-12, atol=1e-12)
    naive = Loop(ColdNaive(), even, 5)(Believes(Dirac(WRONG)), toy, start, ONE, keys(5), tint=TINT)
    assert torch.equal(naive, WRONG)


@steps
def test_cold_fits_what_degrades_alone(step):
    assert Generates in Loop(step, even, 2).accepts(Toy(FADES["fade"]).accepts(IMAGE)).facts
    with pytest.raises(Refused, match="Degrading") as refused:
        Loop(step, even, 2).accepts(GaussianNoise(Linear()).accepts(IMAGE))
    assert "sampler=" in refused.value.fix
