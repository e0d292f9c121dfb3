"""The cost of ops, counted by hand."""

import inspect
import re

import numpy as np
import pytest

from nanograd.check.cost import Counter, cost, table
from nanograd.op import OPS

# Sizes are of the first Case: (2, 3) is 6 entries of 4 bytes
BY_HAND = {  # op: saved bytes, FLOPs forward, FLOPs backward
    "add": (0, 6, 0),
    "neg": (0, 6, 6),
    "mul": (48, 6, 12),  # both factors; two products back
    "square": (24, 6, 12),  # dy x, times 2
    "exp": (24, 6, 6),
    "tanh": (24, 6, 18),  # y y, 1 - , dy ·
    "sum": (0, 6, 0),
    "matmul": (24 + 48, 2 * 2 * 3 * 4, 2 * 2 * 2 * 3 * 4),  # (2, 3) (3, 4): two products as large back
    "einsum": (24 + 48, 2 * 2 * 3 * 4, 2 * 2 * 2 * 3 * 4),
    "linear": (24 + 32, 2 * 3 * 2 * 4 + 12, 2 * 2 * 3 * 2 * 4 + 12),  # (3, 2) (4, 2)ᵀ, a bias of 4
    "reshape": (0, 0, 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    row = cost(OPS[name])
    assert (row.saved, row.forward, row.backward) == BY_HAND[name]


def test_what_a_counter_counts() -> None:
    x = np.ones((4, 5)).view(Counter)
    for run, flops in (
        (lambda: x + 1, 20),
        (lambda: x.sum(axis=0), 20),
        (lambda: x @ x.T, 2 * 4 * 5 * 4),
        (lambda: np.cumsum(x), 20),
        (lambda: np.einsum("ij,ij->i", x, x), 40),
        (lambda: np.exp(x, out=x), 20),
        (lambda: x.reshape(5, 4), 0),
    ):
        Counter.flops = 0
        assert isinstance(run(), np.ndarray)
        assert Counter.flops == flops


def test_a_row_names_the_location_of_the_backward() -> None:
    row = cost(OPS["softmax"])
    assert row.equation.startswith("y_j = exp(x_j) / Σ_k exp(x_k)")
    assert row.gradients == ["dx_i = y_i (dy_i - Σ_j dy_j y_j)"]
    source, first = inspect.getsourcelines(OPS["softmax"].pair.backward)
    assert row.location == f"ops/softmax.py:{first}"
    assert source[0].startswith("def softmax_backward")


def test_every_row_has_a_gradient() -> None:
    assert all(cost(op).gradients for op in OPS.values())


def test_the_table_has_every_op() -> None:
    text = table()
    assert all(re.search(rf"^{name} +\S", text, re.MULTILINE) for name in OPS)
    assert f"\n{len(OPS)} ops, each a pair of functions; a fast pair computes the same, and runs instead except" in text
    assert text.endswith("sizes are of the op's first Case, in float32")
