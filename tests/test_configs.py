"""The shipped configurations: each composes, says what it is, names a class and its arguments, and trains; and the
validity of the whole product, checked without training, then trained pair by pair."""

import importlib
import inspect
import itertools
import re
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from denoiselab import build, check
from denoiselab.commands.configuration import groups
from denoiselab.commands.main import run
from denoiselab.corruption import Batch
from denoiselab.data.base import Share
from denoiselab.evaluation.evaluate import generate
from denoiselab.files import CONF
from denoiselab.module import DenoisingModule, Parts
from denoiselab.optim import Constant
from denoiselab.randomness import Keyed
from denoiselab.run.record import read_summary
from denoiselab.sampler import Generates
from denoiselab.spec import Refused, Spec
from denoiselab.spec import compose as compose_parts

CHOICES = [(group, choice) for group, choices in groups().items() for choice in choices]
OVERLAYS = ("experiment", "debug")  # whole configurations over others, not classes
each_choice = pytest.mark.parametrize("group, choice", CHOICES, ids=[f"{g}-{c}" for g, c in CHOICES])
# What reads a key that another choice has.
ALONG = {"objective=bound": ["times=grid"], "objective=hybrid": ["times=grid"]}
# Classes of others, of which a configuration names the arguments that we use.
FOREIGN = ("torch.optim.", "pytorch_lightning.", "torchmetrics.")
# What a function in a configuration is called with.
CALLED_WITH = {"denoiselab.times.even": {"schedule", "steps"}, "denoiselab.times.quadratic": {"schedule", "steps"}}


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def found(target):
    module, _, leaf = target.rpartition(".")
    return getattr(importlib.import_module(module), leaf)


def arguments(target):
    """The names that a call takes; a class without a constructor of its own takes none."""
    part = found(target)
    if inspect.isclass(part) and part.__init__ in (object.__init__, nn.Module.__init__):
        return {}
    return inspect.signature(part).parameters


