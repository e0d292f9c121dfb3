"""Tensor: creation, operators, conversion to NumPy, indexing, comparisons, and the cost of recording."""

import math
import operator
import time
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Parameter, Tensor, gradcheck
from nanograd.op import Observer, observe

A = np.array([[1.0, 2.0], [3.0, 4.0]])
B = np.array([[5.0, 6.0], [7.0, 8.0]])


def leaf(values: Any) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


# Creation


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, np.float32),
        ([1.5, 2.0], np.float32),
        ([[1, 2]], np.int64),
        (True, np.bool_),
        (np.array([1.5]), np.float64),
        (np.array([1.5], np.float16), np.float16),
        (np.array([1], np.uint8), np.uint8),
    ],
)
def test_dtype_at_creation(data: Any, dtype: Any) -> None:
    assert Tensor(data).dtype == dtype


def test_an_array_is_not_copied() -> None:
    a = np.ones(2)
    assert Tensor(a).data is a
    assert Tensor(Tensor(a)).data is a
    assert Tensor(a).numpy() is a


@pytest.mark.parametrize(
    ("data", "message"),
    [("abc", "expected real numbers, got dtype <U3"), (1j, "got dtype complex128"), ([None], "got dtype object")],
)
def test_only_real_numbers_make_a_tensor(data: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"Tensor: .*{message}"):
        Tensor(data)


@pytest.mark.parametrize("data", [[1, 2], True, np.array([1], np.uint8)])
def test_integers_cannot_require_grad(data: Any) -> None:
    with pytest.raises(
        TypeError, match=r"Tensor: only floats can require grad, got .*; use .astype\('float32'\) first"
    ):
        Tensor(data, requires_grad=True)


# Operators

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul, operator.pow]
by_name = pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)


@by_name
def test_tensors_on_both_sides(op: Any) -> None:
    y = op(leaf(A), leaf(B))
    np.testing.assert_allclose(y.data, op(A, B))
    gradcheck(op, A, B / 4)


@by_name
def test_an_array_on_either_side(op: Any) -> None:
    for y in (op(A, leaf(B)), op(leaf(A), B)):
        assert isinstance(y, Tensor)
        assert y.requires_grad
        np.testing.assert_allclose(y.data, op(A, B))
    gradcheck(lambda x: op(A, x), B / 4)
    gradcheck(lambda x: op(x, B / 4), A)


@by_name
@pytest.mark.parametrize("number", [3, 2, 0.5, np.float64(1.5), np.float32(0.25), np.int64(2)], ids=repr)
def test_a_number_on_either_side(op: Any, number: Any) -> None:
    if op is operator.matmul:
        with pytest.raises(ValueError, match="matmul: the last axis"):
            op(number, leaf(A))
        return
    gradcheck(lambda x: op(number, x), A)
    gradcheck(lambda x: op(x, number), A)
    x = Tensor(A.astype(np.float32), requires_grad=True)
    for y in (op(number, x), op(x, number)):
        assert y.dtype == np.float32
    np.testing.assert_allclose(op(number, leaf(A)).data, op(number, A))
    np.testing.assert_allclose(op(leaf(A), number).data, op(A, number))


def test_a_list_on_either_side() -> None:
    x = leaf([1.0, 2.0])
    np.testing.assert_array_equal(([3.0, 4.0] - x).data, [2, 2])
    np.testing.assert_array_equal((x - [3.0, 4.0]).data, [-2, -2])


def test_negation() -> None:
    x = leaf([1.0, -2.0])
    (-x).backward(np.array([1.0, 10.0]))
    np.testing.assert_array_equal(x.grad, [-1, -10])


def test_a_square_of_integers_has_the_dtype_of_pow() -> None:
    assert (Tensor([3]) ** 2).dtype == np.int64
    assert (Tensor([3]) ** 2.0).dtype == np.float32
    assert (Tensor([3.0]) ** 2).item() == 9.0
    x = leaf([3.0])
    assert [(x**n).node.op.name for n in (2, 2.0, 3)] == ["square", "square", "pow"]  # square saves less


def test_plus_equals_rebinds() -> None:
    x = leaf([1.0, 2.0])
    y, before = x, x.data.copy()
    y += 1
    assert y is not x
    np.testing.assert_array_equal(x.data, before)
    y.backward([1, 10])
    np.testing.assert_array_equal(x.grad, [1, 10])


def test_an_array_cannot_take_a_tensor_in_place() -> None:
    a = np.ones(2)
    with pytest.raises(TypeError):
        a += leaf([1.0, 2.0])


def test_numpys_functions_refuse_a_tensor() -> None:
    with pytest.raises(TypeError, match="Tensor"):
        np.exp(leaf([1.0]))
    with pytest.raises(TypeError, match="Tensor"):
        np.add(Tensor([1.0]), np.ones(1))
    assert isinstance(
        np.add(np.ones(1), Tensor([1.0])), Tensor
    )  # to NumPy it is the same as `np.ones(1) + Tensor([1.0])`


# Conversion to NumPy


