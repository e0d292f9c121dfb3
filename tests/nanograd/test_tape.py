"""The tape: every path counts once; a gradient shares memory with nothing; arrays are freed as early as possible."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nanograd as ng
from nanograd import Op, Tensor, gradcheck
from nanograd.tape import _add, backpropagate


def leaf(*values: Any) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def user_op(name: str, forward: Any, backward: Any) -> Op:
    """Return an op of two functions of any name."""
    forward.__name__, backward.__name__ = f"{name}_forward", f"{name}_backward"
    return Op(forward, backward)


# Paths


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
    (h * 3 + h * h).backward()  # 3x² + x⁴, derivative 6x + 4x³ = 12 + 32
    assert x.grad == [44.0]


def test_a_node_is_visited_after_all_its_uses() -> None:
    x = leaf(2.0)
    h = x * x
    long = h * 1
    for _ in range(5):
        long = long * 1
    (h + long).backward()  # the short path reaches h first, and waits for the other: 2 · 2x
    assert x.grad == [8.0]


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
@pytest.mark.parametrize("uses", [2, 3, 4, 5])
def test_many_uses_of_one_intermediate(shape: tuple[int, ...], uses: int) -> None:
    x = Tensor(np.ones(shape), requires_grad=True)
    h = x * 1
    y = h
    for _ in range(uses - 1):
        y = y + h  # add returns dy itself, so no contribution may be written into
    dy = np.arange(1.0, 1 + x.size).reshape(shape)
    y.backward(dy)
    np.testing.assert_array_equal(x.grad, uses * dy)


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
    del y  # freeing a deep graph does not recurse either


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
def test_a_random_graph_has_the_gradient_of_its_function(steps: list[tuple[int, int, int]], seed: int) -> None:
    def graph(x: Tensor, y: Tensor) -> Tensor:
        tensors = [x, y]
        for operation, i, j in steps:  # operands among the last four, so that most are used again and again
            a, b = tensors[-min(i, len(tensors))], tensors[-min(j, len(tensors))]
            tensors.append(ng.tanh(OPERATIONS[operation](a, b)))
        return tensors[-1] + tensors[len(tensors) // 2] * x

    rng = np.random.default_rng(seed)
    gradcheck(graph, rng.standard_normal((2, 2)), rng.standard_normal((2, 2)))


# backward


def test_gradients_accumulate_in_leaves_and_not_in_intermediates() -> None:
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


def test_a_second_backward_is_an_error() -> None:
    x = leaf(3.0)
    y = ng.exp(x)
    y.backward()
    with pytest.raises(RuntimeError, match=r"the graph at exp was walked before, .* retain_graph=True"):
        y.backward()


def test_a_second_loss_on_a_shared_trunk_is_an_error_too() -> None:
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


def test_frozen_and_detached_tensors_get_no_gradient() -> None:
    x, frozen = leaf(3.0), Tensor([2.0])
    ((x * frozen).detach() * x).backward()  # 6 x with a constant 6
    assert x.grad == [6.0]
    assert frozen.grad is None


def test_the_callback_is_called_once_per_use() -> None:
    x, calls = leaf(3.0), []
    y = x * 2 + x
    assert y.node is not None
    backpropagate([(y.node, np.ones(1))], lambda tensor, dx, owned: calls.append((tensor is x, float(dx[0]), owned)))
    assert sorted(calls) == [(True, 1.0, False), (True, 2.0, True)]  # add returns its dy: not owned
    assert x.grad is None
    with pytest.raises(RuntimeError, match="walked before"):
        y.backward()


# Errors of an op


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda dy: (dy, dy), "slip: backward must return a tuple of 1, one an array; got 2 gradients"),
        (lambda dy: dy, "slip: backward must return a tuple of 1, one an array; got ndarray"),
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
    wide(x).backward([1, 10])
    assert x.grad.dtype == np.float32
    wide(x).backward([1, 10])
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [4, 40])


def test_none_from_every_use_means_no_gradient() -> None:
    stop = user_op("stop", lambda x: (x * 1, None), lambda dy, saved: (None,))
    x = leaf(1.0)
    (stop(x * 2) + stop(x)).backward()
    assert x.grad is None


# Ownership of gradients


def assert_apart(*arrays: np.ndarray) -> None:
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            assert not np.may_share_memory(a, b)


def test_gradients_share_memory_with_nothing() -> None:
    a, b, c = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0, 6.0)
    gradient = np.array([1.0, 10.0])
    (a + b + c.reshape(2, 1).T.squeeze(0)).backward(gradient)  # every op returns dy or a view of it
    assert_apart(gradient, *[x.grad for x in (a, b, c)], *[x.data for x in (a, b, c)])
    a.grad += 100
    for array in (b.grad, c.grad, gradient):
        np.testing.assert_array_equal(array, [1, 10])


def test_an_array_returned_twice_is_not_owned() -> None:
    def twice_backward(dy: np.ndarray, saved: Any, needs: Any) -> tuple[Any, ...]:
        both = dy * 2
        return both, both[:]

    twice = user_op("twice", lambda a, b: (a + b, None), twice_backward)
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    twice(a, b).backward([1, 10])
    assert_apart(a.grad, b.grad)
    c = leaf(1.0, 2.0)
    h, k = c * 1, c * 1
    (twice(h, k) + h * 3).backward([1, 10])  # h adds its second contribution: k's first must not change
    np.testing.assert_array_equal(c.grad, [7, 70])  # 2 + 2 + 3 times dy


@pytest.mark.parametrize(
    ("save", "part"),
    [
        (lambda s: s, lambda s: s),
        (lambda s: (s, None), lambda s: s[0][:]),
        (lambda s: [(s,)], lambda s: s[0][0]),
        (lambda s: {"slope": s}, lambda s: s["slope"]),
    ],
    ids=["an array", "a view in a tuple", "nested", "a dict"],
)
@pytest.mark.parametrize("of_input", [False, True], ids=["its own array", "the input"])
def test_a_saved_array_that_backward_returns_is_not_written_into(save: Any, part: Any, of_input: bool) -> None:
    """y = x²/2 returns what it saved, x, where dy is 1, and 3 x returns its saved slope: sums must not change either."""

    def forward(x: np.ndarray) -> Any:
        return (x * x / 2, save(x)) if of_input else (x * 3, save(np.full(x.shape, 3.0)))

    op = user_op("keeps", forward, lambda dy, saved: (part(saved) if (dy == 1).all() else dy * part(saved),))
    x = leaf(1.0, 2.0)
    h = x * 1
    loss = (op(h) + h * 10).sum()  # h adds 10 dy to what the op returned
    expected = h.data + 10 if of_input else [13, 13]
    for backwards in (1, 2):
        loss.backward(retain_graph=True)
        np.testing.assert_array_equal(x.grad, backwards * np.array(expected))
    np.testing.assert_array_equal(h.data, [1, 2])
    with pytest.raises(AssertionError, match="shares memory with what forward saved"):
        gradcheck(op, np.array([1.0, 2.0]))


def test_the_gradient_passed_to_backward_is_not_written_into() -> None:
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


def test_an_array_that_backward_allocated_is_owned() -> None:
    fresh: list[np.ndarray] = []
    received: list[np.ndarray] = []

    def fresh_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        fresh.append(dy * 2)
        return (fresh[-1],)

    def spy_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
        received.append(dy)
        return (dy,)

    make = user_op("make", lambda x: (x * 2, None), fresh_backward)
    spy = user_op("spy", lambda x: (x * 1, None), spy_backward)
    x = leaf(1.0, 2.0)
    make(x).backward([1, 10])
    assert x.grad is fresh[0], "a leaf keeps an owned array"
    h = spy(x)
    (h + make(h)).backward([1, 10])
    assert received[0] is fresh[1], "a residual join adds into the owned contribution"
    np.testing.assert_array_equal(x.grad, [5, 50])  # 2 + 1 + 2 times dy


@pytest.mark.parametrize("a_owned", [False, True])
@pytest.mark.parametrize("b_owned", [False, True])
def test_a_sum_is_owned_and_reuses_an_owned_array(a_owned: bool, b_owned: bool) -> None:
    a, b = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    total, owned = _add(a, a_owned, b, b_owned)
    assert owned
    np.testing.assert_array_equal(total, [11, 22])
    assert (total is a, total is b) == (a_owned, b_owned and not a_owned)


# Lifetime of arrays


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


def test_an_activation_that_no_backward_needs_is_freed() -> None:
    x = leaf(1.0, 2.0)
    h = x * 2
    seen = weakref.ref(h.data)
    y = h + 1  # add saves shapes only
    del h
    assert seen() is None
    y.backward([1, 10])


def test_backward_frees_saved_arrays_as_it_goes() -> None:
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
    y.backward([1, 10])
    assert alive == [False]


def test_nothing_is_recorded_for_constants() -> None:
    y = Tensor([1.0]) * 2 + 1
    assert not y.requires_grad
    assert y.node is None
