"""einsum: its numbers, its spellings and its refusals."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
B = np.array([[1.0, -1.0], [0.0, 2.0], [1.0, 1.0]])
rng = np.random.default_rng(0)


def test_matmul_by_hand() -> None:
    a, b = Tensor(A, requires_grad=True), Tensor(B, requires_grad=True)
    y = ng.einsum("ik,kj->ij", a, b)
    np.testing.assert_array_equal(y.data, [[4, 6], [10, 12]])
    y.backward(np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(a.grad, B.T)  # dy bᵀ with dy = 1
    np.testing.assert_array_equal(b.grad, A.T)


def test_an_axis_summed_away_gets_copies() -> None:
    a = Tensor(A, requires_grad=True)
    ng.einsum("ij->i", a).backward(np.array([10.0, 20.0]))
    np.testing.assert_array_equal(a.grad, [[10, 10, 10], [20, 20, 20]])


def test_an_axis_of_one_may_be_stretched_and_summed() -> None:
    a, b = Tensor(np.array([[2.0], [3.0]]), requires_grad=True), Tensor(A, requires_grad=True)
    y = ng.einsum("ij,ij->i", a, b)
    np.testing.assert_array_equal(y.data, [12, 45])
    y.backward(np.array([1.0, 10.0]))
    np.testing.assert_array_equal(a.grad, [[6], [150]])
    np.testing.assert_array_equal(b.grad, [[2, 2, 2], [30, 30, 30]])


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("ik,kj", [(2, 3), (3, 4)]),  # without an arrow: the letters seen once, in order
        ("b...k,...k->b...", [(2, 3, 4), (3, 4)]),
        ("...a,b...->ba...", [(2, 3), (4, 2)]),
        ("bhtd,bhsd->bhts", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        (" i k , k j -> j i ", [(2, 3), (3, 4)]),
    ],
)
def test_specs_are_those_of_numpy(spec: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [rng.standard_normal(shape) for shape in shapes]
    np.testing.assert_allclose(ng.einsum(spec, *arrays), np.einsum(spec, *arrays), atol=1e-14)
    ng.gradcheck(lambda *xs: ng.einsum(spec, *xs), *arrays)


@pytest.mark.parametrize(
    ("spec", "arrays", "error", "message"),
    [
        ("ii->i", [np.eye(2)], NotImplementedError, "a letter twice in one operand .* got 'ii->i'"),
        ("ij,jk->ik", [A], ValueError, r"'ij,jk->ik' must name every axis of every operand, got shapes \(2, 3\)"),
        ("ij->i", [A, A], ValueError, r"must name every axis of every operand, got shapes \(2, 3\), \(2, 3\)"),
        ("i->i", [A], ValueError, r"must name every axis of every operand, got shapes \(2, 3\)"),
        ("ij->ik", [A], ValueError, "the output names 'k', which no operand has"),
    ],
)
def test_refusals(spec: str, arrays: list[Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=f"einsum: .*{message}"):
        ng.einsum(spec, *arrays)
