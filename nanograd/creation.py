"""Create a Tensor: from data, filled with a number, or with random numbers.

A shape is given as ints or as one tuple: zeros(2, 3) or zeros((2, 3)). The dtype is float32 unless `dtype` says otherwise.
"""

from typing import Any

import numpy as np

from nanograd._tensor import Tensor


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a Tensor with a copy of `data`: a number, nested lists of numbers, an array or a Tensor.

    Without a dtype, Python floats become float32, and arrays keep their dtype. (`Tensor(array)` does not copy.)

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    Tensor([[1., 2.],
            [3., 4.]], dtype=float32)
    """
    if dtype is None:
        return Tensor(Tensor(data).data.copy(), requires_grad)
    return Tensor(np.array(data.data if isinstance(data, Tensor) else data, dtype), requires_grad)


def zeros(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Return a Tensor of zeros.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return Tensor(np.zeros(_shape(shape), dtype), requires_grad)


def ones(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Return a Tensor of ones.

    >>> ones(3)
    Tensor([1., 1., 1.], dtype=float32)
    """
    return Tensor(np.ones(_shape(shape), dtype), requires_grad)


def full(shape: int | tuple[int, ...], value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a Tensor whose entries are all `value`; without a dtype, an int gives int64 and a float float32.

    >>> full((2, 2), 0.5)
    Tensor([[0.5, 0.5],
            [0.5, 0.5]], dtype=float32)
    """
    return Tensor(np.full(shape, value, _float32(value) if dtype is None else dtype), requires_grad)


def arange(
    start: float, stop: float | None = None, step: float = 1, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return start, start + step, … up to but without stop; `arange(n)` counts from 0 to n - 1.

    Without a dtype, ints give int64, and floats float32.

    >>> arange(2, 8, 2)
    Tensor([2, 4, 6], dtype=int64)
    """
    first, end = (0, start) if stop is None else (start, stop)
    values = np.arange(first, end, step)
    return Tensor(values.astype(_float32(values) if dtype is None else dtype), requires_grad)


def randn(
    *shape: Any, rng: np.random.Generator | int | None = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Return random numbers with mean 0 and variance 1 (normal distribution), of float32 or float64.

    rng is a NumPy Generator, a seed, or None for an unpredictable seed: there is no global generator.

    >>> bool((randn(2, 3, rng=0) == randn(2, 3, rng=0)).all())
    True
    """
    return Tensor(np.random.default_rng(rng).standard_normal(_shape(shape), dtype), requires_grad)


def rand(
    *shape: Any, rng: np.random.Generator | int | None = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Return random numbers from [0, 1) (uniform distribution), of float32 or float64; rng as in `randn`.

    >>> rand(1000, rng=0).max() < 1
    Tensor(True, dtype=bool)
    """
    return Tensor(np.random.default_rng(rng).random(_shape(shape), dtype), requires_grad)


def _shape(shape: tuple[Any, ...]) -> Any:
    """Return the shape from the arguments: ints, or one tuple or list."""
    return shape[0] if len(shape) == 1 else shape


def _float32(values: Any) -> Any:
    """Return the dtype of the values, but float32 in place of NumPy's default float64."""
    dtype = np.asarray(values).dtype
    return np.float32 if dtype == np.float64 else dtype
