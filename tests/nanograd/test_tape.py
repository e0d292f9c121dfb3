"""The tape: every path counts once, and backward keeps its promises."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nanograd as ng
from nanograd import Op, Tensor, gradcheck
from nanograd.tape import backpropagate


def leaf(*values: Any) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def user_op(name: str, forward: Any, backward: Any) -> Op:
    """Make an op of two functions of any name."""
    forward.__name__, backward.__name__ = f"{name}_forward", f"{name}_backward"
    return Op(forward, backward)


# Paths add


def test_both_edges_of_x_plus_x_count() -> None:
    x = leaf(3.0)
    (x + x).backward()
    assert x.grad == [2.0]


def test_all_uses_of_a_leaf_add() -> None:
    x = leaf(3.0)
    (x * x + x).backward()  # 2x + 1
    assert x.grad == [7.0]


def test_a_diamond() -> None:
    x = leaf(2.0)
    h = x * x  # h = x²
    (h * 3 + h * h).backward()  # 3x² + x⁴, slope 6x + 4x³ = 12 + 32
    assert x.grad == [44.0]


def test_a_node_is_passed_only_after_all_its_uses() -> None:
    x = leaf(2.0)
    h = x * x
    long = h * 1
    for _ in range(5):
        long = long * 1
    (h + long).backward()  # the short path arrives at h first, and must wait: 2 · 2x
    assert x.grad == [8.0]


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
@pytest.mark.parametrize("uses", [2, 3, 4, 5])
def test_many_uses_of_one_intermediate(shape: tuple[int, ...], uses: int) -> None:
    x = Tensor(np.ones(shape), requires_grad=True)
    h = x * 1
    y = h
    for _ in range(uses - 1):
        y = y + h  # add passes dy on as it is, so no contribution may be written into
    y.backward(np.ones(shape))
    np.testing.assert_array_equal(x.grad, np.full(shape, float(uses)))


def test_fifty_thousand_ops_in_a_row() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(50_000):
        y = y + 1
    y.backward()
    assert x.grad == [1.0]
    y = x
    for _ in range(50_000):
        y = y + 1
    del y  # a graph that is thrown away is as deep


OPERATIONS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: ng.tanh(a) * b,
    lambda a, b: a / (1.5 + ng.sigmoid(b)),
    lambda a, b: ng.tanh(a + b),
    lambda a, b: a + b.sum(),
    lambda a, b: ng.sin(b) - a.mean(axis=0, keepdims=True),
    lambda a, b: a.transpose() @ b,
    lambda a, b: ng.concat([b[1:], a[:1]]),
    lambda a, b: ng.stack([a[0], b[1]]).reshape(2, 2),
    lambda a, b: a[np.array([1, 1])] + b.T,
    lambda a, b: ng.softmax(a) * b,
]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    steps=st.lists(st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(1, 4), st.integers(1, 4)), max_size=14),
    seed=st.integers(0, 99),
)
def test_a_random_graph_has_the_slope_of_its_function(steps: list[tuple[int, int, int]], seed: int) -> None:
    def graph(x: Tensor, y: Tensor) -> Tensor:
        made = [x, y]
        for operation, i, j in steps:  # operands among the last four, so that most are used again and again
            a, b = made[-min(i, len(made))], made[-min(j, len(made))]
            made.append(ng.tanh(OPERATIONS[operation](a, b)))
        return made[-1] + made[len(made) // 2] * x

    rng = np.random.default_rng(seed)
    gradcheck(graph, rng.standard_normal((2, 2)), rng.standard_normal((2, 2)))


# What backward promises


def test_leaves_accumulate_over_calls_and_intermediates_keep_nothing() -> None:
    x = leaf(3.0)
    h = x * 2
    (h * 5).backward()
    (x * 1).backward()
    assert x.grad == [11.0]
    assert h.grad is None


def test_a_leaf_may_be_the_root() -> None:
    x = leaf(3.0)
    gradient = np.array([2.0])
    x.backward(gradient)
    x.backward(gradient)
    assert x.grad == [4.0]
    assert gradient == [2.0]


def test_a_second_backward_says_that_the_graph_is_gone() -> None:
    x = leaf(3.0)
    y = ng.exp(x)
    y.backward()
    with pytest.raises(RuntimeError, match=r"the graph at exp was walked before .* retain_graph=True"):
        y.backward()


def test_a_second_loss_on_a_shared_trunk_says_so_too() -> None:
    h = ng.exp(leaf(3.0))
    (h * 2).backward()
    with pytest.raises(RuntimeError, match="the graph at exp was walked before"):
        (h * 3).backward()


def test_retain_graph_keeps_the_graph() -> None:
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    assert x.grad == [6.0]
    y.backward()
    assert x.grad == [12.0]
    with pytest.raises(RuntimeError, match="walked before"):
        y.backward()


def test_only_a_scalar_may_leave_out_its_gradient() -> None:
    y = leaf(1.0, 2.0) * 2
    with pytest.raises(ValueError, match=r"only a scalar may leave out its gradient, this has shape \(2,\)"):
        y.backward()
    with pytest.raises(ValueError, match=r"gradient must have the tensor's shape \(2,\), got \(1,\)"):
        y.backward(np.ones(1))


def test_backward_needs_a_history() -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        Tensor([1.0]).backward()


def test_a_gradient_may_be_a_list_a_number_or_a_tensor() -> None:
    x = leaf(1.0, 2.0)
    (x * 2).backward([1, 2])
    (x * 2).backward(Tensor([1.0, 2.0]))
    np.testing.assert_array_equal(x.grad, [4, 8])
    assert x.grad.dtype == np.float64
    x.sum().backward(0.5)
    np.testing.assert_array_equal(x.grad, [4.5, 8.5])


def test_what_does_not_require_grad_gets_none_and_cuts() -> None:
    x, frozen = leaf(3.0), Tensor([2.0])
    ((x * frozen).detach() * x).backward()  # 6 x, the 6 taken as a constant
    assert x.grad == [6.0]
    assert frozen.grad is None


def test_sink_is_called_once_for_each_use() -> None:
    x, calls = leaf(3.0), []
    y = x * 2 + x
    assert y.node is not None
    backpropagate([(y.node, np.ones(1))], lambda tensor, dx, owned: calls.append((tensor is x, float(dx[0]), owned)))
    assert sorted(calls) == [(True, 1.0, False), (True, 2.0, True)]  # add passes its dy on: nobody owns it
    assert x.grad is None
    with pytest.raises(RuntimeError, match="walked before"):
        y.backward()


# Mistakes of an op


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda dy: (dy, dy), "slip: backward must return a tuple of 1, one an array, got 2 gradients"),
        (lambda dy: dy, "slip: backward must return a tuple of 1, one an array, got ndarray"),
        (lambda dy: (np.ones((2, 1)),), r"slip: backward returned a gradient of shape \(2, 1\) for input 0 of shape"),
    ],
)
def test_a_wrong_return_of_backward_names_the_op(returned: Any, message: str) -> None:
    slip = user_op("slip", lambda x: (x * 1, None), lambda dy, saved: returned(dy))
    with pytest.raises(ValueError, match=message):
        slip(leaf(1.0)).backward()


def test_a_gradient_gets_the_dtype_of_its_leaf() -> None:
    wide = user_op("wide", lambda x: (x * 2, None), lambda dy, saved: (dy * np.full(dy.shape, 2.0),))
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    wide(x).backward(np.ones(2))
    assert x.grad.dtype == np.float32
    wide(x).backward(np.ones(2))
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [4, 4])


def test_none_from_every_use_means_no_gradient() -> None:
    stop = user_op("stop", lambda x: (x * 1, None), lambda dy, saved: (None,))
    x = leaf(1.0)
    (stop(x * 2) + stop(x)).backward()
    assert x.grad is None
