"""reshape, transpose, expand_dims, squeeze, broadcast_to, getitem, concat, stack: the same numbers in another order."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._unbroadcast import unbroadcast

__all__ = [
    "broadcast_to", "cat", "chunk", "concat", "expand_dims", "flatten", "getitem", "reshape", "split", "squeeze", "stack",
    "swapaxes", "transpose",
]  # fmt: skip


def reshape_forward(x: np.ndarray, *, shape: int | tuple[int, ...]) -> tuple[np.ndarray, Any]:
    """Arrange the entries, in row-major order, in another shape; one size may be -1.
    y[i-th] = x[i-th]                                      (1)
    """
    return x.reshape(shape), x.shape


def reshape_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Reshape dy to the old shape: in (1) the i-th entry stays the i-th.
    dx[i-th] = dy[i-th]                                    (2)
    Check: reshaping there and back changes nothing.
    """
    shape = saved
    return (dy.reshape(shape),)  # (2)


reshape = Op(reshape_forward, reshape_backward)


def transpose_forward(x: np.ndarray, *, axes: tuple[int, ...] | None = None) -> tuple[np.ndarray, Any]:
    """Reorder the axes; None reverses them.
    axis i of y = axis axes[i] of x                        (1)
    """
    axes = tuple(range(x.ndim))[::-1] if axes is None else normalize_axis_tuple(axes, x.ndim)
    return x.transpose(axes), axes


def transpose_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Undo (1): argsort gives the inverse of a permutation.
    axis axes[i] of dx = axis i of dy                      (2)
    Check: for three axes (1, 2, 0), the inverse is (2, 0, 1), not the same again.
    """
    axes = saved
    return (dy.transpose(np.argsort(axes)),)  # (2)


transpose = Op(transpose_forward, transpose_backward)


def expand_dims_forward(x: np.ndarray, *, axis: int | tuple[int, ...]) -> tuple[np.ndarray, Any]:
    """Insert axes of size 1.
    y[i-th] = x[i-th]                                      (1)
    """
    return np.expand_dims(x, axis), x.shape


def expand_dims_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Remove the axes again.
    dx[i-th] = dy[i-th]                                    (2)
    Check: dx has the entries of dy.
    """
    shape = saved
    return (dy.reshape(shape),)  # (2)


expand_dims = Op(expand_dims_forward, expand_dims_backward)


def squeeze_forward(x: np.ndarray, *, axis: int | tuple[int, ...] | None = None) -> tuple[np.ndarray, Any]:
    """Drop axes of size 1; None drops them all.
    y[i-th] = x[i-th]                                      (1)
    """
    return np.squeeze(x, axis), x.shape


def squeeze_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Put the axes back.
    dx[i-th] = dy[i-th]                                    (2)
    Check: dx has the entries of dy.
    """
    shape = saved
    return (dy.reshape(shape),)  # (2)


squeeze = Op(squeeze_forward, squeeze_backward)


def broadcast_to_forward(x: np.ndarray, *, shape: tuple[int, ...]) -> tuple[np.ndarray, Any]:
    """Repeat along new axes and along axes of size 1.
    y = copies of x                                        (1)
    """
    return np.broadcast_to(x, shape), x.shape


def broadcast_to_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Sum over the copies in (1), which are all the same x.
    dx = U(dy)                                             (2)
    Check: for a number stretched to n entries, dx is their sum.
    """
    shape = saved
    return (unbroadcast(dy, shape),)  # (2)


broadcast_to = Op(broadcast_to_forward, broadcast_to_backward)


def getitem_forward(x: np.ndarray, *, index: Any) -> tuple[np.ndarray, Any]:
    """Take entries as NumPy does: slices, integers, None, `...`, integer arrays, boolean masks.
    y_i = x[index_i]                                       (1)
    """
    return x[index], (x.shape, index)


