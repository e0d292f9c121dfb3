"""A worked example of every op: small arrays, with two decimals where they are fractions, and its options."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd.op import OPS
from nanograd.study.draw import Draw, Shape

Example = tuple[list[Any], dict[str, Any]]
SHAPE = (2, 4)  # what the pages show


def example(name: str, shape: Shape | None = None, seed: int = 0) -> Example:
    """Return arrays (float64; ids and masks as they are) and options for one call of an op.

    `shape` is that of the first array, (2, 4) unless given, and the others follow; where the op needs another axis it is
    put in front. The same seed gives the same numbers. Raises ValueError where the op cannot take the shape.

    >>> example("relu", (3,))
    ([array([ 0.75, -0.25,  0.25])], {})
    """
    if name not in OPS:
        raise ValueError(f"example: there is no op called {name!r}")
    shape = SHAPE if shape is None else tuple(shape)
    if any(n < 1 for n in shape):
        raise ValueError(f"example: {name}: every axis needs an entry, got shape {shape}")
    arrays, options = EXAMPLES[name](Draw(name, shape, seed))
    return arrays, options


def _one(**options: Any) -> Callable[[Draw], Example]:
    """One array of normal numbers."""
    return lambda d: ([d.normal(*d.shape)], dict(options))


def _positive(d: Draw) -> Example:
    return [d.positive(*d.shape)], {}


def _apart(**options: Any) -> Callable[[Draw], Example]:
    """One array without ties, whose entries keep away from zero."""
    return lambda d: ([d.apart(*d.shape)], dict(options))


def _two(d: Draw) -> Example:
    """Two operands, the second of which is copied to every row of the first."""
    return [d.normal(*d.shape), d.normal(*d.shape[-1:])], {}


def _axis(**options: Any) -> Callable[[Draw], Example]:
    """One array and an axis, the last."""
    return lambda d: ([d.normal(*d.axes(1, "an axis"))], {"axis": -1, **options})


def _same(d: Draw) -> Example:
    return [d.normal(*d.shape), d.normal(*d.shape)], {}


def _extremum(d: Draw) -> Example:
    return [d.apart(*d.axes(1, "an axis"))], {"axis": -1}


def _larger(d: Draw) -> Example:
    return [d.apart(*d.shape), d.apart(*d.shape[-1:]) + 0.1], {}


def _powers(d: Draw) -> Example:
    return [d.positive(*d.shape), d.normal(*d.shape[-1:])], {}


def _quotient(d: Draw) -> Example:
    return [d.normal(*d.shape), d.positive(*d.shape[-1:])], {}


def _linear(d: Draw) -> Example:
    d.axes(1, "an axis, the features")
    return [d.normal(*d.shape), d.normal(3, d.shape[-1]), d.normal(3)], {}


def _matmul(d: Draw) -> Example:
    d.axes(1, "an axis to add over")
    return [d.normal(*d.shape), d.normal(d.shape[-1], 3)], {}


def _einsum(d: Draw) -> Example:
    d.axes(2, "two axes, i and k")
    dots = "..." if len(d.shape) > 2 else ""
    return [d.normal(*d.shape), d.normal(d.shape[-1], 3)], {"spec": f"{dots}ik,kj->{dots}ij"}


def _norms(parameters: int) -> Callable[[Draw], Example]:
    """One array of tokens, and a vector a parameter with one number a feature."""

    def draw(d: Draw) -> Example:
        d.axes(1, "an axis, the features")
        return [d.normal(*d.shape), *(d.normal(d.shape[-1]) for _ in range(parameters))], {}

    return draw


def _embedding(d: Draw) -> Example:
    d.fits(len(d.shape) == 2, "a table (V, C)")
    last = d.shape[0] - 1
    return [d.normal(*d.shape), np.array([last, 0, last])], {}  # a row that two tokens share


def _cross_entropy(d: Draw) -> Example:
    d.axes(1, "an axis, the classes")
    return [d.normal(*d.shape), d.classes(d.shape[-1], d.shape[:-1])], {}


def _linear_cross_entropy(d: Draw) -> Example:
    d.axes(1, "an axis, the features")
    return [d.normal(*d.shape), d.normal(3, d.shape[-1]), d.classes(3, d.shape[:-1])], {}


def _attention(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and features")
    return [d.normal(*d.shape) for _ in range(3)], {"causal": True}


def _packed_attention(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and what one matrix made of each")
    for heads, shared in ((2, 2), (2, 1), (1, 1)):  # (H + 2 K) D numbers a token
        if d.shape[-1] % (heads + 2 * shared) == 0:
            return [d.normal(*d.shape)], {"n_heads": heads, "n_kv_heads": shared, "causal": True}
    d.fits(False, "a last axis that 3 or 4 divides, to be cut into queries, keys and values")
    raise AssertionError


def _rope(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and features")
    d.fits(d.shape[-1] % 2 == 0, "an even number of features, two a pair")
    return [d.normal(*d.shape)], {}


def _where(d: Draw) -> Example:
    return [d.mask(*d.shape), d.normal(*d.shape), d.normal(*d.shape[-1:])], {}


def _masked_fill(d: Draw) -> Example:
    return [d.normal(*d.shape), d.mask(*d.shape)], {"value": -9.0}


def _triangle(d: Draw) -> Example:
    return [d.normal(*d.axes(2, "two axes, rows and columns"))], {}


def _getitem(d: Draw) -> Example:
    n = d.axes(1, "an axis")[0]
    return [d.normal(*d.shape)], {"index": np.array([n - 1, 0, n - 1])}


def _picked(*, values: bool) -> Callable[[Draw], Example]:
    """One array, three positions a row of which two are the same, and for a scatter the values that go there."""

    def draw(d: Draw) -> Example:
        shape = (*d.axes(1, "an axis")[:-1], 3)
        order = np.argsort(d.rng.random(d.shape), axis=-1)  # of each row, in which all positions differ
        indices = np.take(order, (0, 1 % d.shape[-1], 0), axis=-1)
        return [d.normal(*d.shape), indices, *([d.normal(*shape)] if values else [])], {"axis": -1}

    return draw


def _concat(d: Draw) -> Example:
    shape = d.axes(1, "an axis")
    return [d.normal(*shape), d.normal(1, *shape[1:])], {"axis": 0}


def _squeeze(d: Draw) -> Example:
    return [d.normal(*(d.shape if 1 in d.shape else (1, *d.shape)))], {}


def _broadcast_to(d: Draw) -> Example:
    return [d.normal(*d.shape)], {"shape": (3, *d.shape)}


def _pad(d: Draw) -> Example:
    return [d.normal(*d.axes(1, "an axis"))], {"width": 1}


def _std(d: Draw) -> Example:
    d.axes(1, "an axis")
    d.fits(d.shape[-1] > 1, "two entries a row, or there is no spread")
    return [d.normal(*d.shape)], {"axis": -1}


def _dpo(d: Draw) -> Example:
    return [d.normal(*d.shape) for _ in range(4)], {"beta": 0.5}


def _dropout(d: Draw) -> Example:
    return [d.normal(*d.shape)], {"p": 0.5, "seed": d.seed}


EXAMPLES: dict[str, Callable[[Draw], Example]] = {
    "abs": _apart(),
    "add": _two,
    "astype": _one(dtype=np.float64),  # to float32 y would move in steps, and no slope could be measured
    "attention": _attention,
    "broadcast_to": _broadcast_to,
    "clip": _apart(low=-1.0, high=1.0),
    "concat": _concat,
    "cos": _one(),
    "cross_entropy": _cross_entropy,
    "cumsum": _axis(),
    "div": _quotient,
    "dpo": _dpo,
    "dropout": _dropout,
    "einsum": _einsum,
    "embedding": _embedding,
    "erf": _one(),
    "exp": _one(),
    "expand_dims": _one(axis=0),
    "flip": _axis(),
    "gelu": _one(),
    "gelu_tanh": _one(),
    "getitem": _getitem,
    "layernorm": _norms(2),
    "linear": _linear,
    "linear_cross_entropy": _linear_cross_entropy,
    "log": _positive,
    "log_softmax": _axis(),
    "logsumexp": _axis(),
    "masked_fill": _masked_fill,
    "matmul": _matmul,
    "max": _extremum,
    "maximum": _larger,
    "mean": _axis(),
    "min": _extremum,
    "minimum": _larger,
    "mse": _same,
    "mul": _two,
    "neg": _one(),
    "norm": _axis(),
    "packed_attention": _packed_attention,
    "pad": _pad,
    "pow": _powers,
    "prod": _axis(),
    "reciprocal": _positive,
    "relu": _apart(),
    "repeat": _axis(repeats=2),
    "reshape": _one(shape=-1),
    "rmsnorm": _norms(1),
    "roll": _axis(shift=1),
    "rope": _rope,
    "rsqrt": _positive,
    "scatter": _picked(values=True),
    "scatter_add": _picked(values=True),
    "sigmoid": _one(),
    "silu": _one(),
    "sin": _one(),
    "softmax": _axis(),
    "sqrt": _positive,
    "square": _one(),
    "squeeze": _squeeze,
    "stack": lambda d: (_same(d)[0], {"axis": 0}),
    "std": _std,
    "sub": _two,
    "sum": _axis(),
    "swiglu": _same,
    "take_along_axis": _picked(values=False),
    "tanh": _one(),
    "transpose": _one(),
    "tril": _triangle,
    "triu": _triangle,
    "var": _axis(),
    "where": _where,
}
