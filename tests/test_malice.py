"""Run folders and checkpoints from somebody else are data: whatever they hold, no door runs their code.

A canary is a file that hostile code would write. Every hostile folder goes through every door, which must refuse it in
words; then the canary must not be there. The last test shows that the canary can be written, or all would be vacuous.
"""

import ast
import contextlib
import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import denoiselab
from denoiselab.commands.main import run
from denoiselab.run import checkpoint
from denoiselab.spec import Refused

STEP = "000000002.ckpt"
TINY = ["architecture=mlp", "architecture.width=8", "architecture.layers=1", "trainer.max_steps=2", "data.batch_size=8",
        "evaluation.samples=4", "evaluation.metrics=[]", "sampler.steps=2", "logger=none",
        "trainer.val_check_interval=1", "trainer.enable_progress_bar=false"]  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run of our own, to tamper with."""
    root = tmp_path_factory.mktemp("original")
    assert run(["train", *TINY, f"outputs={root}"]) == 0
    [marker] = root.rglob("COMPLETED")
    return marker.parent


@pytest.fixture
def folder(original, tmp_path, monkeypatch):
    """A copy of it, under the root that a command will look in; the command runs from where a hostile module lies."""
    place = tmp_path / "runs" / original.parent.name / original.name
    shutil.copytree(original, place)
    evil = f"open({str(tmp_path / 'canary')!r}, 'w').close()\nclass Noise: pass\n"
    for here in (tmp_path, place):
        (here / "evil_module.py").write_text(evil, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    yield place
    sys.modules.pop("evil_module", None)


def canary(folder):
    return folder.parents[2] / "canary"


class Bomb:
    """Writes the canary when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


# -- checkpoints: name to a function (path, canary, what a good checkpoint holds)


def forged(path, state, tensors=None):
    """A file that says what an attacker likes, with a digest that is right."""
    text = state if isinstance(state, str) else json.dumps(state)
    tensors = tensors or {}
    save_file(tensors, path, {"state": text, "sha256": checkpoint.digest(text, tensors)})


def safetensors(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def zipped(path, canary, saved):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Bomb(canary)))
        file.writestr("archive/version", "3")


def without(saved, key):
    return {k: v for k, v in saved.items() if k != key}


def folder_instead(path, canary, saved):
    path.unlink()
    path.mkdir()


def one(kind, offsets, shape):
    return {"w": {"dtype": kind, "shape": shape, "data_offsets": offsets}}


