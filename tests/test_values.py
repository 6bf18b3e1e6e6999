"""Every value of a wrong type and every number out of its range is refused."""

import typing
from functools import cache

import pytest
from mistakes import at, judged, plain, values

# -- types

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
