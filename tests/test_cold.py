"""Degradations: nothing at severity 0 and the cold start at 1, less left the higher it is, what is random drawn once;
and both published ways back."""

import pytest
import torch
from common import Believes, full, keys, randn
from torch import nn
from torch.testing import assert_close

from denoiselab.corruption import Batch, Degradation, Degrading, Generative, Local, Reversible
from denoiselab.corruption.operators import BlockMask, Blur, Fade, Pixelate, Snow
from denoiselab.data.base import Identity
from denoiselab.data.image import Digits
from denoiselab.denoiser import X0, Denoiser, Point
from denoiselab.evaluation.evaluate import generate
from denoiselab.grid import even
from denoiselab.objective import Bound
from denoiselab.posterior import Dirac
from denoiselab.sampler import Ancestral, Cold, ColdNaive, Loop, OneShot
from denoiselab.schedule import Constant, Cosine, Linear, LinearBeta
from denoiselab.spec import Refused, Spec

f64 = torch.float64
LEVELS = [[0.1, 0.3, 0.0], [-0.2, 0.2, 0.1]]
OPERATORS = {"blur": Blur(LEVELS), "pixelate": Pixelate(LEVELS), "fade": Fade(), "block_mask": BlockMask(),
             "snow": Snow()}  # fmt: skip
AVERAGES = {"blur": Blur(LEVELS), "pixelate": Pixelate(LEVELS)}
RANDOM = {"block_mask": BlockMask(), "snow": Snow()}
SIZES = [(1, 1), (1, 6), (8, 8), (9, 7), (5, 12)]
SEVERITIES = [0.0, 1e-3, 0.2, 0.5, 0.8, 0.999, 1.0]
IMAGE = Spec("image", (2, 9, 7))

every = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
averages = pytest.mark.parametrize("operator", AVERAGES.values(), ids=AVERAGES)
random_ones = pytest.mark.parametrize("operator", RANDOM.values(), ids=RANDOM)


WAYS = {"algorithm_1": ColdNaive(), "algorithm_2": Cold()}


def pictures(n, h=9, w=7):
    return randn(n, 2, h, w).clamp(-1, 1)


def degraded(operator, x, s, drawn=None):
    drawn = operator.draw(x, keys(len(x))) if drawn is None else drawn
    return operator.plan(torch.as_tensor(s, dtype=f64))(x, drawn)


# -- every operator


@every
@pytest.mark.parametrize("h, w", SIZES)
def test_severity_0_is_the_identity_and_1_the_cold_start_of_any_size(operator, h, w):
    x = pictures(6, h, w)
    assert torch.equal(degraded(operator, x, 0.0), x)
    last, start = degraded(operator, x, 1.0), operator.start(x)
    assert torch.equal(last, last[..., :1, :1].expand_as(last))
    if isinstance(start, Dirac):
        assert torch.equal(last, start.mean)
    else:
        assert_close(last[..., 0, 0], x.mean((2, 3)))


@every
def test_severities_of_a_batch_are_those_of_its_samples(operator):
    x, s = pictures(len(SEVERITIES)), torch.tensor(SEVERITIES, dtype=f64)
    drawn = operator.draw(x, keys(len(x)))
    whole = operator.plan(s)(x, drawn)
    for i, one in enumerate(s):
        assert torch.equal(operator.plan(one)(x[i : i + 1], drawn[i : i + 1])[0], whole[i])


@every
def test_what_is_random_is_drawn_once_and_serves_at_every_time(operator):
    degradation, x = Degradation(Linear(), operator), pictures(8)
    batch = Batch(x, torch.arange(8))
    early, late = (degradation(batch, full(8, t), keys(8)) for t in (0.2, 0.7))
    assert torch.equal(early.context["operator"], late.context["operator"])
    assert torch.equal(late.x_t, degradation.degrade(full(8, 0.7))(x, **early.context))
    # What comes with the sample is used.
    other = degradation.own(x, keys(8, seed=5))
    assert torch.equal(degradation(batch._replace(context=other), full(8, 0.7), keys(8)).x_t,
                       degradation.degrade(full(8, 0.7))(x, **other))  # fmt: skip


