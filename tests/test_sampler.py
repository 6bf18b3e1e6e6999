"""Samplers: on the oracle they land on the data, with the order that theory says; a sample is its own key's."""

import itertools

import pytest
import torch
from common import Silence, full, keys, randn, ring

from denoiselab.corruption import Batch, GaussianNoise, SaltAndPepper, TokenMask, TokenUniform
from denoiselab.denoiser import Denoiser
from denoiselab.grid import even, quadratic
from denoiselab.oracle import Normal, Points, Texts
from denoiselab.posterior import Categorical, Dirac, Gaussian
from denoiselab.randomness import Keyed
from denoiselab.sampler import (
    DDIM,
    Ancestral,
    AncestralMean,
    Churn,
    DPMSolverPP,
    DPMSolverPPSDE,
    EDMHeun,
    Euler,
    Generates,
    Heun,
    Loop,
    OneShot,
    UniPC,
)
from denoiselab.schedule import Constant, Cosine, Exploding, Geometric, Linear, LinearBeta, LogLinear
from denoiselab.spec import Refused, Spec

f64 = torch.float64
SCHEDULES = {
    "linear": Linear(), "cosine": Cosine(), "linear_beta": LinearBeta(), "exploding": Exploding(20.0),
    "log_linear": LogLinear(), "geometric": Geometric(),
}  # fmt: skip
STEPS = {
    "ancestral": Ancestral(), "ddim": DDIM(), "ddim_half": DDIM(0.5), "euler": Euler(), "heun": Heun(),
    "dpm_solver_pp": DPMSolverPP(), "dpm_solver_pp_3": DPMSolverPP(3), "dpm_solver_pp_sde": DPMSolverPPSDE(),
    "unipc": UniPC(), "unipc_1": UniPC(1), "unipc_3": UniPC(3),
}  # fmt: skip
# Those for which something must be left of x at t = 1.
LEFT = {"ancestral_mean": AncestralMean(), "edm": Churn(EDMHeun()), "edm_churn": Churn(EDMHeun(), 20.0)}
DRAW = {"ancestral", "ddim_half", "dpm_solver_pp_sde", "edm_churn"}
ALL = STEPS | LEFT
CELLS = {f"{s}-{name}": (schedule, step) for s, schedule in SCHEDULES.items() for name, step in ALL.items()
         if name in STEPS or not schedule.terminal}  # fmt: skip
SILENT = {name: cell for name, cell in CELLS.items() if name.split("-")[1] not in DRAW}
VOCABULARY = 4
TOKENS = {"token_mask": lambda s: TokenMask(s, VOCABULARY), "token_uniform": lambda s: TokenUniform(s, VOCABULARY)}
ONE = torch.ones((), dtype=f64)

schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
steps = pytest.mark.parametrize("step", ALL.values(), ids=ALL)
cells = pytest.mark.parametrize("schedule, step", CELLS.values(), ids=CELLS)
silent = pytest.mark.parametrize("schedule, step", SILENT.values(), ids=SILENT)
terminal = pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])