def getitem_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Send each dy to the entry it was taken from; an entry taken several times gets the sum.
    dx[j] = Σ_{i: index_i = j} dy_i                        (2)
    Check: entries that were not taken get exactly 0.
    """
    shape, index = saved
    dx = np.zeros(shape, dy.dtype)
    if _takes_once(index):
        dx[index] = dy  # (2), each sum has one term
    else:
        np.add.at(dx, index, dy)  # (2); `dx[index] += dy` would drop all but one of a repeated index
    return (dx,)


getitem = Op(getitem_forward, getitem_backward)


def _takes_once(index: Any) -> bool:
    """Tell whether an index takes no entry twice: slices, integers and masks do not, integer arrays may."""
    items = index if isinstance(index, tuple) else (index,)
    simple = (slice, int, np.integer, type(None), type(Ellipsis))
    return all(isinstance(item, simple) or (isinstance(item, np.ndarray) and item.dtype == np.bool_) for item in items)


def concat_forward(*xs: np.ndarray, axis: int = 0) -> tuple[np.ndarray, Any]:
    """Join along an axis that exists.
    y = x_1 followed by x_2 …                              (1)
    """
    return np.concatenate(xs, axis=axis), (axis, np.cumsum([x.shape[axis] for x in xs])[:-1])


def concat_backward(dy: np.ndarray, saved: Any, needs: Needs | None = None) -> Gradients:
    """Split dy where (1) joined.
    dx_1 followed by dx_2 … = dy                           (2)
    Check: each dx_k has the shape of x_k.
    """
    axis, cuts = saved
    dxs = np.split(dy, cuts, axis=axis)  # (2)
    return tuple(dx if needs is None or needs[i] else None for i, dx in enumerate(dxs))


_concat = Op(concat_forward, concat_backward)


def concat(xs: Sequence[Any], axis: int = 0, *, dim: int | None = None) -> Any:
    """Join a list of arrays or Tensors along an axis that they have.

    Backward: python -m nanograd study concat
    """
    return _concat(*xs, axis=axis if dim is None else dim)


cat = concat  # PyTorch's name


def stack_forward(*xs: np.ndarray, axis: int = 0) -> tuple[np.ndarray, Any]:
    """Join along a new axis.
    y[k] = x_k                                             (1)
    """
    return np.stack(xs, axis=axis), axis


def stack_backward(dy: np.ndarray, saved: Any, needs: Needs | None = None) -> Gradients:
    """Split dy along the new axis.
    dx_k = dy[k]                                           (2)
    Check: each dx_k has the shape of x_k.
    """
    axis = saved
    dxs = np.moveaxis(dy, axis, 0)  # (2)
    return tuple(dx if needs is None or needs[i] else None for i, dx in enumerate(dxs))


_stack = Op(stack_forward, stack_backward)


def stack(xs: Sequence[Any], axis: int = 0, *, dim: int | None = None) -> Any:
    """Join a list of arrays or Tensors of one shape along a new axis.

    Backward: python -m nanograd study stack
    """
    return _stack(*xs, axis=axis if dim is None else dim)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Exchange two axes."""
    i, j = normalize_axis_tuple((axis1, axis2), x.ndim, allow_duplicate=True)
    return transpose(x, axes=tuple({i: j, j: i}.get(k, k) for k in range(x.ndim)))


def flatten(x: Any) -> Any:
    """Return all entries along one axis."""
    return reshape(x, shape=-1)


def chunk(x: Any, chunks: int, axis: int = 0, *, dim: int | None = None) -> list[Any]:
    """Split into at most `chunks` chunks of one size, the last possibly smaller, as torch.chunk does."""
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be at least 1, got {chunks}")
    axis = axis if dim is None else dim
    n = x.shape[axis]
    size = max(-(-n // chunks), 1)
    return split(x, range(size, n, size) if n else [0] * (chunks - 1), axis)


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Split into equal sections, or at the given positions, as `numpy.split` does: one getitem per section."""
    n = x.shape[axis]
    if isinstance(sections, (int, np.integer)):
        if sections < 1 or n % sections:
            raise ValueError(f"split: axis {axis} of size {n} does not divide into {sections} equal sections")
        sections = [n // sections * i for i in range(1, sections)]
    lead = (slice(None),) * (axis % x.ndim)
    return [getitem(x, index=(*lead, slice(a, b))) for a, b in pairwise([0, *sections, n])]