@random_ones
def test_another_sample_is_hit_elsewhere(operator):
    drawn = operator.draw(pictures(16, 65, 63), keys(16))  # so large that no two blocks lie at one place by chance
    assert drawn.shape == (16, 1, 65, 63)
    assert (drawn[0] != drawn[1:]).flatten(1).any(1).all()


@every
def test_a_step_goes_through_it_backwards(operator):
    """Restoration is trained through samplers too: gradients with respect to x are those of finite differences."""
    x = pictures(2, 4, 3)[:, :1].clone().requires_grad_()
    drawn, s = operator.draw(x, keys(2)), torch.tensor([0.3, 0.7], dtype=f64)
    assert torch.autograd.gradcheck(lambda y: operator.plan(s)(y, drawn), (x,))


@every
def test_half_precision_around_it_changes_nothing(operator):
    x = pictures(4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = degraded(operator, x, 0.4)
    assert torch.equal(half, degraded(operator, x, 0.4))


# -- what is left grows less


@random_ones
def test_what_is_hit_stays_hit(operator):
    x = pictures(16)
    drawn, before = operator.draw(x, keys(16)), None
    for s in torch.linspace(0, 1, 21, dtype=f64):
        touched, x_t = operator.touched(x, s, drawn), operator.plan(s)(x, drawn)
        assert torch.equal(x_t[~touched], x[~touched])
        if before is not None:
            assert (touched | ~before[0]).all()
            # Of the picture ever less shows: its weight is the distance to what hides it.
            end = operator.start(x).mean
            assert ((x_t - end).abs() <= (before[1] - end).abs() + 1e-12).all()
        before = touched, x_t
    assert touched.all()


def test_a_block_is_a_square_within_the_picture():
    x = torch.ones(16, 1, 40, 30, dtype=f64)
    drawn = BlockMask().draw(x, keys(16))
    for i, hit in enumerate(BlockMask().touched(x, torch.tensor(0.4, dtype=f64), drawn)):
        rows, columns = hit[0].any(1).nonzero().flatten(), hit[0].any(0).nonzero().flatten()
        assert hit[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), i
        inside = 0 < rows[0] and rows[-1] < 39 and 0 < columns[0] and columns[-1] < 29
        assert len(rows) == len(columns) or not inside


def test_a_blur_of_a_blur_is_a_wider_blur_and_means_are_kept():
    blur, x = Blur([]), pictures(4)
    share = [s / (1 - s) for s in (0.2, 0.3)]
    both = (share[0] ** 2 + share[1] ** 2) ** 0.5
    assert_close(degraded(blur, degraded(blur, x, 0.2), 0.3), degraded(blur, x, both / (1 + both)))
    for s in SEVERITIES:
        assert_close(degraded(blur, x, s).mean((2, 3)), x.mean((2, 3)))


@pytest.mark.parametrize("h, w", [(32, 32), (24, 31)])
def test_blur_is_scipys_with_reflecting_borders(h, w):
    from scipy.ndimage import gaussian_filter

    x, blur = pictures(2, h, w), Blur([], width=0.1)
    for std in (2.0, 5.0):  # of pixels; below, scipy's sampled kernel is not the heat equation's
        ratio = std / (0.1 * max(h, w))
        ours = degraded(blur, x, ratio / (1 + ratio))
        theirs = gaussian_filter(x.numpy(), (0, 0, std, std), mode="reflect", truncate=12)
        assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-7)


def test_cells_are_means_of_the_cells_before():
    x, pixelate = pictures(4, 9, 7), Pixelate([])
    levels = [degraded(pixelate, x, level / 4) for level in range(5)]  # cells of 1, 2, 4, 8 and 16 pixels
    for level, shown in enumerate(levels):
        side = 2**level
        for i in range(0, 9, side):
            for j in range(0, 7, side):
                cell = shown[:, :, i : i + side, j : j + side]
                want = x[:, :, i : i + side, j : j + side].mean((2, 3), keepdim=True)
                assert_close(cell, want.expand_as(cell))
        for later in range(level, 5):
            assert_close(degraded(pixelate, shown, later / 4), levels[later])
    assert torch.equal(degraded(pixelate, x, 0.26), levels[2])  # a level begins right above the one before
    assert torch.equal(degraded(pixelate, x, 0.01), levels[1])


