"""Mistakes made by the machine: one letter in every key, choice and word; every value of a wrong type; every number out
of its range. All are refused, and of the misspelt ones the right name is among the three that are shown.

No command is run but for a sample: a mutated override goes through Hydra's parser and its merging, or, with `++`, is
planted in the composed configuration, as Hydra would do it in silence.
"""

import os
import random
import re
import subprocess
import sys
import tempfile
import typing
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

import denoiselab
from denoiselab import build, check
from denoiselab.commands.configuration import explained, groups
from denoiselab.commands.main import run
from denoiselab.data.folds import Folds
from denoiselab.files import CONF
from denoiselab.names import OVERLAYS, SHOWN, choices, distance, known, nearest, targets
from denoiselab.run import identity, job
from denoiselab.run.saver import Saver
from denoiselab.spec import Refused, Spec

LETTERS = "abcdefghijklmnopqrstuvwxyz_"
ENOUGH = 0.95  # of the right names are shown
# What reads a key of another choice, or fits a part of its own alone.
ALONG = {
    "objective=bound": ["times=grid"], "objective=hybrid": ["times=grid"], "posterior=learned_log": ["times=grid"],
    "corruption=damage": ["where=tokens", "shown=mask", "asked=touched"],
}  # fmt: skip


# -- what there is to misspell


@cache
def composed(number) -> DictConfig:
    """A configuration in which each group has its choice of this number; Hydra's own part included."""
    parts = {g: c[number % len(c)] for g in groups() if g not in OVERLAYS and (c := choices(g))}
    along = [word for g, c in parts.items() for word in ALONG.get(f"{g}={c}", ())]
    words = [f"{g}={c}" for g, c in parts.items() if not any(a.startswith(f"{g}=") for a in along)]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*words, *dict.fromkeys(along)], return_hydra_config=True)


@cache
def plain(number, resolve=True) -> dict:
    cfg = composed(number)
    return OmegaConf.to_container(OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]), resolve=resolve)


@cache
def leaves() -> list[tuple[int, str, object]]:
    """(number of a composition, key, value with its interpolation) of every leaf of every configuration, once a class
    that has it; of Hydra's part, those that our files give."""
    found = {}
    for number in range(max(map(len, groups().values()))):
        raw = plain(number, resolve=False)
        for group, content in raw.items():
            kind = content.get("_target_") if isinstance(content, dict) else None
            for key, value in check.leaves(content, group):
                found.setdefault((kind, key), (number, key, value))
    hydra = OmegaConf.to_container(composed(0).hydra, resolve=False)
    ours = [key for key in known() if key.startswith("hydra.")]
    for key, value in check.leaves(hydra, "hydra"):
        if key in ours:
            found.setdefault((None, key), (0, key, value))
    return list(found.values())


def mutations(word: str, seed: int = 0) -> list[str]:
    """One letter replaced, left out, put in, and swapped with its neighbor, at random."""
    draw = random.Random(f"{word} {seed}")
    i, j = draw.randrange(len(word)), draw.randrange(len(word) + 1)
    letter = draw.choice([c for c in LETTERS if c != word[i]])
    made = [word[:i] + letter + word[i + 1 :], word[:i] + word[i + 1 :], word[:j] + draw.choice(LETTERS) + word[j:]]
    swaps = [k for k in range(len(word) - 1) if word[k] != word[k + 1]]
    if swaps:
        k = draw.choice(swaps)
        made.append(word[:k] + word[k + 1] + word[k] + word[k + 2 :])
    return [m for m in made if m]


