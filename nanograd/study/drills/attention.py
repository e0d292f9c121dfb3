"""Drills: attention, flash, block (a whole transformer block), and train, in which multi-head attention trains a GPT."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd.check.cases.case import Make, case, exactly, normal
from nanograd.ops.normalization import layernorm_backward, layernorm_forward
from nanograd.study.drills.drill import Drill, Mutant


def attention_forward(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Any]:
    """Causal attention: S = scale q kᵀ, P = softmax(S), y = P v, with scale = 1/√D.

    q, k, v and y are (…, T, D), P is (…, T, T). S is -∞ where a key is later than the query, so P is 0 there.
    """
    scale = 1 / math.sqrt(q.shape[-1])
    s = scale * q @ np.swapaxes(k, -1, -2)  # (…, T, T)
    s = np.where(np.tri(s.shape[-1], dtype=bool), s, -np.inf)
    p = np.exp(s - s.max(axis=-1, keepdims=True, initial=-np.inf))
    p /= p.sum(axis=-1, keepdims=True)
    return p @ v, (q, k, v, p, scale)


def attention_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Go back through a matrix product, a softmax and a matrix product."""
    q, k, v, p, scale = saved
    dv = np.swapaxes(p, -1, -2) @ dy
    dp = dy @ np.swapaxes(v, -1, -2)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))  # 0 where p is 0: later keys
    return scale * ds @ k, scale * np.swapaxes(ds, -1, -2) @ q, dv


_ODD_SHAPES = [
    case("two leading axes", normal(2, 2, 3, 2), normal(2, 2, 3, 2), normal(2, 2, 3, 2)),
    case("as many tokens as features", normal(3, 3), normal(3, 3), normal(3, 3)),
    case("one token", normal(1, 2), normal(1, 2), normal(1, 2)),
    case("no batch", normal(0, 2, 3), normal(0, 2, 3), normal(0, 2, 3)),
]
_NEARLY_ONE_HOT = [case("nearly one-hot", exactly([[60.0, 0], [0, 60], [60, 60]]), normal(3, 2), normal(3, 2))]
_DQ_DK = "scale * ds @ k, scale * np.swapaxes(ds, -1, -2) @ q"
_SCALE_FORGOTTEN = Mutant("scale forgotten", "S has the factor scale = 1/√D, so dq and dk have it too",
                          _DQ_DK, "ds @ k, np.swapaxes(ds, -1, -2) @ q")  # fmt: skip
_INVERSE_SCALE = Mutant("√D again", "S was multiplied by scale = 1/√D: multiply by it again, do not divide by it",
                        _DQ_DK, "ds @ k / scale, np.swapaxes(ds, -1, -2) @ q / scale")  # fmt: skip
_ELEMENTWISE = "p (1 - p) is only the diagonal of the Jacobian of softmax: a score changes every probability of its row"
_SIZES: dict[str, Callable[..., float]] = {
    "√D": lambda q, k, v: math.sqrt(q.shape[-1]), "D": lambda q, k, v: q.shape[-1], "T": lambda q, k, v: q.shape[-2]
}  # fmt: skip

