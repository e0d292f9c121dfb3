"""rmsnorm and layernorm."""

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def test_rmsnorm_by_hand() -> None:
    x, weight = Tensor(np.array([1.0, 7.0]), requires_grad=True), Tensor(np.array([10.0, 100.0]), requires_grad=True)
    y = ng.rmsnorm(x, weight, eps=0.0)  # ⟨x²⟩ = 25, r = 1/5
    np.testing.assert_allclose(y.data, [2, 140])
    y.backward(np.array([0.0, 1.0]))
    np.testing.assert_allclose(weight.grad, [0, 1.4])
    # dn = (0, 100), n = (0.2, 1.4), ⟨dn n⟩ = 70: dx = (0 - 14, 100 - 98) / 5
    np.testing.assert_allclose(x.grad, [-2.8, 0.4])
    np.testing.assert_allclose(x.data @ x.grad, 0, atol=1e-12)  # stretching x changes nothing


def test_rmsnorm_is_layernorm_of_centred_features() -> None:
    x = np.random.default_rng(0).standard_normal((3, 5))
    x -= x.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(ng.rmsnorm(x), ng.layernorm(x))


def test_rmsnorm_epsilon_keeps_zeros_finite() -> None:
    np.testing.assert_array_equal(ng.rmsnorm(np.zeros((2, 3))), 0)


def test_rmsnorm_weight_must_fit() -> None:
    with pytest.raises(ValueError, match=r"rmsnorm: weight must have shape \(3,\), x's last axis, got \(2,\)"):
        ng.rmsnorm(np.ones((2, 3)), np.ones(2))


X = np.random.default_rng(0).standard_normal((4, 6)) * 3 + 5


def test_layernorm_by_hand() -> None:
    # (1, 3): mean 2, variance 1 → n = (-1, 1); y = n · (2, 3) + (10, 20)
    x, weight, bias = (
        Tensor(v, requires_grad=True) for v in (np.array([[1.0, 3.0]]), np.array([2.0, 3.0]), np.ones(2))
    )
    y = ng.layernorm(x, weight, bias, eps=0.0)
    np.testing.assert_allclose(y.data, [[-1, 4]])
    y.backward(np.array([[1.0, 10.0]]))
    np.testing.assert_allclose(weight.grad, [-1, 10])  # dy n
    np.testing.assert_allclose(bias.grad, [1, 10])
    # dn = (2, 30): ⟨dn⟩ = 16, ⟨dn n⟩ = 14: (2 - 16 + 14, 30 - 16 - 14); two features always land on ±1
    np.testing.assert_allclose(x.grad, [[0, 0]], atol=1e-14)


def test_layernorm_of_three_features_by_hand() -> None:
    # (-1, 0, 1) has mean 0 and variance 2/3: with eps 1/3, r = 1 and n = x
    x = Tensor(np.array([-1.0, 0.0, 1.0]), requires_grad=True)
    ng.layernorm(x, eps=1 / 3).backward(np.array([3.0, 0.0, 0.0]))
    # ⟨dn⟩ = 1, ⟨dn n⟩ = -1: dx = dn - 1 + n
    np.testing.assert_allclose(x.grad, [1, -1, 0], atol=1e-15)


def test_every_token_has_mean_zero_and_variance_one() -> None:
    y = ng.layernorm(X, eps=0.0)
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(axis=-1), 1)


def test_eps_is_inside_the_root() -> None:
    x = np.array([[0.0, 2.0]])  # variance 1
    np.testing.assert_allclose(ng.layernorm(x, eps=3.0), [[-0.5, 0.5]])  # ±1/√(1 + 3)
    np.testing.assert_array_equal(ng.layernorm(x / 300), ng.layernorm(x / 300, eps=1e-5))
    np.testing.assert_array_equal(ng.layernorm(np.full((1, 3), 7.0)), np.zeros((1, 3)))


def test_shift_and_scale_of_a_token_change_nothing() -> None:
    np.testing.assert_allclose(ng.layernorm(X * 7 - 100, eps=0.0), ng.layernorm(X, eps=0.0))
    x = Tensor(X, requires_grad=True)
    ng.layernorm(x, eps=0.0).backward(np.random.default_rng(1).standard_normal(X.shape))
    np.testing.assert_allclose(x.grad.sum(axis=-1), 0, atol=1e-14)
    np.testing.assert_allclose((x.grad * X).sum(axis=-1), 0, atol=1e-13)


def test_float32_far_from_zero() -> None:
    """Subtracting the mean first keeps what E[x²] - E[x]² would lose."""
    x = (X[0] + 10_000).astype(np.float32)
    np.testing.assert_allclose(ng.layernorm(x), ng.layernorm(x.astype(np.float64)), atol=1e-3)


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("shape", [(5,), (1,), (4, 6), ()])
def test_layernorm_weight_and_bias_must_fit(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"layernorm: {name} must have shape \(6,\), x's last axis, got \("):
        ng.layernorm(X, **{name: np.ones(shape)})


@pytest.mark.parametrize("size", [7, 48, 768])
def test_equal_features_give_zero_however_large_they_are(size: int) -> None:
    x = Tensor(np.full((1, size), 1e4 + 0.1, np.float32), requires_grad=True)
    dy = np.random.default_rng(0).standard_normal((1, size)).astype(np.float32)
    y = ng.layernorm(x, eps=0.01)
    np.testing.assert_allclose(y.data, 0, atol=1e-6)
    y.backward(dy)
    np.testing.assert_allclose(x.grad, (dy - dy.mean()) / 0.1, rtol=1e-4, atol=1e-4)  # n = 0, and 1/σ is 1/√eps
