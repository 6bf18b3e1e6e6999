"""Arms: named variants that are no product, each crossed with what is swept."""

import re

import pytest
import yaml
from runs import losses, train

from denoiselab.launch import arms
from denoiselab.spec import Refused

MOONS = ["data=moons", "data.n=40"]
FILE = """
- name: base
  overrides: []
- name: min_snr
  overrides: [weight=min_snr, optimizer.lr=2e-3]
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        (tmp_path / "arms.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "arms.yaml")

    return write


def test_each_arm_is_crossed_with_each_cell(file):
    cells = arms.crossed(file(FILE), [["seed=0"], ["seed=1"]])
    assert cells == [
        ["arm=base", "seed=0"], ["arm=base", "seed=1"],
        ["arm=min_snr", "weight=min_snr", "optimizer.lr=2e-3", "seed=0"],
        ["arm=min_snr", "weight=min_snr", "optimizer.lr=2e-3", "seed=1"],
    ]  # fmt: skip
    assert [*arms.named(file(FILE), cells)] == [["arm=base", "seed=0"], ["arm=base", "seed=1"],
                                                ["arm=min_snr", "seed=0"], ["arm=min_snr", "seed=1"]]  # fmt: skip
    assert arms.crossed(None, [("seed=0",)]) == [["seed=0"]]


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "line 1, is no list of arms\n  got: nothing"),
        ("[]", "line 1, is no list of arms\n  got: an empty list"),
        ("- {name: a, overrides: weight=snr}", "line 1: an arm has overrides\n  got: a word"),
        ("- {[1, 2]: a}", "line 1: an arm has a name and overrides, and nothing else\n  got: a list"),
        ("- {name: a, overrides: [{weight: snr}]}", "line 1: an override is KEY=VALUE\n  got: keys and values"),
        ("- {name: a, overrides: ['a b c=3']}", "line 1: an override is KEY=VALUE"),
        ("a: 1", "line 1, is no list"),
        ("- name: a\n  overrides: [x", "line 2, is no YAML"),
        ("- name: a\n- just a word", "line 1: an arm has overrides"),
        ("- name: a\n  overrides: []\n- word", "line 3: an arm has a name and overrides"),
        ("- name: a\n  overrides: []\n  seeds: 3", "line 3: an arm has a name and overrides, and nothing else"),
        ("- overrides: []", "line 1: an arm has name"),
        ("- name: a b\n  overrides: []", "line 1: the name of an arm is a plain word"),
        ("- name: true\n  overrides: []", "line 1: the name of an arm is a plain word"),
        ("- name: base_seed_1\n  overrides: []", "line 1: a seed is no part of an arm's name"),
        ("- name: a\n  overrides: []\n- name: a\n  overrides: []", "line 3: there are two arms 'a'"),
        ("- name: a\n  overrides: [weight]", "line 2: an override is KEY=VALUE"),
        ("- name: a\n  overrides:\n    - weight: min_snr", "line 3: an override is KEY=VALUE"),
        ("- name: a\n  overrides:\n    - weight=snr\n    - seed=1", "line 4: a seed is an axis"),
        ("- name: a\n  overrides:\n    - weight=snr\n    - data.fold=1", "line 4: a fold is an axis"),
        ("- name: a\n  overrides: ['weight=snr,v']", "line 2: an arm is one variant"),
        ("- name: a\n  overrides: [outputs=x]", "line 2: this is no key of an arm's"),
        ("- name: a\n  overrides: [hydra/launcher=x]", "line 2: this is no key of an arm's"),
        ("- name: a\n  overrides: [weight=snr, weight=v]", "line 2: the arm says weight twice"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_its_line(text, said, file):
    with pytest.raises(Refused, match=re.escape(said)):
        arms.read(file(text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refused, match="cannot be read"):
        arms.read(str(tmp_path / "none.yaml"))


def test_what_an_arm_says_the_command_line_does_not(file):
    with pytest.raises(Refused, match=r"line 4: arm min_snr and the command line both say weight"):
        arms.crossed(file(FILE), [["weight=v"]])


def test_an_unknown_choice_of_an_arm_starts_nothing(file, tmp_path, capfd):
    path = file("- name: a\n  overrides: [weight=min_snrr]")
    assert train(tmp_path / "out", "-m", *MOONS, f"arms={path}", code=2) == []
    err = capfd.readouterr().err
    assert "did you mean min_snr" in err
    assert "#0 (arm=a)" in err


def test_a_sweep_of_arms(file, tmp_path, capfd):
    made = train(tmp_path / "out", "-m", *MOONS, f"arms={file(FILE)}", "seed=0,1")
    out = capfd.readouterr().out
    assert len(made) == 4
    for name in ("base", "min_snr"):
        for seed in (0, 1):
            assert re.search(rf"│ arm={name} seed={seed} +│ completed", out)
    typed = {place: yaml.safe_load((place / "overrides.yaml").read_text(encoding="utf-8")) for place in made}
    [place] = [place for place in made if {"arm=min_snr", "seed=0"} <= {*typed[place]}]
    assert place.name.startswith("min_snr-")
    typed = typed[place]
    assert {"weight=min_snr", "optimizer.lr=2e-3"} <= {*typed}
    assert not [word for word in typed if word.startswith("arms=")]
    # An arm is a name and nothing more: the run is that of its own command.
    [alone] = train(tmp_path / "alone", *MOONS, "weight=min_snr", "optimizer.lr=2e-3", "seed=0")
    assert alone.name.rpartition("-")[2] == place.name.rpartition("-")[2]
    assert losses(alone) == losses(place)
