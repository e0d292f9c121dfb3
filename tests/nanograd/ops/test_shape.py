"""reshape, transpose, expand_dims, squeeze, broadcast_to, getitem, concat, stack, swapaxes and split."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

X = np.arange(6.0).reshape(2, 3)


def leaf(x: Any) -> Tensor:
    return Tensor(np.array(x, np.float64), requires_grad=True)


def test_reshape_by_hand() -> None:
    x = leaf(X)
    y = x.reshape(3, 2)
    np.testing.assert_array_equal(y.data, [[0, 1], [2, 3], [4, 5]])
    y.backward([[0, 10], [20, 30], [40, 50]])
    np.testing.assert_array_equal(x.grad, X * 10)


def test_transpose_by_hand() -> None:
    x = leaf(X)
    y = x.T
    np.testing.assert_array_equal(y.data, [[0, 3], [1, 4], [2, 5]])
    y.backward([[0, 30], [10, 40], [20, 50]])
    np.testing.assert_array_equal(x.grad, X * 10)


def test_a_cycle_of_axes_is_undone_by_its_inverse() -> None:
    x = leaf(np.arange(24.0).reshape(2, 3, 4))
    y = ng.transpose(x, axes=(1, 2, 0))
    assert y.shape == (3, 4, 2)
    y.backward(y.data * 10)
    np.testing.assert_array_equal(x.grad, x.data * 10)


def test_broadcast_to_by_hand() -> None:
    x = leaf([[1], [2]])
    y = ng.broadcast_to(x, shape=(2, 3))
    np.testing.assert_array_equal(y.data, [[1, 1, 1], [2, 2, 2]])
    y.backward([[1, 2, 3], [10, 20, 30]])
    np.testing.assert_array_equal(x.grad, [[6], [60]])


def test_getitem_by_hand() -> None:
    x = leaf([10, 20, 30])
    y = x[np.array([2, 0, 2])]
    np.testing.assert_array_equal(y.data, [30, 10, 30])
    y.backward([1, 2, 4])
    np.testing.assert_array_equal(x.grad, [2, 0, 5])  # entry 2 is taken twice: 1 + 4


def test_negative_and_positive_names_of_one_entry_add() -> None:
    x = leaf([10, 20, 30])
    x[np.array([2, -1])].backward([1, 4])
    np.testing.assert_array_equal(x.grad, [0, 0, 5])


def test_getitem_takes_lists_in_a_tuple() -> None:
    x = leaf(X)
    ng.getitem(x, index=([0, 0], [1, 1])).backward([1, 2])
    np.testing.assert_array_equal(x.grad, [[0, 3, 0], [0, 0, 0]])


def test_concat_by_hand() -> None:
    a, b = leaf([1, 2]), leaf([3])
    y = ng.concat([a, b])
    np.testing.assert_array_equal(y.data, [1, 2, 3])
    y.backward([10, 20, 30])
    np.testing.assert_array_equal(a.grad, [10, 20])
    np.testing.assert_array_equal(b.grad, [30])


def test_stack_by_hand() -> None:
    a, b = leaf([1, 2]), leaf([3, 4])
    y = ng.stack([a, b], axis=1)
    np.testing.assert_array_equal(y.data, [[1, 3], [2, 4]])
    y.backward([[10, 30], [20, 40]])
    np.testing.assert_array_equal(a.grad, [10, 20])
    np.testing.assert_array_equal(b.grad, [30, 40])


@pytest.mark.parametrize("join", [ng.concat, ng.stack])
def test_a_list_may_mix_tensors_arrays_and_lists_and_repeat_one(join: Any) -> None:
    x, frozen = leaf([1, 2]), Tensor([5.0, 6.0])
    y = join([x, np.array([3.0, 4.0]), [7, 8], frozen, x])
    y.reshape(-1).backward(np.arange(10.0))
    np.testing.assert_array_equal(x.grad, [0 + 8, 1 + 9])
    assert frozen.grad is None
    assert isinstance(join([X, X]), np.ndarray)


@pytest.mark.parametrize("axes", [(0, 1), (0, -1), (-2, 1), (1, 1)])
def test_swapaxes(axes: tuple[int, int]) -> None:
    x = leaf(np.arange(24.0).reshape(2, 3, 4))
    y = ng.swapaxes(x, *axes)
    np.testing.assert_array_equal(y.data, np.swapaxes(x.data, *axes))
    y.backward(y.data * 10)
    np.testing.assert_array_equal(x.grad, x.data * 10)


@pytest.mark.parametrize("sections", [1, 2, 4, 8, [3], [2, 5], [0, 3, 3], [10]])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split_is_numpys(sections: Any, axis: int) -> None:
    a = np.arange(64.0).reshape(8, 8)
    x = leaf(a)
    sections_of_x, expected = ng.split(x, sections, axis), np.split(a, sections, axis)
    assert len(sections_of_x) == len(expected)
    for section, right in zip(sections_of_x, expected, strict=True):
        np.testing.assert_array_equal(section.data, right)
    ng.concat(sections_of_x, axis).backward(a * 10)
    np.testing.assert_array_equal(x.grad, a * 10)


def test_an_empty_axis_splits_into_empty_sections() -> None:
    assert [part.shape for part in ng.split(np.zeros((0, 2)), 3)] == [(0, 2)] * 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ng.split(X, 2, axis=1), ValueError, "split: axis 1 of size 3 does not divide into 2 equal sections"),
        (lambda: ng.reshape(X, shape=(4, 2)), ValueError, "cannot reshape array of size 6 into shape"),
        (lambda: ng.transpose(X, axes=(0, 0)), ValueError, "repeated axis"),
        (lambda: ng.swapaxes(X, 0, 2), np.exceptions.AxisError, "axis 2 is out of bounds for array of dimension 2"),
        (lambda: ng.concat([X, X[0]]), ValueError, "same number of dimensions"),
        (lambda: ng.stack([X, X[0]]), ValueError, "must have the same shape"),
        (lambda: ng.concat([]), TypeError, "concat: needs at least one array"),
        (lambda: ng.stack([]), TypeError, "stack: needs at least one array"),
        (lambda: ng.squeeze(X, axis=0), ValueError, "size not equal to one"),
        (lambda: ng.getitem(X, index=(0, 0, 0)), IndexError, "too many indices"),
    ],
)
def test_refusals(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("n", "chunks", "sizes"), [(6, 4, [2, 2, 2]), (7, 3, [3, 3, 1]), (2, 5, [1, 1]), (4, 1, [4]), (0, 3, [0, 0, 0])]
)
def test_chunks_have_the_sizes_of_torchs(n: int, chunks: int, sizes: list[int]) -> None:
    assert [section.shape[0] for section in ng.chunk(np.zeros((n, 2)), chunks)] == sizes
    assert [section.shape[1] for section in ng.chunk(np.zeros((2, n)), chunks, dim=1)] == sizes
