"""pad, repeat, flip, roll, take_along_axis, scatter, scatter_add: entries copied, moved and gathered."""

from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._sums import sum_over


def pad_forward(x: np.ndarray, *, width: Any, value: float = 0.0) -> tuple[np.ndarray, Any]:
    """Put a border of one value around x; `width` is (before, after) for each axis, as in numpy.pad.
    y = x inside, value on the border                      (1)
    """
    widths = np.broadcast_to(np.asarray(width, dtype=np.int64), (x.ndim, 2))
    inside = tuple(slice(int(w[0]), int(w[0]) + n) for w, n in zip(widths, x.shape, strict=True))
    return np.pad(x, widths, constant_values=value), inside


def pad_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Remove the border, which is constant in (1).
    dx = dy inside                                         (2)
    Check: dx has the shape of x.
    """
    inside = saved
    return (dy[inside],)  # (2)


pad = Op(pad_forward, pad_backward)


def repeat_forward(x: np.ndarray, *, repeats: int, axis: int) -> tuple[np.ndarray, Any]:
    """Repeat each entry along an axis, as numpy.repeat: a b → a a b b.
    y[r i + k] = x[i],  k < r = repeats                    (1)
    """
    if not isinstance(repeats, int) or repeats < 0 or not -x.ndim <= axis < x.ndim:
        raise ValueError(f"repeat: needs a whole number of repeats and an axis of {x.shape}, got {repeats} and {axis}")
    return np.repeat(x, repeats, axis=axis), (x.shape, repeats, axis % x.ndim)


def repeat_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Sum over the copies in (1).
    dx[i] = Σ_k dy[r i + k]                                (2)
    Check: for repeats = 1, dx is dy.
    """
    shape, repeats, axis = saved
    copies = dy.reshape(*shape[: axis + 1], repeats, *shape[axis + 1 :])
    return (sum_over(copies, axis + 1),)  # (2)


repeat = Op(repeat_forward, repeat_backward)


def flip_forward(x: np.ndarray, *, axis: int | tuple[int, ...] | None = None) -> tuple[np.ndarray, Any]:
    """Reverse the order along axes, of n entries each; None reverses them all.
    y[i] = x[n - 1 - i]                                    (1)
    """
    return np.flip(x, axis), axis


def flip_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Reverse again: (1) is its own inverse.
    dx[i] = dy[n - 1 - i]                                  (2)
    Check: flipping twice changes nothing.
    """
    axis = saved
    return (np.flip(dy, axis),)  # (2)


flip = Op(flip_forward, flip_backward)


def roll_forward(x: np.ndarray, *, shift: Any, axis: Any = None) -> tuple[np.ndarray, Any]:
    """Shift the n entries of an axis; those that leave at the end enter at the start, as in numpy.roll.
    y[(i + shift) mod n] = x[i]                            (1)
    """
    return np.roll(x, shift, axis), (shift, axis)


def roll_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Shift back.
    dx[i] = dy[(i + shift) mod n]                          (2)
    Check: a shift by n changes nothing.
    """
    shift, axis = saved
    return (np.roll(dy, np.negative(shift), axis),)  # (2)


roll = Op(roll_forward, roll_backward)