def nodes(node):
    """Every node with a `_target_`."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


def content(group, choice):
    return OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"))


# -- each choice


@each_choice
def test_a_choice_says_in_its_first_line_what_it_is(group, choice):
    first = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(groups()[group][choice]) > 10


def test_the_list_shows_every_choice_and_its_line(capsys):
    assert run(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for group, choices in groups().items():
        for choice, said in choices.items():
            assert any(line.split()[:1] == [choice] and line.endswith(said) for line in lines), (group, choice)


@pytest.mark.parametrize("number", range(max(len(choices) for choices in groups().values())))
def test_all_choices_compose(number):
    """As many compositions as the largest group has choices, each group going through its own."""
    parts = {g: list(c)[number % len(c)] for g, c in groups().items() if g not in OVERLAYS and c}
    along = ALONG.get(f"objective={parts['objective']}", [])
    cfg = composed(*(f"{g}={c}" for g, c in parts.items() if f"{g}=" not in str(along)), *along)
    plain = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]), resolve=True)
    build.allow(plain)
    for group, choice in parts.items():
        expected = content(group, choice).get("_target_")
        if expected and f"{group}=" not in str(along):
            assert plain[group]["_target_"] == expected


@each_choice
def test_a_choice_names_a_class_and_exactly_its_arguments(group, choice):
    text = content(group, choice)
    if group not in (*OVERLAYS, *check.COLLECTIONS):
        assert "_target_" in text
    for node in nodes(text):
        target, keys = node["_target_"], {k for k in node if not k.startswith("_")}
        known = arguments(target)
        assert all(p.kind is not p.VAR_KEYWORD for p in known.values()) or target.startswith(FOREIGN), (
            "hides misspelt keys"
        )
        assert keys <= set(known), f"{target} has no argument {keys - set(known)}"
        if not target.startswith(FOREIGN):
            missing = set(known) - keys - CALLED_WITH.get(target, set())
            assert not missing, f"{target} takes {missing}, which the file does not say"


# -- each experiment, each data set, each way to train

TINY = ["trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.log_every_n_steps=2", "evaluation.samples=8",
        "evaluation.metrics=[]", "data.batch_size=8", "logger=none", "trainer.enable_progress_bar=false"]  # fmt: skip
SMALL = {
    "mlp": ["architecture.width=16", "architecture.layers=1"],
    "unet": ["architecture.width=8", "architecture.multipliers=[1,2]"],
    "transformer": ["architecture.width=16", "architecture.layers=1"],
}
TEXT = ["experiment=mdlm", *SMALL["transformer"], "sampler.steps=2"]
POINTS = ["architecture=mlp", *SMALL["mlp"], "sampler.steps=2"]
PICTURES = [*SMALL["unet"], "sampler.steps=2"]
SMALL_PICTURES = ["architecture=mlp", *SMALL["mlp"], "sampler.steps=2"]
# A new choice of group data is an entry here; {root} is the folder of real data.
DATA = {
    "digits": PICTURES,
    "fashion_mnist": [*SMALL_PICTURES, "data.root={root}/fashion-mnist", "data.n=64"],
    "mnist": [*SMALL_PICTURES, "data.root={root}/mnist", "data.n=64"],
    "folder": [*SMALL_PICTURES, "data.root={root}/set12", "data.size=16", "data.channels=1", "data.batch_size=2"],
    "hub": [*SMALL_PICTURES, "data.dataset={hub}", "data.channels=1"],
    "markov": [*TEXT, "data.train=64", "data.val=8", "data.test=8"],
    "dates": [*TEXT, "data.train=64", "data.val=8", "data.test=8"],
    "shakespeare": [*TEXT, "data.path={root}/text-tinyshakespeare/input.txt", "data.n=64"],
    "text_file": [*TEXT, "data.path={text}", "data.length=16"],
    "moons": [*POINTS, "data.n=64"],
    "ring": [*POINTS, "data.n=64"],
}
# Ways to train, over all choices of the groups that no cell has.
WAYS = {
    "sgd": ["optimizer=sgd", "lr_schedule=constant", "callbacks=none"],
    "step": ["lr_schedule=step", "callbacks=early_stopping", "logger=csv"],
    "bpe": [*TEXT, "data.train=64", "data.val=8", "data.test=8", "codec=bpe", "codec.vocabulary=260"],
    "byte": [*TEXT, "data.train=64", "data.val=8", "data.test=8", "codec=byte", "grid=quadratic"],
}


def trained(tmp_path, *overrides):
    """The folder of a run that is done."""
    assert run(["train", *overrides, f"outputs={tmp_path / 'runs'}"]) == 0
    [marker] = (tmp_path / "runs").rglob("COMPLETED")
    summary = read_summary(marker.parent)
    assert np.isfinite(summary["metrics"]["test/loss"]["value"])
    assert summary["steps"] == 4
    return marker.parent


@pytest.mark.parametrize("experiment", groups()["experiment"])
def test_an_experiment_trains_is_evaluated_and_ends(experiment, tmp_path):
    cfg = composed(f"experiment={experiment}")
    architecture = cfg.architecture._target_.split(".")[-2]
    steps = ["sampler.steps=2"] if "steps" in cfg.sampler else []
    folder = trained(tmp_path, f"experiment={experiment}", "debug=fast", *TINY, *SMALL[architecture], *steps)
    assert ("samples_per_second" in read_summary(folder)["sampling"]) == bool(steps)


@pytest.mark.parametrize("choice", groups()["data"])
def test_data_train(choice, tmp_path, request):
    overrides = DATA[choice]
    values = {"text": tmp_path / "a.txt", "hub": tmp_path / "hub"}
    if "{root}" in str(overrides):
        values["root"] = request.getfixturevalue("data_root")
    if "{hub}" in str(overrides):
        hub(values["hub"])
    values["text"].write_text("It was a dark and stormy night. " * 200, encoding="utf-8")
    asked = [word.format(**values) if word.startswith("data.") else word for word in overrides]
    trained(tmp_path, *TINY, *asked, f"data={choice}")


def hub(folder):
    """A data set as the hub's library saves it."""
    datasets = pytest.importorskip("datasets", reason="the hub's library is not here: pip install denoiselab[hub]")
    pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=2)})
    datasets.Dataset.from_dict({"image": list(pictures), "label": [0, 1] * 20}, features=features).save_to_disk(folder)


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_train(way, tmp_path):
    trained(tmp_path, *TINY, *(WAYS[way] if "experiment=mdlm" in WAYS[way] else [*PICTURES, *WAYS[way]]))


