"""The one module: its loss is the sum over the global batch by the count of the global batch, whatever the shares; its
draws are keyed; validation looks at the same times and noise for all seeds."""

import itertools

import pytest
import torch

from denoiselab.architecture.mlp import MLP
from denoiselab.corruption import GaussianNoise, SaltAndPepper, TokenMask, TokenUniform
from denoiselab.data.base import Table
from denoiselab.data.batches import Batches, Once
from denoiselab.denoiser import X0, Logits, Point, Subs, TokenLogits, V
from denoiselab.module import DenoisingModule, Parts
from denoiselab.objective import ELBO, MAE, MSE, Bound, CrossEntropy, OfV, Unit, Weighted
from denoiselab.optim import Constant, Cosine
from denoiselab.randomness import Keyed, key
from denoiselab.sampler import OneShot
from denoiselab.schedule import Constant as Level
from denoiselab.schedule import Cosine as CosineNoise
from denoiselab.schedule import Linear
from denoiselab.spec import Spec, compose
from denoiselab.times import LogitNormal, OnGrid, Stratified, Uniform

VOCABULARY = 4
IMAGE, TEXT = Spec("image", (1, 4, 3)), Spec("tokens", (6,), VOCABULARY)
N = 24
PICTURES = Table((torch.arange(N * 12) * 37 % 256).to(torch.uint8).view(N, 1, 4, 3))
TEXTS = Table(
    torch.arange(N * 6).view(N, 6) * 7 % VOCABULARY,
    {"valid": torch.arange(6).expand(N, 6) < 1 + torch.arange(N)[:, None] % 6},
)
# A new system is an entry here: spec, corruption, parameterization, head, times, objective.
SYSTEMS = {
    "diffusion": (
        IMAGE, lambda: GaussianNoise(CosineNoise()), V(), Point(), Stratified, lambda: Weighted(MSE(), OfV()),
    ),
    "normal_times": (
        IMAGE, lambda: GaussianNoise(CosineNoise()), V(), Point(), LogitNormal, lambda: Weighted(MSE(), Unit()),
    ),
    "restoring": (
        IMAGE, lambda: SaltAndPepper(Level(0.3)), X0(), Point(), Uniform, lambda: Weighted(MAE(), Unit()),
    ),
    "bert": (
        TEXT, lambda: TokenMask(Level(0.5), VOCABULARY, 0.1, 0.1), TokenLogits(), Logits(), Uniform,
        lambda: Weighted(CrossEntropy(), Unit()),
    ),
    "mdlm": (
        TEXT, lambda: TokenMask(Linear(), VOCABULARY), Subs(), Logits(), Stratified,
        lambda: Weighted(CrossEntropy(), ELBO()),
    ),
    "d3pm": (
        TEXT, lambda: TokenUniform(Linear(), VOCABULARY), TokenLogits(), Logits(), lambda: OnGrid(10),
        lambda: Bound(10),
    ),
}  # fmt: skip
systems = pytest.mark.parametrize("system", SYSTEMS)


def table(system):
    return TEXTS if SYSTEMS[system][0] is TEXT else PICTURES


def module(system, seed=0, **more):
    spec, corrupt, plan, head, times, objective = SYSTEMS[system]
    corruption, times, objective, architecture = corrupt(), times(), objective(), MLP(8, 1, 4)
    agreed = compose(spec, corruption, plan, head, architecture, times, objective)
    torch.manual_seed(0)
    denoiser = plan.build(architecture.build(agreed), corruption, head)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.1 * torch.randn_like(p))
    parts = Parts(agreed, corruption, denoiser, times, objective, OneShot())
    return DenoisingModule(parts, torch.optim.SGD, Constant(), seed, **more)


def asked(made, share, step=0):
    """As in a training step."""
    when = Keyed(key(made.seed, 3, step, share.place))
    return made.ask(share, made.times, when, Keyed(key(made.seed, 4, share.batch.key)))


def first(batches, n=1):
    return list(itertools.islice(batches, n))


