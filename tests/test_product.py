"""The validity of the whole product of choices, checked without training, then trained pair by pair."""

import re
from contextlib import suppress

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from product import DAMAGES, GROUPS, SPECS, UNREAD, Kind, covering, pairs, part

from denoiselab.configuration import groups
from denoiselab.corruption import Batch
from denoiselab.data.batches import Share
from denoiselab.evaluation.evaluate import generate
from denoiselab.files import CONF
from denoiselab.module import DenoisingModule, Parts
from denoiselab.optim import Constant
from denoiselab.randomness import Keyed
from denoiselab.sampler import Generates
from denoiselab.spec import Refused
from denoiselab.spec import compose as compose_parts


@pytest.fixture(scope="module")
def kinds():
    return [Kind(kind) for kind in SPECS]


def test_every_refusal_says_what_got_and_fix(kinds):
    refused = [e for kind in kinds for _, e in kind.refused]
    assert len(refused) > 1000
    for reason in {(e.what, str(e.got), e.fix) for e in refused}:
        assert all(reason), reason
        text = "\n".join(reason)
        assert len(text.splitlines()) <= 6, text
        assert max(map(len, text.splitlines())) <= 200, text


def test_every_choice_is_valid_somewhere(kinds):
    found = {choice for pair in covering(kinds)[1] for choice in pair}
    for group in GROUPS[1:]:
        assert {c for g, c in found if g == group} - {UNREAD, *DAMAGES} == set(groups()[group]), group
    assert {*DAMAGES} <= {c for _, c in found}


@pytest.mark.parametrize("experiment", groups()["experiment"])
def test_an_experiment_is_a_valid_cell_and_not_alone(experiment, kinds):
    """The choices that an experiment names are a valid cell, and it is not the only one with its corruption."""
    name, own = chosen(experiment)
    [kind] = [kind for kind in kinds if kind.kind == name]
    agreed, before = SPECS[name], 0
    for options in kind.levels:
        wanted = [own[g] for g in GROUPS[1 + before : 1 + before + len(options[0].names)]]
        [option] = [o for o in options if all(c in (w, UNREAD) for c, w in zip(o.names, wanted, strict=True))]
        agreed, before = option.part.accepts(agreed), before + len(option.names)
    assert kind.cells > 1


