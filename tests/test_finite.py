"""Loss and gradient, in float32, are finite at both ends of time for every cell that the spec accepts; a cell that is
not is refused."""

import itertools

import pytest
import torch
from common import SCHEDULES, Says, keys

from denoiselab.corruption import Batch, GaussianNoise, SaltAndPepper, TokenMask, TokenUniform
from denoiselab.denoiser import (
    X0,
    Epsilon,
    Karras,
    Large,
    Learned,
    LearnedLog,
    Logits,
    Mu,
    Point,
    Residual,
    Subs,
    TokenLogits,
    V,
    Velocity,
)  # fmt: skip
from denoiselab.objective import (
    EDM,
    ELBO,
    MAE,
    MSE,
    P2,
    Bound,
    CrossEntropy,
    Huber,
    Hybrid,
    MinSNR,
    OfV,
    OfVelocity,
    Sigmoid,
    Simple,
    SNRPlusOne,
    SoftMinSNR,
    Sum,
    TruncatedSNR,
    Unit,
    Weighted,
)  # fmt: skip
from denoiselab.schedule import Constant
from denoiselab.spec import Refused, Spec, compose
from denoiselab.times import OnGrid

VOCABULARY, STEPS = 4, 50
NOISES = SCHEDULES | {"constant_1": Constant(1.0)}
PICTURE_CORRUPTIONS = {"gaussian": GaussianNoise, "salt_and_pepper": SaltAndPepper}
TOKEN_CORRUPTIONS = {
    "token_mask": lambda s: TokenMask(s, VOCABULARY), "token_uniform": lambda s: TokenUniform(s, VOCABULARY),
    "token_mask_80_10_10": lambda s: TokenMask(s, VOCABULARY, 0.1, 0.1),
}  # fmt: skip
PARAMETERIZATIONS = {
    "x0": X0(), "residual": Residual(), "epsilon": Epsilon(), "v": V(), "velocity": Velocity(), "karras": Karras(),
    "mu": Mu(),
}  # fmt: skip
TOKEN_PARAMETERIZATIONS = {"logits": TokenLogits(), "subs": Subs()}
HEADS = {"dirac": Point(), "large": Large(), "learned": Learned(), "learned_log": LearnedLog(STEPS)}
OBJECTIVES = {
    "unit": Weighted(MSE(), Unit()), "simple": Weighted(MSE(), Simple()), "v": Weighted(MSE(), OfV()),
    "velocity": Weighted(MSE(), OfVelocity()), "edm": Weighted(MSE(), EDM()), "mae": Weighted(MAE(), Unit()),
    "truncated_snr": Weighted(MSE(), TruncatedSNR()), "snr_plus_one": Weighted(MSE(), SNRPlusOne()),
    "min_snr": Weighted(MSE(), MinSNR()), "soft_min_snr": Weighted(MSE(), SoftMinSNR()),
    "p2": Weighted(MSE(), P2()), "p2_steep": Weighted(MSE(), P2(8.0, 0.01)), "sigmoid": Weighted(MSE(), Sigmoid()),
    "sum": Sum([Weighted(MSE(), OfV()), Weighted(MAE(), Unit())], [1.0, 0.1]),
    "huber": Weighted(Huber(), Unit()), "bound": Bound(STEPS),
    "hybrid": Hybrid(Weighted(MSE(), Simple()), Bound(STEPS)),
}  # fmt: skip
TOKEN_OBJECTIVES = {
    "cross_entropy": Weighted(CrossEntropy(), Unit()), "elbo": Weighted(CrossEntropy(), ELBO()), "bound": Bound(STEPS),
}  # fmt: skip
IMAGE, TEXT = Spec("image", (2, 3, 3)), Spec("tokens", (6,), VOCABULARY)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def accepted(spec, *parts):
    try:
        compose(spec, *parts)
    except Refused:
        return False
    return True


def ends(schedule, objective):
    """t_min and t_max; a bound's grid begins at 1 / steps."""
    first = 1 / STEPS if isinstance(objective, (Bound, Hybrid)) else schedule.t_min
    return (first, schedule.t_max)


