"""Times: where training draws, by place, key and, if they learn, by the losses of the steps before."""

import pytest
import torch
from torch.testing import assert_close

from denoiselab.corruption import Additive
from denoiselab.randomness import Keyed
from denoiselab.schedule import Cosine, Exploding, Linear
from denoiselab.spec import Refused, Spec
from denoiselab.times import (
    CosineMapped,
    Grid,
    Importance,
    KarrasLogNormal,
    Learns,
    LogitNormal,
    OnGrid,
    Stratified,
    Uniform,
)  # fmt: skip

N = 4096
TIMES = {
    "uniform": Uniform(), "stratified": Stratified(), "on_grid": OnGrid(1000), "logit_normal": LogitNormal(),
    "logit_normal_shifted": LogitNormal(-1.2, 1.2), "karras_lognormal": KarrasLogNormal(Exploding()),
    "karras_lognormal_cosine": KarrasLogNormal(Cosine(), -0.5, 0.8), "cosine_mapped": CosineMapped(),
    "importance": Importance(),
}  # fmt: skip
# The distribution function of each.
LAWS = {
    "uniform": lambda t: t, "stratified": lambda t: t, "on_grid": lambda t: (t * 1000 + 1e-6).floor() / 1000,
    "logit_normal": lambda t: torch.special.ndtr(t.logit()),
    "logit_normal_shifted": lambda t: torch.special.ndtr((t.logit() + 1.2) / 1.2),
    "karras_lognormal": lambda t: torch.special.ndtr(((80 * t).log() + 1.2) / 1.2),
    "karras_lognormal_cosine": lambda t: torch.special.ndtr(((t * torch.pi / 2).tan().log() + 0.5) / 0.8),
    "cosine_mapped": lambda t: (t / (1 - t)).atan() / (torch.pi / 2), "importance": lambda t: t,
}  # fmt: skip

every = pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)


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
    facts = times.accepts(Spec("points", (2,)).having(Additive)).facts
    assert (Grid in facts) == isinstance(times, OnGrid)
    assert (Learns in facts) == isinstance(times, Importance)


def test_a_level_that_is_not_known_is_refused():
    with pytest.raises(Refused, match="KarrasLogNormal needs Additive"):
        KarrasLogNormal(Cosine()).accepts(Spec("points", (2,)))


def test_cosine_mapped_gives_the_linear_schedule_the_levels_of_the_cosine_one():
    t, even = (draw(times, torch.arange(N))[0].double() for times in (CosineMapped(), Uniform()))
    middle = (even > 0.01) & (even < 0.99)
    assert_close(Linear().log_snr(t[middle]), Cosine().log_snr(even[middle]), rtol=0, atol=1e-4)


# -- times that learn


def price(t):
    """A loss that differs by two orders of magnitude over [0, 1]."""
    return (0.1 + t) ** 2


def taught(times, steps, n=64):
    """As training does: draws, and learns what it cost."""
    for step in range(steps):
        t, _ = draw(times, torch.arange(n), n, step)
        times.learn(t, price(t))
    return times


def test_importance_draws_in_proportion_to_the_root_of_the_mean_square():
    times, bins = taught(Importance(10, uniform=0.1), 100), 10
    assert (times.seen >= 10).all()
    at = torch.linspace(0, 1, 100_001, dtype=torch.float64)[:-1]
    size = price(at).view(bins, -1).square().mean(1).sqrt()
    assert_close(times.density(), 0.1 + 0.9 * size / size.mean(), rtol=0.25, atol=0)
    t, importance = (torch.cat(a).double() for a in zip(*(draw(times, torch.arange(N), step=i) for i in range(20)),
                                                        strict=True))  # fmt: skip
    density = times.density()
    part = (t * bins).long().clamp(max=bins - 1)
    n, share = len(t), density / bins
    assert_close(importance, 1 / density[part], rtol=1e-6, atol=0)
    assert ((part.bincount(minlength=bins) / n - share).abs() < 5 * (share * (1 - share) / n).sqrt()).all()
    # Reweighted, the mean is that of even times, and varies less than theirs.
    cost = importance * price(t)
    assert (importance.mean() - 1).abs() < 5 * importance.std() / n**0.5
    assert (cost.mean() - price(at).mean()).abs() < 5 * cost.std() / n**0.5
    assert cost.std() < price(at).std() / 2


def test_importance_is_even_until_each_part_has_its_history():
    times = Importance(4, history=3)
    t = torch.tensor([0.1, 0.3, 0.6, 0.9])
    for some in (slice(None), slice(None), slice(3)):
        times.learn(t[some], price(t[some]))
        assert torch.equal(times.density(), torch.ones(4, dtype=torch.float64))
    times.learn(t[3:], price(t[3:]))
    assert times.density()[3] > 2


def test_importance_keeps_the_last_losses_of_each_part():
    """Against lists; batches larger than the history, and empty parts."""
    times, kept = Importance(5, history=4), [[] for _ in range(5)]
    g = torch.Generator().manual_seed(0)
    for n in (3, 50, 1, 7, 30):
        t, loss = torch.rand(n, generator=g), torch.rand(n, generator=g)
        times.learn(t, loss)
        for a, b in zip(t.tolist(), loss.tolist(), strict=True):
            kept[int(a * 5)].append(b)
        for losses, seen, want in zip(times.losses.tolist(), times.seen.tolist(), kept, strict=True):
            assert seen == len(want)
            assert sorted(losses[:seen]) == sorted(want[-4:])


def test_importance_where_nothing_is_lost_is_even():
    times = Importance(3, history=1)
    times.learn(torch.tensor([0.1, 0.5, 0.9]), torch.zeros(3))
    assert_close(times.density(), torch.ones(3, dtype=torch.float64))


def test_what_was_learned_is_saved():
    times, again = taught(Importance(10), 50), Importance(10)
    again.load_state_dict(times.state_dict())
    assert torch.equal(again.density(), times.density())
    assert not torch.equal(again.density(), Importance(10).density())
