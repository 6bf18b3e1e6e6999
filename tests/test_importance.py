"""Importance of hyperparameters: an axis that makes nothing has none, and the numbers are scikit-learn's."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GroupKFold
from test_compare import run

from denoiselab.commands import compare
from denoiselab.compare.importance import FOLDS, TREES, encoded, importance


def search(n, f, seed=0):
    """A random search, and its values."""
    draw = np.random.default_rng(seed)
    cells = [{"lr": repr(10 ** draw.uniform(-5, -1)), "width": str(draw.integers(16, 512)),
              "schedule": str(draw.choice(["cosine", "linear", "sigmoid"]))} for _ in range(n)]  # fmt: skip
    return cells, [f(cell) for cell in cells]


AXES = ("lr", "width", "schedule")


def test_what_makes_the_value_is_found():
    best_in_the_middle = lambda cell: (np.log10(float(cell["lr"])) + 3) ** 2 + (cell["schedule"] == "linear")  # noqa: E731
    found = importance(*search(150, best_in_the_middle), AXES)
    assert found.r2 > 0.9
    assert found.arms == 150
    assert [*found.lost][:2] == ["lr", "schedule"]
    assert found.lost["lr"] > 1
    assert 0.05 < found.lost["schedule"] < 0.5
    assert abs(found.lost["width"]) < 0.02


def test_noise_is_not_foretold():
    draw = np.random.default_rng(3)
    found = importance(*search(80, lambda cell: draw.normal()), AXES)
    assert found.r2 < 0.1
    assert all(abs(share) < 0.3 for share in found.lost.values())


def test_it_is_scikit_learns():
    cells, values = search(60, lambda cell: np.log10(float(cell["lr"])) + int(cell["width"]) / 300)
    x = np.array([[float(cell["lr"]), float(cell["width"])] for cell in cells])
    y, lost, error = np.array(values), np.zeros(2), 0.0
    for seen, held in GroupKFold(FOLDS).split(x, y, range(60)):
        forest = RandomForestRegressor(TREES, random_state=0).fit(x[seen], y[seen])
        error += ((forest.predict(x[held]) - y[held]) ** 2).sum()
        found = permutation_importance(forest, x[held], y[held], scoring="neg_mean_squared_error", n_repeats=40,
                                       random_state=1)  # fmt: skip
        lost += found.importances_mean * len(held)
    total = ((y - y.mean()) ** 2).sum()
    ours = importance(cells, values, ("lr", "width"))
    assert ours.r2 == pytest.approx(1 - error / total, rel=1e-12)
    assert [ours.lost["lr"], ours.lost["width"]] == pytest.approx(lost / total, rel=0.15)


def test_seeds_of_an_arm_stay_together():
    """Values that are an arm's own and no axis': a forest that had seen another seed would know them."""
    draw = np.random.default_rng(0)
    arms, own = search(40, lambda cell: draw.normal())
    found = importance([arm for arm in arms for _ in range(4)], np.repeat(own, 4), AXES)
    assert found.arms == 40
    assert found.r2 < 0.2


@pytest.mark.parametrize("n, f", [(9, lambda cell: float(cell["lr"])), (30, lambda cell: 1.0)])
def test_of_few_arms_or_one_value_nothing_is_said(n, f):
    assert importance(*search(n, f), AXES) is None


def test_the_command_says_it(tmp_path, capsys):
    for number in range(12):
        run(tmp_path, f"s{number:02}", "v", 0, float(number))
    compare.command([str(tmp_path)])
    assert "importance" not in capsys.readouterr().out
    compare.command([str(tmp_path), "effects=true", f"html={tmp_path / 'page.html'}"])
    assert "importance, R2 that a random forest loses where an axis is shuffled: schedule" in capsys.readouterr().out
    assert '"importance":{"lost":{"schedule":' in (tmp_path / "page.html").read_text()


def test_words_and_numbers_are_columns():
    assert encoded(["1", "2e-3", "7"]).tolist() == [[1.0], [0.002], [7.0]]
    assert encoded(["b", "1", "b"]).tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
