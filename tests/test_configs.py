"""The shipped configurations: each composes, says what it is, names a class and its arguments, and trains; and the
validity of the whole product, checked without training, then trained pair by pair."""

import importlib
import inspect

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from product import content
from torch import nn

from denoiselab import build, check
from denoiselab.commands.main import run
from denoiselab.configuration import groups
from denoiselab.files import CONF
from denoiselab.names import OVERLAYS
from denoiselab.run.record import read_summary

CHOICES = [(group, choice) for group, choices in groups().items() for choice in choices]

each_choice = pytest.mark.parametrize("group, choice", CHOICES, ids=[f"{g}-{c}" for g, c in CHOICES])
# What reads a key that another choice has.
ALONG = {
    "objective=bound": ["times=grid"], "objective=hybrid": ["times=grid"], "posterior=learned_log": ["times=grid"],
}  # fmt: skip
# Classes of others, of which a configuration names the arguments that we use.
FOREIGN = ("torch.optim.", "pytorch_lightning.", "torchmetrics.")
# What a function in a configuration is called with.
CALLED_WITH = {f"denoiselab.grid.{grid}": {"schedule", "steps"} for grid in groups()["grid"]}
CALLED_WITH["denoiselab.architecture.adapters.Convolutions"] = {"shape", "given"}


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
    along = [more for g, c in parts.items() for more in ALONG.get(f"{g}={c}", [])]
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
        assert keys <= {*known, *check.arguments(target)[0]}, f"{target} has no argument {keys - set(known)}"
        if not target.startswith(FOREIGN):
            missing = set(known) - keys - CALLED_WITH.get(target, set())
            assert not missing, f"{target} takes {missing}, which the file does not say"


def test_a_weight_of_two_names_is_one_run():
    assert content("weight", "snr") == content("weight", "simple")


# -- each experiment, each data set, each way to train

TINY = ["trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.log_every_n_steps=2", "evaluation.samples=8",
        "evaluation.metrics=[]", "data.batch_size=8", "logger=none", "trainer.enable_progress_bar=false"]  # fmt: skip
SMALL = {
    "autoencoder": ["architecture.width=8"],
    "mlp": ["architecture.width=16", "architecture.layers=1"],
    "unet": ["architecture.width=8", "architecture.multipliers=[1,2]", "architecture.attention=[2]"],
    "transformer": ["architecture.width=16", "architecture.layers=1"],
    "encoder_decoder": ["architecture.width=16", "architecture.layers=1", "architecture.decoder_layers=1"],
    "decoder": ["architecture.width=16", "architecture.layers=1"],
    "dit": ["architecture.width=16", "architecture.layers=1"],
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
    "cifar10_subset": [*SMALL_PICTURES, "data.root={root}/cifar10-subset", "data.n=64"],
    "folder": [*SMALL_PICTURES, "data.root={root}/set12", "data.size=16", "data.channels=1", "data.batch_size=2"],
    "hub": [*SMALL_PICTURES, "data.dataset={hub}", "data.channels=1"],
    "markov": [*TEXT, "data.train=64", "data.val=8", "data.test=8"],
    "dates": [*TEXT, "data.train=64", "data.val=8", "data.test=8"],
    "shakespeare": [*TEXT, "data.path={root}/text-tinyshakespeare/input.txt", "data.n=64"],
    "text_file": [*TEXT, "data.path={text}", "data.length=16"],
    "text_folder": [*TEXT, "data.root={folder}", "data.length=16", "data.documents=line", "data.marks=[word,sentence]"],
    "hub_text": [*TEXT, "data.dataset={folder}", "data.length=16", "data.documents=line"],
    "war_and_peace": [*TEXT, "data.path={root}/text-war-and-peace/2600-0.txt", "data.n=64"],
    "wikitext2": [*TEXT, "data.root={root}/text-wikitext2", "data.n=64"],
    "shapes": [*SMALL_PICTURES, "data.size=16", "data.train=64", "data.val=8", "data.test=8"],
    "moons": [*POINTS, "data.n=64"],
    "ring": [*POINTS, "data.n=64"],
}
# Ways to train, over all choices of the groups that no cell has.
WAYS = {
    "sgd": ["optimizer=sgd", "lr_schedule=constant", "callbacks=none"],
    "step": ["lr_schedule=step", "callbacks=early_stopping", "logger=csv"],
    "bpe": [*TEXT, "data.train=64", "data.val=8", "data.test=8", "codec=bpe", "codec.vocabulary=260"],
    "unigram": [*TEXT, "data.train=64", "data.val=8", "data.test=8", "codec=unigram", "codec.vocabulary=260"],
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


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """What an experiment in latents trains on."""
    return trained(tmp_path_factory.mktemp("first"), "experiment=autoencoder", *TINY, *SMALL["autoencoder"])


@pytest.mark.parametrize("experiment", groups()["experiment"])
def test_an_experiment_trains_is_evaluated_and_ends(experiment, tmp_path, request):
    cfg = composed(f"experiment={experiment}")
    architecture = cfg.architecture._target_.split(".")[-2]
    steps = ["sampler.steps=2"] if "steps" in cfg.sampler else []
    first = [f"codec.run={request.getfixturevalue('autoencoder')}"] if "run" in cfg.codec else []
    folder = trained(tmp_path, f"experiment={experiment}", "debug=fast", *TINY, *SMALL[architecture], *steps, *first)
    assert ("samples_per_second" in read_summary(folder)["sampling"]) == bool(steps)


@pytest.mark.parametrize("choice", groups()["data"])
def test_data_train(choice, tmp_path, request):
    overrides = DATA[choice]
    values = {"text": tmp_path / "a.txt", "hub": tmp_path / "hub", "folder": tmp_path / "texts"}
    if "{root}" in str(overrides):
        values["root"] = request.getfixturevalue("data_root")
    if "{hub}" in str(overrides):
        hub(values["hub"])
    values["folder"].mkdir()
    for i in range(4):
        (values["folder"] / f"{i}.txt").write_text("A line.\nAnother one, of more words than that.\n" * 9)
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


def test_barts_own_damage_trains_on_text_with_sentences(tmp_path, data_root):
    path = data_root / "text-tinyshakespeare" / "input.txt"
    trained(tmp_path, "experiment=bart", "corruption=bart", "data=shakespeare", f"data.path={path}", "data.n=64",
            *TINY, *SMALL["encoder_decoder"])  # fmt: skip


def test_tensorboard_trains(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not here: pip install denoiselab[dashboard]")
    folder = trained(tmp_path, *TINY, *PICTURES, "logger=tensorboard")
    assert [*folder.rglob("events.out.tfevents*")]


def test_the_default_and_every_overlay_is_composed_of_known_roots():
    """A key at the root is of a group, or one of the few that are read by name."""
    for overlay in [[], *([f"{g}={c}"] for g in OVERLAYS for c in groups()[g])]:
        assert set(composed(*overlay)) == set(check.TOP) | (set(groups()) - set(OVERLAYS))