def test_asarray_raises_if_gradients_would_be_lost() -> None:
    with pytest.raises(TypeError, match=r"requires grad is not a plain array: use .detach\(\).numpy\(\)"):
        np.asarray(leaf([1.0]))
    with pytest.raises(TypeError, match="is not a plain array"):
        np.array(leaf([1.0]) * 2)


def test_asarray_of_a_constant() -> None:
    x = Tensor([1.0, 2.0])
    assert np.asarray(x).dtype == np.float32
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.shares_memory(np.asarray(x), x.data)
    assert not np.shares_memory(np.array(x), x.data)


def test_detach_shares_the_array_and_not_the_history() -> None:
    x = leaf([1.0])
    y = (x * 2).detach()
    assert not y.requires_grad
    assert x.detach().data is x.data


def test_item_len_and_other_conversions() -> None:
    x = leaf(A)
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 2), 2, 4, np.float64, 2)
    assert Tensor(2.5).item() == 2.5
    assert isinstance(Tensor([3]).item(), int)
    assert bool(Tensor(1.0))
    assert not bool(Tensor([0.0]))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)
    with pytest.raises(TypeError, match="len"):
        len(Tensor(1.0))


def test_repr() -> None:
    assert repr(Tensor([1.0, 2.5])) == "Tensor([1. , 2.5], dtype=float32)"
    assert repr(leaf([[1.0], [2.0]])) == "Tensor([[1.],\n        [2.]], dtype=float64, requires_grad=True)"
    assert repr(Parameter([1.0, 2.5])) == "Parameter([1. , 2.5], dtype=float32, requires_grad=True)"