def test_snow_hits_a_share_of_the_pixels_in_streaks():
    x = torch.zeros(200, 3, 32, 32, dtype=f64)
    drawn = Snow(length=2.0).draw(x, keys(200))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    # Uniform: its first moments, pixels near one another not being independent.
    for power in (1, 2, 3):
        assert abs((drawn**power).mean() - 1 / (power + 1)) < 0.01
    centered = drawn[:, 0] - 0.5
    down, right = ((a * b).mean() for a, b in ((centered[:, 1:], centered[:, :-1]),
                                               (centered[:, :, 1:], centered[:, :, :-1])))  # fmt: skip
    assert down > 2 * right.abs()
    hard = Snow(soft=1e-6)
    for s in (0.1, 0.5, 0.9):
        shown = degraded(hard, x, s, drawn)
        assert abs((shown == 1).double().mean() - s) < 0.02
        assert torch.equal(shown, shown[:, :1].expand_as(shown))


# -- the cold start


@pytest.mark.parametrize("make", [Blur, Pixelate])
def test_a_cold_start_has_the_levels_of_degraded_training_pictures(make):
    data = Digits(Identity(), 32).load()
    x = data.train.x.double() / 127.5 - 1
    operator = make([list(row) for row in data.spec.levels], noise=0.0)
    seen = degraded(operator, x, 1.0)[:, 0, 0, 0]
    drawn = operator.start(torch.zeros(20000, 1, 8, 8, dtype=f64)).sample(keys(20000))
    assert torch.equal(drawn, drawn[..., :1, :1].expand_as(drawn))
    level = drawn[:, 0, 0, 0]
    assert abs(level.mean() - seen.mean()) < 5 * seen.std() / 20000**0.5
    assert abs(level.std() - seen.std()) < 5 * seen.std() / 40000**0.5


@pytest.mark.parametrize("name", OPERATORS)
def test_samples_start_cold_where_the_schedule_ends_so(name):
    operator = OPERATORS[name]
    for schedule in (Linear(), Cosine()):
        facts = Degradation(schedule, operator).accepts(IMAGE).facts
        assert {Reversible, Degrading, Generative} <= facts
        assert (Local in facts) == (name in RANDOM)
    for schedule in (Constant(1.0), Constant(0.5), LinearBeta()):
        spec = Degradation(schedule, operator).accepts(IMAGE)
        assert {Reversible, Degrading} <= spec.facts
        OneShot().accepts(spec)
        with pytest.raises(Refused, match="Generative"):
            Loop(Ancestral(), even, 4).accepts(spec)


@averages
def test_without_levels_there_is_no_cold_start(operator):
    assert Generative not in Degradation(Linear(), type(operator)([])).accepts(IMAGE).facts
    with pytest.raises(Refused, match="levels"):
        Degradation(Linear(), type(operator)([[0.1, 0.3]])).accepts(IMAGE)


def test_a_certain_way_back_has_no_bound():
    with pytest.raises(Refused, match="Degrading"):
        Bound(10).accepts(Degradation(Linear(), Fade()).accepts(IMAGE))


def test_points_fade():
    x = randn(5, 2)
    assert Generative in Degradation(Linear(), Fade()).accepts(Spec("points", (2,))).facts
    c = Degradation(Linear(), Fade())(Batch(x, torch.arange(5)), full(5, 0.25), keys(5))
    assert torch.equal(c.x_t, 0.75 * x)


@pytest.mark.parametrize("make", [lambda: Blur([], width=0.0), lambda: Blur([], noise=-1.0), lambda: Snow(length=-1.0),
                                  lambda: Pixelate([], noise=2.0), lambda: Snow(soft=0.0)])  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(make):
    with pytest.raises(Refused, match=r"corruption\.operator"):
        make()


