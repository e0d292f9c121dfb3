"""Random shapes, broadcasts, axes and layouts: gradients are finite differences, and float32 is float64 rounded."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

import nanograd as ng
from nanograd import Op, Tensor, gradcheck

SMOOTH = [ng.exp, ng.log, ng.sqrt, ng.rsqrt, ng.reciprocal, ng.square, ng.neg, ng.sin, ng.cos, ng.tanh, ng.sigmoid]
UNARY = [*SMOOTH, ng.erf, ng.gelu, ng.gelu_tanh, ng.silu, ng.relu, ng.abs]
BINARY = [ng.add, ng.sub, ng.mul, ng.div, ng.maximum, ng.minimum, ng.pow]
REDUCTIONS = [ng.sum, ng.mean, ng.var, ng.std, ng.max, ng.min, ng.prod, ng.norm, ng.logsumexp]
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=60, deadline=None, derandomize=True)


def draw(seed: int, shape: tuple[int, ...], layout: int = 0) -> np.ndarray:
    """Draw distinct numbers in [0.5, 2), off kinks, poles and ties, in one of three layouts."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    a = (0.5 + 1.5 * (rng.permutation(size) + rng.uniform(0.2, 0.8)) / max(size, 1)).reshape(shape)
    if layout == 1 and a.ndim:
        return np.asfortranarray(a)
    return np.repeat(a, 2, axis=-1)[..., ::2] if layout == 2 and a.ndim else a


def check(op: Op, *arrays: np.ndarray, **options: Any) -> None:
    """Check gradients, and that float32 in gives float32 out, a few units in the last place from float64."""
    assert gradcheck(op, *arrays, tolerance=1e-6, **options).ok
    double = [Tensor(a, requires_grad=True) for a in arrays]
    single = [Tensor(a.astype(np.float32), requires_grad=True) for a in arrays]
    exact, y = op(*double, **options), op(*single, **options)
    dy = np.asarray(np.random.default_rng(0).standard_normal(y.shape))
    exact.backward(dy)
    y.backward(dy.astype(np.float32))
    ulps = np.finfo(np.float32).eps * 16 * max(a.size for a in (*arrays, y.data, np.ones(1)))
    for ours, true in ((y.data, exact.data), *((a.grad, b.grad) for a, b in zip(single, double, strict=True))):
        assert ours is not None
        assert true is not None
        assert ours.dtype == np.float32
        assert ours.shape == true.shape
        scale = max(1.0, float(np.abs(true).max(initial=0)))
        assert float(np.abs(ours - true).max(initial=0)) <= ulps * scale


@few
@given(st.sampled_from(UNARY), shapes, seeds, st.integers(0, 2))
def test_elementwise(op: Op, shape: tuple[int, ...], seed: int, layout: int) -> None:
    check(op, draw(seed, shape, layout))


@few
@given(st.sampled_from(BINARY), shapes, seeds, st.data())
def test_broadcasts(op: Op, shape: tuple[int, ...], seed: int, data: DataObject) -> None:
    def broadcast_shape() -> tuple[int, ...]:
        cut = data.draw(st.integers(0, len(shape)))
        return tuple(1 if data.draw(st.booleans()) else n for n in shape[cut:])

    a, b = (
        draw(seed, broadcast_shape(), data.draw(st.integers(0, 2))),
        draw(seed + 1, broadcast_shape(), data.draw(st.integers(0, 2))),
    )
    if op in (ng.maximum, ng.minimum):
        b = b + np.where(np.abs(a - b).min(initial=1) < 0.01, 2, 0)  # off the kink, where both are near
    check(op, a, b)


@few
@given(st.sampled_from(REDUCTIONS), shapes, seeds, st.booleans(), st.data())
def test_reductions(op: Op, shape: tuple[int, ...], seed: int, keepdims: bool, data: DataObject) -> None:
    axes = data.draw(st.permutations(range(len(shape))))[: data.draw(st.integers(0, len(shape)))]
    signed = tuple(a - len(shape) if data.draw(st.booleans()) else a for a in axes)
    n = int(np.prod([shape[a] for a in axes]))
    if op is ng.std and n < 2:
        op = ng.sum  # the spread of one number is a kink
    check(op, draw(seed, shape, data.draw(st.integers(0, 2))), axis=signed, keepdims=keepdims)


@few
@given(shapes, seeds, st.data())
def test_shapes(shape: tuple[int, ...], seed: int, data: DataObject) -> None:
    x = draw(seed, shape, data.draw(st.integers(0, 2)))
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    options: list[tuple[Op, dict[str, Any]]] = [
        (ng.transpose, {"axes": order}),
        (ng.reshape, {"shape": tuple(shape[i] for i in order)}),
        (ng.expand_dims, {"axis": axis}),
        (ng.squeeze, {}),
        (ng.broadcast_to, {"shape": (2, *shape)}),
        (ng.flip, {"axis": order[:1]}),
        (ng.getitem, {"index": (..., None)}),
    ]
    if shape:
        part = order[0] - len(shape)
        options += [
            (ng.roll, {"shift": data.draw(st.integers(-4, 4)), "axis": part}),
            (ng.repeat, {"repeats": data.draw(st.integers(1, 3)), "axis": part}),
            (ng.cumsum, {"axis": part}),
            (ng.pad, {"width": 1}),
            (ng.getitem, {"index": np.random.default_rng(seed).integers(-shape[0], shape[0], 4)}),
        ]
    op, chosen = data.draw(st.sampled_from(options))
    check(op, x, **chosen)


@few
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), shapes.filter(lambda s: len(s) < 3), seeds, st.data())
def test_matmul(n: int, k: int, m: int, batch: tuple[int, ...], seed: int, data: DataObject) -> None:
    def front() -> tuple[int, ...]:
        cut = data.draw(st.integers(0, len(batch)))
        return tuple(1 if data.draw(st.booleans()) else size for size in batch[cut:])

    a = (k,) if data.draw(st.booleans()) else (*front(), n, k)
    b = (k,) if data.draw(st.booleans()) else (*front(), k, m)
    check(ng.matmul, draw(seed, a, data.draw(st.integers(0, 2))), draw(seed + 1, b, data.draw(st.integers(0, 2))))