def test_tensorboard_trains(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not here: pip install denoiselab[dashboard]")
    folder = trained(tmp_path, *TINY, *PICTURES, "logger=tensorboard")
    assert [*folder.rglob("events.out.tfevents*")]


def test_the_default_and_every_overlay_is_composed_of_known_roots():
    """A key at the root is of a group, or one of the few that are read by name."""
    for overlay in [[], *([f"{g}={c}"] for g in OVERLAYS for c in groups()[g])]:
        assert set(composed(*overlay)) == set(check.TOP) | (set(groups()) - set(OVERLAYS))


# -- the product: the fold over all choices, shared prefixes asked once

SPECS = {
    "image": Spec("image", (1, 6, 5), levels=((0.1, 0.3),)),
    "points": Spec("points", (2,)),
    "tokens": Spec("tokens", (6,), vocabulary=5),
}
GROUPS = ("kind", "schedule", "corruption", "parameterization", "posterior", "architecture", "times", "objective",
          "weight", "cost", "sampler")  # fmt: skip
TINY_PARTS = {
    "mlp": {"width": 8, "layers": 1, "embedding": 4},
    "unet": {"width": 8, "multipliers": [1, 2], "heads": 1},
    "transformer": {"width": 8, "layers": 1, "heads": 2},
    "ancestral": {"steps": 2}, "ddim": {"steps": 2}, "euler": {"steps": 2}, "heun": {"steps": 2},
    "ancestral_mean": {"steps": 2}, "cold": {"steps": 2}, "cold_naive": {"steps": 2}, "dpm_solver_pp": {"steps": 3},
    "dpm_solver_pp_sde": {"steps": 3}, "edm": {"steps": 2}, "unipc": {"steps": 3},
}  # fmt: skip
UNREAD = ""  # the choice of a group that the objective does not read


@cache
def part(group, choice, kind, **choices):
    """An instance of a choice, small; `choices` are those of the groups that it reads."""
    needed = {"grid": "even", "times": "grid", **choices, group: choice}
    config = OmegaConf.create({g: OmegaConf.load(CONF / g / f"{c}.yaml") for g, c in needed.items()})
    config = OmegaConf.to_container(config, resolve=True)
    config[group] |= TINY_PARTS.get(choice, {})
    return build.make(config, group, SPECS[kind])


def objectives(kind):
    """(objective, weight, cost) and the part: weight and cost only where they are read."""
    for name in groups()["objective"]:
        text = str(content("objective", name))
        read = [list(groups()[g]) if f"${{{g}}}" in text else [UNREAD] for g in ("weight", "cost")]
        for weight, cost in itertools.product(*read):
            more = {g: c for g, c in (("weight", weight), ("cost", cost)) if c}
            yield (name, weight, cost), part("objective", name, kind, **more)


def levels(kind):
    """The parts in the order in which they are asked: of each level, names and part."""
    yield [
        ((s, c), part("corruption", c, kind, schedule=s)) for s in groups()["schedule"] for c in groups()["corruption"]
    ]
    for group in ("parameterization", "posterior", "architecture", "times"):
        yield [((c,), part(group, c, kind)) for c in groups()[group]]
    yield list(objectives(kind))
    yield [((c,), part("sampler", c, kind)) for c in groups()["sampler"]]


def product():
    """Every cell: the valid ones, and the refused ones as (names up to the part that refused, parts, reason). A fold
    asks in order: what is refused once is refused with whatever follows."""
    valid, refused = [], []
    for kind, spec in SPECS.items():
        front = [((kind,), (), spec)]
        for level in levels(kind):
            following = []
            for names, parts, agreed in front:
                for more, one in level:
                    try:
                        following.append((names + more, (*parts, one), one.accepts(agreed)))
                    except Refused as e:
                        refused.append((names + more, (*parts, one), e))
            front = following
        valid += front
    return valid, refused


@pytest.fixture(scope="module")
def cells():
    return product()


def test_every_refusal_says_what_got_and_fix(cells):
    _, refused = cells
    assert len(refused) > 1000
    for reason in {(e.what, str(e.got), e.fix) for _, _, e in refused}:
        assert all(reason), reason
        text = "\n".join(reason)
        assert len(text.splitlines()) <= 6, text
        assert max(map(len, text.splitlines())) <= 200, text


def test_every_choice_is_valid_somewhere(cells):
    valid, _ = cells
    for position, group in enumerate(GROUPS[1:], 1):
        assert {names[position] for names, _, _ in valid} - {UNREAD} == set(groups()[group]), group


@pytest.mark.parametrize("experiment", groups()["experiment"])
def test_an_experiment_is_a_valid_cell_and_not_alone(experiment, cells):
    """Of the choices that an experiment names, some valid cell has them all, and other cells share its corruption."""
    valid, _ = cells
    kind, own = chosen(experiment)
    same = [names for names, _, _ in valid if names[0] == kind
            and all(c in (own[g], UNREAD) for g, c in zip(GROUPS[1:], names[1:], strict=True))]  # fmt: skip
    assert len(same) == 1
    assert sum(names[0] == kind and names[2] == own["corruption"] for names, _, _ in valid) > 1


def chosen(experiment):
    """The kind of data and the choices of an experiment, in the order of GROUPS."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        choices = compose("train", [f"experiment={experiment}"], return_hydra_config=True).hydra.runtime.choices
    text = choices["codec"] != "identity"
    points = choices["data"] in ("moons", "ring")
    return ("tokens" if text else "points" if points else "image"), {g: choices[g] for g in GROUPS[1:]}


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
    denoiser = parameterization.build(network, corruption, head)
    module = DenoisingModule(
        Parts(agreed, corruption, denoiser, times, objective, sampler), torch.optim.SGD, Constant(), 0
    )
    place, context = torch.arange(4), {}
    if agreed.kind == "tokens":
        x = torch.arange(4 * 6).reshape(4, 6) % agreed.vocabulary
        context = {"valid": torch.arange(6).expand(4, 6) < torch.tensor([[6], [5], [1], [6]])}
    else:
        x = torch.linspace(-1, 1, 4 * int(np.prod(agreed.shape))).reshape(4, *agreed.shape)
    share = Share(Batch(x, place, context), place, 4)
    asked = module.ask(share, times, Keyed.of(0, place), Keyed.of(1, place))
    loss = asked.cost.sum() / asked.count
    loss.backward()
    gradients = {f"gradient of {n}": p.grad for n, p in network.named_parameters() if p.grad is not None}
    assert gradients, "nothing learns"
    return {"loss": loss, **gradients}, denoiser


def pairs(valid):
    """(cells, pairs of columns): the number of each cell's pair of choices, and how many such numbers there are."""
    columns, sizes = [], []
    for column in zip(*(names for names, _, _ in valid), strict=True):
        known = {choice: i for i, choice in enumerate(sorted(set(column)))}
        columns.append(np.array([known[c] for c in column]))
        sizes.append(len(known))
    numbers, first = [], 0
    for (a, m), (b, n) in itertools.combinations(zip(columns, sizes, strict=True), 2):
        numbers.append(first + a * n + b)
        first += m * n
    return np.stack(numbers, 1), first


def covering(valid, candidates=4000):
    """Numbers of cells in which every valid pair of choices occurs: always the candidate with most pairs that are new.
    Candidates are cells at random, and of each pair the first cell that has it."""
    numbers, n = pairs(valid)
    rows = np.random.default_rng(0).choice(len(valid), min(candidates, len(valid)), replace=False)
    flat, where = np.unique(numbers, return_index=True)
    rows = np.unique(np.concatenate((rows, where // numbers.shape[1])))
    numbers, wanted, picked = numbers[rows], np.zeros(n, dtype=bool), []
    wanted[flat] = True
    while wanted.any():
        best = wanted[numbers].sum(1).argmax()
        picked.append(int(rows[best]))
        wanted[numbers[best]] = False
    return picked


def test_every_valid_pair_of_choices_trains_a_step(cells):
    valid, _ = cells
    picked = covering(valid)
    numbers, _ = pairs(valid)
    assert set(numbers[picked].flatten()) == set(np.unique(numbers))
    print(f"\n{len(valid):,} valid cells; {len(picked)} have every valid pair")
    for i in picked:
        names, parts, _ = valid[i]
        assert not step(parts, SPECS[names[0]]), names


@pytest.mark.slow
def test_more_valid_cells_train_a_step(cells):
    valid, _ = cells
    for i in np.random.default_rng(1).choice(len(valid), 200, replace=False):
        names, parts, _ = valid[i]
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


def test_what_is_refused_for_want_of_an_interface_would_fail(cells):
    """Refused cells against trained ones: completed with what is usual for the kind, they raise."""
    _, refused = cells
    told = {}
    for names, parts, e in refused:
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
