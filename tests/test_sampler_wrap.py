"""What is known of a sample: inpainting, restarts, churn and restoration, on the oracle."""

import pytest
import torch
from common import full, keys, randn, ring

from denoiselab.corruption import Batch, GaussianNoise, TokenMask, TokenUniform
from denoiselab.denoiser import Denoiser
from denoiselab.grid import even, quadratic
from denoiselab.oracle import Normal, Points, Texts
from denoiselab.randomness import Keyed
from denoiselab.sampler import (
    DDIM,
    Ancestral,
    Churn,
    DPMSolverPP,
    DPMSolverPPSDE,
    EDMHeun,
    Euler,
    Heun,
    Inpaint,
    Loop,
    Restart,
    UniPC,
)
from denoiselab.schedule import Cosine, Exploding, Linear, LinearBeta
from denoiselab.spec import Refused, Spec

f64 = torch.float64
ONE = torch.ones((), dtype=f64)
SCHEDULES = {"linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta(), "exploding": Exploding(20.0)}
TOKENS = {"token_mask": lambda: TokenMask(Linear(), 4), "token_uniform": lambda: TokenUniform(Linear(), 4)}
TEXTS, SHARE = torch.tensor([[0, 1, 2], [0, 2, 1], [3, 0, 3]]), torch.tensor([0.5, 0.3, 0.2], dtype=f64)
schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
tokens = pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS)


class Counted(Denoiser):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        self.calls += 1
        return self.inner(x_t, t)


def half(n):
    """Pictures of two numbers, and which is known: on the ring of 8 two points agree with it."""
    picture = torch.full((n, 2), 0.5**0.5, dtype=f64)
    picture[:, 1] = 7.0  # not known: not to be seen
    return picture, torch.tensor([True, False])


def inpainted(schedule, n, wrap):
    picture, known = half(n)
    gaussian, r = GaussianNoise(schedule), keys(n)
    start = gaussian.prior(picture).sample(r.child("prior"))
    step = wrap(Inpaint(Ancestral(), picture, known))
    return Loop(step, quadratic, 40)(Points(ring(8), schedule), gaussian, start, ONE, r)


@schedules
def test_inpainting_keeps_what_is_known_and_makes_what_fits(schedule):
    once = inpainted(schedule, 1024, lambda step: step)
    often = inpainted(schedule, 1024, lambda step: Restart(step, 12))
    picture, _ = half(1024)
    right = []
    for y in (once, often):
        assert torch.equal(y[:, 0], picture[:, 0])
        right.append(((y[:, 1].abs() - 0.5**0.5).abs() < 0.05).double().mean().item())
        assert (y[:, 1] > 0).any()
        assert (y[:, 1] < 0).any()
    assert right[1] > max(right[0], 0.85), right


@schedules
def test_what_is_known_has_its_law_on_the_way(schedule):
    n = 20000
    picture, known = torch.full((1, 2), 0.4, dtype=f64), torch.tensor([[True, False]])
    gaussian, r = GaussianNoise(schedule), keys(n)
    loop = Loop(Inpaint(DDIM(), picture, known), even, 4)
    for s, x_s, _ in loop.moves(Normal(0.3, 0.5, schedule), gaussian, randn(n, 2) * schedule.sigma(ONE), r):
        alpha, sigma = schedule(s)
        assert abs(x_s[:, 0].mean() - alpha * 0.4) <= 5 * sigma / n**0.5 + 1e-12
        assert abs(x_s[:, 0].var() - sigma**2) <= 5 * sigma**2 * (2 / n) ** 0.5 + 1e-12


@schedules
@pytest.mark.parametrize("wrap", [lambda step: step, lambda step: Restart(step, 3)], ids=["inpaint", "restart"])
def test_an_inpainted_sample_alone_equals_the_sample_in_a_batch(schedule, wrap):
    gaussian, oracle, r = GaussianNoise(schedule), Normal(0.3, 0.5, schedule), keys(12)
    start, picture, known = randn(12, 5), randn(12, 5, seed=1), torch.arange(5) < 2

    def made(rows):
        step = wrap(Inpaint(Ancestral(), picture[rows], known))
        return Loop(step, even, 5)(oracle, gaussian, start[rows], ONE, Keyed(r.key[rows]))

    whole = made(slice(None))
    assert torch.equal(whole[:, :2], picture[:, :2])
    for i in (0, 5, 11):
        assert torch.equal(made(slice(i, i + 1)), whole[i : i + 1])


@tokens
def test_texts_are_inpainted(make):
    corruption, n, r = make(), 1000, keys(1000)
    picture, known = torch.tensor([[0, 3, 3]]), torch.tensor([True, False, False])
    start = corruption.prior(torch.zeros(n, 3, dtype=torch.int64)).sample(r.child("prior"))
    oracle = Texts(TEXTS, SHARE, corruption, 4)
    y = Loop(Restart(Inpaint(Ancestral(), picture, known), 8), even, 30)(oracle, corruption, start, ONE, r)
    assert (y[:, 0] == 0).all()
    assert y.dtype == torch.int64
    # Two of three texts begin so.
    assert (y[:, None] == TEXTS[:2]).all(-1).any(1).double().mean() > 0.9


