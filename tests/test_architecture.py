"""Architectures: the answer has the agreed shape, rows do not touch each other, and nobody knows the schedule."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

from denoiselab.architecture import base
from denoiselab.architecture.mlp import MLP
from denoiselab.architecture.transformer import Transformer
from denoiselab.architecture.unet import UNet
from denoiselab.spec import Refused, Spec

IMAGES = {
    "gray": Spec("image", (1, 8, 8)),
    "odd": Spec("image", (3, 7, 5)),
    "wide": Spec("image", (2, 4, 13)),
    "learned": Spec("image", (3, 7, 6), given=(6, 7, 6)),
}
TEXTS = {
    "text": Spec("tokens", (9,), vocabulary=5, specials=1, given=(9, 5)),
    "clean": Spec("tokens", (9,), vocabulary=5, given=(9, 5)),
    "short": Spec("tokens", (1,), vocabulary=3, specials=2, given=(1, 3)),
}
POINTS = {"points": Spec("points", (2,)), "learned_points": Spec("points", (3,), given=(6,))}
# A new architecture is an entry here: a small plan, told the time or not, and the specs it takes.
PLANS = {
    "mlp": (lambda time=True: MLP(8, 2, 4, time), {**IMAGES, **TEXTS, **POINTS}),
    "unet": (lambda time=True: UNet(8, (1, 2), 1, (2,), 2, time=time), IMAGES),
    "unet_deep": (
        lambda time=True: UNet(8, (1, 1, 2), 2, (), time=time),
        {k: IMAGES[k] for k in ("gray", "odd", "wide")},
    ),
    "transformer": (lambda time=True: Transformer(16, 2, 2, time), TEXTS),
}
CELLS = [(plan, name) for plan, (_, specs) in PLANS.items() for name in specs]
cells = pytest.mark.parametrize("plan, name", CELLS, ids=["-".join(c) for c in CELLS])
# Specs that a plan must not take, and a word of the reason.
REFUSED = {
    "unet_text": (PLANS["unet"][0], TEXTS["text"], "image"),
    "unet_points": (PLANS["unet"][0], POINTS["points"], "image"),
    "unet_small": (lambda: UNet(8, (1, 2, 2)), Spec("image", (1, 3, 9)), "2 times"),
    "transformer_pictures": (PLANS["transformer"][0], IMAGES["gray"], "tokens"),
    "mlp_large": (lambda: MLP(1024), Spec("image", (3, 256, 256)), "unet"),
    "mlp_part": (PLANS["mlp"][0], POINTS["points"]._replace(seen=(1,)), "part"),
    "unet_part": (PLANS["unet"][0], IMAGES["gray"]._replace(seen=(1, 4, 4)), "part"),
    "transformer_part": (PLANS["transformer"][0], TEXTS["text"]._replace(seen=(4,)), "part"),
}
WRONG = {
    "unet_width": lambda: UNet(12),
    "unet_empty": lambda: UNet(8, (), attention=()),
    "unet_heads": lambda: UNet(8, (1, 2), attention=(2,), heads=3),
    "transformer_heads": lambda: Transformer(16, heads=3),
    "transformer_odd_heads": lambda: Transformer(9, heads=3),
    "transformer_no_heads": lambda: Transformer(16, heads=0),
    "mlp_width": lambda: MLP(0),
    "mlp_embedding": lambda: MLP(8, embedding=0),
    "unet_multiplier": lambda: UNet(8, (1, 0), attention=()),
    "unet_blocks": lambda: UNet(8, blocks=0),
}


def built(plan, spec, **more):
    """A network whose zeroed layers are not zero, so that every path counts."""
    torch.manual_seed(0)
    architecture = PLANS[plan][0](**more)
    network = architecture.build(architecture.accepts(spec)).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network


def batch(spec, n=5, seed=0):
    """x of all tokens, specials too, and the noise that the network is told of."""
    source = torch.Generator().manual_seed(seed)
    if spec.kind == "tokens":
        x = torch.randint(spec.vocabulary + spec.specials, (n, *spec.shape), generator=source)
    else:
        x = torch.randn(n, *spec.shape, generator=source)
    return x, torch.rand(n, generator=source)


@cells
@torch.no_grad()
def test_the_answer_has_the_agreed_shape(plan, name):
    spec = PLANS[plan][1][name]
    x, noise = batch(spec)
    out = built(plan, spec)(x, noise)
    assert out.shape == (5, *(spec.given or spec.shape))
    assert out.dtype == torch.float32
    assert out.isfinite().all()


@cells
@torch.no_grad()
def test_a_row_alone_is_the_row_in_a_batch(plan, name):
    spec = PLANS[plan][1][name]
    network, (x, noise) = built(plan, spec), batch(spec)
    together = network(x, noise)
    for i in range(len(x)):
        torch.testing.assert_close(network(x[i : i + 1], noise[i : i + 1])[0], together[i], rtol=1e-5, atol=1e-5)


@cells
@torch.no_grad()
def test_the_time_is_told_or_it_is_not(plan, name):
    spec = PLANS[plan][1][name]
    x, noise = batch(spec)
    told, not_told = built(plan, spec, time=True), built(plan, spec, time=False)
    assert not torch.allclose(told(x, noise), told(x, 1 - noise))
    assert torch.equal(not_told(x, noise), not_told(x, 1 - noise))


@cells
def test_every_weight_learns(plan, name):
    spec = PLANS[plan][1][name]
    network, (x, noise) = built(plan, spec), batch(spec)
    network(x, noise).square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # A key's bias shifts all scores of a query alike; on a single token attention has nothing to choose.
    assert not [name for name in idle if "qkv" not in name]


@cells
@torch.no_grad()
def test_the_whole_of_x_is_looked_at(plan, name):
    """Everywhere in x there is something that the answer depends on."""
    spec = PLANS[plan][1][name]
    network, (x, noise) = built(plan, spec, time=False), batch(spec, 1)
    before = network(x, noise)
    for place in range(x[0].numel()):
        other = x.clone().view(-1)
        other[place] = (other[place] + 1) % (spec.vocabulary + spec.specials) if spec.vocabulary else other[place] + 1
        assert not torch.equal(network(other.view_as(x), noise), before), place


@cells
@torch.no_grad()
def test_context_that_a_network_does_not_know_changes_nothing(plan, name):
    spec = PLANS[plan][1][name]
    network, (x, noise) = built(plan, spec), batch(spec)
    assert torch.equal(network(x, noise, label=torch.arange(5), unheard_of=x), network(x, noise))


@cells
def test_accepting_allocates_nothing_and_changes_nothing_known(plan, name):
    spec = PLANS[plan][1][name]
    agreed = PLANS[plan][0]().accepts(spec)
    assert agreed._replace(facts=spec.facts) == spec


@pytest.mark.parametrize("plan, spec, word", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_its_reason(plan, spec, word):
    with pytest.raises(Refused) as caught:
        plan().accepts(spec)
    assert word in str(caught.value)


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_plan_that_cannot_be_is_refused(make):
    with pytest.raises(Refused):
        make()


@torch.no_grad()
def test_padding_does_not_change_what_is_valid():
    spec = TEXTS["text"]
    network, (x, noise) = built("transformer", spec), batch(spec)
    length = torch.tensor([[9], [4], [1], [6], [8]])
    valid = torch.arange(9).expand(5, 9) < length
    other = torch.where(valid, x, (x + 1) % 6)
    assert not torch.equal(x, other)
    assert torch.equal(network(x, noise, valid=valid)[valid], network(other, noise, valid=valid)[valid])
    torch.testing.assert_close(network(x, noise, valid=valid)[1, :4], network(x[1:2, :4], noise[1:2])[0])
    # And it is looked at where nobody says that it is padding.
    assert not torch.allclose(network(x, noise)[valid], network(other, noise)[valid])


@torch.no_grad()
def test_positions_are_known():
    """Without them a Transformer's answer to a permuted text would be the permuted answer."""
    network, order = built("transformer", TEXTS["text"]), torch.tensor([3, 1, 0, 2, 4, 8, 7, 5, 6])
    x, noise = torch.arange(9)[None] % 6, torch.zeros(1)
    assert not torch.allclose(network(x[:, order], noise), network(x, noise)[:, order])


