"""Rates warm up and fall as they say; what decays is a matrix, in one of two groups."""

import math

import pytest
import torch
from torch import nn

from denoiselab.optim import Constant, Cosine, Steps, groups
from denoiselab.spec import Refused

N = 100
# A new rate is an entry here: with a warm-up of so many steps, for N steps.
RATES = {
    "constant": lambda warmup=0: Constant(warmup),
    "cosine": lambda warmup=0: Cosine(N, warmup),
    "cosine_floor": lambda warmup=0: Cosine(N, warmup, 0.1),
    "step": lambda warmup=0: Steps([30, 60], 0.1, warmup),
}
rates = pytest.mark.parametrize("rate", RATES.values(), ids=RATES)


@rates
def test_a_rate_is_a_share_of_the_base_rate_and_falls(rate):
    values = [rate()(step) for step in range(2 * N)]
    assert values[0] == 1
    assert all(0 <= v <= 1 for v in values)
    assert values == sorted(values, reverse=True)


@rates
@pytest.mark.parametrize("warmup", [1, 9, 50])
def test_a_warm_up_is_linear_and_ends(rate, warmup):
    plain, warm = rate(), rate(warmup)
    for step in range(N):
        share = min(1.0, (step + 1) / (warmup + 1))
        assert warm(step) == pytest.approx(share * plain(step))
    assert warm(0) > 0
    assert warm(warmup) == plain(warmup)


@rates
def test_a_negative_warm_up_is_refused(rate):
    with pytest.raises(Refused, match="warmup"):
        rate(-1)


@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_cosine_is_half_a_cosine_from_1_to_its_floor(floor):
    rate = Cosine(N, floor=floor)
    assert rate(N // 2) == pytest.approx((1 + floor) / 2)
    assert rate(N) == rate(10 * N) == pytest.approx(floor)
    for step in range(N):
        assert rate(step) - floor == pytest.approx((1 - floor) * math.cos(math.pi * step / N / 2) ** 2)


def test_steps_fall_at_their_milestones():
    rate = Steps([3, 5], 0.1)
    assert [rate(step) for step in range(7)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_every_parameter_is_in_one_group_and_matrices_alone_decay():
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.Linear(8, 4), nn.Embedding(3, 4), nn.LayerNorm(4)
    )
    network[2].bias.requires_grad_(False)
    wide, narrow = groups(network.parameters())
    assert {id(p) for p in wide["params"]} == {id(network[i].weight) for i in (0, 2, 3)}
    norms = {id(p) for i in (1, 4) for p in network[i].parameters()}
    assert {id(p) for p in narrow["params"]} == norms | {id(network[0].bias)}
    assert "weight_decay" not in wide
    assert narrow["weight_decay"] == 0


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_without_a_gradient_norms_and_biases_stay(optimizer):
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    made = optimizer(groups(network.parameters()), lr=0.1, weight_decay=0.5)
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    made.step()
    for name, p in network.named_parameters():
        decayed = before[name] * (1 - 0.1 * 0.5) if p.ndim > 1 else before[name]
        torch.testing.assert_close(p.detach(), decayed)