class Tally:
    """How many were refused, with the right name, without it; and which were no mistake."""

    def __init__(self):
        self.right, self.missed, self.accepted, self.valid = 0, [], [], []

    def judged(self, right: str, typed: str, refusal: Refused | None):
        if refusal is None:
            self.accepted.append(typed)
        elif right in shown(refusal):
            self.right += 1
        else:
            self.missed.append((typed, right, str(refusal)))

    def hold(self, least: int):
        n = self.right + len(self.missed) + len(self.accepted)
        print(f"\n{n} mistakes: {len(self.accepted)} accepted, right name shown in {self.right / n:.1%}; "
              f"{len(self.valid)} are names themselves")  # fmt: skip
        assert n >= least
        assert not self.accepted
        assert self.right / n >= ENOUGH, self.missed


def shown(refusal: Refused) -> list[str]:
    """The names that a fix offers, three at most."""
    names = re.split("[?;]", refusal.fix.partition("did you mean ")[2])[0].split(" or ")
    assert len(names) <= SHOWN, refusal.fix
    return names


# -- keys


def typed(number: int, override: str) -> Refused | None:
    """What is said of an override without `+`; the configuration is not changed where it is refused."""
    try:
        cfg = composed(number)
        ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides([override]), cfg)
    except (HydraException, OmegaConfBaseException) as e:
        return explained(e, [override])
    composed.cache_clear()
    return None


def test_a_misspelt_key_is_refused_and_the_right_one_shown():
    tally = Tally()
    for key, number in {key: number for number, key, _ in leaves()}.items():
        for wrong in mutations(key):
            if wrong in known():
                tally.valid.append(wrong)
            else:
                tally.judged(key, wrong, typed(number, f"{wrong}=1"))
    tally.hold(500)


def planted(node: dict, path: list[str], value) -> dict:
    """A copy of a plain configuration with a value where `++` puts it."""
    name, *below = path
    if not below:
        return {**node, name: value}
    inner = node.get(name)
    return {**node, name: planted(inner if isinstance(inner, dict) else {}, below, value)}


def added(number: int, key: str, value) -> Refused | None:
    """What is said of `++key=value`."""
    try:
        OverridesParser.create().parse_overrides([f"++{key}=1"])
    except HydraException as e:
        return explained(e, [f"++{key}=1"])
    path = key.split(".")
    try:
        if path[0] == "hydra":
            cfg = composed(number).copy()
            with open_dict(cfg):
                OmegaConf.update(cfg, key, value, force_add=True)
            HydraConfig.instance().set_config(cfg)
            check.hydra([f"++{key}={value}"])
        else:
            check.read(planted(plain(number, resolve=False), path, value), [f"++{key}={value}"])
            check.config(planted(plain(number), path, value))
    except Refused as e:
        return e
    return None


def is_name(number: int, key: str) -> bool:
    """Is a key no mistake: of the configurations, or an argument of the class at its place?"""
    above, _, last = key.rpartition(".")
    node = {**plain(number), "hydra": OmegaConf.to_container(composed(number).hydra, resolve=False)}
    for name in above.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    target = node.get("_target_") if isinstance(node, dict) else None
    return key in known() or (target is not None and last in check.arguments(target)[0])


def test_an_added_key_that_is_misspelt_is_refused_and_the_right_one_shown():
    tally = Tally()
    for key, (number, value) in {key: (number, value) for number, key, value in leaves()}.items():
        if key.startswith(("where.", "shown.", "asked.")) and added(number, key, value) is not None:
            continue  # read with corruption=damage alone
        for wrong in mutations(key, seed=1):
            if is_name(number, wrong):
                tally.valid.append(wrong)
            else:
                tally.judged(key, wrong, added(number, wrong, value))
    tally.hold(500)


# -- words


def test_a_misspelt_group_is_refused_and_the_right_one_shown():
    tally = Tally()
    for group in groups():
        for wrong in mutations(group):
            if wrong in known():
                tally.valid.append(wrong)
                continue
            choice = choices(group)[0]
            tally.judged(group, wrong, typed(0, f"{wrong}={choice}"))
            tally.judged(group, f"++{wrong}", added(0, wrong, choice))
    tally.hold(100)