ATTENTION = Drill(
    attention_forward, attention_backward,
    question="y = P v is a product, P = softmax(S) is solved already, S = scale q kᵀ is a product again. Go back "
    "through the three. Does the causal mask need a line of its own?",
    hints=(
        "Token 2 looks at tokens 0, 1 and 2. If v of token 0 changes, which rows of y change, and by how much?",
        "dv = Pᵀ dy: every query adds its dy, multiplied by its attention probability. dP = dy vᵀ.",
        "dS = P ⊙ (dP - Σ_keys P ⊙ dP), row by row. Where P is 0, so is dS: the mask needs no line.",
        "dq = scale dS k, dk = scale dSᵀ q. Transpose only the last two axes."),
    cases=[case("four tokens", normal(4, 3), normal(4, 3), normal(4, 3))],
    odd_shapes=_ODD_SHAPES,
    extreme_values=_NEARLY_ONE_HOT,
    mutants=[
        _SCALE_FORGOTTEN,
        Mutant("softmax skipped", "P is the softmax of S: dS is not dP",
               "p * (dp - (p * dp).sum(axis=-1, keepdims=True))", "dp"),
        Mutant("no row sum", "softmax's - Σ_keys P ⊙ dP is missing", "(dp - (p * dp).sum(axis=-1, keepdims=True))", "dp"),
        Mutant("softmax elementwise", _ELEMENTWISE, "(dp - (p * dp).sum(axis=-1, keepdims=True))", "dp * (1 - p)"),
        Mutant("sum over queries", "sum over keys, the last axis of P", "(p * dp).sum(axis=-1", "(p * dp).sum(axis=-2"),
        Mutant("dk without ᵀ", "dk = scale dSᵀ q: dS must be transposed", "np.swapaxes(ds, -1, -2) @ q", "ds @ q"),
        Mutant("dv without ᵀ", "dv = Pᵀ dy: P must be transposed", "np.swapaxes(p, -1, -2) @ dy", "p @ dy"),
        Mutant("later keys", "P must multiply the whole difference: dS is 0 for keys later than the query",
               "p * (dp -", "p * dp - ("),
        _INVERSE_SCALE],
    constants=_SIZES,
)  # fmt: skip


def flash_forward(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Any]:
    """Compute `attention`, but save one number per query instead of P: lse = ln Σ_keys exp(S).

    q, k, v and y are (…, T, D), lse is (…, T, 1).
    """
    s = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])  # (…, T, T), not saved
    s = np.where(np.tri(s.shape[-1], dtype=bool), s, -np.inf)
    top = s.max(axis=-1, keepdims=True, initial=-np.inf)
    lse = top + np.log(np.exp(s - top).sum(axis=-1, keepdims=True))
    y = np.exp(s - lse) @ v
    return y, (q, k, v, y, lse)


