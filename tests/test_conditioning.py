"""Conditioning: what is told changes the answer, what is withheld does not, and each row is told its own."""

import pytest
import torch

from denoiselab.architecture.adapters import DiffusersUNet
from denoiselab.architecture.base import AnyLength, Timeless
from denoiselab.architecture.conditioning import Caption, Conditional, Label, Unconditional
from denoiselab.architecture.dit import DiT
from denoiselab.architecture.mlp import MLP
from denoiselab.architecture.transformer import Transformer
from denoiselab.architecture.unet import UNet
from denoiselab.spec import Refused, Spec

KNOWN = dict(classes=3, words=6, caption=4, context=frozenset({"label", "caption", "caption_valid"}))
IMAGE = Spec("image", (1, 4, 4), **KNOWN)
TEXT = Spec("tokens", (5,), vocabulary=4, specials=("[MASK]",), given=(5, 4), **KNOWN)
# A new architecture and a new conditioning are an entry each.
PLANS = {
    "mlp": (lambda **more: MLP(8, 1, 4, **more), IMAGE),
    "unet": (lambda **more: UNet(8, (1, 2), 1, (2,), 2, **more), IMAGE),
    "dit": (lambda **more: DiT(16, 1, 2, 2, **more), IMAGE),
    "transformer": (lambda **more: Transformer(16, 1, 2, **more), TEXT),
    "diffusers_unet": (lambda **more: DiffusersUNet((8, 16), 1, (), **more), IMAGE),
}
TOLD = {"label": Label, "text": lambda: Caption(8, 1, 2)}
# Those that look at each word; to the others a caption is one vector.
READERS = ("unet", "dit", "transformer")
plans, conditionings = pytest.mark.parametrize("plan", PLANS), pytest.mark.parametrize("conditioning", TOLD)


def built(plan, conditioning, time=True):
    """A network whose zeroed layers are not zero, so that every path counts."""
    torch.manual_seed(0)
    make, spec = PLANS[plan]
    architecture = make(time=time, conditioning=conditioning)
    network = architecture.build(architecture.accepts(spec)).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return network


def batch(plan, n=6):
    """x, noise, and a context in which no two samples of the first four are told the same."""
    source, spec = torch.Generator().manual_seed(0), PLANS[plan][1]
    x = torch.randint(5, (n, 5), generator=source) if spec.vocabulary else torch.randn(n, 1, 4, 4, generator=source)
    label, caption = torch.tensor([0, 1, 2, 1, 0, 2])[:n], torch.tensor([1, 2, 3, 4, 5, 0])[:n, None].expand(n, 4)
    length = torch.tensor([4, 2, 1, 3, 4, 2])[:n, None]
    return x, torch.rand(n, generator=source), {
        "label": label, "caption": caption, "caption_valid": torch.arange(4) < length
    }  # fmt: skip


def others(context):
    """Every label and every word is another."""
    return {**context, "label": (context["label"] + 1) % 3, "caption": (context["caption"] + 1) % 6}


@plans
@conditionings
@torch.no_grad()
def test_what_is_told_changes_the_answer(plan, conditioning):
    network, (x, noise, context) = built(plan, TOLD[conditioning]()), batch(plan)
    change = (network(x, noise, **context) - network(x, noise, **others(context))).flatten(1).abs().amax(1)
    assert (change > 1e-4).all()


@plans
@conditionings
@torch.no_grad()
def test_what_is_withheld_changes_nothing_and_is_not_what_is_told(plan, conditioning):
    network, (x, noise, context) = built(plan, TOLD[conditioning]()), batch(plan)
    told, withheld = torch.tensor([True, False, True, False, False, True]), torch.zeros(6, dtype=torch.bool)
    some, none = network(x, noise, told=told, **context), network(x, noise, told=withheld, **context)
    other = {**others(context), "caption_valid": ~context["caption_valid"]}
    assert torch.equal(none, network(x, noise, told=withheld, **other))
    torch.testing.assert_close(some[~told], none[~told])
    torch.testing.assert_close(some[told], network(x, noise, **context)[told])
    assert ((some - none)[told].flatten(1).abs().amax(1) > 1e-4).all()


@plans
@conditionings
@torch.no_grad()
def test_nobody_says_whether_all_is_told_then_and_nothing_where_there_is_nothing(plan, conditioning):
    network, (x, noise, context) = built(plan, TOLD[conditioning]()), batch(plan)
    all_told, withheld = torch.ones(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)
    assert torch.equal(network(x, noise, **context), network(x, noise, told=all_told, **context))
    torch.testing.assert_close(network(x, noise), network(x, noise, told=withheld, **context))


