"""The functions that the code of a line may use: each a few lines of NumPy, printed on the pages that use it."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Axis = int | tuple[int, ...] | None


def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum g over the axes along which broadcasting stretched an array of this shape."""
    added = g.ndim - len(shape)
    axes = [i for i in range(g.ndim) if i < added or shape[i - added] == 1]
    return g.sum(axis=tuple(axes)).reshape(shape)


def restore_axes(a: np.ndarray, shape: tuple[int, ...], axis: Axis) -> np.ndarray:
    """Give the result of a reduction its reduced axes back, with size 1."""
    axes = range(len(shape)) if axis is None else [i % len(shape) for i in np.atleast_1d(axis)]
    return np.reshape(a, [1 if i in axes else n for i, n in enumerate(shape)])


def count(x: np.ndarray, axis: Axis) -> int:
    """Count the entries of x that one entry of a reduction over `axis` is computed from."""
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    return int(np.prod([x.shape[i] for i in axes]))


def softmax(x: np.ndarray) -> np.ndarray:
    """Return exp(x_j) / Σ_k exp(x_k) along the last axis, and 0 in a row whose entries are all -∞."""
    e = np.exp(x)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def erf(x: np.ndarray) -> np.ndarray:
    """Return the error function, entry by entry."""
    import math  # NumPy has none

    return np.vectorize(math.erf, otypes=[float])(x)