def test_astype() -> None:
    x = Tensor([1.5, -1.5], requires_grad=True)
    y = x.astype(np.float64)
    assert (y.dtype, y.requires_grad) == (np.float64, True)
    y.backward(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(x.grad, [1, 2])
    assert x.grad.dtype == np.float32
    whole = x.astype(np.int64)  # a step function: its derivative is 0
    assert not whole.requires_grad
    np.testing.assert_array_equal(whole.data, [1, -1])
    assert Tensor([1]).astype("float32").dtype == np.float32


def test_copy_writes_into_the_array() -> None:
    x = leaf([1.0, 2.0])
    array = x.data
    assert x.copy_([3, 4]) is x
    assert x.data is array
    np.testing.assert_array_equal(array, [3, 4])


# Indexing and iterating

INDICES = [
    1, -1, slice(0, 1), slice(None, None, -1), None, ..., (..., 0), (slice(None), None, 1), [1, 1, 0], [[0, 1], [1, 1]],
    ([0, 1], [1, 1]), [True, False], [], (slice(None), []), np.array([0, 0]), A > 1.5, (A > 1.5).any(axis=1), np.int64(1),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_follows_numpy(index: Any) -> None:
    np.testing.assert_array_equal(leaf(A)[index].data, A[index])
    gradcheck(lambda x: x[index], A)


def test_a_tensor_may_be_an_index() -> None:
    x = leaf(A)
    np.testing.assert_array_equal(x[Tensor([1, 1])].data, A[[1, 1]])
    np.testing.assert_array_equal(x[Tensor([0, 1]), Tensor(1)].data, [2, 4])
    np.testing.assert_array_equal(x[Tensor(A > 2.5)].data, [3, 4])


def test_entries_cannot_be_assigned() -> None:
    x = leaf(A)
    with pytest.raises(TypeError, match=r"entries cannot be assigned \(the tape would miss it\); use where, concat"):
        x[0] = 1.0


def test_iteration_goes_over_the_first_axis_and_is_recorded() -> None:
    x = leaf(A)
    first, second = x
    (first * second).backward([1, 10])
    np.testing.assert_array_equal(x.grad, A[::-1] * [1, 10])
    with pytest.raises(TypeError, match="a scalar cannot be iterated over"):
        iter(Tensor(1.0))


# Comparisons


COMPARISONS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@pytest.mark.parametrize("sign", COMPARISONS)
def test_comparisons_are_elementwise(sign: str) -> None:
    run, a, b = COMPARISONS[sign], np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    for left, right in ((Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b)), (Tensor(a, requires_grad=True), 2.0)):
        y = run(left, right)
        assert isinstance(y, Tensor)
        assert y.dtype == np.bool_
        assert not y.requires_grad
        np.testing.assert_array_equal(y.data, run(a, b))


def test_the_hash_is_the_identity() -> None:
    a, b = Tensor(np.ones(2)), Tensor(np.ones(2))
    assert len({a, b, a}) == 2
    assert {a: 1, b: 2}[b] == 2


def test_reductions_to_truth_and_indices_take_dim_too() -> None:
    x = Tensor([[1, 5, 2], [0, 3, 4]])
    assert x.argmax(dim=-1).tolist() == x.argmax(-1).tolist() == [1, 2]
    assert x.argmin(dim=0).tolist() == [1, 1, 0]
    assert (x > 0).all(dim=1).tolist() == [True, False]
    assert (x > 4).any(dim=0).tolist() == [False, True, False]


def test_comparisons_do_not_upcast() -> None:
    x = Tensor([0.1])
    assert (x == 0.1).item() is (x == [0.1]).item() is (x == np.float64(0.1)).item() is True
    assert ((x > 0) & ~(x > 1)).all().item() is True
    assert ((x > 1) | (x < 0)).any().item() is False


def test_a_tensor_of_one_number_is_a_number() -> None:
    x = Tensor(2.5)
    assert (float(x), int(x), f"{x:.2f}", x.tolist()) == (2.5, 2, "2.50", 2.5)
    assert [10, 20, 30][Tensor(1)] == 20
    assert (Tensor([3.0, 1.0]).argmax().item(), Tensor([3.0, 1.0]).argmin(axis=0).item()) == (0, 1)
    assert repr(Tensor(np.zeros((0, 3)))) == "Tensor([], shape=(0, 3), dtype=float64)"


# Cost


def test_recording_and_idle_observers_cost_little_per_op() -> None:
    x = np.random.default_rng(0).standard_normal(20_000)  # tanh takes about 0.2 ms
    pair, steps = ng.tanh.selected_pair(), 5

    def by_hand() -> None:
        y, dy, record = x, np.ones_like(x), []
        for _ in range(steps):
            y, saved = ng.tanh.run_forward(pair, [y], (True,), {})
            record.append(saved)
        for saved in reversed(record):
            (dy,) = ng.tanh.run_backward(pair.backward, dy, saved, (True,))

    def recorded() -> None:
        y = ng.Tensor(x, requires_grad=True)
        for _ in range(steps):
            y = ng.tanh(y)
        y.backward(np.ones_like(x))

    def observed() -> None:
        with observe(Observer()):
            recorded()

    best = dict.fromkeys((by_hand, recorded, observed), math.inf)
    for _ in range(60):  # alternating; a busy machine interrupts some runs of 1 ms, but not all
        for run in best:
            start = time.perf_counter()
            run()
            best[run] = min(best[run], time.perf_counter() - start)
    assert best[recorded] < 1.5 * best[by_hand], best
    assert best[observed] < 1.25 * best[recorded], best


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "var", "std", "prod"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_numpys_reductions_name_the_op(name: str, requires_grad: bool) -> None:
    with pytest.raises(TypeError, match=rf"np.{name} takes no Tensor: use nanograd.{name}\(tensor\)"):
        getattr(np, name)(Tensor([1.0, 2.0], requires_grad=requires_grad))


def test_numpys_functions_that_read_a_tensor_still_do() -> None:
    x = Tensor([1.0, 2.0])
    np.testing.assert_allclose(x, [1, 2])
    assert np.stack([x, x]).tolist() == [[1, 2], [1, 2]]
    with pytest.raises(TypeError, match=r"np.stack takes no Tensor: use nanograd.stack"):
        np.stack([Tensor([1.0], requires_grad=True)])
    with pytest.raises(TypeError, match=r"np.any takes no Tensor: use tensor.any"):
        np.any(x)


def test_argmax_keeps_dimensions_and_a_remainder_is_not_differentiated() -> None:
    x = Tensor([[1.0, 5.0], [7.0, 3.0]])
    for name in ("argmax", "argmin"):
        expected = getattr(np, name)(x.data, 1, keepdims=True)
        np.testing.assert_array_equal(getattr(x, name)(1, True).data, expected)
        np.testing.assert_array_equal(getattr(x, name)(dim=1, keepdim=True).data, expected)
    np.testing.assert_array_equal((x % 3).data, [[1, 2], [1, 0]])
    assert (x % [2.5, 3.0]).dtype == np.float32
    with pytest.raises(TypeError, match="% is not differentiated"):
        Tensor(1.0, requires_grad=True) % 2


@pytest.mark.parametrize(
    ("name", "op"), [("exp", "exp"), ("tanh", "tanh"), ("absolute", "abs"), ("negative", "neg"), ("sqrt", "sqrt")]
)
def test_numpys_elementwise_functions_name_the_op(name: str, op: str) -> None:
    for x in (Tensor([1.0]), Tensor([1.0], requires_grad=True)):
        with pytest.raises(TypeError, match=rf"np.{name} takes no Tensor: use nanograd.{op}\(tensor\), or pass"):
            getattr(np, name)(x)
    with pytest.raises(TypeError, match=r"np\.add takes no Tensor: use nanograd\.add"):
        np.add(np.ones(1), Tensor([1.0]), out=np.ones(1))
    with pytest.raises(TypeError, match=r"np\.arcsin takes no Tensor: pass tensor\.detach"):
        np.arcsin(Tensor([1.0]))


@pytest.mark.parametrize(
    "left", [np.array([3.0, 4.0], np.float32), np.float64(3), np.float32(3), np.array(3.0)], ids=repr
)
def test_an_array_on_the_left_of_an_operator(left: Any) -> None:
    right = np.array([1.0, 2.0], np.float32)
    operators = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.eq, operator.ne,
                 operator.lt, operator.le, operator.gt, operator.ge]  # fmt: skip
    for function in operators:
        y = function(left, Tensor(right, requires_grad=True))
        assert isinstance(y, Tensor), function
        np.testing.assert_array_equal(y.data, function(np.float32(left), right))
