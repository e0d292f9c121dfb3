"""erf, against the one of Python."""

import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

ULPS = 4


def assert_close_to_maths(x: np.ndarray, dtype: Any) -> None:
    """Assert that erf x, computed in dtype, is at most 4 units in the last place away from Python's."""
    x = x.astype(dtype)
    y = ng.erf(x)
    assert y.dtype == dtype
    exact = np.array([math.erf(value) for value in x.tolist()])
    ulp = np.spacing(np.maximum(np.abs(exact), np.finfo(dtype).tiny).astype(dtype)).astype(np.float64)
    apart = np.abs(y.astype(np.float64) - exact) / ulp
    worst = apart.argmax()
    assert apart[worst] <= ULPS, f"erf({x[worst]!r}): {y[worst]!r}, {apart[worst]:.2f} units from {exact[worst]!r}"


EDGES = np.array([0.84375, 1.25, 1 / 0.35, 6.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_dense_grid(dtype: Any) -> None:
    assert_close_to_maths(np.linspace(-7, 7, 60_001), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_scale(dtype: Any) -> None:
    positive = np.geomspace(1e-30, 100, 20_001)
    assert_close_to_maths(np.concatenate([positive, -positive]), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_sides_of_interval_boundaries(dtype: Any) -> None:
    edges = EDGES.astype(dtype)
    near = [edges]
    for _ in range(5):
        near = [np.nextafter(near[0], dtype(0)), *near, np.nextafter(near[-1], dtype(9))]
    assert_close_to_maths(np.concatenate([*near, *[-value for value in near]]), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_infinities_and_nan(dtype: Any) -> None:
    y = ng.erf(np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, [0, 0, 1, -1, np.nan])
    np.testing.assert_array_equal(np.signbit(y[:2]), [False, True])


def test_by_hand() -> None:
    assert ng.erf(np.array([0.5]))[0] == pytest.approx(0.5204999, abs=1e-7)  # from a table
    assert ng.erf(1) == pytest.approx(0.8427008, abs=1e-7)
    x = Tensor(np.array([0.0, 1.0]), requires_grad=True)
    ng.erf(x).backward(np.array([1.0, 10.0]))
    np.testing.assert_allclose(x.grad, [2 / math.sqrt(math.pi), 20 / math.sqrt(math.pi) / math.e], rtol=1e-15)


def test_erf_is_odd_and_rises() -> None:
    x = np.linspace(0, 7, 5001)
    np.testing.assert_array_equal(ng.erf(-x), -ng.erf(x))
    assert (np.diff(ng.erf(x)) >= -np.spacing(1.0)).all()