def integral(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Integrate f from 0 to each entry of x: 40 panels with 12 Gauss-Legendre nodes each."""
    nodes, weights = np.polynomial.legendre.leggauss(12)  # for the interval from -1 to 1
    nodes = (np.arange(40)[:, None] + (nodes + 1) / 2).ravel() / 40
    return x * (f(np.multiply.outer(x, nodes)) @ np.tile(weights / 80, 40))


def to_rows(a: np.ndarray, axis: Axis) -> np.ndarray:
    """Move the axes that `axis` names to the end and flatten them: an entry of a row has one index."""
    axes = tuple(range(a.ndim)) if axis is None else tuple(np.atleast_1d(axis))
    moved = np.moveaxis(a, axes, range(-len(axes), 0))
    lead = moved.shape[: a.ndim - len(axes)]
    return moved.reshape(*lead, np.prod(moved.shape[len(lead) :], dtype=int))


def from_rows(a: np.ndarray, shape: tuple[int, ...], axis: Axis) -> np.ndarray:
    """Undo `to_rows` of an array of this shape; the rows may have another length than before."""
    axes = tuple(range(len(shape))) if axis is None else tuple(np.atleast_1d(axis))
    row = tuple(shape[i] for i in axes)
    if a.shape[-1] != np.prod(row):
        row = a.shape[-1:]
    return np.moveaxis(np.reshape(a, (*a.shape[:-1], *row)), range(-len(row), 0), axes[: len(row)])


def place(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return rows that hold the values at these positions."""
    lead = values.shape[: values.ndim - positions.ndim]
    y = np.zeros((*lead, positions.size))
    y[..., positions] = values
    return y


def put_along_axis(x: np.ndarray, indices: np.ndarray, values: Any, axis: int) -> np.ndarray:
    """Return a copy of x with the values at these indices; of two values for one entry the last stays."""
    y = np.array(x, float)
    np.put_along_axis(y, indices % y.shape[axis], values, axis)
    return y


def sum_by_index(values: np.ndarray, indices: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Return for each i < n the sum of the values whose index is i."""
    v, at = np.moveaxis(values, axis, -1), np.moveaxis(indices, axis, -1)
    hits = at[..., :, None] % n == np.arange(n)  # 1[indices_j = i], (…, j, i)
    return np.moveaxis((v[..., :, None] * hits).sum(axis=-2), -1, axis)


def sum_where(condition: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return for each row v of the condition the sum of the rows a[t] for which condition[v, t] holds."""
    return np.array([a[row].sum(axis=0) for row in condition]).reshape(len(condition), *a.shape[1:])


def last_writes(indices: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Return for each index along `axis` whether no later one is the same."""
    at = np.moveaxis(indices, axis, -1) % n
    later = np.tri(at.shape[-1], k=-1, dtype=bool).T  # [j, l]: l comes after j
    again = ((at[..., :, None] == at[..., None, :]) & later).any(axis=-1)
    return np.moveaxis(~again, -1, axis)


def join_pairs(a: np.ndarray, b: np.ndarray, interleaved: bool) -> np.ndarray:
    """Join the first and the second members of all pairs of features to one array."""
    if not interleaved:
        return np.concatenate([a, b], axis=-1)
    return np.stack([a, b], axis=-1).reshape(*a.shape[:-1], 2 * a.shape[-1])


def keep_mask(shape: tuple[int, ...], p: float, seed: int) -> np.ndarray:
    """Draw z: 0 with probability p, else 1/(1 - p)."""
    size = int(np.prod(shape))
    words = np.random.Generator(np.random.SFC64(seed)).integers(0, 2**64, -(-size // 4), dtype=np.uint64)
    bits = words.view(np.uint16)[:size].reshape(shape)  # 16 random bits for each entry
    return (bits >= round(p * 65536)) / (1 - p)


def repeat_heads(a: np.ndarray, group: int) -> np.ndarray:
    """Repeat each key or value head for the `group` query heads that share it."""
    return a if group == 1 else np.repeat(a, group, axis=-3)


def sum_heads(a: np.ndarray, group: int) -> np.ndarray:
    """Sum over the `group` query heads that share a key or value head."""
    if group == 1:
        return a
    return a.reshape(*a.shape[:-3], a.shape[-3] // group, group, *a.shape[-2:]).sum(axis=-3)


def score_variance(D: int) -> float:
    """Return the variance of q · k over all vectors q and k of D entries ±1, which have mean 0 and variance 1."""
    chances = np.ones(1)  # of the sums -n, -n + 2, …, n of n products ±1
    for _ in range(D):
        chances = np.convolve(chances, [0.5, 0.5])
    sums = np.arange(-D, D + 1, 2)
    return float(np.sum(chances * sums**2) - np.sum(chances * sums) ** 2)


def side_by_side(y: np.ndarray) -> np.ndarray:
    """Place heads (…, H, T, D) side by side: (…, T, H D)."""
    y = np.swapaxes(y, -3, -2)
    return y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])


def same_segment(segments: Any, ndim: int) -> Any:
    """Return whether a key is in the segment of a query, for scores of ndim axes (…, T, T); True without segments."""
    if segments is None:
        return True
    same = np.asarray(segments)[..., :, None] == np.asarray(segments)[..., None, :]
    return same if ndim == 2 else same[..., None, :, :]


def attention_weights(
    q: Any, k: Any, mask: Any, causal: bool, window: int | None, segments: Any, scale: float | None
) -> tuple[Any, float]:
    """Return P = softmax(scale q kᵀ) over the keys that a query may look at, and scale."""
    scale = 1 / np.sqrt(max(q.shape[-1], 1)) if scale is None else scale
    t, s = np.arange(q.shape[-2])[:, None], np.arange(k.shape[-2])
    visible = (s <= t) & (window is None or s > t - window) & same_segment(segments, q.ndim) if causal else True
    visible = visible if mask is None else visible & mask
    return softmax(np.where(visible, scale * q @ k.mT, -np.inf)), scale


def attention(
    q: Any, k: Any, v: Any, mask: Any, causal: bool, window: int | None, segments: Any, scale: float | None, dropout: float,
    seed: Any,
) -> Any:  # fmt: skip
    """Return y of attention, lines (1) to (3) of its page."""
    group = q.shape[-3] // k.shape[-3]
    P, _ = attention_weights(q, repeat_heads(k, group), mask, causal, window, segments, scale)
    z = keep_mask(P.shape, dropout, seed) if dropout else 1
    return (P * z) @ repeat_heads(v, group)


def attention_gradients(
    dy: Any,
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    causal: bool,
    window: int | None,
    segments: Any,
    scale: float | None,
    dropout: float,
    seed: Any,
) -> tuple[Any, Any, Any]:
    """Return dq, dk and dv of attention, lines (5) to (9) of its page."""
    group = q.shape[-3] // k.shape[-3]
    shared_k, shared_v = repeat_heads(k, group), repeat_heads(v, group)
    P, scale = attention_weights(q, shared_k, mask, causal, window, segments, scale)
    z = keep_mask(P.shape, dropout, seed) if dropout else 1
    dP = (dy @ shared_v.mT) * z
    dS = P * (dP - (P * dP).sum(axis=-1, keepdims=True))
    dk, dv = scale * dS.mT @ q, (P * z).mT @ dy
    return scale * dS @ shared_k, sum_heads(dk, group), sum_heads(dv, group)


def negative_log_likelihood(z: np.ndarray, targets: np.ndarray, ignore_index: int, reduction: str) -> np.ndarray:
    """Return -ln p of the targets under p = softmax(z): the mean, or with another reduction the sum or all of them."""
    counts = targets != ignore_index
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    at = np.where(counts, targets, 0)[..., None]
    losses = np.where(counts, -np.take_along_axis(log_p, at, axis=-1)[..., 0], 0)
    if reduction == "none":
        return losses
    return losses.sum() / (max(counts.sum(), 1) if reduction == "mean" else 1)


def name_axes(spec: str, xs: tuple[np.ndarray, ...]) -> str:
    """Write an einsum's spec with a letter for every axis that `...` stands for, and with its output."""
    left, arrow, output = spec.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = "".join(letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in spec)
    more = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, xs, strict=True)]
    dots = spare[: max(more)]
    if not arrow:
        letters = left.replace(".", "").replace(",", "")
        output = "..." + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    terms = [term.replace("...", dots[len(dots) - n :]) for term, n in zip(terms, more, strict=True)]
    return f"{','.join(terms)}->{output.replace('...', dots)}"


def einsum_gradient(spec: str, k: int, dy: np.ndarray, xs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return dx_k of an einsum: sum dy times the other operands over the letters that x_k lacks."""
    left, output = spec.split("->")
    inputs, x = left.split(","), xs[k]
    others = [i for i in range(len(xs)) if i != k]
    operands = ",".join([output, *(inputs[i] for i in others)])
    shared = "".join(letter for letter in inputs[k] if letter in operands)
    dx = np.einsum(f"{operands}->{shared}", dy, *(xs[i] for i in others))
    alone = [i for i, letter in enumerate(inputs[k]) if letter not in operands]  # constant along these axes
    dx = np.expand_dims(dx, tuple(alone))
    stretched = tuple(i for i, n in enumerate(x.shape) if n == 1)
    return np.broadcast_to(dx.sum(axis=stretched, keepdims=True), x.shape)


_FUNCTIONS = (
    unbroadcast, restore_axes, count, softmax, erf, integral, to_rows, from_rows, place, put_along_axis, sum_by_index,
    sum_where, last_writes, join_pairs, keep_mask, repeat_heads, sum_heads, score_variance, side_by_side, same_segment,
    attention_weights, attention, attention_gradients, negative_log_likelihood, name_axes, einsum_gradient,
)  # fmt: skip
HELPERS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}


@cache
def helper_source(name: str) -> str:
    """Return the source of a helper without its annotations, whose names a bare namespace does not have.

    >>> print(helper_source("side_by_side"))
    def side_by_side(y):
        \"\"\"Place heads (…, H, T, D) side by side: (…, T, H D).\"\"\"
        y = np.swapaxes(y, -3, -2)
        return y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])
    """
    source = textwrap.dedent(inspect.getsource(HELPERS[name])).strip()
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    start = function.body[0].lineno - 1
    parameters = ", ".join(argument.arg for argument in function.args.args)
    return "\n".join([f"def {name}({parameters}):", *source.splitlines()[start:]])


def helpers_used(names: frozenset[str]) -> list[str]:
    """Return the helpers among these names and those that they use themselves, in the order of this file."""
    found, pending = set[str](), set(names) & set(HELPERS)
    while pending:
        name = pending.pop()
        found.add(name)
        tree = ast.parse(helper_source(name))
        pending |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & set(HELPERS) - found
    return [name for name in HELPERS if name in found]