@pytest.mark.parametrize("inner", [Ancestral(), DDIM(), Heun()], ids=lambda step: type(step).__name__)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_calls_of_restarts_are_counted(inner, n):
    denoiser, loop = Counted(Normal(0.3, 0.5, Linear())), Loop(Restart(inner, 3), even, n)
    loop(denoiser, GaussianNoise(Linear()), randn(4, 2), ONE, keys(4))
    assert denoiser.calls == loop.calls


def test_one_restart_is_none():
    gaussian, oracle, x = GaussianNoise(Linear()), Normal(0.3, 0.5, Linear()), randn(4, 2)
    one, none = (Loop(step, even, 5)(oracle, gaussian, x, ONE, keys(4)) for step in (Restart(DDIM(), 1), DDIM()))
    assert torch.equal(one, none)
    with pytest.raises(Refused, match="at least 1"):
        Restart(DDIM(), 0)


def test_restarts_keep_the_law():
    """Ancestral is exact for an exact belief, and so is going forth."""
    schedule, n, r = Cosine(), 40000, keys(40000)
    y = Loop(Restart(Ancestral(), 3), even, 3)(
        Normal(0.3, 0.5, schedule), GaussianNoise(schedule), r.child("z").normal((n, 1)).double(), ONE, r)  # fmt: skip
    assert abs(y.mean() - 0.3) < 5 * 0.5 / n**0.5
    assert abs(y.var() - 0.25) < 5 * 0.25 * (2 / n) ** 0.5


@schedules
@pytest.mark.parametrize("step", [Ancestral(), DDIM(), Euler(), Heun(), DPMSolverPP(), DPMSolverPPSDE(), UniPC()],
                         ids=lambda step: type(step).__name__)  # fmt: skip
def test_a_noisy_picture_is_restored_from_its_own_time(schedule, step):
    data, gaussian, r = ring(8), GaussianNoise(schedule), keys(64)
    clean = data[torch.arange(64) % 8]
    t = schedule.time(torch.tensor(2 * 5.0, dtype=f64).log())  # a noise of 0.3 of the signal: half the way to the next
    noisy = gaussian(Batch(clean, r.key), t.expand(64), r.child("noise")).x_t
    denoiser = Counted(Points(data, schedule))
    y = Loop(step, quadratic, 60)(denoiser, gaussian, noisy, t.expand(64), r)
    assert ((y - clean).norm(dim=1) < 0.02).double().mean() > 0.6
    assert (torch.cdist(y, data).min(1).values < 0.02).all()


# -- churn


@pytest.mark.parametrize("inner", [DDIM(), Euler(), Heun(), EDMHeun(), Ancestral()], ids=lambda s: type(s).__name__)
def test_churn_goes_around_any_single_step(inner):
    schedule = Exploding(20.0)
    gaussian, r = GaussianNoise(schedule), keys(64)
    start = gaussian.prior(torch.zeros(64, 2, dtype=f64)).sample(r.child("prior"))
    y = Loop(Churn(inner, 10.0, s_max=5.0), quadratic, 40)(Points(ring(8), schedule), gaussian, start, ONE, r)
    assert torch.cdist(y, ring(8)).min(1).values.max() < 0.02


@schedules
def test_churn_keeps_the_law(schedule):
    """Around ancestral, with an exact belief: what was added is taken away."""
    n, r = 40000, keys(40000)
    gaussian, oracle = GaussianNoise(schedule), Normal(0.3, 0.5, schedule)
    start = gaussian(Batch(0.3 + 0.5 * r.child("x").normal((n, 1)).double(), r.key), full(n, 1.0), r.child("z")).x_t
    y = Loop(Churn(Ancestral(), 2.0), even, 4)(oracle, gaussian, start, ONE, r)
    assert abs(y.mean() - 0.3) < 5 * 0.5 / n**0.5
    assert abs(y.var() - 0.25) < 5 * 0.25 * (2 / n) ** 0.5


# -- what fits what

IMAGE = Spec("image", (3, 5, 5))
NOISE, YES = torch.zeros(1, 3, 5, 5), torch.ones(5, dtype=torch.bool)
WRAPPED = {"churn": Churn, "inpaint": lambda inner: Inpaint(inner, NOISE, YES), "restart": lambda s: Restart(s, 2)}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("inner", [DPMSolverPP(), DPMSolverPPSDE(), UniPC()], ids=lambda s: type(s).__name__)
def test_nothing_goes_around_a_multistep_solver(wrap, inner):
    spec = GaussianNoise(LinearBeta()).accepts(IMAGE)
    assert wrap(DDIM()).accepts(spec) == spec
    with pytest.raises(Refused, match="multistep") as refused:
        wrap(inner).accepts(spec)
    assert "sampler=" in refused.value.fix
    with pytest.raises(Refused, match="multistep"):
        Restart(wrap(inner), 2).accepts(spec)


@pytest.mark.parametrize("key", ["s_churn", "s_min", "s_max", "s_noise"])
def test_numbers_below_0_are_no_churn(key):
    with pytest.raises(Refused, match=f"sampler.step.{key}"):
        Churn(DDIM(), **{key: -0.1})
