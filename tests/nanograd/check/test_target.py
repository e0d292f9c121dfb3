"""Target: an Op, a plain pair and a function of Tensors are run alike."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import OPS, Op, Tensor
from nanograd.check.target import Target, as_op, small_blocks

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.6]])


def cube_forward(x: np.ndarray) -> Any:
    return x * x * x, x


def cube_backward(dy: np.ndarray, x: np.ndarray) -> Any:
    return (3 * dy * x * x,)


@pytest.mark.parametrize(
    "function", [Op(cube_forward, cube_backward), (cube_forward, cube_backward), lambda x: x * x * x]
)
def test_three_kinds_give_the_same_values_and_gradients(function: Any) -> None:
    target = Target(function, [X.astype(np.float32)])
    dy = target.cotangent()
    assert target.needs == (True,)
    assert target.needed == [0]
    assert target.inputs[0].dtype == np.float64
    np.testing.assert_allclose(target.value(), X.astype(np.float32).astype(float) ** 3)
    np.testing.assert_allclose(target.gradients(dy)[0], 3 * dy * target.inputs[0] ** 2)
    np.testing.assert_allclose(target.value([X + 1]), (X + 1) ** 3)


def test_inputs_are_copied() -> None:
    target = Target(ng.exp, [X])
    target.inputs[0] += 1
    assert X[0, 0] == 0.3


def test_an_op_takes_its_inputs_as_in_a_call() -> None:
    target = Target(ng.linear, [X, X], {"bias": X[0, :2]})
    assert [x.shape for x in target.inputs] == [(2, 3), (2, 3), (2,)]
    assert target.options == {}
    assert Target(ng.linear, [X, X]).needs == (True, True, False)  # the bias is None
    target = Target(ng.where, [X > 0, X, 1])
    assert target.needs == (False, True, False)
    assert target.inputs[2].dtype == np.float64  # promoted
    with pytest.raises(TypeError, match="softmax: unknown option axes; did you mean axis"):
        Target(ng.softmax, [X], {"axes": 0})


def test_ids_are_not_differentiated() -> None:
    target = Target(ng.embedding, [X, np.array([0, 1])])
    assert target.needs == (True, False)
    assert target.gradients(target.cotangent())[1] is None


def test_a_fast_pair_works_in_small_blocks() -> None:
    op = OPS["attention"]
    assert op.fast is not None
    assert small_blocks(op.fast) == {"block": 2}
    assert small_blocks(op.pair) == {}
    q = np.random.default_rng(0).standard_normal((5, 4))
    target = Target(op, [q, q, q], {"causal": True}, pair=op.fast)
    assert target.options == {"causal": True, "block": 2}
    np.testing.assert_allclose(target.value(), Target(op, [q, q, q], {"causal": True}).value())


def test_a_plain_pair_may_have_any_name_and_leave_out_needs() -> None:
    op = as_op(lambda a, b: (a * b, (a, b)), lambda dy, saved: [dy * saved[1], dy * saved[0]])
    assert op.name not in OPS
    target = Target((op.pair.forward, op.pair.backward), [X, X + 1])
    np.testing.assert_allclose(target.gradients(np.ones_like(X))[1], X)
    single = Target((lambda x: (x * 2, None), lambda dy, saved: dy * 2), [X])
    np.testing.assert_array_equal(single.gradients(X)[0], X * 2)


def test_a_cotangent_is_random_and_zero_where_y_is_infinite() -> None:
    with np.errstate(divide="ignore"):
        target = Target(ng.log, [np.array([0.0, 1.0, 2.0])])
        u = target.cotangent()
        assert u[0] == 0
        assert 0 != u[1] != u[2] != 0
        assert not np.array_equal(u, target.cotangent(seed=1))


def test_a_lost_history_gives_zeros() -> None:
    target = Target(lambda x: Tensor(x.data * 2), [X])
    np.testing.assert_array_equal(target.gradients(np.ones_like(X))[0], np.zeros_like(X))


@pytest.mark.parametrize("both", [(X, X), [X, X], (Tensor(X), Tensor(X))])
def test_inputs_in_a_tuple_as_pytorch_takes_them_are_refused(both: Any) -> None:
    with pytest.raises(TypeError, match=r"one by one, as in gradcheck\(f, x, y\); got a (tuple|list) of arrays"):
        Target(lambda a, b: a * b, [both])


def test_a_forward_on_arrays_is_no_function_of_tensors() -> None:
    def centre_forward(x: Any) -> Any:
        return x - x.mean(axis=-1, keepdims=True), None

    with pytest.raises(
        TypeError, match=r"centre_forward: .* must return a Tensor, got tuple; .* \(forward, backward\)"
    ):
        Target(centre_forward, [X]).value()
