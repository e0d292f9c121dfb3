"""Numerical derivatives, from values of the forward alone: what a backward is compared with."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

STEP = {np.dtype(np.float64): 1e-3, np.dtype(np.float32): 5e-2}  # the largest of the three steps
TOLERANCE = {np.dtype(np.float64): 1e-7, np.dtype(np.float32): 2e-3}  # the error that is still right
Values = Callable[[], Any]  # evaluates at the present values of x: a number or an array


def directional_derivative(values: Values, x: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the derivative of `values()` along a direction of x, which is changed in place and restored.

    Central differences at three steps are extrapolated to step 0 (Richardson). The remaining error is rounding, about
    1e-12 in float64. Kinks must be further away than the largest step, and inputs of about size 1.
    """
    step, old = STEP[x.dtype], x.copy()
    central = []
    for h in (step, step / 2, step / 4):
        x[...] = old + h * direction
        up = np.array(values(), np.float64)
        x[...] = old - h * direction
        central.append((up - np.array(values(), np.float64)) / (2 * h))
    x[...] = old
    one, two, four = central
    a, b = (4 * two - one) / 3, (4 * four - two) / 3  # the h² error cancels
    return np.asarray((16 * b - a) / 15)  # and the h⁴ error


def finite_differences(values: Values, x: np.ndarray) -> np.ndarray:
    """Return the derivative of `values()` by each entry of x: of shape (*values.shape, *x.shape)."""
    columns = [directional_derivative(values, x, basis) for basis in basis_arrays(x)]
    shape = columns[0].shape if columns else np.shape(values())
    return np.stack(columns, axis=-1).reshape((*shape, *x.shape)) if columns else np.zeros((*shape, *x.shape))


def complex_step(function: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray | None:
    """Return the same derivatives to the last digits, or None if the function does not take complex numbers.

    f(x + ih) = f(x) + i h f'(x) - …: the imaginary part divided by h. h is so small that no digit is lost, and no
    difference of similar numbers is taken (Squire and Trapp 1998, SIAM Review 40). A function that compares or takes |x|
    may give nonsense without an error: the caller checks against finite_differences.
    """
    h = 1e-30
    columns = []
    try:
        with np.errstate(all="ignore"):
            for basis in basis_arrays(x):
                y = np.asarray(function(x + 1j * h * basis))
                if y.dtype.kind != "c":
                    return None
                columns.append(y.imag / h)
    except (TypeError, ValueError, IndexError):
        return None
    return np.stack(columns, axis=-1).reshape((*columns[0].shape, *x.shape)) if columns else None


def one_sided(values: Values, x: np.ndarray, index: Any, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives from the left and from the right by one entry of x: different at a kink."""
    old, here = x[index].copy(), np.array(values())
    x[index] = old - step
    left = (here - np.array(values())) / step
    x[index] = old + step
    right = (np.array(values()) - here) / step
    x[index] = old
    return left, right


def basis_arrays(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, for each entry of x, an array with 1 there and 0 elsewhere."""
    for index in np.ndindex(x.shape):
        basis = np.zeros_like(x)
        basis[index] = 1
        yield basis
