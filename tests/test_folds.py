"""Folds: every sample validates exactly once, the test split stays, and runs are averaged over them as over seeds."""

import csv

import pytest
import torch
from runs import scores, train

from denoiselab import build
from denoiselab.commands import compare
from denoiselab.data.splits import levels
from denoiselab.evaluation.extractor import whole
from denoiselab.run.identity import fit_hash
from denoiselab.spec import Refused

IDENTITY = {"_target_": "denoiselab.data.base.Identity"}
CHARACTERS = {"_target_": "denoiselab.data.tokenizer.Character"}
MOONS = {"_target_": "denoiselab.data.points.Moons", "codec": IDENTITY, "batch_size": 8}
DIGITS = {"_target_": "denoiselab.data.image.Digits", "codec": IDENTITY, "batch_size": 8}
DATES = {"_target_": "denoiselab.data.dates.Dates", "codec": CHARACTERS, "length": 32, "batch_size": 8, "train": 50,
         "val": 11, "test": 7}  # fmt: skip


def text(root, layout="windows"):
    """A file of running text: the place of a row in it can be read off."""
    path = root / "a.txt"
    path.write_text(" ".join(f"{i:05}" for i in range(3000)), encoding="utf-8")
    return {"_target_": "denoiselab.data.text.TextFile", "codec": CHARACTERS, "path": str(path), "length": 24,
            "batch_size": 8, "layout": layout, "documents": "file"}  # fmt: skip


def folded(node, folds, fold):
    return build.load({"data": {**node, "folds": folds, "fold": fold}})


def rows(table):
    """Each sample as bytes."""
    return [bytes(row.contiguous().view(-1).view(torch.uint8).numpy()) for row in table.x]


@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize("node", [MOONS, DIGITS, DATES, text], ids=["moons", "digits", "dates", "text"])
def test_every_sample_validates_once(node, folds, tmp_path):
    node = node(tmp_path) if callable(node) else node
    plain = build.load({"data": node})
    whole_of_it = sorted(rows(plain.train) + rows(plain.val))
    all_of_them = [folded(node, folds, fold) for fold in range(folds)]
    assert sorted(row for data in all_of_them for row in rows(data.val)) == whole_of_it
    sizes = {len(data.val.x) for data in all_of_them}
    assert max(sizes) - min(sizes) <= 1
    for fold, data in enumerate(all_of_them):
        assert sorted(rows(data.train) + rows(data.val)) == whole_of_it
        assert torch.equal(data.test.x, plain.test.x)
        for table in (data.train, data.val):
            assert {len(values) for values in table.context.values()} <= {len(table.x)}
        again = folded(node, folds, fold)
        assert again.fingerprint() == data.fingerprint()
    assert len({data.fingerprint() for data in all_of_them}) == folds


def test_what_is_known_of_a_sample_goes_with_it():
    plain, data = build.load({"data": DIGITS}), folded(DIGITS, 3, 1)
    known = {}
    for table in (plain.train, plain.val):
        for row, label in zip(rows(table), table.context["label"].tolist(), strict=True):
            known.setdefault(row, set()).add(label)
    for table in (data.train, data.val):
        for row, label in zip(rows(table), table.context["label"].tolist(), strict=True):
            assert label in known[row]


def test_data_n_cuts_what_the_fold_trains_on():
    data, uncut = folded({**DIGITS, "n": 20}, 5, 2), folded(DIGITS, 5, 2)
    assert torch.equal(data.train.x, uncut.train.x[:20])
    assert torch.equal(data.uncut.x, uncut.train.x)
    assert data.spec.levels == levels(data.train.x) != uncut.spec.levels == levels(uncut.train.x)
    with pytest.raises(Refused, match="first n"):
        folded({**DIGITS, "n": 1200}, 2, 0)  # fewer than without folds


@pytest.mark.parametrize("layout", ["windows", "packed"])
def test_a_fold_of_running_text_is_a_stretch_of_it(layout, tmp_path):
    node = text(tmp_path, layout)
    plain = build.load({"data": node})
    place = {row: i for i, row in enumerate(rows(plain.train) + rows(plain.val))}
    for fold in range(4):
        held = [place[row] for row in rows(folded(node, 4, fold).val)]
        assert held == list(range(held[0], held[0] + len(held)))


def test_all_folds_are_judged_by_one_network():
    plain = build.load({"data": {**DIGITS, "n": 30}})
    known = {whole(folded({**DIGITS, "n": 30}, 3, fold)).fingerprint() for fold in range(3)}
    assert known == {whole(plain).fingerprint()}


@pytest.mark.parametrize(
    "folds, fold, what", [(5, 5, "5 of 5"), (5, -1, "-1 of 5"), (1, 0, "2 or more"), (0, 0, "2 or more"),
                          (5, None, "without data.fold"), (None, 0, "without data.folds"),
                          (5000, 0, "every fold has a sample")],
)  # fmt: skip
def test_folds_that_cannot_be_are_refused(folds, fold, what):
    with pytest.raises(Refused, match=what):
        folded(DIGITS, folds, fold)


@pytest.mark.parametrize("word", ["data.folds=a", "data.fold=0.5", "data.folds=5"])
def test_what_is_mistyped_is_refused_before_any_work(word, tmp_path, capfd):
    assert train(tmp_path, "data=moons", word, code=2) == []
    assert "refused" in capfd.readouterr().err


def test_runs_without_folds_are_those_from_before_there_were_any():
    config = {"monitor": {"name": "val/loss"}, "data": MOONS}
    of = lambda **more: fit_hash({**config, "data": {**MOONS, **more}}, "f")  # noqa: E731
    assert of() == of(folds=None, fold=None)
    assert len({of(), *(of(folds=3, fold=fold) for fold in range(3)), of(folds=4, fold=0)}) == 5


def test_seeds_and_folds_are_axes_and_no_arms(tmp_path, capfd):
    words = ["data=moons", "data.n=40", "data.folds=2", "data.fold=range(2)", "seed=range(2)"]
    marks = train(tmp_path / "out", "-m", *words)
    assert len(marks) == 4
    out = tmp_path / "table.csv"
    compare.command([str(tmp_path / "out"), f"csv={out}"])
    [line] = csv.DictReader(out.read_text(encoding="utf-8").splitlines())
    values = [scores(mark)["val/loss"] for mark in marks]
    assert len(set(values)) == 4
    assert float(line["mean"]) == pytest.approx(sum(values) / 4, rel=1e-12)
    assert (line["n"], line["seeds"]) == ("4", "0-fold-0 0-fold-1 1-fold-0 1-fold-1")
    assert not {"seed", "data.fold"} & line.keys()
