"""Numerical derivatives, against derivatives by hand."""

import numpy as np

from nanograd.check.numeric import complex_step, directional_derivative, finite_differences, one_sided


def test_finite_differences_of_a_parabola() -> None:
    x = np.array([3.0, -1.0])
    derivative = finite_differences(lambda: float((x * x).sum()), x)
    np.testing.assert_allclose(derivative, [6, -2], rtol=1e-10)  # 2x
    np.testing.assert_array_equal(x, [3, -1])


def test_the_shape_is_that_of_y_and_then_of_x() -> None:
    x = np.arange(6.0).reshape(2, 3)
    jacobian = finite_differences(lambda: x.sum(axis=1), x)
    np.testing.assert_allclose(jacobian, np.repeat(np.eye(2)[:, :, None], 3, axis=2), atol=1e-10)
    assert finite_differences(lambda: np.zeros(2), np.zeros((0, 3))).shape == (2, 0, 3)


def test_extrapolation_leaves_little_error() -> None:
    x = np.array([1.0])
    derivative = finite_differences(lambda: float(np.exp(x[0])), x)
    assert abs(derivative[0] - np.e) < 1e-11


def test_a_directional_derivative_is_the_gradient_times_the_direction() -> None:
    x, direction = np.array([3.0, -1.0]), np.array([1.0, 2.0])
    derivative = directional_derivative(lambda: float((x * x).sum()), x, direction)
    np.testing.assert_allclose(derivative, 6 * 1 - 2 * 2, rtol=1e-10)
    np.testing.assert_array_equal(x, [3, -1])


def test_a_float32_input_is_differentiated_with_larger_steps() -> None:
    x = np.array([1.0], np.float32)
    derivative = finite_differences(lambda: np.exp(x[0]), x)
    assert abs(derivative[0] - np.e) < 1e-3
    assert x.dtype == np.float32


def test_the_complex_step_is_exact_to_the_last_digits() -> None:
    x = np.array([0.3, -1.7])
    jacobian = complex_step(np.sin, x)
    np.testing.assert_allclose(jacobian, np.diag(np.cos(x)), rtol=1e-15)


def test_the_complex_step_declines_what_takes_no_complex_numbers() -> None:
    assert complex_step(lambda x: np.abs(x), np.array([1.0])) is None  # the result is real
    assert complex_step(lambda x: np.floor(x), np.array([1.0])) is None  # NumPy raises TypeError


def test_one_sided_derivatives_differ_at_a_kink() -> None:
    x = np.array([0.0, 2.0])
    left, right = one_sided(lambda: np.abs(x), x, 0, 1e-6)
    np.testing.assert_allclose([left[0], right[0]], [-1, 1])
    left, right = one_sided(lambda: np.abs(x), x, 1, 1e-6)
    np.testing.assert_allclose([left[1], right[1]], [1, 1])
    np.testing.assert_array_equal(x, [0, 2])
