"""Identity: equal configs are one run, others are not, and nothing leads out of the root."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from denoiselab.files import replacing, write_json
from denoiselab.run.identity import LONGEST, checked_name, fit_hash, run_folder, score_hash, slug
from denoiselab.spec import Refused

# Nothing here is about time.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

CONFIG = {
    "name": "a",
    "outputs": "outputs",
    "seed": 0,
    "monitor": {"name": "val/loss", "mode": "min"},
    "plugins": [],
    "rerun": False,
    "data": {"_target_": "D", "root": "/somewhere", "batch_size": 8, "codec": {"path": "x"}, "num_workers": 2},
    "schedule": {"_target_": "S", "first": 1e-4},
    "sampler": {"steps": 10},
    "grid": {"_target_": "g"},
    "guidance": {"scale": 2.0},
    "evaluation": {"seed": 0},
    "optimizer": {"lr": 1e-3},
    "trainer": {"max_steps": 10, "devices": 1, "accelerator": "cpu", "log_every_n_steps": 10},
    "callbacks": {"ema": {"decay": 0.9, "verbose": True}, "progress": {"refresh": 10}},
    "logger": {"_target_": "W"},
    "hydra": {"job": {}},
}


def changed(path: str, value) -> dict:
    config = json.loads(json.dumps(CONFIG))
    *parents, leaf = path.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    node[leaf] = value
    return config


def hashes(config, fingerprint="f"):
    return fit_hash(config, fingerprint), score_hash(config, fingerprint)


NEITHER = [
    ("name", "b"), ("outputs", "/other"), ("plugins", ["p"]), ("rerun", True), ("logger", {"_target_": "C"}),
    ("hydra", {}), ("retry", "failed"), ("dry_run", True), ("budget", {"seconds": 9.0}), ("arms", "f.yaml"),
    ("arm", "a"), ("trial", {"study": "s", "number": 1}),
    ("data.root", "/elsewhere"), ("data.codec.path", "y"), ("data.codec.run", "z"),
    ("data.num_workers", 0),
    ("trainer.accelerator", "gpu"), ("trainer.log_every_n_steps", 1), ("trainer.enable_progress_bar", False),
    ("callbacks.ema.verbose", False), ("callbacks.progress.refresh", 1), ("callbacks.progress", {}),
]  # fmt: skip


@pytest.mark.parametrize("path, value", NEITHER)
def test_what_cannot_change_a_result_is_in_neither_hash(path, value):
    assert hashes(changed(path, value)) == hashes(CONFIG)


@pytest.mark.parametrize("path, value", [("sampler.steps", 20), ("grid._target_", "h"), ("guidance", None),
                                         ("evaluation.samples", 1), ("evaluation.metrics", [])])  # fmt: skip
def test_what_is_done_with_weights_is_in_score_alone(path, value):
    fit, score = hashes(changed(path, value))
    assert fit == fit_hash(CONFIG, "f")
    assert score != score_hash(CONFIG, "f")
    # Unless it chooses the best weights.
    by_samples = {"monitor": {"name": "frechet", "mode": "min"}}
    assert fit_hash(changed(path, value) | by_samples, "f") != fit_hash(CONFIG | by_samples, "f")


@pytest.mark.parametrize("path, value", [("seed", 1), ("data.batch_size", 16), ("schedule.first", 1e-3),
                                         ("trainer.devices", 2), ("trainer.max_steps", 11), ("optimizer.lr", 2e-3),
                                         ("callbacks.ema.decay", 0.99), ("monitor.mode", "max"),
                                         ("schedule.new", None), ("evaluation.seed", 1)])  # fmt: skip
def test_what_changes_weights_is_in_both(path, value):
    fit, score = hashes(changed(path, value))
    assert fit != fit_hash(CONFIG, "f")
    assert score != score_hash(CONFIG, "f")


def test_data_enters_by_its_fingerprint():
    assert not set(hashes(CONFIG, "f")) & set(hashes(CONFIG, "g"))


def test_the_hash_is_stable_across_versions():
    """A change of what is hashed orphans every run that anybody has."""
    monitor = {"name": "val/loss", "mode": "min"}
    config = {"seed": 1.0, "name": "n", "optimizer": {"lr": 1e-3, "a": [None, True]}, "monitor": monitor}
    text = '[{"monitor":{"mode":"min","name":"val/loss"},"optimizer":{"a":[null,true],"lr":0.001},"seed":1},"f"]'
    assert hashes(config) == (hashlib.sha256(text.encode()).hexdigest()[:10],) * 2


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
TREES = st.dictionaries(
    st.text("abc", min_size=1), st.recursive(LEAVES, lambda x: st.lists(x, max_size=3), max_leaves=5)
)


def shuffled(node, random):
    if not isinstance(node, dict):
        return node
    keys = list(node)
    random.shuffle(keys)
    return {k: shuffled(node[k], random) for k in keys}


@unhurried
@given(st.dictionaries(st.text("xyz", min_size=1), TREES), st.randoms(use_true_random=False))
def test_the_order_of_keys_means_nothing(tree, random):
    config = CONFIG | {"part": tree}
    assert hashes(shuffled(config, random)) == hashes(config)


@unhurried
@given(LEAVES, LEAVES)
def test_values_are_the_same_where_they_are_equal(a, b):
    """1 and 1.0 are; True and 1, and "1" and 1, are not."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
    same = a == b and (numbers or type(a) is type(b))
    assert (hashes(changed("seed", a)) == hashes(changed("seed", b))) == same


