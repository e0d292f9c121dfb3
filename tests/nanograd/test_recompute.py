"""checkpoint: the same gradients to the bit, less memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor, checkpoint
from nanograd.nn import Dropout, Linear, Module
from nanograd.op import CONTEXT
from nanograd.seeds import DROPOUT, seeds


class Block(Module):
    """An MLP with dropout and a residual connection."""

    def __init__(self, d: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.up, self.down = Linear(d, 4 * d, rng=rng), Linear(4 * d, d, rng=rng)
        self.dropout = Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.down(ng.gelu(self.up(x))))


X = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)


def step(run: Callable[[list[Block], Tensor], Tensor]) -> list[Any]:
    """Return the output and all gradients of a stack of blocks."""
    blocks, x = [Block(4, seed) for seed in range(3)], Tensor(X, requires_grad=True)
    with seeds(5, DROPOUT, 0):
        y = run(blocks, x)
        after = ng.dropout(y, p=0.5, seed=1)
    (after * after).sum().backward()
    return [y.data, x.grad, *(p.grad for block in blocks for p in block.parameters())]


def plain(blocks: list[Block], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def every_block(blocks: list[Block], x: Tensor) -> Tensor:
    for block in blocks:
        x = checkpoint(block, x)
    return x


def nested(blocks: list[Block], x: Tensor) -> Tensor:
    return checkpoint(lambda h: checkpoint(blocks[2], checkpoint(lambda g: plain(blocks[:2], g), h)), x)


@pytest.mark.parametrize("run", [every_block, nested])
@pytest.mark.parametrize(
    "mode", [CONTEXT.get()._replace(readable=value) for value in (False, True)], ids=["fast", "slow"]
)
def test_the_gradients_are_the_same_to_the_bit(run: Any, mode: Any) -> None:
    token = CONTEXT.set(mode)
    try:
        for ours, expected in zip(step(run), step(plain), strict=True):
            np.testing.assert_array_equal(ours, expected)
    finally:
        CONTEXT.reset(token)


def test_dropout_draws_the_same_mask_in_both_runs_and_other_ops_are_unaffected() -> None:
    block = Block(4)

    def twice(first: Callable[[Tensor], Tensor]) -> list[np.ndarray]:
        with seeds(5, DROPOUT, 0):
            return [first(Tensor(X)).data, block(Tensor(X)).data]

    for ours, expected in zip(twice(lambda x: checkpoint(block, x)), twice(block), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_without_seeds_the_second_run_draws_the_same_mask_too() -> None:
    dropout, x = Dropout(0.5), Tensor(np.ones(64), requires_grad=True)
    y = checkpoint(dropout, x)
    dy = np.arange(64.0)
    y.backward(dy)
    np.testing.assert_array_equal(x.grad, dy * y.data)  # x = 1, so y is the scaled mask


def test_ids_and_other_arguments_are_passed_unchanged() -> None:
    weight = Tensor(X, requires_grad=True)
    ids = np.array([1, 1, 3])

    def look_up(w: Tensor, ids: np.ndarray, factor: float, name: str, nothing: None) -> Tensor:
        assert isinstance(ids, np.ndarray)
        assert (ids.dtype.kind, name, nothing) == ("i", "table", None)
        return ng.embedding(w, ids) * factor

    y = checkpoint(look_up, weight, ids, 2.0, "table", None)
    y.backward(np.repeat([[1], [10], [100]], 4, axis=1))
    assert weight.grad is not None
    assert weight.grad[:, 0].tolist() == [0, 2 * 11, 0, 2 * 100, 0, 0]


def test_parameters_alone_may_require_grad() -> None:
    block = Block(4).eval()
    checkpoint(block, X).backward(X)
    ours = [p.grad for p in block.parameters()]
    block.zero_grad()
    block(Tensor(X)).backward(X)
    for a, b in zip(ours, block.parameters(), strict=True):
        np.testing.assert_array_equal(a, b.grad)


def test_nothing_is_recorded_without_grad() -> None:
    with ng.no_grad():
        y = checkpoint(lambda x: x * 2, Tensor(X, requires_grad=True))
    assert not y.requires_grad
    assert y.node is None


def test_backward_may_run_without_grad() -> None:
    x = Tensor(X, requires_grad=True)
    y = checkpoint(lambda t: t * 2, x)
    with ng.no_grad():
        y.backward(X)
    np.testing.assert_array_equal(x.grad, 2 * X)


def test_grad_reaches_inputs_and_parameters_inside() -> None:
    block, x = Block(4).eval(), Tensor(X, requires_grad=True)
    dx, dw = ng.grad(checkpoint(block, x), [x, block.up.weight], X)
    expected = ng.grad(block(x), [x, block.up.weight], X)
    np.testing.assert_array_equal(dx, expected[0])
    np.testing.assert_array_equal(dw, expected[1])
    assert block.up.weight.grad is None


def test_one_input_twice_and_an_unused_one() -> None:
    x, unused = Tensor(X, requires_grad=True), Tensor(X, requires_grad=True)
    checkpoint(lambda a, b, c: a * b, x, x, unused).backward(X)
    np.testing.assert_array_equal(x.grad, 2 * X * X)
    assert unused.grad is None


def test_a_retained_graph_can_be_walked_again() -> None:
    x = Tensor(X, requires_grad=True)
    y = checkpoint(lambda t: t * t, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, 4 * X)


def test_only_the_inputs_are_saved() -> None:
    blocks, x = [Block(4).eval() for _ in range(8)], Tensor(X, requires_grad=True)
    peaks = {}
    for run in (plain, every_block):
        with ng.memory_report() as report:
            y = run(blocks, x)
            before = report.now
            y.sum().backward()
        peaks[run.__name__] = report.peak
        if run is every_block:
            assert before == 8 * X.nbytes  # one input each
            assert "checkpoint" in str(report)
    assert peaks["every_block"] < 0.4 * peaks["plain"]