def flash_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recompute P from S and lse. The row sum needs no P: Σ_keys P ⊙ dP = Σ_keys P ⊙ (dy vᵀ) is dy ⊙ y, summed over D.

    (Dao et al. 2022, arXiv:2205.14135, algorithm 4, which works in blocks and never holds a whole (T, T) array.)
    """
    q, k, v, y, lse = saved
    scale = 1 / math.sqrt(q.shape[-1])
    p = np.exp(scale * q @ np.swapaxes(k, -1, -2) - lse)
    p = np.where(np.tri(p.shape[-1], dtype=bool), p, 0)
    dv = np.swapaxes(p, -1, -2) @ dy
    row = (dy * y).sum(axis=-1, keepdims=True)  # (…, T, 1)
    ds = p * (dy @ np.swapaxes(v, -1, -2) - row)
    return scale * ds @ k, scale * np.swapaxes(ds, -1, -2) @ q, dv


FLASH = Drill(
    flash_forward, flash_backward,
    question="P was not saved. How do you recompute it from q, k and lse, without a maximum or a sum? And how does the "
    "row sum Σ_keys P ⊙ dP follow from dy and y alone?",
    hints=(
        "If you know the logarithm of the sum of a row, can you find its probabilities without a sum?",
        "softmax is exp(S - ln Σ exp(S)): P = exp(S - lse), and 0 for keys later than the query.",
        "Σ_s P_ts dP_ts = Σ_s P_ts Σ_d dy_td v_sd. Swap the sums: Σ_s P_ts v_sd is y_td.",
        "row = dy ⊙ y, summed over D; dS = P ⊙ (dy vᵀ - row); then dq, dk, dv as in `attention`."),
    cases=[case("four tokens", normal(4, 3), normal(4, 3), normal(4, 3))],
    odd_shapes=_ODD_SHAPES,
    extreme_values=_NEARLY_ONE_HOT,
    mutants=[
        Mutant("lse not subtracted", "P = exp(S - lse); exp(S) is not normalised", " - lse)", ")"),
        Mutant("no mask", "P is 0 for keys later than the query: apply the mask again",
               "p = np.where(np.tri(p.shape[-1], dtype=bool), p, 0)", "pass"),
        Mutant("no row sum", "softmax's - Σ_keys P ⊙ dP, here dy ⊙ y, is missing", " - row)", ")"),
        Mutant("softmax elementwise", _ELEMENTWISE,
               "(dy @ np.swapaxes(v, -1, -2) - row)", "(dy @ np.swapaxes(v, -1, -2)) * (1 - p)"),
        Mutant("row of v", "the row sum is over dy ⊙ y, not over dy ⊙ v", "(dy * y).sum", "(dy * v).sum"),
        Mutant("scale left out of S", "S has the factor scale: without it P is another P",
               "np.exp(scale * q @", "np.exp(q @"),
        Mutant("mask transposed", "np.tri keeps keys up to the query; its transpose keeps later ones",
               "np.tri(p.shape[-1], dtype=bool)", "np.tri(p.shape[-1], dtype=bool).T"),
        Mutant("dk without ᵀ", "dk = scale dSᵀ q: dS must be transposed", "np.swapaxes(ds, -1, -2) @ q", "ds @ q"),
        _SCALE_FORGOTTEN,
        _INVERSE_SCALE],
    constants=_SIZES,
    page="attention",
)  # fmt: skip


def block_forward(
    x: np.ndarray, w_qkv: np.ndarray, w_out: np.ndarray, w_up: np.ndarray, w_down: np.ndarray
) -> tuple[np.ndarray, Any]:
    """Self-attention, then an MLP; each is pre-normalised and added to the residual stream.

    h = x + attention(norm(x) w_qkvᵀ) w_outᵀ, y = h + relu(norm(h) w_upᵀ) w_downᵀ
    One head, no biases, norm is layernorm without weight. x, h and y (T, C); w_qkv (3 C, C), w_out (C, C), w_up (F, C),
    w_down (C, F).
    """
    T, C = x.shape
    n1, norm1 = layernorm_forward(x)
    q, k, v = np.split(n1 @ w_qkv.T, 3, axis=-1)  # (T, C) each
    s = np.where(np.tri(T, dtype=bool), q @ k.T / math.sqrt(C), -np.inf)
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)  # (T, T)
    a = p @ v
    h = x + a @ w_out.T
    n2, norm2 = layernorm_forward(h)
    u = np.maximum(n2 @ w_up.T, 0)  # (T, F)
    return h + u @ w_down.T, (n1, norm1, q, k, v, p, a, n2, norm2, u, w_qkv, w_out, w_up, w_down)


def block_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, ...]:
    """Go back through the MLP and attention; where the residual stream forks, two gradients add up."""
    n1, norm1, q, k, v, p, a, n2, norm2, u, w_qkv, w_out, w_up, w_down = saved
    du = dy @ w_down * (u > 0)  # through w_down and relu
    dh = dy + layernorm_backward(du @ w_up, norm2)[0]  # residual stream and MLP
    da = dh @ w_out
    dv = p.T @ da
    dp = da @ v.T
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True)) / math.sqrt(q.shape[-1])
    dqkv = np.concatenate([ds @ k, ds.T @ q, dv], axis=-1)  # (T, 3 C)
    dx = dh + layernorm_backward(dqkv @ w_qkv, norm1)[0]
    return dx, dqkv.T @ n1, dh.T @ a, du.T @ n2, dy.T @ u


def _weights(C: int, F: int) -> list[Make]:
    return [normal(3 * C, C), normal(C, C), normal(F, C), normal(C, F)]


BLOCK = Drill(
    block_forward, block_backward,
    imports="from nanograd.ops.normalization import layernorm_backward, layernorm_forward",
    question="Everything you have solved, in a row: linear, relu, layernorm, attention, and a residual stream that forks "
    "twice. Draw the graph, and write the gradient on every edge. An array that is used twice gets the sum of two "
    "gradients: which arrays are these? You may call layernorm_backward(dn, norm1)[0].",
    hints=(
        "From which array does an arrow go to two places? What do the two gradients that come back do?",
        "Name every gradient after its array: du, dn2, dh, da, dp, ds, dq, dk, dv, dqkv, dn1, dx. Check all shapes.",
        "y = h + …: dh is dy plus the gradient through norm2. h = x + …: dx is dh plus the gradient through norm1.",
        "dw of y = x wᵀ is dyᵀ x: dw_down = dyᵀ u, dw_up = duᵀ n2, dw_out = dhᵀ a, dw_qkv = dqkvᵀ n1."),
    cases=[case("three tokens", normal(3, 4), *_weights(4, 5))],
    odd_shapes=[
        case("as many tokens as features", normal(3, 3), *_weights(3, 3)),
        case("one token", normal(1, 3), *_weights(3, 2)),
        case("more tokens than features", normal(5, 2), *_weights(2, 4))],
    extreme_values=[case("a large residual stream", exactly([[1e4, -1e4, 0.0], [3e3, 1e3, 2e3]]), *_weights(3, 4))],
    mutants=[
        Mutant("first fork", "h is used twice, in y = h + … and in norm2: dy must be added",
               "dh = dy + layernorm", "dh = layernorm"),
        Mutant("second fork", "x is used twice, in h = x + … and in norm1: dh must be added",
               "dx = dh + layernorm", "dx = layernorm"),
        Mutant("residual only", "h goes through norm2 too: the gradient of the MLP branch is missing",
               "dh = dy + layernorm_backward(du @ w_up, norm2)[0]", "dh = dy"),
        Mutant("dy for dh", "w_out is applied before h is used again: its upstream gradient is dh, not dy",
               "da = dh @ w_out", "da = dy @ w_out"),
        Mutant("relu forgotten", "units whose input was negative have gradient 0", " * (u > 0)", ""),
        Mutant("norm1 forgotten", "dqkv w_qkv is the gradient of norm(x), not of x",
               "layernorm_backward(dqkv @ w_qkv, norm1)[0]", "dqkv @ w_qkv"),
        Mutant("scale forgotten", "S is divided by √C: so are dq and dk", " / math.sqrt(q.shape[-1])", ""),
        Mutant("√C again", "S was divided by √C: divide by it again, do not multiply by it",
               "/ math.sqrt(q.shape[-1])", "* math.sqrt(q.shape[-1])"),
        Mutant("softmax elementwise", _ELEMENTWISE, "(dp - (p * dp).sum(axis=-1, keepdims=True))", "dp * (1 - p)"),
        Mutant("no row sum", "softmax's - Σ_keys P ⊙ dP is missing", "(dp - (p * dp).sum(axis=-1, keepdims=True))", "dp"),
        Mutant("q and k swapped", "the rows of w_qkv are queries, keys, values: dq = dS k comes first",
               "[ds @ k, ds.T @ q, dv]", "[ds.T @ q, ds @ k, dv]"),
        Mutant("dw_out from dy", "w_out's gradient is dhᵀ a", "dh.T @ a", "dy.T @ a")],
    constants={
        "√C": lambda x, *_: math.sqrt(x.shape[-1]), "C": lambda x, *_: x.shape[-1], "T": lambda x, *_: x.shape[0]},
    page="attention",
)  # fmt: skip


def heads_forward(qkv: np.ndarray, *, n_heads: int) -> tuple[np.ndarray, Any]:
    """Multi-head causal attention: qkv (B, T, 3 C) → y (B, T, C), where C = H D and H = n_heads.

    A token's row of qkv holds the queries of all heads, then their keys, then their values. Its row of y holds the results
    of all heads, side by side. Every head computes `attention`. Saved are q, k, v (B, H, T, D), P (B, H, T, T) and scale.
    """
    B, T, width = qkv.shape
    q, k, v = qkv.reshape(B, T, 3, n_heads, width // (3 * n_heads)).transpose(2, 0, 3, 1, 4)  # three of (B, H, T, D)
    y, saved = attention_forward(q, k, v)
    return y.transpose(0, 2, 1, 3).reshape(B, T, width // 3), saved


def heads_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Split dy into heads, go back through attention, and put dq, dk and dv in the order of qkv."""
    q, k, v, p, scale = saved
    B, H, T, D = q.shape
    dy = dy.reshape(B, T, H, D).transpose(0, 2, 1, 3)  # (B, H, T, D)
    dp = dy @ np.swapaxes(v, -1, -2)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
    dq, dk, dv = scale * ds @ k, scale * np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p, -1, -2) @ dy
    return (np.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * H * D),)