NESTED = "[" * 100_000 + "]" * 100_000
DAMAGED = {
    "pickle": lambda path, canary, saved: path.write_bytes(pickle.dumps(Bomb(canary))),
    "old_pickle": lambda path, canary, saved: path.write_bytes(pickle.dumps(Bomb(canary), protocol=0)),
    "torch": lambda path, canary, saved: torch.save({"state_dict": Bomb(canary), "fit": saved["fit"]}, path),
    "old_torch": lambda path, canary, saved: torch.save(Bomb(canary), path, _use_new_zipfile_serialization=False),
    "honest_torch": lambda path, canary, saved: torch.save(saved["state_dict"], path),
    "zip": zipped,
    "text": lambda path, canary, saved: path.write_text("import os; os.system('touch canary')", encoding="utf-8"),
    "empty": lambda path, canary, saved: path.write_bytes(b""),
    "folder": folder_instead,
    "zeros": lambda path, canary, saved: path.write_bytes(bytes(1000)),
    "huge_header": lambda path, canary, saved: path.write_bytes(b"\xff" * 8 + b"{}"),
    "no_json_header": lambda path, canary, saved: safetensors(path, b"{1: 2}"),
    "list_header": lambda path, canary, saved: safetensors(path, []),
    "deep_header": lambda path, canary, saved: safetensors(path, NESTED.encode()),
    "no_metadata": lambda path, canary, saved: safetensors(path, {}),
    "list_metadata": lambda path, canary, saved: safetensors(path, {"__metadata__": []}),
    "number_metadata": lambda path, canary, saved: safetensors(path, {"__metadata__": {"state": 1, "sha256": 2}}),
    "no_digest": lambda path, canary, saved: save_file({}, path, {"state": "{}"}),
    "no_state": lambda path, canary, saved: save_file({}, path, {"sha256": checkpoint.digest("", {})}),
    "wrong_digest": lambda path, canary, saved: save_file({}, path, {"state": "{}", "sha256": "0" * 64}),
    "negative_shape": lambda path, canary, saved: safetensors(path, one("F32", [0, 4], [-1]), bytes(4)),
    "huge_shape": lambda path, canary, saved: safetensors(path, one("F32", [0, 4], [2**62, 2**62]), bytes(4)),
    "huge_offset": lambda path, canary, saved: safetensors(path, one("F32", [0, 2**63], [2**61]), bytes(4)),
    "empty_huge": lambda path, canary, saved: safetensors(path, one("F32", [0, 0], [0, 2**63])),
    "no_such_type": lambda path, canary, saved: safetensors(path, one("P32", [0, 4], [1]), bytes(4)),
    "odd_type": lambda path, canary, saved: safetensors(path, one("F4", [0, 4], [8]), bytes(4)),
    "state_no_json": lambda path, canary, saved: forged(path, "__import__('os').system('touch canary')"),
    "state_empty": lambda path, canary, saved: forged(path, ""),
    "state_list": lambda path, canary, saved: forged(path, []),
    "state_number": lambda path, canary, saved: forged(path, 3),
    "state_tensor": lambda path, canary, saved: forged(path, {"__tensor__": "0"}, {"0": torch.ones(2)}),
    "state_deep": lambda path, canary, saved: forged(path, NESTED),
    "state_deep_tuples": lambda path, canary, saved: forged(path, '{"__tuple__":[' * 900 + "1" + "]}" * 900),
    "state_endless_number": lambda path, canary, saved: forged(path, "1" * 5000),
    "no_such_tensor": lambda path, canary, saved: forged(path, {"a": {"__tensor__": "9"}}),
    "tensor_by_list": lambda path, canary, saved: forged(path, {"a": {"__tensor__": [1]}}),
    "tensor_by_mark": lambda path, canary, saved: forged(path, {"a": {"__tensor__": {"__tuple__": []}}}),
    "tuple_of_number": lambda path, canary, saved: forged(path, {"a": {"__tuple__": 2**70}}),
    "tuple_of_text": lambda path, canary, saved: forged(path, {"a": {"__tuple__": "abc"}}),
    "items_of_text": lambda path, canary, saved: forged(path, {"a": {"__items__": ["ab", "cd"]}}),
    "items_of_three": lambda path, canary, saved: forged(path, {"a": {"__items__": [[1, 2, 3]]}}),
    "items_of_numbers": lambda path, canary, saved: forged(path, {"a": {"__counter__": [1]}}),
    "items_by_list": lambda path, canary, saved: forged(path, {"a": {"__ordered__": [[[1], 2]]}}),
    "no_such_mark": lambda path, canary, saved: forged(path, {"a": {"__reduce__": ["os.system", "touch canary"]}}),
    "two_marks": lambda path, canary, saved: forged(path, {"a": {"__tuple__": [], "__items__": []}}),
    "mark_and_key": lambda path, canary, saved: forged(path, {"a": {"__tuple__": [], "b": 1}}),
}
# Whole files, that say what no run of ours says.
HOSTILE = {
    "nothing": lambda saved: {},
    "no_fit": lambda saved: without(saved, "fit"),
    "other_fit": lambda saved: {**saved, "fit": "0123456789"},
    "fit_tensor": lambda saved: {**saved, "fit": torch.ones(3)},
    "about_number": lambda saved: {**saved, "fit": "0123456789", "about": 3},
    "about_tensors": lambda saved: {**saved, "fit": "0123456789", "about": {"seed": torch.ones(3), "data": [{}]}},
    "no_weights": lambda saved: without(saved, "state_dict"),
    "weights_number": lambda saved: {**saved, "state_dict": 3},
    "weights_none": lambda saved: {**saved, "state_dict": {}},
    "weights_text": lambda saved: {**saved, "state_dict": dict.fromkeys(saved["state_dict"], "x")},
    "weights_numbered": lambda saved: {**saved, "state_dict": {1: torch.ones(2), (): torch.ones(2)}},
    "weights_shapes": lambda saved: {**saved, "state_dict": dict.fromkeys(saved["state_dict"], torch.ones(1, 2, 3))},
}


