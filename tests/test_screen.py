"""Tables of cells: on a narrow screen nothing is cut off, and what is left out is named."""

import io

import pytest
from rich.console import Console

from denoiselab.run.screen import fitting, wider

CELLS = ["schedule=cosine seed=0", "schedule=linear_beta architecture.width=256 seed=1"]
COLUMNS = {
    "#": ["0", "11"], "cell": CELLS, "state": ["completed", "finished before"], "val/loss": ["0.2912", "1.2e-07"],
    "seconds": ["63.1", ""], "attempts": ["2", "1"], "run": ["13f9659d52", "8506277112"],
}  # fmt: skip


def drawn(width, **more):
    table, out = fitting(COLUMNS, ["", "red"], width, ("seconds", "attempts"), **more)
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    console.print(table)
    return console.file.getvalue(), out


@pytest.mark.parametrize("width", range(70, 141, 5))
def test_a_table_is_no_wider_than_the_screen_and_its_words_and_numbers_are_whole(width):
    text, out = drawn(width)
    assert max(map(len, text.splitlines())) <= width
    kept = [name for name in COLUMNS if name not in out]
    for word in [*kept, *(part for name in kept for cell in COLUMNS[name] for part in cell.split())]:
        assert word in text


def test_columns_go_in_their_order_and_are_named():
    assert drawn(140)[1] == []
    found = [drawn(width)[1] for width in range(140, 60, -1)]
    assert sorted({*map(tuple, found)}) == [(), ("seconds",), ("seconds", "attempts")]
    assert found == sorted(found, key=len)
    assert wider(["seconds", "attempts"]) == ["a wider screen also shows: seconds, attempts"]


def test_cells_that_are_to_stay_whole_cost_columns():
    assert CELLS[0] in drawn(140, whole=("cell",))[0]
    assert len(drawn(85, whole=("cell",))[1]) > len(drawn(85)[1])


def test_on_no_screen_is_anything_cut_off():
    text, _ = drawn(44)
    assert max(map(len, text.splitlines())) <= 44
    letters = text.replace("│", " ").split()
    assert "".join(letters).count("…") == 0
