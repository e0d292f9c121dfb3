"""silu and swiglu."""

import math

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def test_silu_by_hand() -> None:
    x = Tensor(np.array([0.0, math.log(3)]), requires_grad=True)  # σ = 1/2 and 3/4
    y = ng.silu(x)
    np.testing.assert_allclose(y.data, [0, 0.75 * math.log(3)])
    y.backward(np.array([1.0, 10.0]))
    np.testing.assert_allclose(x.grad, [0.5, 7.5 * (1 + 0.25 * math.log(3))])


def test_swiglu_by_hand() -> None:
    a, b = (Tensor(np.array([value]), requires_grad=True) for value in (math.log(3), 8.0))
    y = ng.swiglu(a, b)
    np.testing.assert_allclose(y.data, [6 * math.log(3)])
    y.backward(np.array([1.0]))
    np.testing.assert_allclose(a.grad, [6 * (1 + 0.25 * math.log(3))])
    np.testing.assert_allclose(b.grad, [0.75 * math.log(3)])
    np.testing.assert_array_equal(y.data, (ng.silu(a) * b).data)


def test_large_inputs_do_not_overflow() -> None:
    np.testing.assert_array_equal(ng.silu(np.array([-1e4, 1e4])), [0, 1e4])


def test_gate_and_value_must_have_one_shape() -> None:
    with pytest.raises(ValueError, match=r"swiglu: gate and value must have one shape, got \(2,\) and \(1,\)"):
        ng.swiglu(np.ones(2), np.ones(1))