CHOICES = [(group, choice) for group in (*groups(), "hydra/launcher", "hydra/sweeper") for choice in choices(group)]
CLASSES = {name for name in targets() if not name.startswith(("hydra_plugins.", "denoiselab.search."))}  # of sweeps
NO_CHOICE = "In 'train': Could not find '{}/{}'"


def test_a_misspelt_choice_is_refused_and_the_right_one_shown():
    tally = Tally()
    for group, choice in CHOICES:
        for wrong in mutations(choice):
            if wrong in choices(group):
                tally.valid.append(wrong)
            else:
                tally.judged(choice, wrong, explained(ValueError(NO_CHOICE.format(group, wrong)), []))
    tally.hold(300)


def test_hydra_says_in_these_words_that_there_is_no_choice():
    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(HydraException) as said:
        compose("train", ["schedule=cosin"])
    assert NO_CHOICE.format("schedule", "cosin") in str(said.value)


def test_a_misspelt_class_is_refused_and_the_right_one_shown():
    tally = Tally()
    for target, (number, key) in {str(value): (number, key) for number, key, value in leaves()}.items():
        if target not in CLASSES:
            continue
        for wrong in mutations(target):
            tally.judged(target, wrong, judged(number, key, wrong))
    tally.hold(150)


# Words that are one of a few; a new one is an entry.
WORDS = {
    "monitor.mode": ["min", "max"], "rerun": ["stale"], "invalid": ["refuse", "skip"],
    "trainer.precision": ["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"],
    "trainer.accelerator": ["auto", "cpu", "gpu"], "trainer.strategy": ["auto", "ddp", "fsdp", "deepspeed_stage_2"],
}  # fmt: skip


def test_a_misspelt_word_is_refused_and_the_right_one_shown():
    tally = Tally()
    for key, words in WORDS.items():
        for word in words:
            check.config(planted(plain(0), key.split("."), word))
            for wrong in mutations(word, seed=1):
                tally.judged(word, wrong, judged(0, key, wrong))
    tally.hold(60)


# -- types


def judged(number: int, key: str, value) -> Refused | None:
    """What is said of a value of the right key before any data is read: by what every command asks, and by the
    constructors of the group that has the key."""
    group, *rest = key.split(".")
    if group == "hydra":
        return added(number, key, value)
    config = planted(plain(number), [group, *rest], value)
    try:
        build.allow(config)
        check.config(config)
        identity.checked_name(config["name"])
        made = MAKERS.get(group, make if group in groups() else ignored)
        with tempfile.TemporaryDirectory() as folder:
            made(config, group, Path(folder))
    except Refused as e:
        return e
    return None


def make(config, group, folder):
    build.make(config, group, Spec("image", (1, 8, 8), vocabulary=27, alphabet=tuple(LETTERS)))


def ignored(config, group, folder):
    """A key of the root: nothing is made of it."""


def callbacks(config, group, folder):
    for name, node in config["callbacks"].items():
        build.instantiated(node, f"callbacks.{name}")


def architecture(config, group, folder):
    if config[group].get("path") != "???":  # pretrained weights are somebody's own
        make(config, group, folder)


def extractor(config, group, folder):
    if config[group].get("path", "") is not None:  # inception has no weights of its own
        build.make(config, group)


def saver(config, group, folder):
    Saver(folder, config["monitor"]["name"], config["monitor"]["mode"], **config["checkpoint"])


def data(config, group, folder):
    node = config[group]
    if isinstance(node, dict):  # folds are for all data sets, and no argument of one
        Folds(node.get("folds"), node.get("fold"))
        config = {**config, group: {key: value for key, value in node.items() if key not in build.FOLDS}}
    make(config, group, folder)


MAKERS = {
    "architecture": architecture, "data": data,
    "optimizer": lambda config, group, folder: build.optimizer(config),
    "trainer": lambda config, group, folder: job.make_trainer(config, [], folder),
    "edits": lambda config, group, folder: build.collected(config, group),
    "callbacks": callbacks, "extractor": extractor, "checkpoint": saver, "monitor": saver,
}  # fmt: skip


