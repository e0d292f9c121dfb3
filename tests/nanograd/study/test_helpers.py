"""The functions besides NumPy that the code of a line may use."""

import math

import numpy as np
import pytest

from nanograd.study import helpers


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (2, 0), (-1, -2)])
def test_rows_and_back(axis: int | tuple[int, ...] | None) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    rows = helpers.to_rows(x, axis)
    np.testing.assert_array_equal(rows.sum(axis=-1), x.sum(axis=axis))
    np.testing.assert_array_equal(helpers.from_rows(rows, x.shape, axis), x)


def test_integral_of_a_cosine() -> None:
    x = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(helpers.integral(np.cos, x), np.sin(x), atol=1e-15)


def test_of_two_writes_to_one_entry_the_last_stays() -> None:
    indices = np.array([[1, 0, 1], [2, -1, 0]])  # -1 is entry 2
    assert helpers.last_writes(indices, 3, -1).tolist() == [[False, True, True], [False, True, True]]
    written = helpers.put_along_axis(np.zeros((2, 3)), indices, np.array([[1.0, 2.0, 3.0]] * 2), -1)
    assert written.tolist() == [[2.0, 3.0, 0.0], [3.0, 0.0, 2.0]]
    assert helpers.sum_by_index(np.array([[1.0, 2.0, 3.0]] * 2), indices, 3, -1).tolist() == [
        [2.0, 4.0, 0.0],
        [3.0, 0.0, 3.0],
    ]


def test_softmax_of_a_row_that_sees_nothing() -> None:
    scores = np.array([[0.0, math.log(3)], [-np.inf, -np.inf]])
    np.testing.assert_allclose(helpers.softmax(scores), [[0.25, 0.75], [0.0, 0.0]])
