"""The number law: which dtype comes out of an op, whatever mixture goes in."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd.op import Op

F32, F64 = np.float32, np.float64
f32, f64, i64 = np.array([1.5], F32), np.array([1.5], F64), np.array([2])


@pytest.mark.parametrize(
    ("a", "b", "dtype"),
    [
        (f32, f32, F32),
        (f64, f64, F64),  # an array of float64 stays one: gradcheck lives on it
        (f32, f64, F64),  # mixtures follow NumPy
        (f32, 0.1, F32),
        (f32, 2, F32),
        (f32, True, F32),
        (f64, 0.1, F64),
        (f32, F64(0.1), F32),  # NumPy's scalars count as Python's
        (f64, F32(0.1), F64),
        (f32, np.int64(2), F32),
        (f32, np.bool_(True), F32),
        (f32, i64, F32),  # NumPy would say float64
        (f64, i64, F64),
        (f32, np.array([True]), F32),
        (i64, 0.5, F32),
        (i64, F64(0.5), F32),
        (i64, 2, np.int64),
        (i64, np.array([1], np.int32), np.int64),
        (np.array([1], np.int32), 2, np.int32),
        (np.array([True]), 2, np.int64),
        ([0.5], [1.5], F32),
        ([1], [2], np.int64),
        ([1], [0.5], F32),
        ([0.5], f64, F64),
        ((0.5,), f32, F32),
        (0.5, 1.5, F32),
        (F64(0.5), F64(1.5), F32),
        (1, 2, np.int64),
        (np.array(1.5, F64), f32, F64),  # a 0-d array is an array
        (np.array([1.5], np.float16), f32, F32),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_dtype_of_two_operands(a: Any, b: Any, dtype: Any) -> None:
    assert ng.add(a, b).dtype == dtype
    assert ng.add(b, a).dtype == dtype
    assert ng.add(wrapped(a), wrapped(b)).dtype == dtype, "a Tensor counts as the array inside"
    assert ng.add(b, wrapped(a)).dtype == dtype


def wrapped(a: Any) -> Any:
    return ng.Tensor(a) if isinstance(a, np.ndarray) else a


@pytest.mark.parametrize("op", [ng.exp, ng.softmax, ng.log_softmax, ng.erf, ng.gelu, ng.gelu_tanh, ng.sigmoid, ng.tanh,
                                ng.sqrt, ng.rsqrt, ng.reciprocal, ng.mean, ng.var, ng.layernorm],
                         ids=repr)  # fmt: skip
def test_integers_in_fractions_out_is_float32(op: Op) -> None:
    y = op([1, 2, 4])
    assert y.dtype == F32
    np.testing.assert_allclose(y, op(np.array([1.0, 2.0, 4.0])), rtol=1e-6)


def test_integers_divide_and_meet_in_attention_and_dropout() -> None:
    assert ng.div([1], [2]).dtype == F32
    assert ng.dropout([1, 2], p=0.5, seed=0).dtype == F32
    assert ng.attention([[1, 0]], [[1, 2], [3, 4]], [[1], [2]]).dtype == F32
    assert ng.cross_entropy([[1, 2, 3]], [0]).dtype == F32


@pytest.mark.parametrize("op", [ng.max, ng.min, ng.sum, ng.relu, ng.square, ng.neg], ids=repr)
def test_integers_stay_integers_where_no_fraction_arises(op: Op) -> None:
    assert op([3, 1, 2]).dtype == np.int64


def test_a_python_float_keeps_its_digits_beside_float64() -> None:
    assert ng.add(np.array([0.0]), 0.1)[0] == 0.1
    assert ng.add(np.array([0.0]), F64(0.1))[0] == 0.1


def test_what_is_discrete_keeps_its_dtype_and_may_be_a_number_or_a_list() -> None:
    table = np.array([[1.0, 2.0], [3.0, 4.0]], F32)
    np.testing.assert_array_equal(ng.embedding(table, 1), [3, 4])
    np.testing.assert_array_equal(ng.embedding(table, [1, 0]), [[3, 4], [1, 2]])
    np.testing.assert_array_equal(ng.embedding(table, np.int64(1)), [3, 4])
    np.testing.assert_array_equal(ng.where(1, table, 0.0), table)
    np.testing.assert_array_equal(ng.where(False, table, 0.0), np.zeros((2, 2)))
    assert ng.cross_entropy(table[0], 1).dtype == F32


def test_a_dtype_is_changed_under_the_eyes_of_the_tape() -> None:
    x, y = ng.Tensor(f32, requires_grad=True), ng.Tensor(f64, requires_grad=True)
    z = ng.mul(x, y)
    assert z.dtype == F64
    z.backward()
    assert x.grad.dtype == F32
    assert y.grad.dtype == F64
    assert x.grad[0] == y.grad[0] == 1.5


def test_mixtures_leave_masks_and_absent_arrays_alone() -> None:
    x = np.ones((2, 2))
    assert ng.attention(x, x.astype(F32), x, [[True, False], [True, True]]).dtype == F64
    assert ng.linear(x, x.astype(F32)).dtype == F64
    assert ng.linear(x.astype(F32), [[1, 2]], None).dtype == F32


def test_an_operand_of_the_right_dtype_is_not_copied() -> None:
    seen: list[Any] = []

    def look_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
        seen.extend([a, b])
        return a + b, None

    def look_backward(dy: np.ndarray, saved: Any, needs: Any) -> tuple[Any, ...]:
        return dy, dy

    Op(look_forward, look_backward)(f64, f32)
    assert seen[0] is f64
    assert seen[1].dtype == F64
