"""NumPy code records itself: the graph, evaluated by NumPy again, gives the same numbers."""

import numpy as np
import pytest

from nanograd.study.live.graph import Graph
from nanograd.study.live.recorded import NotLive, Recorded


def recorded(a: object) -> Recorded:
    graph, value = Graph(), np.array(a, np.float64)
    return Recorded(graph, graph.add("in", list(value.shape), "x"), value)


def test_what_only_moves_entries_is_one_copy() -> None:
    x = recorded([[1, 2, 3], [4, 5, 6]])
    y = x.T[::-1, None].reshape(3, 2)[1:]
    np.testing.assert_array_equal(y.value, x.value.T[::-1, None].reshape(3, 2)[1:])
    assert x.graph.pruned([y.node])[0] == [["in", [2, 3], "x"], ["pick", [2, 2], 0, [-1, 3], 1]]
    assert np.reshape(x.reshape(6), (2, 3)).node == x.node


def test_equal_nodes_are_one() -> None:
    x = recorded([1, 2])
    assert np.exp(x).node == np.exp(x).node
    assert (np.exp(x) + 1).node != (np.exp(x) + 2).node


def test_products_and_sums() -> None:
    x = recorded([[1, 2], [3, 4]])
    np.testing.assert_array_equal((x @ x.mT).value, x.value @ x.value.T)
    np.testing.assert_array_equal(np.einsum("ij,kj->ik", x, x).value, x.value @ x.value.T)
    np.testing.assert_array_equal(np.cumsum(x, 1).value, np.cumsum(x.value, 1))
    assert [node[0] for node in x.graph.pruned([x.sum(axis=0).node])[0]] == ["in", "fold"]


def test_assignment_is_a_new_array() -> None:
    x = recorded([1, 2, 3])
    y = np.zeros_like(x)
    y[1:] = x[:2]
    before = y.copy()
    y /= 2
    np.testing.assert_array_equal(y.value, [0, 0.5, 1])
    np.testing.assert_array_equal(before.value, [0, 1, 2])


def test_what_a_page_cannot_do_again_is_refused() -> None:
    x = recorded([1, 2, 3])
    with pytest.raises(NotLive, match="looks at a number"):
        max(x[0], 1)
    with pytest.raises(NotLive, match="plain numbers is wanted"):
        np.asarray(x)
    with pytest.raises(NotLive, match=r"np\.sort"):
        np.sort(x)
    with pytest.raises(NotLive, match=r"np\.arctan"):
        np.arctan(x)