@systems
@pytest.mark.parametrize("accumulate, ranks", [(1, 2), (2, 1), (2, 3)])
def test_shares_add_up_to_the_whole(system, accumulate, ranks):
    """Sums, counts and gradients of the shares of a global batch are those of the batch."""
    made = module(system)
    [whole] = first(Batches(table(system), 12, 0))
    one = asked(made, whole)
    (one.cost.sum() / one.count).backward()
    gradients = [p.grad.clone() for p in made.parameters() if p.grad is not None]
    made.zero_grad()
    shares = [
        asked(made, share)
        for r in range(ranks)
        for share in first(Batches(table(system), 12, 0, accumulate=accumulate, rank=r, ranks=ranks), accumulate)
    ]
    count = sum(share.count for share in shares)
    assert count == one.count
    (sum(share.cost.sum() for share in shares) / count).backward()
    torch.testing.assert_close(sum(s.cost.sum() for s in shares), one.cost.sum(), rtol=1e-5, atol=1e-5)
    for p, gradient in zip((p for p in made.parameters() if p.grad is not None), gradients, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_share_in_which_nothing_was_touched_counts_nothing():
    """BERT may touch no token of a small share: the divisor is that of the whole all the same."""
    made = module("bert")
    [whole] = Once(TEXTS, N)
    one, each = made.examine(whole), [made.examine(share) for share in Once(TEXTS, 1)]
    assert any(not share.corrupted.touched.any() for share in each)
    assert sum(int(share.count) for share in each) == int(one.count)


@systems
@torch.no_grad()
def test_a_sample_is_corrupted_by_its_key_wherever_it_lies(system):
    """The noise of a sample does not know the batch; its time is that of its place."""
    made = module(system)
    [whole] = first(Batches(table(system), 12, 0))
    one, [half] = asked(made, whole), first(Batches(table(system), 12, 0, accumulate=2))
    part = asked(made, half)
    assert torch.equal(part.t, one.t[half.place])
    assert torch.equal(part.corrupted.x_t, one.corrupted.x_t[half.place])
    assert torch.equal(part.corrupted.touched, one.corrupted.touched[half.place])
    torch.testing.assert_close(part.cost, one.cost[half.place], rtol=1e-4, atol=1e-5)


@systems
@torch.no_grad()
def test_the_cost_has_the_shape_of_what_is_scored_and_none_where_it_is_not(system):
    made = module(system)
    [share] = first(Batches(table(system), 12, 0))
    one = asked(made, share)
    assert one.cost.shape == one.corrupted.scored.shape == one.corrupted.target.shape
    assert one.t.shape == (12,)
    assert not one.cost[~one.corrupted.scored.bool()].any()
    if "valid" in one.corrupted.context:
        assert not one.cost[~one.corrupted.context["valid"]].any()
    assert 0 < int(one.count) <= one.cost.numel()


@systems
@torch.no_grad()
def test_times_stay_where_the_schedule_is_finite(system):
    made = module(system)
    schedule = made.corruption.schedule
    t = torch.cat([asked(made, share, step).t for step, share in enumerate(first(Batches(table(system), 8, 0), 6))])
    assert schedule.t_min <= t.min() <= t.max() <= schedule.t_max


@systems
@torch.no_grad()
def test_steps_epochs_and_seeds_draw_anew(system):
    """The same samples in the same places, corrupted otherwise; and again the same if nothing has changed."""
    made, other, places = module(system), module(system, seed=1), torch.arange(N)
    one, two = (Batches(table(system), N, 0).share(places, key(0, 1, epoch, places), places, N) for epoch in (0, 1))
    shown = [asked(m, share).corrupted.x_t for m, share in ((made, one), (made, two), (other, one), (made, one))]
    assert torch.equal(shown[0], shown[3])
    assert not torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])
    if made.corruption.schedule.t_min < made.corruption.schedule.t_max:
        assert not torch.equal(asked(made, one, 0).t, asked(made, one, 1).t)


@systems
@torch.no_grad()
def test_validation_is_the_same_for_all_seeds_and_batch_sizes(system):
    found = []
    for seed, batch_size in ((0, N), (1, N), (0, 5)):
        made = module(system, seed=seed)
        asks = [made.examine(share) for share in Once(table(system), batch_size)]
        found.append([torch.cat([a.t for a in asks]), torch.cat([a.corrupted.x_t for a in asks])])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
    again = module(system, evaluation_seed=1).examine(next(iter(Once(table(system), N))))
    assert not torch.equal(again.corrupted.x_t, found[0][1])


@pytest.mark.parametrize("system", ["diffusion", "normal_times", "restoring", "bert", "mdlm"])
@torch.no_grad()
def test_validation_looks_at_all_times_alike_whatever_training_draws(system):
    made = module(system)
    [share] = Once(table(system), N)
    when = Keyed(key(0, 5, share.place))
    t, importance = made.watch(share.place, share.n, when)
    assert torch.equal((t * N).floor(), torch.arange(N).float())  # one in each of N equal parts
    assert torch.equal(importance, torch.ones(N))


@torch.no_grad()
def test_a_bound_is_validated_on_its_grid():
    made = module("d3pm")
    [share] = Once(TEXTS, N)
    t = made.examine(share).t
    torch.testing.assert_close(t * 10, (t * 10).round())


def test_asking_changes_no_data():
    for system in SYSTEMS:
        before = table(system).x.clone()
        made = module(system)
        [share] = first(Batches(table(system), 12, 0))
        x = share.batch.x.clone()
        asked(made, share)
        assert torch.equal(share.batch.x, x)
        assert torch.equal(table(system).x, before)


def test_asking_draws_nothing_from_the_global_generator():
    for system in SYSTEMS:
        made, state = module(system), torch.get_rng_state()
        asked(made, first(Batches(table(system), 12, 0))[0])
        made.examine(next(iter(Once(table(system), 12))))
        assert torch.equal(torch.get_rng_state(), state)


def test_two_groups_and_a_rate_by_the_step():
    made = module("diffusion")
    made.optimizer, made.rate = lambda groups: torch.optim.SGD(groups, lr=2.0), Cosine(10, warmup=4)
    found = made.configure_optimizers()
    optimizer, scheduler = found["optimizer"], found["lr_scheduler"]["scheduler"]
    assert found["lr_scheduler"]["interval"] == "step"
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(made.parameters()))
    for step in range(6):
        assert scheduler.get_last_lr() == [2.0 * Cosine(10, warmup=4)(step)] * 2
        optimizer.step()
        scheduler.step()


def test_the_parts_are_the_modules_own_and_saved():
    """Weights of the denoiser are in the state, and nothing else learns."""
    made = module("diffusion")
    assert {name.split(".")[0] for name, _ in made.named_parameters()} == {"denoiser"}
    assert {name.split(".")[0] for name in made.state_dict()} <= {"denoiser", "corruption", "times"}
    other = module("diffusion", seed=3)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    other.load_state_dict(made.state_dict())
    assert all(map(torch.equal, made.parameters(), other.parameters()))