@cache
def values() -> list[tuple[int, str, object, object]]:
    """(number, key, value with what it refers to, annotation) of every leaf that is judged by its type."""
    found = []
    for number, key, _ in leaves():
        above, _, last = key.rpartition(".")
        top = OmegaConf.to_container(composed(number).hydra) if key.startswith("hydra.") else plain(number)
        node = at(top, above.removeprefix("hydra").lstrip("."))
        hint = (
            (check.arguments(node["_target_"])[0] | check.HYDRAS).get(last)
            if "_target_" in node
            else check.root().get(key)
        )
        if hint is not None:
            found.append((number, key, node[last], hint))
    return found


def at(node: dict, path: str):
    for name in path.split(".") if path else ():
        node = node[name]
    return node


OF_ANOTHER_TYPE = {
    bool: ["word", 3, 0.5, [True]], int: ["word", [3], True], float: ["word", [0.5], True],
    str: [3, True, ["word"]], list: [3, True],
}  # fmt: skip


def wrong_values(value, hint) -> list:
    """What a leaf cannot be, judged by its value, and of None and of floats by its annotation."""
    kinds = [*typing.get_args(hint), hint]
    none = [] if type(None) in kinds or hint is typing.Any else [None]
    half = [2.5] if type(value) is int and float not in kinds else []
    return OF_ANOTHER_TYPE.get(hint if value == "???" else type(value), []) + none + half


FREE = {"plugins": "word"}  # a list of one


def test_every_value_of_another_type_is_refused():
    n, accepted = 0, []
    for number, key, value, hint in values():
        assert judged(number, key, value) is None, key
        for wrong in wrong_values(value, hint):
            n += 1
            if judged(number, key, wrong) is None and FREE.get(key) != wrong:
                accepted.append((key, wrong))
    print(f"\n{n} values of another type: {accepted} accepted")
    assert n > 500
    assert not accepted


# -- ranges