def opened_by_every_door(folder, capfd, more=()):
    """Refused, in words, by all who open a finished run."""
    for words in (["sample", f"run={folder}", "n=2", *more], ["show", f"run={folder}", *more]):
        assert run(words) == 2, words
        said = capfd.readouterr().err
        assert said.startswith("refused: ")
        assert "fix:" in said
        assert "Traceback" not in said
    with pytest.raises(Refused) as refused:
        denoiselab.load(folder)
    assert not canary(folder).exists()
    return str(refused.value)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_no_checkpoint_is_damaged_and_never_run(name, original, folder, capfd):
    saved = checkpoint.load(original / "checkpoints" / STEP)
    for path in (folder / "checkpoints").iterdir():
        DAMAGED[name](path, canary(folder), saved)
        with pytest.raises(checkpoint.Damaged, match="damaged"):
            checkpoint.load(path)
    opened_by_every_door(folder, capfd)


@pytest.mark.parametrize("name", ["pickle", "torch", "zip", "empty", "state_deep", "no_such_mark"])
def test_training_goes_on_without_a_file_that_is_no_checkpoint(name, original, folder):
    saved = checkpoint.load(original / "checkpoints" / STEP)
    (folder / "COMPLETED").unlink()
    DAMAGED[name](folder / "checkpoints" / STEP, canary(folder), saved)
    with pytest.warns(UserWarning, match=f"{STEP} is damaged"):
        assert run(["train", *TINY, f"outputs={folder.parents[1]}"]) == 0
    assert checkpoint.load(folder / "checkpoints" / STEP)["fit"] == saved["fit"]
    assert not canary(folder).exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_whole_checkpoint_of_another_content_is_refused(name, original, folder, capfd):
    saved = checkpoint.load(original / "checkpoints" / STEP)
    for path in (folder / "checkpoints").iterdir():
        checkpoint.save(HOSTILE[name](saved), path)
    opened_by_every_door(folder, capfd)


@pytest.mark.parametrize("name", [name for name in HOSTILE if "fit" in name or "about" in name or name == "nothing"])
def test_training_does_not_go_on_from_another_run(name, original, folder, capfd):
    saved = checkpoint.load(original / "checkpoints" / STEP)
    (folder / "COMPLETED").unlink()
    checkpoint.save(HOSTILE[name](saved), folder / "checkpoints" / STEP)
    assert run(["train", *TINY, f"outputs={folder.parents[1]}"]) == 2
    assert "was saved by another run" in capfd.readouterr().err


def test_another_run_is_told_by_what_differs(original, folder, capfd):
    saved = checkpoint.load(original / "checkpoints" / STEP)
    other = {**saved["about"], "seed": 7, "optimizer": {**saved["about"]["optimizer"], "lr": 5}}
    del other["architecture"]
    for path in (folder / "checkpoints").iterdir():
        checkpoint.save({**saved, "fit": "0123456789", "about": other}, path)
    with pytest.raises(Refused, match="seed: 7 -> 0") as refused:
        denoiselab.load(folder)
    assert "optimizer.lr: 5 -> 0.00" in str(refused.value)
    assert "architecture.width: (absent) -> 8" in str(refused.value)


# -- configurations: name to a change of the plain configuration, or to the text of config.yaml


def target(path, **arguments):
    return {"_target_": path, **arguments}


