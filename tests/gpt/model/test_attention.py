"""MultiHeadAttention: one head by hand, then many heads against a loop over heads."""

import math
from typing import Any

import numpy as np
import pytest

from gpt.model import MultiHeadAttention
from nanograd._tensor import Tensor
from nanograd.check.gradcheck import gradcheck
from nanograd.nn import Parameter
from nanograd.ops.rope import rope_frequencies
from nanograd.seeds import DROPOUT, seeds


def small(**options: object) -> MultiHeadAttention:
    """Return two heads of three features in float64, with no bias left at 0."""
    attn = MultiHeadAttention(6, 2, rng=np.random.default_rng(1), **options).astype(np.float64)  # type: ignore[arg-type]
    rng = np.random.default_rng(2)
    for p in attn.parameters():
        p.copy_(rng.standard_normal(p.shape) * 0.5)
    return attn


def draw(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def rotate(x: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Rotate x (T, D) by position · frequency as complex numbers, whose real parts are its first half."""
    T, D = x.shape
    z = x[:, : D // 2] + 1j * x[:, D // 2 :]
    z = z * np.exp(1j * np.outer(np.arange(T), frequencies))
    return np.concatenate([z.real, z.imag], axis=1)


def by_head(attn: MultiHeadAttention, x: np.ndarray, sees: np.ndarray) -> np.ndarray:
    """Compute x (T, C) → (T, C) one head after the other; sees (T, T) is True where row t may attend to column s."""
    H, K, D = attn.n_heads, attn.n_kv_heads, attn.head_dim
    weights = attn.state_dict()
    w, b = weights["w_qkv.weight"], weights["w_qkv.bias"]
    outputs = []
    for h in range(H):
        shared = h // (H // K)  # neighbouring query heads share a key head
        rows = (h * D, (H + shared) * D, (H + K + shared) * D)
        q, k, v = (x @ w[at : at + D].T + b[at : at + D] for at in rows)
        if attn.q_norm is not None:
            q = q / np.sqrt((q**2).mean(axis=1, keepdims=True) + 1e-5) * weights["q_norm.weight"]
            k = k / np.sqrt((k**2).mean(axis=1, keepdims=True) + 1e-5) * weights["k_norm.weight"]
        if attn.rope_frequencies is not None:
            q, k = rotate(q, attn.rope_frequencies), rotate(k, attn.rope_frequencies)
        p = np.where(sees, np.exp(q @ k.T / math.sqrt(D)), 0)
        outputs.append(p / p.sum(axis=1, keepdims=True) @ v)
    return np.concatenate(outputs, axis=1) @ weights["out_proj.weight"].T + weights["out_proj.bias"]


def values(attn: MultiHeadAttention, x: np.ndarray) -> np.ndarray:
    """Return the values of x (B, T, C), and make out_proj the identity."""
    weights = attn.state_dict()
    weights["out_proj.weight"][:] = np.eye(x.shape[-1])
    weights["out_proj.bias"][:] = 0
    return x @ weights["w_qkv.weight"][-x.shape[-1] :].T + weights["w_qkv.bias"][-x.shape[-1] :]


def test_one_head_of_one_feature_by_hand() -> None:
    attn = MultiHeadAttention(1, 1, bias=False)
    attn.w_qkv.weight.copy_(np.array([[math.log(3)], [1], [10]]))  # q = x ln 3, k = x, v = 10 x
    attn.out_proj.weight.copy_(2)
    x = Tensor([[[1.0], [2.0]]])
    # Token 0 sees itself: 10. Token 1 scores 2 ln 3 and 4 ln 3, so P = 9/90 and 81/90: 0.1 · 10 + 0.9 · 20 = 19.
    np.testing.assert_allclose(attn(x).data, [[[20], [38]]], rtol=1e-6)
    attn.causal = False
    # Now token 0 scores ln 3 and 2 ln 3, so P = 3/12 and 9/12: 0.25 · 10 + 0.75 · 20 = 17.5.
    np.testing.assert_allclose(attn(x).data, [[[35], [38]]], rtol=1e-6)


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one key head": {"n_kv_heads": 1},
    "wide heads": {"head_dim": 8},
    "rope": {"head_dim": 4, "rope_frequencies": rope_frequencies(4, 50.0)},
    "qk_norm": {"qk_norm": True},
    "all": {"n_kv_heads": 1, "head_dim": 4, "rope_frequencies": rope_frequencies(4, 50.0), "qk_norm": True},
}
EVERY_KIND = pytest.mark.parametrize("options", KINDS.values(), ids=list(KINDS))


@EVERY_KIND
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("T", [5, 70])  # short texts, where attention keeps P, and long ones, where it works in blocks
def test_all_heads_together_equal_one_head_after_the_other(T: int, causal: bool, options: dict[str, Any]) -> None:
    attn, x = small(causal=causal, **options), draw(2, T, 6)
    sees = np.tri(T, dtype=bool) if causal else np.ones((T, T), bool)
    expected = [by_head(attn, row, sees) for row in x]
    np.testing.assert_allclose(attn(Tensor(x)).data, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [1, 3, 64, 65, 100])
@pytest.mark.parametrize("T", [5, 140])  # of blocks of 64 queries, some begin within a window and some after it
def test_with_a_window_a_token_sees_itself_and_those_just_before_it(T: int, window: int) -> None:
    attn, x = small(window=window, **KINDS["all"]), draw(2, T, 6)
    sees = np.array([[t - window < s <= t for s in range(T)] for t in range(T)])
    np.testing.assert_allclose(attn(Tensor(x)).data, [by_head(attn, row, sees) for row in x], rtol=1e-12, atol=1e-12)


def test_a_head_changes_only_its_own_features_before_they_are_mixed() -> None:
    attn, x = small(), Tensor(draw(1, 4, 6))
    attn.out_proj.weight.copy_(np.eye(6))
    before = attn(x).data
    for row in (3, 6 + 3, 12 + 3):  # a row of head 1 among the queries, the keys, the values
        attn.w_qkv.weight.data[row] *= 2
        after = attn(x).data
        np.testing.assert_array_equal(after[..., :3], before[..., :3])
        assert np.abs(after[:, 1:, 3:] - before[:, 1:, 3:]).max() > 1e-3
        before = after


def test_the_last_rows_of_w_qkv_are_the_values() -> None:
    attn, x = small(), draw(1, 4, 6)
    attn.w_qkv.weight.data[:12] = 0  # equal scores, so each token gets the mean over the tokens it sees
    means = values(attn, x).cumsum(axis=1) / np.arange(1, 5)[:, None]
    np.testing.assert_allclose(attn(Tensor(x)).data, means, rtol=1e-12)


def test_a_mask_is_true_where_a_token_may_attend() -> None:
    attn, x = small(causal=False), draw(1, 3, 6)
    mask = np.array([[True, False, True], [True, True, False], [False, False, True]])
    np.testing.assert_allclose(attn(Tensor(x), mask).data[0], by_head(attn, x[0], mask), rtol=1e-12)
    attn.causal = True  # both rules hold: token 0 may no longer see token 2
    expected = by_head(attn, x[0], mask & np.tri(3, dtype=bool))
    np.testing.assert_allclose(attn(Tensor(x), mask).data[0], expected, rtol=1e-12)


def test_a_token_that_sees_nothing_gets_the_bias_of_out_proj() -> None:
    attn = small()
    mask = np.array([[True, True, True], [False, False, False], [True, True, True]])
    y = attn(Tensor(draw(1, 3, 6)), mask).data[0]
    bias = attn.state_dict()["out_proj.bias"]
    np.testing.assert_array_equal(y[1], bias)
    assert np.abs(y[2] - bias).max() > 1e-3


@EVERY_KIND
def test_gradients_of_the_input_and_of_all_parameters(options: dict[str, Any]) -> None:
    attn = small(**options)
    names = [name for name, _ in attn.named_parameters()]
    norms = ["q_norm.weight", "k_norm.weight"] if "qk_norm" in options else []
    assert names == ["w_qkv.weight", "w_qkv.bias", *norms, "out_proj.weight", "out_proj.bias"]

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        for name, weight in zip(names, weights, strict=True):
            layer, attribute = name.split(".")
            setattr(getattr(attn, layer), attribute, weight)
        return attn(x)

    gradcheck(function, draw(2, 3, 6), *[p.data for p in attn.parameters()], tolerance=1e-9)


def test_without_biases_there_are_two_parameters() -> None:
    attn = MultiHeadAttention(6, 2, bias=False)
    assert {name: p.shape for name, p in attn.named_parameters()} == {
        "w_qkv.weight": (18, 6),
        "out_proj.weight": (6, 6),
    }
    assert all(type(p) is Parameter for p in attn.parameters())


def test_dropout_acts_while_training_on_probabilities_and_on_the_output() -> None:
    attn, x = small(dropout=0.5), Tensor(draw(4, 8, 6))
    plain = small()(x).data
    np.testing.assert_array_equal(attn.eval()(x).data, plain)
    attn.train()
    with seeds(0, DROPOUT, 0):
        first = attn(x).data
    with seeds(0, DROPOUT, 0):
        np.testing.assert_array_equal(attn(x).data, first)
    with seeds(0, DROPOUT, 1):
        assert not np.array_equal(attn(x).data, first)
    silent = first == 0  # zeroed by the Dropout after out_proj
    assert 0.35 < silent.mean() < 0.65  # 192 draws: 4 standard deviations are 0.14
    # The first token attends to itself alone, with probability 1: its head gives 0 if that is dropped, else twice as much.
    attn.dropout.p, answers = 0.0, []
    np.testing.assert_array_equal(attn(x).data, plain)
    attn.dropout.p = 0.5
    v = values(attn, x.data)[:, 0]  # (B, C)
    for step in range(20):
        with seeds(0, DROPOUT, step):
            answers.append(attn(x).data[:, 0] / v)
    factors, counts = np.unique(np.round(answers, 6), return_counts=True)
    np.testing.assert_array_equal(factors, [0, 4])  # 2 by the probabilities and 2 by the output
    assert 0.15 < counts[1] / counts.sum() < 0.35


# Later variants


def test_a_shared_key_head_equals_a_repeated_one() -> None:
    shared, full = (
        small(n_kv_heads=1, head_dim=4, rope_frequencies=rope_frequencies(4, 50.0)),
        small(head_dim=4, rope_frequencies=rope_frequencies(4, 50.0)),
    )
    w, b = (shared.state_dict()[name] for name in ("w_qkv.weight", "w_qkv.bias"))
    repeated = [0, 1, 2, 2, 3, 3]  # of the heads in w: two of queries, one of keys, one of values
    full.load_state_dict(
        shared.state_dict()
        | {"w_qkv.weight": w.reshape(4, 4, 6)[repeated].reshape(24, 6), "w_qkv.bias": b.reshape(4, 4)[repeated].ravel()}
    )
    x, dy = draw(2, 5, 6), draw(2, 5, 6, seed=4)
    y, expected = shared(Tensor(x)), full(Tensor(x))
    np.testing.assert_allclose(y.data, expected.data, rtol=1e-12)
    y.backward(dy)
    expected.backward(dy)
    assert shared.w_qkv.weight.grad is not None
    assert full.w_qkv.weight.grad is not None
    dw = full.w_qkv.weight.grad.reshape(6, 4, 6)  # the gradient of a repeated row is the sum over its copies
    added = np.stack([dw[0], dw[1], dw[2] + dw[3], dw[4] + dw[5]]).reshape(16, 6)
    np.testing.assert_allclose(shared.w_qkv.weight.grad, added, rtol=1e-9, atol=1e-12)


def test_rope_by_hand() -> None:
    attn = MultiHeadAttention(2, 1, bias=False, rope_frequencies=rope_frequencies(2, 10000.0))
    attn.w_qkv.weight.copy_(np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]]))  # q = k = v = x
    attn.out_proj.weight.copy_(np.eye(2))
    x = np.array([[[2.0, 0.0], [2.0, 0.0]]])
    x[0, 0, 0] = 1.0
    # The one pair of features rotates by one radian per token. Token 1, (2, 0), meets (1, 0) one token behind it: the
    # score is 2 · 1 · cos 1 / √2, and with itself 2 · 2 / √2.
    near, own = math.exp(2 * math.cos(1) / math.sqrt(2)), math.exp(4 / math.sqrt(2))
    np.testing.assert_allclose(attn(Tensor(x)).data[0, 1], [(near + 2 * own) / (near + own), 0], rtol=1e-6, atol=1e-7)


def scores_of(attn: MultiHeadAttention, x: np.ndarray) -> np.ndarray:
    """Return the attention scores (H, T, T) of x (T, C)."""
    H, D = attn.n_heads, attn.head_dim
    heads = attn.apply_qk_norm_and_rope(attn.w_qkv(Tensor(x[None]))).data[0].reshape(len(x), -1, D).swapaxes(0, 1)
    return heads[:H] @ heads[H : 2 * H].swapaxes(1, 2)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_with_rope_a_score_depends_on_two_tokens_and_their_distance_alone(qk_norm: bool) -> None:
    attn, x = small(head_dim=4, rope_frequencies=rope_frequencies(4, 50.0), qk_norm=qk_norm), draw(4, 6)
    start = draw(3, 6, seed=5)
    alone, later = scores_of(attn, x), scores_of(attn, np.concatenate([start, x]))[:, 3:, 3:]
    np.testing.assert_allclose(later, alone, rtol=1e-9, atol=1e-12)
    apart = scores_of(attn, np.concatenate([x[:2], start, x[2:]]))[:, [0, 1, 5, 6]][..., [0, 1, 5, 6]]
    np.testing.assert_allclose(apart[:, :2, :2], alone[:, :2, :2], rtol=1e-9, atol=1e-12)
    assert np.abs(apart[:, 2:, :2] - alone[:, 2:, :2]).min() > 1e-4


def test_with_qk_norm_the_size_of_queries_and_keys_does_not_matter() -> None:
    attn, x = small(qk_norm=True, bias=False), draw(2, 5, 6)
    before = attn(Tensor(x)).data
    attn.w_qkv.weight.data[:12] *= 1e4  # queries and keys
    np.testing.assert_allclose(attn(Tensor(x)).data, before, rtol=1e-3)  # all but eps
    assert attn.q_norm is not None
    attn.q_norm.weight.data *= 2
    assert np.abs(attn(Tensor(x)).data - before).max() > 1e-2


def test_values_are_neither_normalised_nor_rotated() -> None:
    attn, x = small(head_dim=4, rope_frequencies=rope_frequencies(4, 50.0), qk_norm=True), draw(1, 5, 6)
    heads = attn.apply_qk_norm_and_rope(Tensor(x @ attn.w_qkv.weight.data.T)).data
    np.testing.assert_array_equal(heads[..., 16:], x @ attn.w_qkv.weight.data[16:].T)
    assert np.abs(heads[:, 1:, :16] - x[:, 1:] @ attn.w_qkv.weight.data[:16].T).min() > 1e-6


def test_n_heads_must_be_divisible_by_n_kv_heads() -> None:
    with pytest.raises(ValueError, match="n_heads must be divisible by n_kv_heads, got n_heads=4 and n_kv_heads=3"):
        MultiHeadAttention(8, 4, n_kv_heads=3)


def test_d_model_must_be_divisible() -> None:
    with pytest.raises(ValueError, match="d_model must be divisible by n_heads, got d_model=6 and n_heads=4"):
        MultiHeadAttention(6, 4)
    with pytest.raises(ValueError, match="n_heads=0"):
        MultiHeadAttention(6, 0)