@plans
@conditionings
@torch.no_grad()
def test_a_row_alone_is_told_what_it_is_told_in_a_batch(plan, conditioning):
    network, (x, noise, context) = built(plan, TOLD[conditioning]()), batch(plan)
    context = {**context, "told": torch.tensor([True, False, True, True, False, True])}
    together = network(x, noise, **context)
    for i in range(6):
        one = {name: value[i : i + 1] for name, value in context.items()}
        alone = network(x[i : i + 1], noise[i : i + 1], **one)[0]
        torch.testing.assert_close(alone, together[i], rtol=1e-4, atol=1e-5)


@plans
@torch.no_grad()
def test_padding_of_a_caption_changes_nothing_and_its_words_and_order_do(plan):
    network, (x, noise, context) = built(plan, Caption(8, 1, 2)), batch(plan)
    caption, valid = torch.tensor([[1, 2, 3, 4]]).expand(6, 4), context["caption_valid"]
    answer = network(x, noise, caption=caption, caption_valid=valid)
    padded = torch.where(valid, caption, 0)
    assert not torch.equal(padded, caption)
    torch.testing.assert_close(network(x, noise, caption=padded, caption_valid=valid), answer)
    shorter = network(x[1:2], noise[1:2], caption=caption[1:2, :2])
    torch.testing.assert_close(shorter[0], answer[1], rtol=1e-4, atol=1e-5)
    turned = network(x, noise, caption=caption.flip(1))
    assert not torch.allclose(turned, network(x, noise, caption=caption))


@plans
@torch.no_grad()
def test_a_caption_without_a_word_is_finite_and_not_a_withheld_one(plan):
    network, (x, noise, _) = built(plan, Caption(8, 1, 2)), batch(plan)
    nothing = dict(caption=torch.zeros(6, 4, dtype=torch.int64), caption_valid=torch.zeros(6, 4, dtype=torch.bool))
    empty = network(x, noise, **nothing)
    assert empty.isfinite().all()
    assert not torch.allclose(empty, network(x, noise))


@pytest.mark.parametrize("plan", READERS)
@torch.no_grad()
def test_attention_looks_at_the_words_themselves(plan):
    """Another sequence under the same vector is another answer."""
    network, (x, noise, context) = built(plan, Caption(8, 1, 2)), batch(plan)
    told = network.embed.conditioning(6, **context)
    answers = []
    for sequence in (told.sequence, -told.sequence):
        network.embed.conditioning.forward = lambda n, s=sequence, **_: told._replace(sequence=s)
        answers.append(network(x, noise))
    assert not torch.allclose(*answers)


@plans
@conditionings
def test_every_weight_of_it_learns_with_and_without_the_time(plan, conditioning):
    for time in (True, False):
        network, (x, noise, context) = built(plan, TOLD[conditioning](), time), batch(plan)
        told = torch.tensor([True, False, True, True, True, True])
        network(x, noise, told=told, **context).square().sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        assert all(g is not None and g.isfinite().all() for g in gradients.values())
        idle = [name for name, g in gradients.items() if not g.any()]
        assert not [name for name in idle if "qkv" not in name and "time_embedding.linear_1.weight" not in name]


@plans
@torch.no_grad()
def test_told_nothing_and_no_time_a_network_looks_at_x_alone(plan):
    network, (x, noise, context) = built(plan, Unconditional(), time=False), batch(plan)
    assert torch.equal(network(x, noise), network(x, 1 - noise, told=noise > 0.5, **context))
    assert not [name for name, _ in network.named_parameters() if "conditioning" in name]


@plans
@conditionings
def test_accepting_adds_the_fact_and_passes_refusals_on(plan, conditioning):
    make, spec = PLANS[plan]
    asks = {"label": {"label"}, "text": {"caption", "caption_valid"}}[conditioning]
    told, plain = (make(conditioning=c).accepts(spec) for c in (TOLD[conditioning](), Unconditional()))
    assert told == plain.having(Conditional, asks=frozenset(asks))
    assert plain._replace(facts=plain.facts - {Timeless, AnyLength}) == spec
    for less in (spec._replace(context=frozenset()), spec._replace(classes=0, words=0)):
        with pytest.raises(Refused, match=r"Label needs|Caption needs"):
            make(conditioning=TOLD[conditioning]()).accepts(less)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (8, 0, 1), (8, 1, 0), (8, 1, 3)], ids=str)
def test_a_reader_that_cannot_be_is_refused(wrong):
    with pytest.raises(Refused, match="Caption"):
        Caption(*wrong)


@pytest.mark.parametrize("plan", READERS)
def test_a_network_is_one_graph(plan):
    """Traced whole, and again under autocast: what torch.compile needs."""
    torch._dynamo.reset()
    network, (x, noise, context) = built(plan, Caption(8, 1, 2)), batch(plan)
    traced = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(traced(x, noise, **context), network(x, noise, **context))
    with torch.autocast("cpu", torch.bfloat16):
        answer = traced(x, noise, **context)
    torch.testing.assert_close(answer.float(), network(x, noise, **context), rtol=0.1, atol=0.1)