def chosen(experiment):
    """The kind of data and the choices of an experiment, in the order of GROUPS."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        choices = compose("train", [f"experiment={experiment}"], return_hydra_config=True).hydra.runtime.choices
    text = choices["codec"] not in ("identity", "latent")
    points = choices["data"] in ("moons", "ring")
    own = {g: choices[g] for g in GROUPS[1:]}
    if own["corruption"] == "damage" and choices["shown"] == "generated":
        own["corruption"] = "damage:generated"
    return ("tokens" if text else "points" if points else "image"), own


# -- trained


def step(parts, spec):
    """One training step of a cell for data of `spec`, and two samples if it makes some: what is not finite."""
    *before, sampler = parts
    agreed = compose_parts(spec, *before)
    tensors, denoiser = learned(parts, agreed)
    if Generates in sampler.accepts(agreed).facts:
        tensors["samples"] = generate(denoiser, parts[0], sampler, agreed, 2, 0)
    return [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


def learned(parts, agreed):
    """The loss and the gradients of one step, by name, and the denoiser."""
    corruption, parameterization, head, architecture, times, objective, sampler = parts
    torch.manual_seed(0)
    network = architecture.build(agreed)
    denoiser = parameterization.build(network, corruption, head, agreed)
    module = DenoisingModule(
        Parts(agreed, corruption, denoiser, times, objective, sampler), torch.optim.SGD, Constant(), 0
    )
    place, context = torch.arange(4), {}
    if agreed.kind == "tokens":
        x = torch.arange(4 * 6).reshape(4, 6) % agreed.vocabulary
        context = {"valid": torch.arange(6).expand(4, 6) < torch.tensor([[6], [5], [1], [6]]),
                   "sentence": torch.arange(6).expand(4, 6) // 3}  # fmt: skip
    else:
        x = torch.linspace(-1, 1, 4 * int(np.prod(agreed.shape))).reshape(4, *agreed.shape)
    share = Share(Batch(x, place, context), place, 4)
    asked = module.ask(share, times, Keyed.of(0, place), Keyed.of(1, place))
    loss = asked.cost.sum() / asked.count.clamp(min=1)
    loss.backward()
    gradients = {f"gradient of {n}": p.grad for n, p in network.named_parameters() if p.grad is not None}
    assert gradients, "nothing learns"
    return {"loss": loss, **gradients}, denoiser


def test_every_valid_pair_of_choices_trains_a_step(kinds):
    picked, total = covering(kinds)
    assert set().union(*(pairs(cell.names) for cell in picked)) == total
    print(f"\n{sum(kind.cells for kind in kinds):,} valid cells; {len(picked)} have every valid pair")
    for names, parts in picked:
        assert not step(parts, SPECS[names[0]]), names


@pytest.mark.slow
def test_more_valid_cells_train_a_step(kinds):
    rng = np.random.default_rng(1)
    shares = np.array([kind.cells for kind in kinds], dtype=float)
    for i in rng.choice(len(kinds), 200, p=shares / shares.sum()):
        names, parts = kinds[i].drawn(rng)
        assert not step(parts, SPECS[names[0]]), names


# Refusals of what would fail in any case. The others refuse what would run and mean nothing: the error of a table of
# logits, a weight of a noise level that nobody knows, a likelihood without an end, BERT's tokens put back as if none
# had been swapped.
WOULD_FAIL = r"(UNet|Transformer|GaussianNoise|Subs) is for|(Ancestral|DDIM|Euler|Heun|Bound) needs Reversible"
USUAL = {
    "image": ("linear", "gaussian", "v", "dirac", "mlp", "uniform", "weighted", "unit", "mse", "one_shot"),
    "points": ("linear", "gaussian", "v", "dirac", "mlp", "uniform", "weighted", "unit", "mse", "one_shot"),
    "tokens": ("linear", "token_mask", "logits", "categorical", "mlp", "uniform", "weighted", "unit", "cross_entropy",
               "one_shot"),
}  # fmt: skip


def test_what_is_refused_for_want_of_an_interface_would_fail(kinds):
    """Refused cells against trained ones: completed with what is usual for the kind, they raise."""
    told = {}
    for (names, parts), e in [one for kind in kinds for one in kind.refused]:
        if (found := re.match(WOULD_FAIL, e.what)) and names[2] != "token_mask_80_10_10":
            told.setdefault((found[0], names[0]), []).append((names, parts))
    assert len(told) >= 10, sorted(told)
    for (_, kind), cases in told.items():
        for i in np.random.default_rng(0).choice(len(cases), min(3, len(cases)), replace=False):
            names, parts = cases[i]
            whole = (*parts, *cell(kind, USUAL[kind])[len(parts) :])
            spec = SPECS[kind].having(given=SPECS[kind].shape)
            for one in whole[:-1]:
                with suppress(Refused):
                    spec = one.accepts(spec)
            assert fails(whole, spec, names[-1] in groups()["sampler"]), f"{names} trained"


def fails(parts, spec, samples):
    """Does a step, or a sample if asked for, raise, whatever the parts say?"""
    try:
        _, denoiser = learned(parts, spec)
        if samples:
            generate(denoiser, parts[0], parts[-1], spec, 2, 0)
    except (RuntimeError, ValueError, AttributeError, TypeError):
        return True
    return False


def cell(kind, names):
    """The parts of a cell by the names of its choices."""
    schedule, corruption, parameterization, posterior, architecture, times, objective, weight, cost, sampler = names
    return (
        part("corruption", corruption, kind, schedule=schedule), part("parameterization", parameterization, kind),
        part("posterior", posterior, kind), part("architecture", architecture, kind), part("times", times, kind),
        part("objective", objective, kind, weight=weight, cost=cost), part("sampler", sampler, kind),
    )  # fmt: skip
