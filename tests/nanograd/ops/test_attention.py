"""attention: who sees whom, and what comes back."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor
from nanograd.ops._attention_blocks import ROWS
from nanograd.ops.dropout import keep_mask

rng = np.random.default_rng(0)
Q, K, V = (rng.standard_normal((2, 4, 3)) for _ in range(3))


def test_by_hand() -> None:
    # one query, two keys: scores ln 1 and ln 3 with scale 1, so P = (1/4, 3/4) and y = 4/4 + 3·8/4
    q, k, v = (Tensor(np.array(a), requires_grad=True) for a in ([[1.0]], [[0.0], [math.log(3)]], [[4.0], [8.0]]))
    y = ng.attention(q, k, v, scale=1.0)
    np.testing.assert_allclose(y.data, [[7]])
    y.backward(np.array([[1.0]]))
    np.testing.assert_allclose(v.grad, [[1 / 4], [3 / 4]])  # Pᵀ dy
    # dP = (4, 8), Σ P dP = 7: dS = (1/4 · -3, 3/4 · 1)
    np.testing.assert_allclose(k.grad, [[-3 / 4], [3 / 4]])  # dSᵀ q
    np.testing.assert_allclose(q.grad, [[3 / 4 * math.log(3)]])  # dS k


def test_equal_scores_give_the_mean_of_the_values() -> None:
    y = ng.attention(np.zeros((4, 3)), K[0], V[0])
    np.testing.assert_allclose(y, np.broadcast_to(V[0].mean(axis=0), (4, 3)))


def test_causal_gives_the_mean_of_the_past() -> None:
    y = ng.attention(np.zeros((4, 3)), K[0], V[0], causal=True)
    for t in range(4):
        np.testing.assert_allclose(y[t], V[0, : t + 1].mean(axis=0))


def test_it_is_softmax_between_two_products() -> None:
    by_ops = ng.softmax(Q @ K.transpose(0, 2, 1) / math.sqrt(3)) @ V
    np.testing.assert_allclose(ng.attention(Q, K, V), by_ops)


def test_scale_is_one_over_the_root_of_the_head_size() -> None:
    np.testing.assert_array_equal(ng.attention(Q, K, V), ng.attention(Q, K, V, scale=1 / math.sqrt(3)))
    assert not np.allclose(ng.attention(Q, K, V), ng.attention(Q, K, V, scale=1.0))


def test_causal_equals_a_triangular_mask() -> None:
    triangle = np.tri(4, dtype=bool)
    np.testing.assert_array_equal(ng.attention(Q, K, V, causal=True), ng.attention(Q, K, V, triangle))


def test_a_window_equals_a_band_of_the_mask() -> None:
    band = np.tri(4, dtype=bool) & ~np.tri(4, k=-2, dtype=bool)
    np.testing.assert_array_equal(ng.attention(Q, K, V, causal=True, window=2), ng.attention(Q, K, V, band))
    np.testing.assert_array_equal(ng.attention(Q, K, V, causal=True, window=4), ng.attention(Q, K, V, causal=True))
    np.testing.assert_array_equal(ng.attention(Q, K, V, causal=True, window=1), V)


@pytest.mark.parametrize("window", [None, 2])
def test_segments_are_attended_to_apart(window: int | None) -> None:
    """Two sequences of segments of other lengths: each segment gives what it gives alone."""
    q, k, v = (rng.standard_normal((2, 3, 5, 4)) for _ in range(3))
    segments = np.array([[0, 0, 1, 1, 1], [2, 5, 5, 5, 7]])
    y = ng.attention(q, k, v, causal=True, window=window, segments=segments)
    for row in range(2):
        for segment in set(segments[row].tolist()):
            alone = [a[row][:, segments[row] == segment] for a in (q, k, v)]
            expected = ng.attention(*alone, causal=True, window=window)
            np.testing.assert_allclose(y[row][:, segments[row] == segment], expected, rtol=0, atol=1e-15)


def test_one_segment_is_none() -> None:
    np.testing.assert_array_equal(
        ng.attention(Q, K, V, causal=True, segments=[4] * 4), ng.attention(Q, K, V, causal=True)
    )


def test_blocks_of_keys_that_no_query_sees_are_skipped() -> None:
    """They hold NaN, which reaches every result that it is computed for."""
    q, k, v = rng.standard_normal((3, 1, 1, 2 * ROWS, 4))
    k[:, :, :ROWS] = v[:, :, :ROWS] = np.nan
    segments = np.arange(2 * ROWS)[None] // ROWS
    leaves = [Tensor(a, requires_grad=True) for a in (q, k, v)]
    y = ng.attention(*leaves, causal=True, segments=segments)
    y.backward(np.ones(y.shape))
    for leaf in (y.data, *(leaf.grad for leaf in leaves)):
        assert np.isfinite(leaf[:, :, ROWS:]).all()


@pytest.mark.parametrize("t", [0, 1, 2, 3])
def test_the_future_changes_nothing(t: int) -> None:
    k, v = K.copy(), V.copy()
    k[:, t + 1 :] = 1e3
    v[:, t + 1 :] = -1e3
    before, after = ng.attention(Q, K, V, causal=True), ng.attention(Q, k, v, causal=True)
    np.testing.assert_array_equal(before[:, : t + 1], after[:, : t + 1])


def test_keys_and_values_that_are_not_seen_get_no_gradient() -> None:
    k, v = Tensor(K, requires_grad=True), Tensor(V, requires_grad=True)
    y = ng.attention(Q, k, v, causal=True)
    y[:, 1].backward(rng.standard_normal((2, 3)))
    for leaf in (k, v):
        assert leaf.grad[:, :2].all()
        assert not leaf.grad[:, 2:].any()


def test_a_query_that_sees_nothing_gives_zeros_and_gets_zeros() -> None:
    mask = np.ones((4, 4), bool)
    mask[2] = False
    q = Tensor(Q, requires_grad=True)
    y = ng.attention(q, K, V, mask)
    np.testing.assert_array_equal(y.data[:, 2], 0)
    y.backward(rng.standard_normal((2, 4, 3)))
    np.testing.assert_array_equal(q.grad[:, 2], 0)
    assert q.grad[:, [0, 1, 3]].all()


def test_each_row_of_the_score_gradient_sums_to_zero() -> None:
    """Adding one vector to all keys adds one number to each score of a query: nothing changes."""
    k = Tensor(K, requires_grad=True)
    ng.attention(Q, k, V).backward(rng.standard_normal((2, 4, 3)))
    np.testing.assert_allclose(k.grad.sum(axis=1), 0, atol=1e-14)


def test_dropout_acts_on_the_probabilities() -> None:
    p = ng.softmax(Q @ K.transpose(0, 2, 1) / math.sqrt(3))
    z = keep_mask(p.shape, 0.5, 7, p.dtype)
    np.testing.assert_allclose(ng.attention(Q, K, V, dropout=0.5, seed=7), (p * z) @ V)
    np.testing.assert_array_equal(ng.attention(Q, K, V, dropout=0.0), ng.attention(Q, K, V))


def test_grouped_heads_are_repeated_heads() -> None:
    q, k, v = rng.standard_normal((2, 6, 4, 3)), rng.standard_normal((2, 2, 5, 3)), rng.standard_normal((2, 2, 5, 3))
    leaves = [Tensor(a, requires_grad=True) for a in (q, k, v)]
    apart = [Tensor(q, requires_grad=True), *(Tensor(a.repeat(3, axis=1), requires_grad=True) for a in (k, v))]
    y, dy = ng.attention(*leaves), rng.standard_normal((2, 6, 4, 3))
    np.testing.assert_array_equal(y.data, ng.attention(*apart).data)  # heads 0, 1, 2 share key head 0
    y.backward(dy)
    ng.attention(*apart).backward(dy)
    np.testing.assert_array_equal(leaves[0].grad, apart[0].grad)
    for shared, repeated in zip(leaves[1:], apart[1:], strict=True):
        np.testing.assert_allclose(shared.grad, repeated.grad.reshape(2, 2, 3, 5, 3).sum(axis=2))


@pytest.mark.parametrize(("q_heads", "k_heads"), [(4, 3), (2, 4), (2, 0)])
def test_query_heads_must_be_a_multiple(q_heads: int, k_heads: int) -> None:
    q, k = np.ones((q_heads, 2, 3)), np.ones((k_heads, 2, 3))
    with pytest.raises(ValueError, match=r"attention: .* q may have a multiple of their heads; got q \("):
        ng.attention(q, k, k)


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((Q, K[:1], V), {}, ValueError, r"must agree on …, D and N.* got q \(2, 4, 3\), k \(1, 4, 3\), v \(2, 4, 3\)"),
        ((Q, K[..., :2], V), {}, ValueError, r"must agree on …, D and N.* got .* k \(2, 4, 2\)"),
        ((Q, K, V[:, :3]), {}, ValueError, r"must agree on …, D and N.* got .* v \(2, 3, 3\)"),
        ((Q[0, 0], K[0], V[0]), {}, ValueError, r"must agree on …, D and N.* got q \(3,\)"),
        ((Q, K, V, np.ones((4, 4))), {}, TypeError, "mask must be boolean, True where a query may look, got float64"),
        ((Q, K, V, np.ones((4, 4), int)), {}, TypeError, "mask must be boolean"),
        (
            (Q, K, V),
            {"window": 3},
            ValueError,
            "window must be at least 1 and needs causal=True, got 3 and causal=False",
        ),
        ((Q, K, V), {"window": 0, "causal": True}, ValueError, "window must be at least 1"),
        ((Q, K, V), {"segments": [0, 0, 1, 1]}, ValueError, r"segments must be \(4,\).* need causal=True"),
        ((Q, K, V), {"segments": [[0] * 4] * 2, "causal": True}, ValueError, r"segments must be \(4,\).*got \(2, 4\)"),
        ((Q[:, :3], K, V), {"segments": [0] * 3, "causal": True}, ValueError, "as many keys as queries"),
        ((Q, K, V), {"segments": [0, 0.5, 1, 1], "causal": True}, TypeError, "segments must be integers, got float64"),
        ((Q, K, V), {"segments": [0, 1, 0, 1], "causal": True}, ValueError, "segments must not fall"),
        ((Q, K, V, np.ones((4, 3), bool)), {}, ValueError, r"must broadcast to the scores \(2, 4, 4\), got \(4, 3\)"),
        ((Q, K, V, np.ones((1, 2, 4, 4), bool)), {}, ValueError, r"must broadcast to the scores .*\(1, 2, 4, 4\)"),
        ((Q, K, V), {"dropout": 0.1}, ValueError, "dropout=0.1 needs a seed"),
        ((Q, K, V), {"casual": True}, TypeError, "unknown option casual; did you mean causal"),
    ],
)
def test_refusals(arrays: tuple[Any, ...], options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=f"attention: .*{message}"):
        ng.attention(*arrays, **options)


@pytest.mark.parametrize("scores", [1, 10, 40, 100])
@pytest.mark.parametrize("segments", [None, [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 0, 0, 2]]])
def test_groups_of_heads_change_nothing(
    scores: int, segments: list[list[int]] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever heads are computed together, the masks of dropout and the numbers are those of all at once."""
    rng = np.random.default_rng(0)
    q, dy = rng.standard_normal((3, 4, 5, 2)), rng.standard_normal((3, 4, 5, 2))
    k, v = rng.standard_normal((3, 2, 5, 2)), rng.standard_normal((3, 2, 5, 2))

    def run() -> list[np.ndarray | None]:
        leaves = [Tensor(array, requires_grad=True) for array in (q, k, v)]
        y = ng.attention(*leaves, causal=True, segments=segments, dropout=0.4, seed=3)
        y.backward(dy)
        return [y.data, *(leaf.grad for leaf in leaves)]

    monkeypatch.setattr("nanograd.ops._attention_blocks.SCORES", scores)
    fast = run()
    with ng.readable():
        readable = run()
    for a, b in zip(fast, readable, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_no_matrix_of_all_scores_is_kept(causal: bool) -> None:
    T = 1024
    q, k, v = (Tensor(np.ones((1, 1, T, 4), np.float32), requires_grad=True) for _ in range(3))
    tracemalloc.start()
    try:
        y = ng.attention(q, k, v, causal=causal)
        saved = tracemalloc.get_traced_memory()[0]
        y.backward(np.ones(y.shape, np.float32))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert saved < 0.05 * T * T * 4  # T × T in float32
    assert peak < 0.5 * T * T * 4


@pytest.mark.parametrize("pair", ["readable", "fast"])
def test_scores_of_minus_infinity_without_a_mask_give_zeros(pair: str) -> None:
    with ng.op.context(readable=pair == "readable"):
        y = ng.attention(np.ones((2, 1)), np.full((3, 1), -np.inf), np.ones((3, 1)))
    np.testing.assert_array_equal(y, np.zeros((2, 1)))
