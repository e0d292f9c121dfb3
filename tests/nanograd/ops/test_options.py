"""The options that came later: smoothing and z-loss, grouped heads, a mask for softmax."""

import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

LOGITS = np.log(np.array([[1.0, 2.0, 5.0]]))  # of probability (1, 2, 5)/8
rng = np.random.default_rng(0)


def gradient(**options: Any) -> np.ndarray:
    leaf = Tensor(LOGITS, requires_grad=True)
    ng.cross_entropy(leaf, np.array([2]), **options).backward()
    return leaf.grad


def test_label_smoothing_by_hand() -> None:
    # ε = 0.3: q = (0.1, 0.1, 0.8)
    loss = -(0.1 * math.log(1 / 8) + 0.1 * math.log(2 / 8) + 0.8 * math.log(5 / 8))
    assert ng.cross_entropy(LOGITS, np.array([2]), label_smoothing=0.3) == pytest.approx(loss)
    np.testing.assert_allclose(gradient(label_smoothing=0.3), [[1 / 8 - 0.1, 2 / 8 - 0.1, 5 / 8 - 0.8]])
    np.testing.assert_allclose(gradient(label_smoothing=1), [[1 / 8 - 1 / 3, 2 / 8 - 1 / 3, 5 / 8 - 1 / 3]])


def test_z_loss_by_hand() -> None:
    s = math.log(8)
    assert ng.cross_entropy(LOGITS, np.array([2]), z_loss=0.5) == pytest.approx(math.log(8 / 5) + 0.5 * s * s)
    np.testing.assert_allclose(gradient(z_loss=0.5), [np.array([1, 2, 5]) / 8 * (1 + s) - [0, 0, 1]])


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
def test_a_share_is_between_zero_and_one(smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"cross_entropy: label_smoothing must lie in \[0, 1\], got {smoothing}"):
        ng.cross_entropy(LOGITS, np.array([2]), label_smoothing=smoothing)


def test_grouped_heads_are_repeated_heads() -> None:
    q, k, v = rng.standard_normal((2, 6, 4, 3)), rng.standard_normal((2, 2, 5, 3)), rng.standard_normal((2, 2, 5, 3))
    leaves = [Tensor(a, requires_grad=True) for a in (q, k, v)]
    apart = [Tensor(q, requires_grad=True), *(Tensor(a.repeat(3, axis=1), requires_grad=True) for a in (k, v))]
    y, dy = ng.attention(*leaves), rng.standard_normal((2, 6, 4, 3))
    np.testing.assert_array_equal(y.data, ng.attention(*apart).data)  # heads 0, 1, 2 share key head 0
    y.backward(dy)
    ng.attention(*apart).backward(dy)
    np.testing.assert_array_equal(leaves[0].grad, apart[0].grad)
    for shared, each in zip(leaves[1:], apart[1:], strict=True):
        np.testing.assert_allclose(shared.grad, each.grad.reshape(2, 2, 3, 5, 3).sum(axis=2))


@pytest.mark.parametrize(("q_heads", "k_heads"), [(4, 3), (2, 4), (2, 0)])
def test_query_heads_must_be_a_multiple(q_heads: int, k_heads: int) -> None:
    q, k = np.ones((q_heads, 2, 3)), np.ones((k_heads, 2, 3))
    with pytest.raises(ValueError, match=r"attention: .* q may have a multiple of their heads; got q \("):
        ng.attention(q, k, k)


def test_a_masked_softmax_by_hand() -> None:
    mask = np.array([[True, False, True], [False, False, False]])
    x = Tensor(np.log([[1.0, 9.0, 3.0], [1.0, 1.0, 1.0]]), requires_grad=True)
    y = ng.softmax(x, mask)
    np.testing.assert_allclose(y.data, [[1 / 4, 0, 3 / 4], [0, 0, 0]])
    y.backward(np.array([[4.0, 100.0, 0.0], [1.0, 2.0, 3.0]]))  # Σ dy y = 1
    np.testing.assert_allclose(x.grad, [[3 / 4, 0, -3 / 4], [0, 0, 0]])


@pytest.mark.parametrize(
    ("mask", "got"),
    [(np.ones(3), "float64"), (np.ones((2, 1, 3), bool), r"bool \(2, 1, 3\)"), (np.ones(2, bool), "bool")],
)
def test_softmax_refuses_other_masks(mask: np.ndarray, got: str) -> None:
    with pytest.raises(ValueError, match=rf"softmax: mask must be boolean, .* broadcast to x \(1, 3\), got {got}"):
        ng.softmax(LOGITS, mask)
