"""Samples of what was asked for, from the command line: a run with labels, one without, one with captions."""

import json

import pytest
import torch
from runs import scores, train
from safetensors.torch import load_file

import denoiselab
from denoiselab.commands.main import run
from denoiselab.guidance import classifier
from denoiselab.spec import Refused

LABEL = ["conditioning=label", "edits=[withhold]"]
SHAPES = ["data=shapes", "data.size=16", "data.train=48", "data.val=8", "data.test=8", "conditioning=text",
          "conditioning.width=16", "conditioning.layers=1", "edits=[withhold]"]  # fmt: skip
JUDGED = "evaluation.metrics=[{_target_: denoiselab.evaluation.metrics.Agreement}]"


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    [folder] = train(tmp_path_factory.mktemp("label"), *LABEL, "guidance=classifier_free", JUDGED,
                     without="evaluation.metrics")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def captioned(tmp_path_factory):
    [folder] = train(tmp_path_factory.mktemp("caption"), *SHAPES)
    return folder


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory):
    [folder] = train(tmp_path_factory.mktemp("none"))
    return folder


def sampled(folder, output, *words):
    """The samples of a command, and what each was asked for."""
    assert run(["sample", f"run={folder}", "n=6", "steps=2", f"output={output}", *words]) == 0
    asked = output / "samples.json"
    return load_file(output / "samples.safetensors")["samples"], json.loads(asked.read_text()) if asked.exists() else []


def test_a_conditional_run_is_judged_by_agreement(conditional):
    assert 0 <= scores(conditional)["test/agreement_label"] <= 1
    asked = json.loads((conditional / "samples" / "samples.json").read_text())
    assert len(asked) == 8
    assert set(asked[0]) == {"label"}


def test_labels_are_asked_for(conditional, tmp_path):
    made, asked = sampled(conditional, tmp_path / "a", "label=3", "guidance=2.5")
    assert asked == [{"label": 3}] * 6
    other, asked = sampled(conditional, tmp_path / "b", "label=3,5", "guidance=classifier_free", "guidance.weight=2.5")
    assert [each["label"] for each in asked] == [3, 5] * 3
    assert torch.equal(made[::2], other[::2])
    assert not torch.equal(made[1::2], other[1::2])
    plain, _ = sampled(conditional, tmp_path / "c", "label=3", "guidance=1")
    unguided, _ = sampled(conditional, tmp_path / "d", "label=3", "guidance=none")
    assert torch.equal(plain, unguided)
    assert not torch.equal(plain, made)
    # Without a condition the label says nothing.
    blind = [sampled(conditional, tmp_path / f"e{label}", f"label={label}", "guidance=0")[0] for label in (3, 5)]
    assert torch.equal(*blind)
    from_python = denoiselab.load(conditional)
    guidance = from_python.guidance("classifier_free", weight=2.5)
    sampler = from_python.sampler(steps=2)
    assert torch.equal(from_python.sample(6, sampler, guidance=guidance, label=3), made)


def test_the_network_calls_are_counted(conditional, unconditional, tmp_path):
    told, free = conditional, unconditional
    for folder, words, calls in ((told, ["guidance=2"], 4), (told, ["guidance=1"], 2), (told, [], 4), (free, [], 2)):
        output = tmp_path / f"{folder.name}{calls}{len(words)}"
        sampled(folder, output, *words)
        assert json.loads((output / "timing.json").read_text())["network_calls_per_sample"] == calls


def test_an_unconditional_run_is_asked_through_a_classifier(unconditional, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 5)
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path / "cache"))
    made, asked = sampled(unconditional, tmp_path / "a", "guidance=classifier", "guidance.weight=2", "label=1")
    assert asked == [{"label": 1}] * 6
    other, _ = sampled(unconditional, tmp_path / "b", "guidance=classifier", "guidance.weight=2", "label=2")
    plain, asked = sampled(unconditional, tmp_path / "c")
    assert not torch.equal(made, other)
    assert not torch.equal(made, plain)
    assert asked == []


def test_captions_are_asked_for(captioned, tmp_path):
    made, asked = sampled(captioned, tmp_path / "a", "caption=a five, two red circles", "guidance=2")
    assert asked == [{"caption": "a five"}, {"caption": "two red circles"}] * 3
    assert made.shape == (6, 3, 16, 16)
    _, asked = sampled(captioned, tmp_path / "b")
    assert len({each["caption"] for each in asked}) > 3


@pytest.mark.parametrize(
    "which, words, said",
    [
        ("conditional", ["label=ten"], "number of a class"),
        ("conditional", ["label=10"], "0 to 9"),
        ("conditional", ["caption=a five"], "cannot be asked for a caption"),
        ("conditional", ["guidance=-1"], "guidance.weight"),
        ("conditional", ["guidance=nan"], "guidance.weight"),
        ("conditional", ["guidance=clasifier"], "did you mean classifier"),
        ("conditional", ["guidance=2", "guidance.wieght=3"], "weight"),
        ("conditional", ["guidance=2", "guidance.interval"], "KEY=VALUE"),
        ("conditional", ["guidance=2", "guidance.interval=[0,"], "cannot be read"),
        ("unconditional", ["label=1"], "guidance=classifier"),
        ("unconditional", ["guidance=2"], "conditioning=label"),
        ("captioned", ["caption=a fife"], "five"),
        ("captioned", ["caption="], "captions are"),
        ("captioned", ["guidance=classifier"], "labels"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(which, words, said, request, tmp_path, capsys):
    folder = request.getfixturevalue(which)
    assert run(["sample", f"run={folder}", "n=2", f"output={tmp_path / 'out'}", *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_python_is_refused_alike(conditional):
    with pytest.raises(Refused, match="cannot be asked for a captoin"):
        denoiselab.load(conditional).sample(2, captoin="a five")