@torch.no_grad()
def test_attention_is_of_relative_positions():
    """Rotary: scores depend on distances alone."""
    from denoiselab.architecture.blocks import rotary, rotated

    cos, sin = rotary(12, 8)
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0))
    q, k = (rotated(x.expand(12, 8), cos, sin) for x in (q, k))
    scores = q @ k.T
    for distance in range(-5, 6):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(q.norm(dim=1), q.norm(dim=1)[:1].expand(12))


@torch.no_grad()
def test_the_time_embedding_tells_near_times_apart():
    embed = base.TimeEmbedding(16)
    e = embed(torch.linspace(0, 1, 1001))
    assert torch.cdist(e[:-1, None], e[1:, None]).min() > 0


def test_residual_branches_start_as_nothing():
    assert all(not p.any() for p in base.zeroed(nn.Linear(3, 3)).parameters())
    torch.manual_seed(0)
    network = UNet(8, (1, 2), attention=(1, 2)).build(IMAGES["gray"])
    x, noise = batch(IMAGES["gray"])
    assert not network(x, noise).any()


FILES = sorted(Path(base.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=[f.stem for f in FILES])
def test_an_architecture_never_knows_the_schedule(file):
    """Of this package it imports the spec and its own folder alone."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names.add(node.module)
    ours = {name for name in names if name.split(".")[0] == "denoiselab"}
    assert all(name == "denoiselab.spec" or name.startswith("denoiselab.architecture") for name in ours), ours