BEYOND = [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 10**30, -(10**30)]  # what no number of ours can be
# What else each cannot be. A new number is an entry; empty where any will do.
BAD = {
    "architecture.attention": [[-1], [0], [3], [8]], "architecture.attention_head_dim": [-1, 0, 3],
    "architecture.block_out_channels": [[], [-8], [0], [32, 0]], "architecture.blocks": [-1, 0],
    "architecture.channels": [-1, 0], "architecture.noise": [-0.1, 10], "data.side": [-1, 0],
    "architecture.decoder_layers": [-1, 0], "cost.smoothing": [-0.1, 1], "positions.buckets": [-1, 0, 2, 7],
    "parameterization.generator.dropout": [-0.1, 1], "parameterization.generator.heads": [-1, 0, 3],
    "parameterization.generator.layers": [-1], "parameterization.generator.width": [-8, 0],
    "objective.weight": [-1, 1e7], "sampler.width": [-1, 0], "sampler.length_penalty": [-11, 1e7],
    "positions.distance": [-1, 0, 4], "sampler.temperature": [-1, 1e7], "sampler.top_p": [-1, 0, 1.1],
    "architecture.dropout": [-0.1, 1, 1.5], "architecture.embedding": [-1, 0],
    "architecture.heads": [-1, 0, 3], "architecture.layers": [-1], "architecture.layers_per_block": [-1, 0],
    "architecture.multipliers": [[], [-1], [0], [1, 0]], "architecture.norm_num_groups": [-1, 0, 3],
    "architecture.patch": [-1, 0], "architecture.ratio": [-1, 0],
    "architecture.width": [-8, 0], "callbacks.averaging.batch_size": [-1, 0],
    "callbacks.averaging.half_life": [-1, 0], "callbacks.averaging.ramp": [-1, 0],
    "callbacks.early_stopping.patience": [-1], "checkpoint.every": [-1, 0], "checkpoint.keep": [-1, 0],
    "checkpoint.seconds": [-1, 0], "codec.vocabulary": [-1, 0, 255], "corruption.kept": [-0.1, 1.1],
    "conditioning.heads": [-1, 0, 3], "conditioning.layers": [-1, 0], "conditioning.width": [-8, 0],
    "corruption.shares": [[], [1], [-1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]], "data.first": [-1, 0],
    "sampler.size": [-1, 0], "sampler.step.choice": [-1, 1e7], "sampler.step.temperature": [-1, 0, 1e7],
    "sampler.step.top_p": [-1, 0, 1.1], "shown.count": [-1, 0, 1e7], "shown.kept": [-0.1, 1.1],
    "shown.swapped": [-0.1, 1.1], "where.longest": [-1, 0, 1e7], "where.mean": [-1, 0, 0.5, 1e7],
    "where.stop": [-0.1, 0, 1.1],
    **{f"shown.{kind}": [-1, 1e7] for kind in ("case", "deletion", "diacritic", "digit", "insertion", "lookalike",
                                                "neighbor", "transposition")},
    "corruption.operator.length": [-1, 0],
    "corruption.operator.noise": [-1, 2],
    "corruption.operator.soft": [-1, 0, 1.1],
    "corruption.operator.width": [-1, 0],
    "corruption.swapped": [-0.1, 1.1], "cost.delta": [-1, 0, 1e7], "data.batch_size": [-1, 0],
    "data.channels": [-1, 0, 2, 4], "data.length": [-1, 0], "data.n": [-1, 0], "data.num_workers": [-1],
    "data.size": [-1, 0], "data.test": [-1, 0], "data.train": [-1, 0], "data.val": [-1, 0],
    "data.validation": [],  # when the data is read, and their number is known
    "edits.withhold.share": [0, 1, -0.1],
    "edits.emphasis.rest": [-1, 101],
    "edits.emphasis.touched": [-1, 101],
    "edits.input_perturbation.gamma": [-1, 101],
    "edits.noise_mismatch.factor": [-1, 101],
    "edits.offset_noise.strength": [-1, 101],
    "evaluation.batch_size": [-1, 0], "evaluation.held_out": [-1, 0], "evaluation.samples": [-1, 0],
    "guidance.interval": [[0.5, 0.5], [-0.1, 1], [0, 1.1], [0.5]], "guidance.rescale": [-0.1, 1.1],
    "guidance.weight": [-1, 1001],
    "evaluation.seed": [],
    "grid.high": [-1, 0, 1e7], "grid.low": [-1, 0, 2], "grid.rho": [-1, 0, 1e4],
    "logger.watch_every": [-1, 0],
    "lr_schedule.factor": [-1, 0, 10], "lr_schedule.floor": [-0.1, 1.1],
    "lr_schedule.milestones": [[-1], [0], [5, 5], [7, 5]], "lr_schedule.steps": [-1, 0], "lr_schedule.warmup": [-1],
    "objective.bin": [-1, 0, 3], "objective.bound.bin": [-1, 0, 3], "objective.bound.steps": [-1, 0],
    "objective.share": [-1, 0, 2], "objective.shares": [[], [1], [1, 0], [1, -1]],
    "objective.steps": [-1, 0], "optimizer.betas": [[0.9, 1], [-1, 0.9], [0.9]],
    "optimizer.eps": [-1], "optimizer.lr": [-1], "optimizer.momentum": [-1, 1, 1.5], "optimizer.weight_decay": [-1],
    "parameterization.std": [-1, 0, 1e7], "sampler.step.eta": [-0.1, 1.1], "sampler.steps": [-1, 0],
    "schedule.clip": [-1, 0, 1], "schedule.end": [-3, 200], "schedule.first": [-1, 0, 1, 0.1],
    "schedule.high": [-1, 0, 1e7], "schedule.inner.first": [-1, 0, 1, 0.1], "schedule.inner.last": [-1, 0, 1, 1e-5],
    "schedule.inner.steps": [-1, 0], "schedule.last": [-1, 0, 1, 1e-5], "schedule.level": [-0.1, 1e7],
    "schedule.low": [-1, 0, 40, 1e7], "schedule.offset": [-1, 2], "schedule.start": [3, -200],
    "schedule.steps": [-1, 0], "schedule.tau": [-1, 0, 0.01], "seed": [], "times.bins": [-1, 0, 1e7],
    "times.history": [-1, 0, 1e7], "times.mean": [-17, 17], "times.uniform": [-1, 0, 2],
    "posterior.steps": [-1, 0, 1],
    "sampler.clip": [-1, 0, 1e7], "sampler.step.order": [-1, 0, 4],
    "sampler.step.s_churn": [-1, 1e7],
    "sampler.step.s_max": [-1, 1e7],
    "sampler.step.s_min": [-1, 1e7],
    "sampler.step.s_noise": [-1, 1e7],
    "times.std": [-1, 0, 17], "times.steps": [-1, 0], "trainer.accumulate_grad_batches": [-1, 0],
    "trainer.devices": [0, -2], "trainer.gradient_clip_val": [-1], "trainer.log_every_n_steps": [-1, 0],
    "trainer.max_samples": [-1, 0], "trainer.max_steps": [-1, 0], "trainer.max_time": [-1, 0],
    "trainer.num_nodes": [-1, 0, 2], "trainer.val_check_interval": [-1, 0],
    "weight.bias": [-21, 21], "weight.gamma": [-1, 0, 1e7], "weight.k": [-1, 0, 1e7], "weight.std": [-1, 0, 1e7],
}  # fmt: skip
NONE_NOW = {
    "sampler.clip",
    "checkpoint.every",
    "callbacks.averaging.ramp",
    "data.n",
    "data.size",
    "trainer.max_samples",
    "trainer.max_time",
}  # numbers that may be null
LAUNCHER = "hydra.launcher."  # judged when a sweep begins


