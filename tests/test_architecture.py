"""Architectures: the answer has the agreed shape, rows do not touch each other, and nobody knows the schedule."""

import ast
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from denoiselab.architecture import base
from denoiselab.architecture.adapters import Convolutions, DiffusersUNet, Module
from denoiselab.architecture.blocks import Attention, rotary, rotated
from denoiselab.architecture.conditioning import Conditional
from denoiselab.architecture.dit import DiT, places
from denoiselab.architecture.mlp import MLP
from denoiselab.architecture.positions import BEGUN, Learned, Sinusoidal, T5Relative
from denoiselab.architecture.transformer import Transformer
from denoiselab.architecture.unet import Look, Residual, UNet
from denoiselab.spec import Refused, Spec

IMAGES = {
    "gray": Spec("image", (1, 8, 8)),
    "odd": Spec("image", (3, 7, 5)),
    "wide": Spec("image", (2, 4, 13)),
    "learned": Spec("image", (3, 7, 6), given=(6, 7, 6)),
}
TEXTS = {
    "text": Spec("tokens", (9,), vocabulary=5, specials=("[MASK]",), given=(9, 5)),
    "clean": Spec("tokens", (9,), vocabulary=5, given=(9, 5)),
    "short": Spec("tokens", (1,), vocabulary=3, specials=("[MASK]", "[END]"), given=(1, 3)),
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
    "unet_all_skips": (
        lambda time=True: UNet(8, (1, 1, 2), 2, (1, 4), 2, True, time),
        {k: IMAGES[k] for k in ("gray", "odd")},
    ),
    "transformer": (lambda time=True: Transformer(16, 2, 2, time), TEXTS),
    "transformer_t5": (
        lambda time=True: Transformer(16, 2, 2, time, positions=T5Relative(8, 16)),
        {k: TEXTS[k] for k in ("text", "clean")},
    ),
    "transformer_sinusoidal": (
        lambda time=True: Transformer(16, 2, 2, time, positions=Sinusoidal()),
        {k: TEXTS[k] for k in ("text", "clean")},
    ),
    "transformer_learned": (
        lambda time=True: Transformer(16, 2, 2, time, positions=Learned()),
        {k: TEXTS[k] for k in ("text", "clean")},
    ),
    "dit": (lambda time=True: DiT(16, 2, 2, 1, 2, time), IMAGES),
    "dit_patches": (lambda time=True: DiT(16, 2, 2, 4, time=time), {"gray": IMAGES["gray"]}),
    "diffusers_unet": (
        lambda time=True: DiffusersUNet((8, 16), 1, (2,), 4, time=time),
        {"gray": IMAGES["gray"], "learned": Spec("image", (3, 2, 6), given=(6, 2, 6))},
    ),
}
CELLS = [(plan, name) for plan, (_, specs) in PLANS.items() for name in specs]
cells = pytest.mark.parametrize("plan, name", CELLS, ids=["-".join(c) for c in CELLS])
# Specs that a plan must not take, and a word of the reason.
REFUSED = {
    "unet_text": (PLANS["unet"][0], TEXTS["text"], "image"),
    "unet_points": (PLANS["unet"][0], POINTS["points"], "image"),
    "unet_small": (lambda: UNet(8, (1, 2, 2)), Spec("image", (1, 3, 9)), "2 times"),
    "transformer_pictures": (PLANS["transformer"][0], IMAGES["gray"], "tokens"),
    "dit_odd": (PLANS["dit_patches"][0], Spec("image", (1, 8, 6)), "architecture.patch=2"),
    "dit_text": (PLANS["dit"][0], TEXTS["text"], "image"),
    "dit_part": (PLANS["dit"][0], IMAGES["gray"]._replace(seen=(1, 4, 4)), "part"),
    "diffusers_odd": (PLANS["diffusers_unet"][0], IMAGES["odd"], "divides"),
    "diffusers_text": (PLANS["diffusers_unet"][0], TEXTS["text"], "image"),
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
    "unet_attention": lambda: UNet(8, (1, 2), attention=(4,), heads=1),
    "unet_middle_heads": lambda: UNet(8, (3, 1), attention=(1,), heads=3),
    "dit_heads": lambda: DiT(16, heads=3),
    "dit_places": lambda: DiT(18, heads=3),
    "dit_layers": lambda: DiT(16, layers=0),
    "dit_patch": lambda: DiT(16, patch=0),
    "diffusers_groups": lambda: DiffusersUNet((12,)),
    "diffusers_attention": lambda: DiffusersUNet((8,), attention=(2,)),
    "diffusers_heads": lambda: DiffusersUNet((8, 16), attention=(2,), attention_head_dim=3),
    "diffusers_nothing": lambda: DiffusersUNet(()),
    "module_made": lambda: Module(nn.Identity()),
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
        x = torch.randint(spec.vocabulary + len(spec.specials), (n, *spec.shape), generator=source)
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
        more = other[place] + 1
        other[place] = more % (spec.vocabulary + len(spec.specials)) if spec.vocabulary else more
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


@pytest.mark.parametrize("plan", ["transformer", "transformer_t5", "transformer_sinusoidal", "transformer_learned"])
@torch.no_grad()
def test_positions_are_known(plan):
    """Without them a Transformer's answer to a permuted text would be the permuted answer."""
    network, order = built(plan, TEXTS["text"]), torch.tensor([3, 1, 0, 2, 4, 8, 7, 5, 6])
    x, noise = torch.arange(9)[None] % 6, torch.zeros(1)
    assert not torch.allclose(network(x[:, order], noise), network(x, noise)[:, order])


def test_sinusoids_are_those_of_the_first_transformer():
    placed = Sinusoidal().build(2, 4, 7, causal=False)
    place = torch.tensor([0, 3, 6])
    for i in range(4):
        angle = place / 10_000 ** (2 * i / 8)
        found = placed(place, place).added[:, 2 * i : 2 * i + 2] / BEGUN
        torch.testing.assert_close(found, torch.stack((angle.sin(), angle.cos()), 1), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_attention_is_of_relative_positions():
    """Rotary: scores depend on distances alone."""
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


@pytest.mark.parametrize("plan", ["unet", "unet_deep", "unet_all_skips", "dit", "dit_patches"])
def test_a_network_starts_by_saying_nothing(plan):
    """Its last layer is zero, and so is each residual branch."""
    torch.manual_seed(0)
    network, (x, noise) = PLANS[plan][0]().build(IMAGES["gray"]), batch(IMAGES["gray"])
    assert not network(x, noise).any()
    assert all(not p.any() for p in base.zeroed(nn.Linear(3, 3)).parameters())


def test_a_block_of_a_dit_starts_as_the_identity():
    torch.manual_seed(0)
    network = DiT(16, 1, 2, 2).build(IMAGES["gray"])
    h, vector = torch.randn(3, 16, 16), torch.randn(3, 16)
    assert torch.equal(network.blocks[0](h, vector, None, None), h)


@torch.no_grad()
def test_every_place_of_a_picture_has_its_own_waves():
    table = places(5, 7, 16)
    assert table.shape == (35, 16)
    assert torch.cdist(table, table).fill_diagonal_(1).min() > 0.1
    # Half tells the row, half the column.
    grid = table.view(5, 7, 16)
    assert torch.equal(grid[:, 0, :8], grid[:, 6, :8])
    assert torch.equal(grid[0, :, 8:], grid[4, :, 8:])


@torch.no_grad()
def test_a_patch_comes_back_to_where_it_was():
    """What the network says of a patch without the others depends on no other."""
    network = built("dit_patches", IMAGES["gray"])
    for block in network.blocks:
        block.attention.out.weight.zero_()
    x, noise = batch(IMAGES["gray"], 1)
    other = x.clone()
    other[..., 4:, :4] += 1
    changed = (network(other, noise) != network(x, noise))[0, 0]
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[4:, :4] = True
    assert torch.equal(changed, expected)


@pytest.mark.parametrize("plan", ["unet", "unet_all_skips", "dit", "diffusers_unet"])
@torch.no_grad()
def test_channels_last_and_bfloat16_change_rounding_alone(plan):
    network, (x, noise) = built(plan, IMAGES["gray"]), batch(IMAGES["gray"])
    answer = network(x, noise)
    network = network.to(memory_format=torch.channels_last)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(last, noise), answer, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(last, noise)
    assert (rounded.float() - answer).norm() < 0.05 * answer.norm()


@pytest.mark.parametrize("attention", [(), (2,), (1, 4)], ids=str)
@torch.no_grad()
def test_the_unet_with_all_skips_is_that_of_diffusers(attention):
    """With its weights and its embedded time, the same function."""
    theirs = DiffusersUNet((8, 16, 16), 2, attention, 8).build(IMAGES["gray"]).network.eval()
    torch.manual_seed(0)
    for p in theirs.parameters():
        p.add_(0.1 * torch.randn_like(p))
    ours = UNet(8, (1, 2, 2), 2, attention, 1, all_skips=True).build(IMAGES["gray"]).eval()
    for layer in (layer for layer in ours.modules() if isinstance(layer, Attention)):
        layer.heads = layer.out.in_features // 8  # theirs have heads of one size
    x, noise = batch(IMAGES["gray"])
    time = theirs.time_embedding(theirs.time_proj(1000 * noise))
    ours.embed.time.forward = lambda noise: time
    copied(theirs, ours)
    torch.testing.assert_close(ours(x, noise), theirs(x, 1000 * noise).sample, rtol=1e-4, atol=1e-4)


def copied(theirs, ours):
    """The weights of diffusers' U-Net, in the order of ours: down, middle, up."""
    groups = [*theirs.down_blocks, theirs.mid_block, *theirs.up_blocks]
    pairs = [(theirs.conv_in, ours.first), (theirs.conv_norm_out, ours.last[0]), (theirs.conv_out, ours.last[2])]
    resnets = [r for g in groups for r in g.resnets]
    residuals = [m for m in ours.modules() if isinstance(m, Residual)]
    assert len(resnets) == len(residuals)
    for a, b in zip(resnets, residuals, strict=True):
        pairs += [(a.norm1, b.norm1), (a.conv1, b.conv1), (a.norm2, b.norm2), (a.conv2, b.conv2)]
        pairs += [(a.conv_shortcut, b.skip)] if a.conv_shortcut is not None else []
    for name in ("weight", "bias"):
        getattr(ours.tell, name).copy_(torch.cat([getattr(r.time_emb_proj, name) for r in resnets]))
    attentions = [a for g in groups for a in getattr(g, "attentions", ()) if a is not None]
    for a, b in zip(attentions, [m for m in ours.modules() if isinstance(m, Look)], strict=True):
        pairs += [(a.group_norm, b.norm), (a.to_out[0], b.attention.out)]
        for name in ("weight", "bias"):
            parts = [getattr(linear, name) for linear in (a.to_q, a.to_k, a.to_v)]
            getattr(b.attention.qkv, name).copy_(torch.cat(parts))
    pairs += zip([d.conv for g in theirs.down_blocks for d in g.downsamplers or ()], ours.shrink, strict=True)
    pairs += zip([u.conv for g in theirs.up_blocks for u in g.upsamplers or ()], ours.grow, strict=True)
    for a, b in pairs:
        b.load_state_dict(a.state_dict())


# -- networks of others


class Net(nn.Module):
    """A network of a user's: told the shape, with a width of its own."""

    def __init__(self, shape, given, width=3):
        super().__init__()
        layers = (nn.Flatten(), nn.Linear(math.prod(shape), width), nn.Linear(width, math.prod(given)))
        self.layers = nn.Sequential(*layers)
        self.given = given

    def forward(self, x, noise):
        return self.layers(x).unflatten(1, self.given) + noise.view(-1, *[1] * len(self.given))


class Listens(Net):
    def forward(self, x, noise, *, label=None, told=None):
        return super().forward(x, noise if label is None else noise + label)


class Hears(Net):
    def forward(self, x, noise, **context):
        self.heard = set(context)
        return super().forward(x, noise)


class Reads(Net):
    """What cannot run on the meta device."""

    def forward(self, x, noise):
        return super().forward(x, noise) * (2 if x.sum().item() > 1e9 else 1)


class Narrow(Net):
    def forward(self, x, noise):
        return super().forward(x, noise)[:, :1]


class Timeless(Net):
    def forward(self, x):
        return super().forward(x, 0)


class Pair(Net):
    def forward(self, x, noise):
        return x, noise


LABELED = IMAGES["odd"].having(context=("label", "valid"), classes=3)


@pytest.mark.parametrize("name", IMAGES)
def test_a_network_of_yours_is_told_the_shape_and_made_under_the_seed(name):
    spec, architecture = IMAGES[name], Module(partial(Net, width=4))
    state = torch.get_rng_state()
    assert architecture.accepts(spec) == spec
    assert torch.equal(torch.get_rng_state(), state)
    x, noise = batch(spec)
    answers = []
    for _ in range(2):
        torch.manual_seed(0)
        network = architecture.build(spec)
        answers.append(network(x, noise, label=torch.arange(5), unheard_of=x))
    assert answers[0].shape == (5, *(spec.given or spec.shape))
    assert torch.equal(*answers)
    assert network.network.layers[1].out_features == 4


@torch.no_grad()
def test_a_network_of_yours_gets_what_its_forward_names():
    x, noise = batch(LABELED)
    label = torch.arange(5)
    network = Module(Listens).build(LABELED)
    assert not torch.equal(network(x, noise, label=label, valid=label), network(x, noise))
    network = Module(Hears).build(LABELED)
    network(x, noise, label=label, told=label > 0)
    assert network.heard == {"label", "told"}


def test_a_network_of_yours_that_names_told_can_be_guided():
    assert Module(Listens).accepts(LABELED) == LABELED.having(Conditional)
    assert Module(Net).accepts(LABELED) == LABELED
    assert Module(Reads).accepts(LABELED) == LABELED


@pytest.mark.parametrize("net, word", [(Narrow, "(2, 1, 7, 5)"), (Timeless, "Timeless"), (Pair, "tuple")], ids=str)
def test_a_network_of_yours_that_does_not_answer_as_agreed_is_refused(net, word):
    with pytest.raises(Refused) as caught:
        Module(net).accepts(LABELED)
    assert word in str(caught.value)
    assert net.__name__ in caught.value.what


def test_a_place_for_a_network_of_yours_runs_on_pictures_alone():
    for spec in IMAGES.values():
        Module(Convolutions).accepts(spec)
    with pytest.raises(Refused, match="Convolutions does not run"):
        Module(Convolutions).accepts(TEXTS["text"])


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