TARGETS = [
    "os.system", "posix.system", "denoiselab.files.os.system", "denoiselab.run.secrets.os.system", "builtins.eval",
    "builtins.exec", "builtins.__import__", "subprocess.Popen", "subprocess.run", "importlib.import_module",
    "evil_module.Noise", "evil_module", "hydra.utils.instantiate", "hydra.utils.get_method", "functools.partial",
    "denoiselab.build.instantiate", "denoiselab.build.importlib.import_module", "denoiselab.load",
    "denoiselab.run.loaded.Run", "denoiselab.run.identity.forget", "denoiselab.run.log.Log", "denoiselab.run.cell.Cell",
    "denoiselab.commands.main.run", "denoiselab.build.allow", "denoiselab.data.hub.fetched", "denoiselab.files",
    "denoiselab", "denoiselab.", ".denoiselab", "denoiselab..files", "", "torch.load", "torch.hub.load",
    "torch.optim.Optimizer.load_state_dict", "torch.optim.adamw.torch.load", "torch.optim.optimizer.torch",
    "torch.jit.load", "pytorch_lightning.LightningModule", "pytorch_lightning.LightningModule.load_from_checkpoint",
    "pytorch_lightning.cli.LightningCLI", "pytorch_lightning.Trainer.fit", "pytorch_lightning.trainer.trainer.os",
    "pytorch_lightning.trainer.trainer.os.system", "torchmetrics.Metric",
    "pytorch_lightning.strategies.DeepSpeedStrategy",
    "numpy.load", "yaml.unsafe_load", "denoiselab.schedule.Cosine.__class__",
    "denoiselab.schedule.Cosine.__init__.__globals__", "denoiselab.schedule.Cosine.__subclasses__",
    "denoiselab.grid.torch.load", "denoiselab.nothing.Here", "denoiselab.schedule.Nothing",
]  # fmt: skip
PLACES = {
    "part": lambda config, node: config.__setitem__("corruption", node),
    "data": lambda config, node: config.__setitem__("data", node),
    "argument": lambda config, node: config["corruption"].__setitem__("schedule", node),
    "callbacks": lambda config, node: config["callbacks"].__setitem__("x", node),
    "list": lambda config, node: config["evaluation"].__setitem__("metrics", [[{"a": [node]}]]),
    "args": lambda config, node: config["corruption"].__setitem__("_args_", [node]),
    "root": lambda config, node: config.update(node),
    "unread": lambda config, node: config.__setitem__("x", {"y": node}),
}
CHANGES = {
    "target_no_text": lambda config: config["corruption"].__setitem__("_target_", ["os.system"]),
    "target_none": lambda config: config["corruption"].__setitem__("_target_", None),
    "target_interpolated": lambda config: config["corruption"].__setitem__("_target_", "${oc.env:HOME}"),
    "interpolation": lambda config: config["data"].__setitem__("x", "${oc.env:HOME}"),
    "decoded": lambda config: config.__setitem__("x", "${oc.decode:${oc.env:HOME}}"),
    "plugin": lambda config: config.__setitem__("plugins", ["evil_module"]),
    "plugin_word": lambda config: config.__setitem__("plugins", "evil_module"),
    "plugin_used": lambda config: config.update(plugins=["evil_module"], corruption=target("evil_module.Noise")),
    "plugin_os": lambda config: config.update(plugins=["os"], corruption=target("os.system", command="touch canary")),
    "plugin_empty": lambda config: config.update(plugins=[""], corruption=target(".os.system")),
    "plugin_number": lambda config: config.__setitem__("plugins", 3),
    "plugin_nested": lambda config: config.__setitem__("plugins", [["evil_module"]]),
    "searchpath": lambda config: config.update(hydra={"searchpath": ["file://."]}, plugins=["evil_module"]),
    "hydra_callback": lambda config: config.update(hydra={"callbacks": {"x": target("evil_module.Noise")}}),
    "init_number": lambda config: config.__setitem__("init", 3),
    "no_seed": lambda config: config.pop("seed"),
    "seed_list": lambda config: config.__setitem__("seed", [1]),
    "monitor_number": lambda config: config.__setitem__("monitor", 3),
    "no_evaluation": lambda config: config.pop("evaluation"),
    "no_data": lambda config: config.pop("data"),
    "data_text": lambda config: config.__setitem__("data", "digits"),
    "other_seed": lambda config: config.__setitem__("seed", 5),
}
TEXTS = {
    "python_apply": "!!python/object/apply:os.system ['touch {canary}']",
    "python_new": "seed: !!python/object/new:os.system ['touch {canary}']",
    "python_module": "seed: !!python/module:evil_module",
    "python_name": "corruption: {{_target_: !!python/name:os.system }}",
    "pairs": "{whole}\nx: !!pairs [a: {{_target_: os.system, command: touch canary}}]",
    "omap": "{whole}\nx: !!omap [a: {{_target_: os.system, command: touch canary}}]",
    "set": "{whole}\nx: !!set {{a, b}}",
    "date": "{whole}\nx: 2020-01-01",
    "bytes": "{whole}\nx: !!binary aGVsbG8=",
    "number_key": "{whole}\n1: 2",
    "merged": "{whole}\nx: {{<<: {{_target_: os.system, command: touch canary}}}}",
    "alias": "{whole}\nx: &a [1]\ny: *a",
    "endless": "{whole}\nx: &a [*a]",
    "laughs": "{whole}\na: &a [1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]",
    "deep": "{whole}\nx: " + "[" * 40 + "]" * 40,
    "very_deep": "{whole}\nx: " + "[" * 20_000 + "]" * 20_000,
    "list": "[1, 2]", "number": "3", "empty": "", "no_yaml": "a: [", "zero": "a: \0", "documents": "{whole}\n---\na: 1",
}  # fmt: skip


