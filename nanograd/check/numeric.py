"""Slopes from values alone: what a backward is compared with."""

from collections.abc import Callable
from typing import Any

import numpy as np

STEP = {np.dtype(np.float64): 1e-3, np.dtype(np.float32): 5e-2}  # the largest of the three steps
TOLERANCE = {np.dtype(np.float64): 1e-7, np.dtype(np.float32): 2e-3}  # the error that is still right
Values = Callable[[], Any]  # evaluates at the present values of x: a number or an array


def along(values: Values, x: np.ndarray, direction: np.ndarray, step: float | None = None) -> np.ndarray:
    """Return the slope of `values()` along a direction of x, which is moved in place and put back.

    Central differences at three steps, extrapolated to step 0 (Richardson): what is left is rounding, about 1e-12 in
    float64. Keep kinks further away than the largest step, and inputs of about size 1.
    """
    step = step or STEP[x.dtype]
    old = x.copy()
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


def finite_differences(values: Values, x: np.ndarray, step: float | None = None) -> np.ndarray:
    """Return the slope of `values()` in each entry of x: of shape (*values.shape, *x.shape)."""
    columns = [along(values, x, basis, step) for basis in _basis(x)]
    shape = columns[0].shape if columns else np.shape(values())
    return np.stack(columns, axis=-1).reshape((*shape, *x.shape)) if columns else np.zeros((*shape, *x.shape))


def complex_step(function: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray | None:
    """Return the same slopes to the last digits, or None where the function does not take complex numbers.

    f(x + ih) = f(x) + i h f'(x) - …: the imaginary part over h, with h so small that no digit is lost, and no difference
    of near numbers is taken (Squire and Trapp 1998, SIAM Review 40). A function that compares or takes |x| may give
    nonsense without an error: the caller checks against `along`.
    """
    h = 1e-30
    columns = []
    try:
        with np.errstate(all="ignore"):
            for basis in _basis(x):
                y = np.asarray(function(x + 1j * h * basis))
                if y.dtype.kind != "c":
                    return None
                columns.append(y.imag / h)
    except (TypeError, ValueError, IndexError):
        return None
    return np.stack(columns, axis=-1).reshape((*columns[0].shape, *x.shape)) if columns else None


def one_sided(values: Values, x: np.ndarray, index: Any, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes to the left and to the right of one entry of x: different at a kink."""
    old, here = x[index].copy(), np.array(values())
    x[index] = old - step
    left = (here - np.array(values())) / step
    x[index] = old + step
    right = (np.array(values()) - here) / step
    x[index] = old
    return left, right


def _basis(x: np.ndarray) -> Any:
    """Yield an array of zeros with a single one, for each entry of x."""
    for index in np.ndindex(x.shape):
        basis = np.zeros_like(x)
        basis[index] = 1
        yield basis
