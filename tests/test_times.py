"""Times: where training draws, by place and key alone; grids: where sampling looks."""

import pytest
import torch
from torch.testing import assert_close

from denoiselab.randomness import Keyed
from denoiselab.schedule import Constant, Cosine, Exploding, Linear, LinearBeta
from denoiselab.spec import Spec
from denoiselab.times import Grid, LogitNormal, OnGrid, Stratified, Uniform, even, quadratic

N = 4096
TIMES = {
    "uniform": Uniform(), "stratified": Stratified(), "on_grid": OnGrid(1000), "logit_normal": LogitNormal(),
    "logit_normal_shifted": LogitNormal(-1.2, 1.2),
}  # fmt: skip
# The distribution function of each.
LAWS = {
    "uniform": lambda t: t, "stratified": lambda t: t, "on_grid": lambda t: (t * 1000 + 1e-6).floor() / 1000,
    "logit_normal": lambda t: torch.special.ndtr(t.logit()),
    "logit_normal_shifted": lambda t: torch.special.ndtr((t.logit() + 1.2) / 1.2),
}  # fmt: skip
GRIDS = {"even": even, "quadratic": quadratic}
SCHEDULES = [Linear(), Cosine(), LinearBeta(), Exploding(), Constant(0.2)]

every = pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def draw(times, place, n=N, step=17):
    return times(place, n, Keyed.of(3, step, place))


@every
def test_times_lie_in_0_to_1(times):
    t, importance = draw(times, torch.arange(N))
    assert t.shape == importance.shape == (N,)
    assert t.min() >= 0
    assert t.max() <= 1


@every
def test_a_share_of_the_batch_gets_its_own_times(times):
    """Ranks: which process asks for a place does not matter."""
    whole, _ = draw(times, torch.arange(N))
    for rank in range(3):
        assert torch.equal(draw(times, torch.arange(N)[rank::3])[0], whole[rank::3])


@every
def test_steps_differ(times):
    assert not torch.equal(draw(times, torch.arange(N), step=1)[0], draw(times, torch.arange(N), step=2)[0])


@pytest.mark.parametrize("name", TIMES)
def test_times_have_their_law(name):
    t = torch.cat([draw(TIMES[name], torch.arange(N), step=i)[0] for i in range(10)]).double().sort().values
    at = torch.linspace(0.002, 0.998, 499, dtype=torch.float64)
    shares = torch.searchsorted(t, at, right=True) / len(t)
    # Kolmogorov and Smirnov's distance, one in ten thousand.
    assert (shares - LAWS[name](at)).abs().max() * len(t) ** 0.5 < 2.2


@every
def test_importance_makes_the_mean_that_of_even_times(times):
    """Where a law reweights, mean(importance * f(t)) is the integral of f; a law that does not says 1 everywhere."""
    _, importance = draw(times, torch.arange(N))
    assert torch.equal(importance, torch.ones(N))


def test_stratified_has_one_time_in_each_part():
    place = torch.arange(N)
    t, _ = draw(TIMES["stratified"], place)
    assert (t.double() * N - place - 0.5).abs().max() <= 0.501  # float32 rounds at the edges


def test_stratified_means_vary_less():
    def spread(times):
        return torch.stack([draw(times, torch.arange(64), 64, i)[0].mean() for i in range(100)]).std()

    assert spread(Uniform()) > 30 * spread(Stratified())  # 64 in theory


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_on_grid_lies_on_its_grid(steps):
    t, _ = draw(OnGrid(steps), torch.arange(N))
    i = t.double() * steps
    assert_close(i, i.round(), rtol=0, atol=1e-4)
    assert i.round().min() == 1
    assert i.round().max() == steps


@every
def test_only_a_grid_says_that_it_is_one(times):
    assert (Grid in times.accepts(Spec("points", (2,))).facts) == isinstance(times, OnGrid)


@grids
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_grids_fall_from_the_end_to_0(grid, schedule, steps):
    t = grid(schedule, steps)
    assert t.shape == (steps + 1,)
    assert t.dtype == torch.float64
    assert t[0] == schedule.t_max
    assert t[-1] == 0
    assert (t.diff() < 0).all()


def test_quadratic_is_even_in_square_roots():
    assert_close(quadratic(Linear(), 10).sqrt(), even(Linear(), 10), rtol=0, atol=1e-15)
