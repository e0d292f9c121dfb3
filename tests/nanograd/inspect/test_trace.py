"""trace: the Record of every op, and the contributions to gradients."""

import gc
import weakref

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor
from nanograd.inspect.trace import leaf_names, reachable, summarise
from nanograd.nn import Linear, Module


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def test_a_summary_of_a_large_array_is_a_corner_and_a_range() -> None:
    a = np.arange(150.0).reshape(3, 10, 5)
    assert summarise(a) == ((3, 10, 5), ((0, 1, 2, 3), (5, 6, 7, 8), (10, 11, 12, 13)), 0, 74.5, 149, 0)
    assert not summarise(a).whole
    assert summarise(np.zeros(17)).rows == ((0, 0, 0, 0),)  # a row too long to read


def test_a_summary_of_a_small_array_is_whole() -> None:
    assert summarise(np.arange(8).reshape(2, 2, 2)).rows == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert len(summarise(np.zeros((8, 16))).rows) == 8
    assert summarise(np.zeros((8, 16))).whole
    assert summarise(np.array(7.0)) == ((), ((7,),), 7, 7, 7, 0)
    assert summarise(np.array([1, np.nan, 3, np.inf]))[2:] == (1, 2, 3, 2)
    assert summarise(np.zeros((2, 0, 3)))[1:] == ((), 0, 0, 0, 0)


def test_contributions_are_set_and_then_added() -> None:
    x = leaf(1.0, 2.0)
    with ng.trace():
        loss = (x * x + x).sum()
        loss.backward()
    assert loss.node is not None
    mul, add, total = reachable(loss.node)
    assert [node.op.name for node in (mul, add, total)] == ["mul", "add", "sum"]
    assert total.record.backward.dy.rows == ((1,),)
    to_mul, to_x = add.record.backward.contributions
    assert (to_mul.slot, to_mul.nth, to_x.slot, to_x.nth) == (0, 1, 1, 1)
    second, third = mul.record.backward.contributions
    assert (second.nth, second.dx.rows, second.total.rows) == (2, ((1, 2),), ((2, 3),))
    assert (third.nth, third.dx.rows, third.total.rows) == (3, ((1, 2),), ((3, 5),))
    np.testing.assert_array_equal(x.grad, [3, 5])


def test_a_second_backward_starts_from_zero() -> None:
    x = leaf(3.0)
    with ng.trace():
        loss = (x * 2).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    assert loss.node is not None
    mul, _ = reachable(loss.node)
    assert mul.record.backward.contributions[0].nth == 1
    assert mul.record.backward.contributions[0].total.mean == 2


class Pair(Module):
    def __init__(self) -> None:
        self.one = Linear(2, 2, bias=False)
        self.two = Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x)) @ self.one.weight


def test_parameters_are_named_by_their_modules() -> None:
    with ng.trace():
        loss = Pair()(Tensor([1.0, 2.0], requires_grad=True)).sum()
    assert loss.node is not None
    nodes = reachable(loss.node)
    assert [node.record.scope for node in nodes] == [("Pair", "one"), ("Pair", "two"), ("Pair",), ()]
    assert list(leaf_names(nodes).values()) == ["x of linear 0", "one.weight", "two.weight", "two.bias"]
    assert [a.shape for a in nodes[1].record.values] == [(2,), (2, 2), (2,)]


def test_a_record_lives_as_long_as_its_tape() -> None:
    x = leaf(1.0)
    with ng.trace():
        loss = (x * x).sum()
        loss.backward()
    assert loss.node is not None
    reference = weakref.ref(x)
    gc.disable()
    try:
        del x, loss  # no cycle: both go at once
        assert reference() is None
    finally:
        gc.enable()


def test_an_untraced_op_is_an_error() -> None:
    x = leaf(1.0)
    y = x.exp()
    with ng.trace():
        loss = y.sum()
    assert loss.node is not None
    with pytest.raises(ValueError, match="graph: exp was not traced; compute the loss inside"):
        reachable(loss.node)


def test_saved_values_are_named_as_in_the_backward() -> None:
    x, w = leaf(1.0, 2.0, 4.0), leaf(1.0, 1.0, 2.0)
    with ng.readable(), ng.trace():
        loss = (ng.softmax(ng.layernorm(x, w)) * ng.exp(x)).sum()
    assert loss.node is not None
    saved = {node.op.name: [(a.name, a.source) for a in node.record.saved] for node in reachable(loss.node)}
    assert saved["layernorm"] == [("n", None), ("r", None), ("weight", 1)]
    assert saved["softmax"] == saved["exp"] == [("y", -1)]
    assert saved["mul"] == [("a", 0), ("b", 1)]
    assert saved["sum"] == []