# -- the ways back


@every
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])
@pytest.mark.parametrize("t", [1.0, 0.4])
def test_who_knows_the_truth_recovers_it(operator, way, schedule, t):
    degradation, x = Degradation(schedule, operator), pictures(4)
    c = degradation(Batch(x, torch.arange(4)), full(4, t), keys(4))
    loop = Loop(way, even, 7)
    assert torch.equal(loop(Believes(Dirac(x)), degradation, c.x_t, full(4, t), keys(4), **c.context), x)


def test_algorithm_2_forgives_what_algorithm_1_believes():
    """Whatever is believed of what a block does not hide."""
    degradation, x, b = Degradation(Linear(), BlockMask()), pictures(4), pictures(5)[1:]
    c = degradation(Batch(x, torch.arange(4)), full(4, 0.4), keys(4))
    found = {name: Loop(way, even, 7)(Believes(Dirac(b)), degradation, c.x_t, full(4, 0.4), keys(4), **c.context)
             for name, way in WAYS.items()}  # fmt: skip
    assert torch.equal(found["algorithm_1"], b)
    outside = ~c.touched
    assert outside.any()
    assert_close(found["algorithm_2"][outside], x[outside])


@every
def test_new_samples_are_finite_and_their_own(operator):
    degradation = Degradation(Linear(), operator)
    spec = degradation.accepts(IMAGE)

    class Half(Denoiser):
        def forward(self, x_t, t, *, seen=None, previous=None, **context):
            return Dirac(x_t / 2)

    many = generate(Half(), degradation, Loop(Ancestral(), even, 5), spec, 6, 0, batch_size=4)
    assert torch.equal(many, generate(Half(), degradation, Loop(Ancestral(), even, 5), spec, 6, 0, batch_size=6))
    assert many.isfinite().all()


def blobs(n, seed):
    """A soft spot at a random place, (n, 1, 12, 12)."""
    center = torch.rand(n, 2, 1, 1, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.2
    y, x = torch.meshgrid(*[torch.linspace(0, 1, 12)] * 2, indexing="ij")
    return torch.exp(-((y - center[:, :1]) ** 2 + (x - center[:, 1:]) ** 2) / 0.03)


class Flat(nn.Module):
    """Its answers lie in (0, 1), as the data: fed what it said itself, an unbounded one diverges by algorithm 1, which
    would say more of the network than of the algorithm."""

    def __init__(self, width=128):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(145, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                 nn.Linear(width, 144))  # fmt: skip

    def forward(self, x, noise, **_):
        return self.net(torch.cat((x.flatten(1), noise[:, None]), 1)).sigmoid().view_as(x)


@pytest.mark.parametrize("operator", [Blur([]), BlockMask()], ids=["blur", "block_mask"])
def test_a_trained_network_does_better_by_algorithm_2(operator):
    """Where the picture is hit: what is shown algorithm 2 keeps in any case."""
    torch.manual_seed(0)
    degradation = Degradation(Linear(), operator)
    denoiser = X0().build(Flat(), degradation, Point())
    optimizer = torch.optim.Adam(denoiser.parameters(), 2e-3)
    for i in range(500):
        x, random = blobs(64, i), keys(64, i)
        t = random.uniform((64, 1))[:, 0]
        c = degradation(Batch(x, torch.arange(64)), t, random.child("noise"))
        loss = (denoiser(c.x_t, t, **c.context).mean - x).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, t = blobs(256, 10**6), torch.full((256,), 0.4)
    c = degradation(Batch(x, torch.arange(256)), t, keys(256))

    def error(y):
        return (y - x).abs()[c.touched].mean()

    found = {name: Loop(way, even, 20)(denoiser, degradation, c.x_t, t, keys(256), **c.context)
             for name, way in WAYS.items()}  # fmt: skip
    assert found["algorithm_1"].abs().max() <= 1  # worse, not diverged
    assert error(found["algorithm_2"]) < 0.8 * error(found["algorithm_1"])
    assert error(found["algorithm_2"]) < 0.8 * error(c.x_t)