class Recorded(Denoiser):
    """Notes what it is asked, and what it answers."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.asked, self.given = inner, [], []

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        self.asked.append((t, previous, context))
        self.given.append(self.inner(x_t, t, seen=seen, previous=previous))
        return self.given[-1]


def off(y, data):
    return torch.cdist(y, data).min(1).values.max().item()


# -- on the oracle


@cells
def test_samples_land_on_the_data(schedule, step):
    data, gaussian, r = ring(8), GaussianNoise(schedule), keys(64)
    start = gaussian.prior(torch.zeros(64, 2, dtype=f64)).sample(r.child("prior"))
    y = Loop(step, quadratic, 60)(Points(data, schedule), gaussian, start, ONE, r)
    assert off(y, data) < 0.02
    assert torch.cdist(y, data).argmin(1).unique().numel() == 8  # and on all of it


@cells
def test_two_modes_are_reached_alike(schedule, step):
    data, gaussian, r = torch.tensor([[-1.0, 0.5], [1.0, -0.5]], dtype=f64), GaussianNoise(schedule), keys(400)
    start = gaussian.prior(torch.zeros(400, 2, dtype=f64)).sample(r.child("prior"))
    y = Loop(step, quadratic, 60)(Points(data, schedule), gaussian, start, ONE, r)
    assert off(y, data) < 0.02
    assert abs((y[:, 0] > 0).double().mean() - 0.5) < 5 * 0.5 / 400**0.5


@schedules
@pytest.mark.parametrize("n", [1, 2, 7])
def test_ancestral_is_exact_for_an_exact_belief_in_any_number_of_steps(schedule, n):
    size, gaussian, oracle = 40000, GaussianNoise(schedule), Normal(0.3, 0.5, schedule)
    r = keys(size)
    data = Batch(0.3 + 0.5 * r.child("x").normal((size, 1)).double(), r.key)
    start = gaussian(data, full(size, 1.0), r.child("z")).x_t
    y = Loop(Ancestral(), even, n)(oracle, gaussian, start, ONE, r)
    assert abs(y.mean() - 0.3) < 5 * 0.5 / size**0.5
    assert abs(y.var() - 0.25) < 5 * 0.25 * (2 / size) ** 0.5


@terminal
@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("n", [1, 3, 10])
def test_independent_tokens_have_their_law_in_any_number_of_steps(make, schedule, n):
    corruption, size = make(schedule), 20000
    p = torch.tensor([0.6, 0.3, 0.1], dtype=f64)
    oracle = Texts(torch.arange(3)[:, None], p, corruption, VOCABULARY)
    r = keys(size)
    start = corruption.prior(torch.zeros(size, 1, dtype=torch.int64)).sample(r.child("prior"))
    y = Loop(Ancestral(), even, n)(oracle, corruption, start, ONE, r)
    got = y[:, 0].bincount(minlength=VOCABULARY + 1) / size
    want = torch.cat((p, torch.zeros(2, dtype=f64)))
    # In float32 the way back of token_uniform leaves an impossible token 1e-7.
    assert ((got - want).abs() <= 5 * (want * (1 - want) / size).sqrt() + 1e-12).all()


@pytest.mark.parametrize("make, least", [(TOKENS["token_mask"], 0.9), (TOKENS["token_uniform"], 0.9)], ids=TOKENS)
def test_texts_land_on_the_data(make, least):
    """A belief token by token errs only where two tokens change in one move."""
    corruption, size = make(Linear()), 1000
    texts = torch.tensor([[0, 1, 2], [1, 1, 0], [3, 0, 3]])
    share = torch.tensor([0.5, 0.3, 0.2], dtype=f64)
    r = keys(size)
    start = corruption.prior(torch.zeros(size, 3, dtype=torch.int64)).sample(r.child("prior"))
    y = Loop(Ancestral(), even, 100)(Texts(texts, share, corruption, VOCABULARY), corruption, start, ONE, r)
    is_one = (y[:, None] == texts).all(-1)
    assert is_one.any(1).double().mean() > least
    assert ((is_one.double().mean(0) - share).abs() < 0.08).all()
    assert y.max() < VOCABULARY  # no mask is left


# -- randomness


@silent
def test_deterministic_steps_draw_nothing(schedule, step):
    gaussian, start = GaussianNoise(schedule), randn(4, 2) * schedule.sigma(ONE)
    y = Loop(step, even, 5)(Points(ring(5), schedule), gaussian, start, ONE, Silence())
    assert y.isfinite().all()
    with pytest.raises(AssertionError, match="a number was drawn"):
        Loop(Ancestral(), even, 5)(Points(ring(5), schedule), gaussian, start, ONE, Silence())


@cells
def test_a_sample_alone_equals_the_sample_in_a_batch(schedule, step):
    gaussian, oracle, r = GaussianNoise(schedule), Normal(0.3, 0.5, schedule), keys(21)
    start, loop = randn(21, 5) * schedule.sigma(ONE), Loop(step, even, 6)
    whole = loop(oracle, gaussian, start, ONE, r)
    for i in (0, 5, 20):
        assert torch.equal(loop(oracle, gaussian, start[i : i + 1], ONE, Keyed(r.key[i : i + 1])), whole[i : i + 1])


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS)
def test_a_text_alone_equals_the_text_in_a_batch(make):
    corruption, r, loop = make(Linear()), keys(21), Loop(Ancestral(), even, 6)
    texts, share = torch.tensor([[0, 1, 2], [1, 1, 0], [3, 0, 3]]), torch.tensor([0.5, 0.3, 0.2], dtype=f64)
    oracle = Texts(texts, share, corruption, VOCABULARY)
    start = corruption.prior(torch.zeros(21, 3, dtype=torch.int64)).sample(r.child("prior"))
    whole = loop(oracle, corruption, start, ONE, r)
    for i in (0, 5, 20):
        assert torch.equal(loop(oracle, corruption, start[i : i + 1], ONE, Keyed(r.key[i : i + 1])), whole[i : i + 1])


@steps
def test_the_start_is_not_changed_in_place(step):
    gaussian, start = GaussianNoise(LinearBeta()), randn(4, 2)
    Loop(step, even, 3)(Normal(0.3, 0.5, LinearBeta()), gaussian, start, ONE, keys(4))
    assert torch.equal(start, randn(4, 2))


# -- the loop


@silent
@pytest.mark.parametrize("n", [1, 2, 9])
def test_single_precision_stays_so_and_is_double_rounded(schedule, step, n):
    gaussian, oracle, start = GaussianNoise(schedule), Normal(0.3, 0.5, schedule), randn(16, 3) * schedule.sigma(ONE)
    for t in (ONE, ONE / 2):
        single, double = (Loop(step, even, n)(oracle, gaussian, x, t.to(x), Silence()) for x in (start.float(), start))
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


def test_a_grid_is_planned_once_for_each_corruption_and_start():
    asked = []

    def grid(schedule, steps):
        asked.append(schedule)
        return even(schedule, steps)

    loop, oracle, x = Loop(DDIM(), grid, 4), Normal(0.3, 0.5, Linear()), randn(4, 2)
    one, two = GaussianNoise(Linear()), GaussianNoise(Cosine())
    for corruption, t in ((one, ONE), (one, ONE / 2), (two, ONE), (one, ONE)):
        fresh = Loop(DDIM(), even, 4)(oracle, corruption, x, t, Silence())
        for _ in range(2):
            assert torch.equal(loop(oracle, corruption, x, t, Silence()), fresh)
    assert len(asked) == 4


@steps
@pytest.mark.parametrize("n", [1, 2, 5])
def test_calls_are_counted(step, n):
    denoiser, loop = Recorded(Normal(0.3, 0.5, LinearBeta())), Loop(step, even, n)
    loop(denoiser, GaussianNoise(LinearBeta()), randn(4, 2), ONE, keys(4))
    assert len(denoiser.asked) == loop.calls


@steps
def test_times_fall_and_each_move_knows_the_belief_before(step):
    denoiser = Recorded(Normal(0.3, 0.5, LinearBeta()))
    label = torch.arange(4)
    Loop(step, even, 5)(denoiser, GaussianNoise(LinearBeta()), randn(4, 2), ONE, keys(4), label=label)
    times, previous, context = zip(*denoiser.asked, strict=True)
    assert times[0] == 1
    assert all(t > s or step.calls > 1 for t, s in itertools.pairwise(times))
    assert times[-1] > 0
    assert previous[0] is None
    assert all(a is b for a, b in zip(previous[1:], denoiser.given, strict=False))
    assert all(c["label"] is label for c in context)


@steps
def test_moves_are_seen_on_the_way(step):
    gaussian, oracle, loop = GaussianNoise(LinearBeta()), Normal(0.3, 0.5, LinearBeta()), Loop(step, even, 4)
    seen = list(loop.moves(oracle, gaussian, randn(4, 2), keys(4)))
    assert [float(s) for s, _, _ in seen] == [0.75, 0.5, 0.25, 0.0]
    assert torch.equal(seen[-1][1], loop(oracle, gaussian, randn(4, 2), ONE, keys(4)))


@pytest.mark.parametrize("belief", [Dirac(randn(4, 2)), Gaussian(randn(4, 2), 0.3), Categorical(randn(4, 2, 3))],
                         ids=lambda p: type(p).__name__)  # fmt: skip
def test_one_shot_asks_once_for_the_most_likely(belief):
    class Fixed(Denoiser):
        def forward(self, x_t, t, *, seen=None, previous=None, **context):
            return belief

    denoiser = Recorded(Fixed())
    y = OneShot()(denoiser, GaussianNoise(Constant(0.2)), randn(4, 2), full(4, 1.0), Silence())
    assert torch.equal(y, belief.mode)
    assert len(denoiser.asked) == OneShot().calls == 1


# -- what fits what

IMAGE, TEXT = Spec("image", (3, 5, 5)), Spec("tokens", (9,), VOCABULARY)
FITS = {
    **{name: (step, GaussianNoise(Linear() if name in STEPS else LinearBeta()), IMAGE) for name, step in ALL.items()},
    "ancestral_mask": (Ancestral(), TokenMask(Linear(), VOCABULARY), TEXT),
    "ancestral_uniform": (Ancestral(), TokenUniform(Cosine(), VOCABULARY), TEXT),
}
DOES_NOT_FIT = {
    **{f"{name}_constant": (step, GaussianNoise(Constant(0.2)), IMAGE) for name, step in ALL.items()},
    **{f"{name}_pepper": (step, SaltAndPepper(Linear()), IMAGE) for name, step in ALL.items()},
    **{f"{name}_bert": (step, TokenMask(Linear(), VOCABULARY, 0.1, 0.1), TEXT) for name, step in ALL.items()},
    **{
        f"{name}_mask": (step, TokenMask(LinearBeta(), VOCABULARY), TEXT)
        for name, step in ALL.items()
        if not name.startswith("ancestral")
    },
    **{f"{name}_linear": (step, GaussianNoise(Linear()), IMAGE) for name, step in LEFT.items()},
}


@pytest.mark.parametrize("step, corruption, spec", FITS.values(), ids=FITS)
def test_what_fits_generates(step, corruption, spec):
    assert Generates in Loop(step, even, 5).accepts(corruption.accepts(spec)).facts


@pytest.mark.parametrize("step, corruption, spec", DOES_NOT_FIT.values(), ids=DOES_NOT_FIT)
def test_what_does_not_fit_is_refused_and_may_be_asked_once(step, corruption, spec):
    agreed = corruption.accepts(spec)
    with pytest.raises(Refused) as refused:
        Loop(step, even, 5).accepts(agreed)
    assert "sampler=" in refused.value.fix
    assert OneShot().accepts(agreed) == agreed
