"""linear_cross_entropy: the same numbers as linear and cross_entropy, in chunks of logits, and what it refuses."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor, readable
from nanograd.op import no_grad
from nanograd.ops import linear_cross_entropy

RNG = np.random.default_rng(0)
X, WEIGHT = RNG.standard_normal((2, 5, 3)), RNG.standard_normal((7, 3))
TARGETS = np.array([[0, 6, -100, 2, 2], [1, -100, 5, 4, 3]])


def run(loss: Any) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the loss and, for dy = 3, the gradients of x and weight."""
    x, weight = Tensor(X, requires_grad=True), Tensor(WEIGHT, requires_grad=True)
    y = loss(x, weight)
    y.backward(np.array(3.0))
    return float(y.data), x.grad, weight.grad


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_is_a_linear_map_and_its_loss(reduction: str) -> None:
    options: dict[str, Any] = {"reduction": reduction}
    expected = run(lambda x, weight: ng.cross_entropy(ng.linear(x, weight), TARGETS, **options))
    fast = run(lambda x, weight: linear_cross_entropy(x, weight, TARGETS, **options))
    with readable():
        slow = run(lambda x, weight: linear_cross_entropy(x, weight, TARGETS, **options))
    for result in (fast, slow):
        for a, b in zip(result, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_the_chunks_change_only_rounding() -> None:
    assert linear_cross_entropy.fast is not None
    whole, (dx, dweight) = linear_cross_entropy.fast.forward(X, WEIGHT, TARGETS)
    chunked, (dx_chunked, dweight_chunked) = linear_cross_entropy.fast.forward(X, WEIGHT, TARGETS, block=3)
    np.testing.assert_allclose(chunked, whole, rtol=1e-14)
    np.testing.assert_allclose(dx_chunked, dx, atol=1e-15)
    np.testing.assert_allclose(dweight_chunked, dweight, atol=1e-15)


def test_ignored_tokens_get_no_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they hold NaN; the rows of the products are those of the other tokens alone."""
    assert linear_cross_entropy.fast is not None
    x, rows, matmul = X.copy(), [], np.matmul
    x[TARGETS == -100] = np.nan

    def counted(a: np.ndarray, b: np.ndarray, **options: Any) -> Any:
        rows.append(len(a))
        return matmul(a, b, **options)

    monkeypatch.setattr(np, "matmul", counted)
    loss, (dx, dweight) = linear_cross_entropy.fast.forward(x, WEIGHT, TARGETS, needs=(True, False, False))
    assert rows == [8, 8]  # x weightᵀ and dz weight, and no dzᵀ x
    assert dweight is None
    expected, (dx_expected, _) = linear_cross_entropy.fast.forward(X, WEIGHT, TARGETS)
    assert loss == expected
    np.testing.assert_array_equal(dx, dx_expected)
    assert not dx[TARGETS == -100].any()


def test_without_gradients_none_is_computed() -> None:
    assert linear_cross_entropy.fast is not None
    _, saved = linear_cross_entropy.fast.forward(X, WEIGHT, TARGETS, needs=(False, False, False))
    assert saved == (None, None)
    with no_grad():
        assert linear_cross_entropy(Tensor(X, requires_grad=True), WEIGHT, TARGETS).requires_grad is False


def test_if_all_targets_are_ignored_the_loss_and_gradients_are_zero() -> None:
    loss, dx, dweight = run(lambda x, weight: linear_cross_entropy(x, weight, np.full((2, 5), -100)))
    assert loss == 0
    assert not dx.any()
    assert not dweight.any()


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ((X, WEIGHT[:, :2], TARGETS), {}, r"x and weight must agree on the inner size, got x \(2, 5, 3\)"),
        ((X, WEIGHT, TARGETS), {"reduction": "none"}, "reduction must be mean or sum, got 'none'"),
        ((X, WEIGHT, TARGETS[:1]), {}, "targets must have the shape of logits"),
        ((X, WEIGHT, np.full((2, 5), 7)), {}, r"targets must lie in \[0, 7\)"),
    ],
)
def test_refusals(arrays: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(*arrays, **options)