TRAIN = Drill(
    heads_forward, heads_backward, name="train",
    imports="from nanograd.study.drills.attention import attention_forward",
    question="The last drill: multi-head attention as the GPT uses it. When it is right, a small GPT with your backward "
    "in both of its blocks is trained on the documentation of Python, and so is one with the reference: their "
    "losses must agree. Start from your solution of `attention`; only the layout of the arrays is new.",
    hints=(
        "In which order did the forward move the axes? In which order must they be moved back?",
        "Undo the forward from its end. y was transposed (0, 2, 1, 3), then reshaped: reshape dy to (B, T, H, D) first.",
        "Then it is the backward of attention on (B, H, T, D), which gives dq, dk and dv of that shape.",
        "np.stack([dq, dk, dv]) is (3, B, H, T, D); bring it to (B, T, 3, H, D), then to (B, T, 3 H D)."),
    cases=[case("two heads", normal(2, 3, 12), n_heads=2)],
    odd_shapes=[
        case("one head", normal(1, 4, 6), n_heads=1),
        case("as many heads as tokens", normal(2, 2, 12), n_heads=2),
        case("heads of one feature", normal(1, 3, 9), n_heads=3),
        case("no batch", normal(0, 3, 6), n_heads=1)],
    extreme_values=[case("nearly one-hot", exactly([[[60.0, 0, 1, 2, 1, 0], [0, 60.0, 2, 0, 0, 1]]]), n_heads=1)],
    trains=True,
    mutants=[
        Mutant("heads mixed", "dy is (B, T, H D): reshape first, then move the head axis",
               "dy.reshape(B, T, H, D).transpose(0, 2, 1, 3)", "dy.reshape(B, H, T, D)"),
        Mutant("order of q, k, v", "qkv holds queries, then keys, then values",
               "np.stack([dq, dk, dv])", "np.stack([dk, dq, dv])"),
        Mutant("ordered by heads", "a row is all of q, then all of k, then all of v; this is head by head",
               ".transpose(1, 3, 0, 2, 4)", ".transpose(1, 3, 2, 0, 4)"),
        Mutant("scale forgotten", "S has the factor scale, so dq and dk have it too",
               "scale * ds @ k, scale *", "ds @ k, "),
        Mutant("√D again", "S was multiplied by scale = 1/√D: multiply by it again, do not divide by it",
               "scale * ds @ k, scale *", "1 / scale * ds @ k, 1 / scale *"),
        Mutant("softmax elementwise", _ELEMENTWISE, "(dp - (p * dp).sum(axis=-1, keepdims=True))", "dp * (1 - p)"),
        Mutant("no row sum", "softmax's - Σ_keys P ⊙ dP is missing", "(dp - (p * dp).sum(axis=-1, keepdims=True))", "dp"),
        Mutant("values alone", "dq and dk are missing: attention would not learn",
               "np.stack([dq, dk, dv])", "np.stack([0 * dq, 0 * dk, dv])"),
        Mutant("reshaped only", "the axes must be transposed before the reshape", ".transpose(1, 3, 0, 2, 4)", "")],
    constants={
        "√D": lambda qkv, n_heads: math.sqrt(qkv.shape[-1] / (3 * n_heads)),
        "D": lambda qkv, n_heads: qkv.shape[-1] / (3 * n_heads),
        "H": lambda qkv, n_heads: n_heads,
        "T": lambda qkv, n_heads: qkv.shape[1]},
    page="packed_attention",
)  # fmt: skip
