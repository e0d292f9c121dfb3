"""packed_attention: short contexts keep P, long ones go in blocks, to the same numbers."""

from typing import Any

import numpy as np
import pytest

from nanograd import ops, readable
from nanograd._tensor import Tensor
from nanograd.ops.packed_attention import SHORT


def test_one_head_is_attention() -> None:
    qkv = np.random.default_rng(0).standard_normal((2, 3, 12))
    q, k, v = np.split(qkv, 3, axis=-1)
    np.testing.assert_allclose(
        ops.packed_attention(qkv, n_heads=1, causal=True), ops.attention(q, k, v, causal=True), rtol=1e-12
    )


@pytest.mark.parametrize("T", [SHORT - 1, SHORT, SHORT + 1, 2 * SHORT + 5])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("window", [None, 1, 30, SHORT + 1])
@pytest.mark.parametrize("share", [0, 0.02, 0.2])
def test_on_both_sides_of_short(T: int, dropout: float, window: int | None, share: float) -> None:
    """`share` of the tokens begin a segment."""
    rng = np.random.default_rng(T)
    segments = np.cumsum(rng.random((2, T)) < share, axis=1) if share else None
    qkv, dy = rng.standard_normal((2, T, 2 * 3 * 4)), rng.standard_normal((2, T, 2 * 4))

    def run() -> tuple[np.ndarray, np.ndarray | None]:
        x = Tensor(qkv, requires_grad=True)
        y = ops.packed_attention(x, n_heads=2, causal=True, window=window, segments=segments, dropout=dropout, seed=7)
        y.backward(dy)
        return y.data, x.grad

    found = run()
    with readable():
        expected = run()
    for fast, slow in zip(found, expected, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 12), {"n_heads": 5}, r"qkv must be .* got \(2, 3, 12\) for 5 heads and 5 key heads"),
        ((2, 3, 12), {"n_heads": 3, "n_kv_heads": 2}, "n_heads must be a multiple of n_kv_heads, got 3 and 2"),
        ((12,), {"n_heads": 1}, "qkv must be"),
        ((2, 3, 12), {"n_heads": 2, "causal": True, "segments": [0, 0, 1]}, r"segments must be \(2, 3\).* got \(3,\)"),
        (
            (2, 70, 12),
            {"n_heads": 2, "causal": True, "segments": [0] * 70},
            r"segments must be \(2, 70\).* got \(70,\)",
        ),
    ],
)
def test_refusals(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.packed_attention(np.zeros(shape), **options)
