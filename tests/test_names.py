"""Names that are near a misspelt one."""

import pytest

from denoiselab.names import SHOWN, distance, known, nearest


@pytest.mark.parametrize("a, b, n", [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("abc", "ca", 3), ("lrr", "lr", 1),
                                     ("kitten", "sitting", 3), ("v", "x", 1)])  # fmt: skip
def test_a_distance_counts_letters(a, b, n):
    assert distance(a, b) == distance(b, a) == n


def test_what_is_far_is_not_offered():
    assert nearest("zzzzzz", known()) == []
    assert len(nearest("data", known())) <= SHOWN