def test_ways_to_write_a_number_are_one():
    def written(text):
        return hashes(changed("optimizer.lr", float(text)))

    assert written("1e-3") == written("0.001") == written("1.0e-03") != written("0.0010000001")
    assert hashes(changed("seed", 1)) == hashes(changed("seed", 1.0)) != hashes(changed("seed", True))


def test_slugs_read_well():
    assert slug(["seed=1", "schedule=linear"]) == slug(["schedule=linear", "seed=1"]) == "schedule_linear-seed_1"
    assert slug(["+a.b=1", "++c=2", "~guidance", "hydra/launcher=x", "name=q", "outputs=/o", "data.root=/d"]) == \
        "b_1-c_2-no_guidance"  # fmt: skip
    assert slug(["lr=1e-3", "weight@aux=v"]) == "lr_1e-3-weight_v"
    assert slug([]) == slug(["name=q"]) == slug(["experiment=bert"]) == "default"
    assert slug(["experiment=bert", "name=q"]) == "experiment_bert"


@unhurried
@given(st.lists(st.text(max_size=60)))
def test_slugs_can_stand_in_a_path(overrides):
    word = slug(overrides)
    assert 1 <= len(word) <= LONGEST
    assert word[0] not in ".-"
    assert set(word) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert slug([f"long={'x' * 200}"]) == f"long_{'x' * (LONGEST - 5)}"


def test_the_folder_follows_the_hash_not_the_slug(tmp_path):
    first = run_folder(tmp_path, "n", ["seed=0"], "0123456789")
    assert first == tmp_path / "n" / "seed_0-0123456789"
    first.mkdir(parents=True)
    assert run_folder(tmp_path, "n", [], "0123456789") == first
    assert run_folder(tmp_path, "n", [], "1123456789") == tmp_path / "n" / "default-1123456789"
    assert run_folder(tmp_path, "m", [], "0123456789").parent == tmp_path / "m"


@pytest.mark.parametrize(
    "bad", ["", None, "..", ".hidden", "a/b", "a\\b", "../up", "a..b", "-m", "a b", "a=b", "ä", "a\n"]
)
def test_names_that_are_no_plain_word_are_refused(bad):
    with pytest.raises(Refused, match="name"):
        checked_name(bad)
    with pytest.raises(Refused):
        run_folder("outputs", bad, [], "0123456789")


@pytest.mark.parametrize("good", ["a", "first_try", "v1.2", "A-b", "2024", 2024])
def test_plain_words_are_names(good):
    assert checked_name(good) == str(good)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": [1, 0.1]})
    for bad in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, bad)
    with pytest.raises(NotADirectoryError), replacing(path) as temporary:
        (temporary / "not" / "a" / "folder").write_text(temporary.write_text("half") and "x")
    assert json.loads(path.read_text()) == {"b": [1, 0.1]}
    assert list(path.parent.iterdir()) == [path]


def test_identity_needs_no_torch():
    code = "import sys, denoiselab.run.identity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(Path(__file__).parents[1] / "src")},
                          check=False).returncode == 0  # fmt: skip