def rewritten(folder, change):
    file = folder / "config.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(config)
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def test_what_is_honest_is_opened_by_every_door(folder):
    rewritten(folder, lambda config: None)
    assert denoiselab.load(folder).sample(2).shape == (2, 1, 8, 8)
    assert run(["sample", f"run={folder}", "n=2"]) == run(["show", f"run={folder}"]) == 0


def loaded_nowhere(folder, capfd):
    said = opened_by_every_door(folder, capfd)
    assert "evil_module" not in sys.modules
    return said


@pytest.mark.parametrize("path", TARGETS)
def test_no_target_leads_out(path, folder, capfd):
    node = target(path, command=f"touch {canary(folder)}", _partial_=False)
    rewritten(folder, lambda config: PLACES["argument"](config, node))
    assert "allowed" in loaded_nowhere(folder, capfd)


@pytest.mark.parametrize("path", ["os.system", "denoiselab.files.os.system", "evil_module.Noise", "denoiselab.load"])
@pytest.mark.parametrize("place", PLACES)
def test_no_target_leads_out_wherever_it_stands(place, path, folder, capfd):
    rewritten(folder, lambda config: PLACES[place](config, target(path, _args_=[f"touch {canary(folder)}"])))
    assert "not allowed" in loaded_nowhere(folder, capfd)


@pytest.mark.parametrize("name", CHANGES)
def test_a_configuration_that_was_tampered_with_is_refused(name, folder, capfd):
    rewritten(folder, CHANGES[name])
    loaded_nowhere(folder, capfd)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_more_than_data_is_refused(name, folder, capfd):
    file = folder / "config.yaml"
    whole = file.read_text(encoding="utf-8")
    file.write_text(TEXTS[name].format(whole=whole, canary=canary(folder)), encoding="utf-8")
    loaded_nowhere(folder, capfd)


@pytest.mark.parametrize("path", [*filter(None, TARGETS)])
def test_no_typed_target_leads_out_either(path, folder, capfd):
    """Of `train`, whose plugins are typed by the user."""
    assert run(["train", *TINY, f"corruption._target_={path}", f"outputs={folder.parents[1]}"]) == 2
    assert path.strip(".") in capfd.readouterr().err
    assert not canary(folder).exists()