@cache
def numbers() -> dict[str, list[int]]:
    """Every leaf that is a number, or numbers, to a composition for each class that has it."""
    found = {}
    for number, key, value, _ in values():
        several = value if isinstance(value, list) else [value]
        if key in NONE_NOW or (several and all(type(v) in (int, float) for v in several)):
            found.setdefault(key, []).append(number)
    return found


def test_every_number_has_a_range():
    assert {key for key in numbers() if not key.startswith(LAUNCHER)} == set(BAD)


@pytest.mark.parametrize("key", BAD)
def test_what_is_out_of_range_is_refused(key):
    for number in numbers()[key]:
        beyond = [[v] for v in BEYOND] if isinstance(at(plain(number), key), list) else BEYOND
        for bad in [*BAD[key], *beyond]:
            assert judged(number, key, bad) is not None, f"{key}={bad} is accepted"


# -- the whole command

SAMPLE = {
    "typed": (["optimizer.lrr=1"], "optimizer.lr"),
    "nested": (["callbacks.averging.ramp=1"], "callbacks.averaging.ramp"),
    "added": (["+sede=1"], "seed"), "forced": (["++schedul.level=0.1"], "schedule.level"),
    "argument": (["++architecture.widht=8"], "architecture.width"),
    "saver": (["++checkpoint.kep=1"], "checkpoint.keep"),
    "hydra": (["++hydra.swep.dir=x"], "hydra.sweep.dir"),
    "launcher": (["++hydra.launcher.n_job=1"], "hydra.launcher.n_jobs"),
    "class": (["schedule._target_=denoiselab.schedule.Cosin"], "denoiselab.schedule.Cosine"),
    "weight": (["weight._target_=denoiselab.objective.MSE"], "denoiselab list"),
    "grid": (["grid._target_=denoiselab.schedule.Cosine"], "denoiselab list"),
    "codec": (["codec._target_=denoiselab.objective.MSE"], "denoiselab list"),
    "word": (["trainer.strategy=ddpp"], "ddp"), "choice": (["schedule=cosin"], "cosine"),
    "other": (["optimizer.momentum=0.9"], "optimizer=sgd"),
    "deleted_root": (["~seed"], "seed=..."), "deleted_group": (["~corruption"], "corruption=..."),
    "deleted_key": (["~optimizer.lr"], "optimizer.lr=VALUE"),
    "partial": (["++schedule._partial_=true"], "schedule._partial_"),
    "nan": (["optimizer.lr=nan"], "optimizer.lr"), "no_key": (["data.=1"], "data.n"),
    "vocabulary": (["experiment=mdlm", "corruption.vocabulary=3"], "corruption.vocabulary"),
    "twice": (["+schedule=cosine"], "schedule=CHOICE"),
    "forced_group": (["++schedule=cosine"], "schedule=CHOICE"), "no_choice": (["logger=null"], "denoiselab list"),
    "sweep_launcher": (["-m", "seed=0,1", "++hydra.launcher.n_job=2"], "hydra.launcher.n_jobs"),
    "sweep_sweeper": (["-m", "seed=0,1", "++hydra.sweeper.parms=2"], "hydra.sweeper.params"),
    "there": (["+seed=1"], "seed=VALUE"),
    "deleted_reference": (["~corruption.schedule.level", "schedule=constant"], "corruption.schedule.level=VALUE"),
    "deleted_nothing": (["~optimizr"], "optimizer"),
    "trim": (["trim=true"], "trim=false"), "trim_windows": (["experiment=bert", "trim=true"], "data.layout=padded"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", SAMPLE)
def test_the_command_says_so(mistake, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, right = SAMPLE[mistake]
    short = [] if "logger" in words[0] else ["logger=none"]
    assert run(["train", *words, *short, "trainer.max_steps=1"]) == 2
    fix = capsys.readouterr().err.rpartition("  fix: ")[2]
    assert right in fix, fix
    assert not [*tmp_path.iterdir()]


def test_what_an_experiment_gives_to_a_part_that_is_not_chosen_can_be_left_out(capsys):
    words = ["experiment=bart", "schedule=linear"]
    assert run(["train", *words, "logger=none"]) == 2
    assert "'~schedule.level'" in capsys.readouterr().err
    with initialize_config_dir(str(CONF), version_base="1.3"):
        raw = OmegaConf.to_container(compose("train", [*words, "~schedule.level"]), resolve=False)
    check.node(raw["schedule"], "schedule")
    check.read(raw, ["~schedule.level"])
    with pytest.raises(Refused, match="cannot be deleted"):
        check.read(raw, ["~optimizer.lr"])


QUICK = """
import sys
from denoiselab.commands.main import run
for word in WORDS:
    assert run(["train", word]) == 2, word
    assert not {"torch", "pytorch_lightning"} & {*sys.modules}, word
"""


def test_an_unknown_name_does_not_wait_for_torch(tmp_path):
    words = ["optimizer.lrr=1", "schedul=cosine", "schedule=cosin", "lr=1", "data.=1", "+lr=1", "++sede=1",
             "++hydra.swep.dir=x", "~optimizer.lr", "~optimizr"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(denoiselab.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", f"WORDS = {words!r}\n{QUICK}"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("refused: ") == len(words)


# -- nearness


@pytest.mark.parametrize("a, b, n", [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("abc", "ca", 3), ("lrr", "lr", 1),
                                     ("kitten", "sitting", 3), ("v", "x", 1)])  # fmt: skip
def test_a_distance_counts_letters(a, b, n):
    assert distance(a, b) == distance(b, a) == n


def test_what_is_far_is_not_offered():
    assert nearest("zzzzzz", known()) == []
    assert len(nearest("data", known())) <= SHOWN
