"""The tape and memory: a gradient is shared with nobody, and nothing lives longer than it is needed."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Op, Tensor
from nanograd.tape import _add


def leaf(*values: Any) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def user_op(name: str, forward: Any, backward: Any) -> Op:
    """Make an op of two functions of any name."""
    forward.__name__, backward.__name__ = f"{name}_forward", f"{name}_backward"
    return Op(forward, backward)


# Who owns a gradient


def assert_apart(*arrays: np.ndarray) -> None:
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            assert not np.may_share_memory(a, b)


def test_gradients_share_memory_with_nothing() -> None:
    a, b, c = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0, 6.0)
    gradient = np.array([1.0, 10.0])
    (a + b + c.reshape(2, 1).T.squeeze(0)).backward(gradient)  # every op passes dy or a view of it on
    assert_apart(gradient, *[x.grad for x in (a, b, c)], *[x.data for x in (a, b, c)])
    a.grad += 100
    for each in (b.grad, c.grad, gradient):
        np.testing.assert_array_equal(each, [1, 10])


def test_an_array_returned_twice_is_nobodys() -> None:
    def twice_backward(dy: np.ndarray, saved: Any, needs: Any) -> tuple[Any, ...]:
        both = dy * 2
        return both, both[:]

    twice = user_op("twice", lambda a, b: (a + b, None), twice_backward)
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    twice(a, b).backward(np.ones(2))
    assert_apart(a.grad, b.grad)
    c = leaf(1.0, 2.0)
    h, k = c * 1, c * 1
    (twice(h, k) + h * 3).backward(np.ones(2))  # h adds its second contribution: k's first must not change
    np.testing.assert_array_equal(c.grad, [7, 7])  # 2 + 2 + 3


def test_the_gradient_given_is_not_written_into() -> None:
    x, gradient = leaf(1.0, 2.0), np.array([1.0, 10.0])
    h = x * 1
    (h + h + h * 2 + h).backward(gradient)
    np.testing.assert_array_equal(gradient, [1, 10])
    np.testing.assert_array_equal(x.grad, [5, 50])


def test_a_broadcast_view_becomes_a_full_array() -> None:
    x = leaf([1.0, 2.0], [3.0, 4.0])
    x.sum().backward()
    assert x.grad.flags.writeable
    assert x.grad.flags.c_contiguous
    x.grad[0, 0] = 9
    np.testing.assert_array_equal(x.grad, [[9, 1], [1, 1]])


def test_what_backward_allocated_is_kept_and_written_into() -> None:
    fresh: list[np.ndarray] = []
    arrived: list[np.ndarray] = []

    def fresh_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        fresh.append(dy * 2)
        return (fresh[-1],)

    def look_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        arrived.append(dy)
        return (dy,)

    make = user_op("make", lambda x: (x * 2, None), fresh_backward)
    look = user_op("look", lambda x: (x * 1, None), look_backward)
    x = leaf(1.0, 2.0)
    make(x).backward(np.ones(2))
    assert x.grad is fresh[0], "a leaf keeps an array that nobody else holds"
    h = look(x)
    (h + make(h)).backward(np.ones(2))
    assert arrived[0] is fresh[1], "a residual join adds into the contribution it owns"
    np.testing.assert_array_equal(x.grad, [5, 5])  # 2 + 1 + 2


@pytest.mark.parametrize("a_owned", [False, True])
@pytest.mark.parametrize("b_owned", [False, True])
def test_a_sum_is_owned_and_lies_where_it_may(a_owned: bool, b_owned: bool) -> None:
    a, b = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    total, owned = _add(a, a_owned, b, b_owned)
    assert owned
    np.testing.assert_array_equal(total, [11, 22])
    assert (total is a, total is b) == (a_owned, b_owned and not a_owned)


# What lives how long


def test_a_step_leaves_no_cycle() -> None:
    def step() -> None:
        w, b = Tensor(np.ones((3, 3)), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
        h = ng.gelu(ng.linear(ng.layernorm(w), w, b))
        ng.cross_entropy(h + h @ w, np.array([0, 1, 2])).backward()

    step()
    gc.collect()
    gc.disable()
    try:
        step()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_an_activation_dies_when_no_backward_wants_it() -> None:
    x = leaf(1.0, 2.0)
    h = x * 2
    seen = weakref.ref(h.data)
    y = h + 1  # add saves shapes only
    del h
    assert seen() is None
    y.backward(np.ones(2))


def test_what_was_saved_dies_as_backward_passes() -> None:
    alive: list[bool] = []

    def probe_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        alive.append(seen() is not None)
        return (dy,)

    probe = user_op("probe", lambda x: (x * 1, None), probe_backward)
    x = leaf(1.0, 2.0)
    h = ng.exp(probe(x))
    seen = weakref.ref(h.data)  # exp saves it
    y = h * 1
    del h
    assert seen() is not None
    y.backward(np.ones(2))
    assert alive == [False]


def test_nothing_is_recorded_for_constants() -> None:
    y = Tensor([1.0]) * 2 + 1
    assert not y.requires_grad
    assert y.node is None