def test_a_plugin_is_imported_by_every_door_that_is_told_so(folder, capfd):
    rewritten(folder, CHANGES["plugin"])
    with pytest.raises(Refused, match=r"plugins=evil_module.*plugins=\['evil_module'\]"):
        denoiselab.load(folder)
    rewritten(folder, lambda config: config.__setitem__("plugins", ["evil_module", "another_package"]))
    with pytest.raises(Refused, match="another_package"):
        denoiselab.load(folder, plugins=["evil_module"])
    with pytest.raises(Refused, match="evil_module"):
        denoiselab.load(folder, plugins="another_package,evil_module_of_mine")
    assert not canary(folder).exists()
    rewritten(folder, CHANGES["plugin"])
    doors = [
        lambda: denoiselab.load(folder, plugins=["evil_module"]),
        lambda: run(["sample", f"run={folder}", "n=2", "plugins=other,evil_module"]),
        lambda: run(["show", f"run={folder}", "plugins=evil_module"]),
    ]
    for door in doors:
        sys.modules.pop("evil_module", None)
        assert door() != 2
        assert canary(folder).exists()
        canary(folder).unlink()


# -- the sources


UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
CALLS = {"torch.load", "torch.hub.load", "torch.jit.load", "np.load", "numpy.load", "yaml.unsafe_load",
         "yaml.full_load", "eval", "exec", "pl.LightningModule.load_from_checkpoint"}  # fmt: skip


LOADERS = {f"{c}{kind}Loader" for c in ("", "C") for kind in ("", "Full", "Unsafe")}  # yaml.load is told one


def unsafe(source):
    """What a source imports or calls that could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        yield from LOADERS & {getattr(node, "attr", None), *([node.value] if isinstance(node, ast.Constant) else [])}
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (name for name in names if name.partition(".")[0] in UNSAFE or name in LOADERS)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CALLS or name.endswith(("load_from_checkpoint", ".unsafe_load")):
                yield name
            yield from ("allow_pickle" for word in node.keywords if word.arg == "allow_pickle")


def test_nothing_here_reads_a_pickle():
    files = [*Path(denoiselab.__file__).parent.rglob("*.py")]
    assert len(files) > 40
    found = {file.name: found for file in files if (found := [*unsafe(file.read_text(encoding="utf-8"))])}
    # Joblib hands calls to processes that it starts itself, by a pipe.
    assert found == {"parallel.py": ["joblib", "joblib.externals.loky.process_executor"]}


@pytest.mark.parametrize("source", ["import pickle", "from joblib import load", "torch.load(f)", "eval('1')",
                                    "yaml.load(f, yaml.Loader)", "getattr(yaml, 'CUnsafeLoader')",
                                    "np.load(f, allow_pickle=True)", "M.load_from_checkpoint(f)"])  # fmt: skip
def test_a_pickle_would_be_found(source):
    assert [*unsafe(source)]


def test_the_canary_can_be_written(folder):
    bomb = pickle.dumps(Bomb(canary(folder)))
    pickle.loads(bomb)
    assert canary(folder).exists()
    canary(folder).unlink()
    with contextlib.suppress(ImportError):
        __import__("evil_module")
    assert canary(folder).exists()


# Checkpoints of this very run, as whoever knows its hash can write them: what training resumes from.
STATES = ["state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers", "current_model_state",
          "averaging_state", "pytorch-lightning_version"]  # fmt: skip


@pytest.mark.parametrize("key", STATES)
def test_training_does_not_go_on_from_a_state_that_is_none(key, original, folder, capfd):
    saved = checkpoint.load(original / "checkpoints" / STEP)
    (folder / "COMPLETED").unlink()
    checkpoint.save({**saved, key: 3}, folder / "checkpoints" / STEP)
    assert run(["train", *TINY, f"outputs={folder.parents[1]}"]) == 1
    assert "cannot go on from" in capfd.readouterr().err
    assert not canary(folder).exists()