def finite(corruption, denoiser, objective, x, t, parameter):
    """Are loss and gradient finite?"""
    t = torch.full((len(x),), t)
    c = corruption(Batch(x, torch.arange(len(x))), t, keys(len(x)))
    cost = objective(denoiser(c.x_t, t, seen=c.seen), c, t, corruption) * c.scored
    loss = cost.sum() / objective.count(c).clamp(min=1)
    (gradient,) = torch.autograd.grad(loss, parameter, allow_unused=True)
    return bool(loss.isfinite()) and (gradient is None or bool(gradient.isfinite().all()))


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("plan", PARAMETERIZATIONS.values(), ids=PARAMETERIZATIONS)
@pytest.mark.parametrize("schedule", NOISES.values(), ids=NOISES)
def test_loss_of_pictures_is_finite_at_the_ends_where_accepted(schedule, plan, objective):
    x = randn(8, 2, 3, 3).clamp(-1, 1)
    for make, head in itertools.product(PICTURE_CORRUPTIONS.values(), HEADS.values()):
        corruption = make(schedule)
        if not accepted(IMAGE, corruption, plan, head, OnGrid(STEPS), objective):
            continue
        out = randn(8, 4 if isinstance(head, (Learned, LearnedLog)) else 2, 3, 3, seed=1).requires_grad_()
        denoiser = plan.build(Says(lambda y, n, out=out: out), corruption, head)
        for t in ends(schedule, objective):
            assert finite(corruption, denoiser, objective, x, t, out), (corruption, head, t)


@pytest.mark.parametrize("objective", TOKEN_OBJECTIVES.values(), ids=TOKEN_OBJECTIVES)
@pytest.mark.parametrize("plan", TOKEN_PARAMETERIZATIONS.values(), ids=TOKEN_PARAMETERIZATIONS)
@pytest.mark.parametrize("schedule", NOISES.values(), ids=NOISES)
def test_loss_of_text_is_finite_at_the_ends_where_accepted(schedule, plan, objective):
    x = torch.randint(VOCABULARY, (8, 6), generator=torch.Generator().manual_seed(0))
    for make in TOKEN_CORRUPTIONS.values():
        corruption = make(schedule)
        if not accepted(TEXT, corruption, plan, Logits(), OnGrid(STEPS), objective):
            continue
        out = randn(8, 6, VOCABULARY, seed=1).requires_grad_()
        denoiser = plan.build(Says(lambda y, n, out=out: out), corruption, Logits())
        for t in ends(schedule, objective):
            assert finite(corruption, denoiser, objective, x, t, out), (corruption, t)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_epsilon_without_signal_is_refused_and_would_not_be_finite(name):
    corruption = GaussianNoise(NOISES[name])
    with pytest.raises(Refused, match="Epsilon cannot work with Terminal"):
        compose(IMAGE, corruption, Epsilon(), Point())
    out = randn(8, 2, 3, 3).requires_grad_()
    denoiser = Epsilon().build(Says(lambda y, n: out), corruption, Point())
    assert not finite(corruption, denoiser, Weighted(MSE(), Unit()), randn(8, 2, 3, 3), 1.0, out)


@pytest.mark.parametrize(
    "weight",
    [Simple(), OfV(), OfVelocity(), EDM(), TruncatedSNR(), SNRPlusOne(), Sigmoid()],
    ids=lambda w: type(w).__name__,
)
def test_a_weight_over_no_noise_is_refused_and_would_not_be_finite(weight):
    corruption, objective = GaussianNoise(Constant(0.0)), Weighted(MSE(), weight)
    assert not accepted(IMAGE, corruption, X0(), Point(), objective)
    out = randn(8, 2, 3, 3).requires_grad_()
    denoiser = X0().build(Says(lambda y, n: out), corruption, Point())
    assert not finite(corruption, denoiser, objective, randn(8, 2, 3, 3), 1.0, out)


def test_what_is_accepted_is_not_little():
    """The laws above hold for something: how many cells are accepted."""
    cells = [accepted(IMAGE, make(s), plan, head, OnGrid(STEPS), objective)
             for make, s, plan, head, objective in itertools.product(
                 PICTURE_CORRUPTIONS.values(), NOISES.values(), PARAMETERIZATIONS.values(), HEADS.values(),
                 OBJECTIVES.values())]  # fmt: skip
    print(f"\n{sum(cells)} of {len(cells)} accepted")
    assert sum(cells) > 500
