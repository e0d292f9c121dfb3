"""rmsnorm."""

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def test_by_hand() -> None:
    x, weight = Tensor(np.array([1.0, 7.0]), requires_grad=True), Tensor(np.array([10.0, 100.0]), requires_grad=True)
    y = ng.rmsnorm(x, weight, eps=0.0)  # ⟨x²⟩ = 25, r = 1/5
    np.testing.assert_allclose(y.data, [2, 140])
    y.backward(np.array([0.0, 1.0]))
    np.testing.assert_allclose(weight.grad, [0, 1.4])
    # dn = (0, 100), n = (0.2, 1.4), ⟨dn n⟩ = 70: dx = (0 - 14, 100 - 98) / 5
    np.testing.assert_allclose(x.grad, [-2.8, 0.4])
    np.testing.assert_allclose(x.data @ x.grad, 0, atol=1e-12)  # stretching x changes nothing


def test_it_is_layernorm_of_centred_features() -> None:
    x = np.random.default_rng(0).standard_normal((3, 5))
    x -= x.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(ng.rmsnorm(x), ng.layernorm(x))


def test_epsilon_keeps_zeros_finite() -> None:
    np.testing.assert_array_equal(ng.rmsnorm(np.zeros((2, 3))), 0)


def test_the_weight_must_fit() -> None:
    with pytest.raises(ValueError, match=r"rmsnorm: weight must have shape \(3,\), x's last axis, got \(2,\)"):
        ng.rmsnorm(np.ones((2, 3)), np.ones(2))