def take_along_axis_forward(x: np.ndarray, indices: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    """Pick entries along an axis by an array of positions, as numpy.take_along_axis; PyTorch calls it gather.
    y[…, j, …] = x[…, indices[…, j, …], …]                 (1)
    Apart from `axis`, the shapes of x and indices must agree. Negative positions count from the end.
    """
    axis = _check_along("take_along_axis", x.shape, indices, axis)
    return np.take_along_axis(x, indices, axis), (x.shape, indices, axis)


def take_along_axis_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> Gradients:
    """Send each dy to the entry it was picked from; one picked several times gets the sum.
    dx[…, i, …] = Σ_{j: indices[…, j, …] = i} dy[…, j, …]   (2)
    Check: the entries of dx and of dy have the same sum.
    """
    if not needs[0]:
        return None, None
    shape, indices, axis = saved
    dx = np.zeros(shape, dy.dtype)
    np.add.at(dx, _full_index(indices, axis), dy)  # (2)
    return dx, None


take_along_axis = Op(take_along_axis_forward, take_along_axis_backward, nondifferentiable=("indices",))
gather = take_along_axis  # PyTorch's name


def scatter_add_forward(x: np.ndarray, indices: np.ndarray, values: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    """Add values to entries of x picked by position along an axis; positions that repeat add up.
    y[…, i, …] = x[…, i, …] + Σ_{j: indices[…, j, …] = i} values[…, j, …]   (1)
    """
    axis = _check_along("scatter_add", x.shape, indices, axis, values)
    y = x.copy()
    np.add.at(y, _full_index(indices, axis), values)
    return y, (indices, axis)


def scatter_add_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False, True)) -> Gradients:
    """Pull dy back through (1), a sum: x gets dy, and each value gets the dy of the entry it was added to.
    dx = dy                                                (2)
    dvalues[…, j, …] = dy[…, indices[…, j, …], …]          (3)
    Check: (3) is take_along_axis, as scattering and gathering are adjoint.
    """
    indices, axis = saved
    dvalues = np.take_along_axis(dy, indices, axis) if needs[2] else None  # (3)
    return (dy if needs[0] else None), None, dvalues  # (2)


scatter_add = Op(scatter_add_forward, scatter_add_backward, nondifferentiable=("indices",))


def scatter_forward(x: np.ndarray, indices: np.ndarray, values: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    """Overwrite entries of x picked by position along an axis; if several values have one position, the last is kept.
    y[…, indices[…, j, …], …] = values[…, j, …], and x elsewhere   (1)
    """
    axis = _check_along("scatter", x.shape, indices, axis, values)
    y = x.copy()
    np.put_along_axis(y, indices, values, axis)
    writer = np.full(x.shape, -1)  # the number of the value that was written last to each entry
    order = np.arange(indices.size).reshape(indices.shape)
    np.put_along_axis(writer, indices, order, axis)
    return y, (indices, writer < 0, np.take_along_axis(writer, indices, axis) == order, axis)


def scatter_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False, True)) -> Gradients:
    """Send each dy to where its entry of (1) came from: to x, or to the value that was written last.
    dx = dy, and 0 where x was overwritten                 (2)
    dvalues[…, j, …] = dy[…, indices[…, j, …], …], and 0 where a later value took the place   (3)
    Check: the entries of dx and dvalues together have the sum of dy.
    """
    indices, unwritten, is_last, axis = saved
    dx = dy * unwritten if needs[0] else None  # (2)
    dvalues = np.take_along_axis(dy, indices, axis) * is_last if needs[2] else None  # (3)
    return dx, None, dvalues


scatter = Op(scatter_forward, scatter_backward, nondifferentiable=("indices",))


def _check_along(op: str, shape: tuple[int, ...], indices: np.ndarray, axis: int, values: Any = None) -> int:
    """Return the axis counted from the front; raise if the shapes disagree or a position is out of range."""
    axis = int(np.lib.array_utils.normalize_axis_index(axis, len(shape)))
    n = shape[axis]
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{op}: indices must be integers, got {indices.dtype}")
    if indices.ndim != len(shape) or (*indices.shape[:axis], n, *indices.shape[axis + 1 :]) != shape:
        raise ValueError(f"{op}: x and indices must agree apart from axis {axis}, got {shape} and {indices.shape}")
    if indices.size and (indices.min() < -n or indices.max() >= n):
        raise ValueError(
            f"{op}: indices must lie in [-{n}, {n}) along axis {axis}, got {indices.min()} to {indices.max()}"
        )
    if values is not None and values.shape != indices.shape:
        raise ValueError(f"{op}: values {values.shape} and indices {indices.shape} must have one shape")
    return axis


def _full_index(indices: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    """Return the full index of every entry that `indices` picks along `axis`."""
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[axis] = indices
    return tuple(grid)
