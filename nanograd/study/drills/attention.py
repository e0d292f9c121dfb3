"""Drills: attention, flash, and train, in which attention's backward trains a GPT."""

import math
from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal
from nanograd.study.drills.drill import Drill, Mutant


def attention_forward(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Any]:
    """Attend, every token to itself and earlier ones: S = scale q kᵀ, P = softmax(S), y = P v, with scale = 1/√D.

    q, k, v and y are (…, T, D), P is (…, T, T). S is -∞ where a key is later than the query, so P is 0 there.
    """
    scale = 1 / math.sqrt(q.shape[-1])
    s = scale * q @ np.swapaxes(k, -1, -2)  # (…, T, T)
    s = np.where(np.tri(s.shape[-1], dtype=bool), s, -np.inf)
    p = np.exp(s - s.max(axis=-1, keepdims=True, initial=-np.inf))
    p /= p.sum(axis=-1, keepdims=True)
    return p @ v, (q, k, v, p, scale)


def attention_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A matrix product, a softmax, a matrix product: three backwards in a row."""
    q, k, v, p, scale = saved
    dv = np.swapaxes(p, -1, -2) @ dy
    dp = dy @ np.swapaxes(v, -1, -2)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))  # 0 where p is: no future
    return scale * ds @ k, scale * np.swapaxes(ds, -1, -2) @ q, dv


_QKV = [
    case("two leading axes", normal(2, 2, 3, 2), normal(2, 2, 3, 2), normal(2, 2, 3, 2)),
    case("as many tokens as features", normal(3, 3), normal(3, 3), normal(3, 3)),
    case("one token", normal(1, 2), normal(1, 2), normal(1, 2)),
    case("no batch", normal(0, 2, 3), normal(0, 2, 3), normal(0, 2, 3)),
]
_SHARP = [case("sharp looks", exactly([[60.0, 0.0], [0.0, 60.0], [60.0, 60.0]]), normal(3, 2), normal(3, 2))]
_STEEP = Mutant("√D again", "scale is 1/√D; this multiplies by √D", "scale * ds @ k", "ds @ k / scale")

ATTENTION = Drill(
    "attention",
    attention_forward,
    attention_backward,
    question="y = P v is a product, P = softmax(S) you have solved, S = scale q kᵀ is a product again. Walk back "
    "through the three. Does the causal mask need a line of its own?",
    hints=(
        "dv = Pᵀ dy: a value gets from every query as much as that looked at it. dP = dy vᵀ.",
        "dS = P (dP - Σ_keys P dP), row by row. Where P is 0, so is dS: the mask has done its work.",
        "dq = scale dS k, dk = scale dSᵀ q. Transpose the last two axes alone.",
    ),
    cases=[case("four tokens", normal(4, 3), normal(4, 3), normal(4, 3))],
    odd=_QKV,
    extremes=_SHARP,
    mutants=[
        Mutant("scale forgotten", "scale stands in S, so it stands in dq and dk", "scale * ds @ k", "ds @ k"),
        Mutant("softmax not pulled back", "S goes through softmax: dS is not dP",
               "p * (dp - (p * dp).sum(axis=-1, keepdims=True))", "dp"),
        Mutant("no row sum", "softmax's - Σ_keys P dP is missing", "(dp - (p * dp).sum(axis=-1, keepdims=True))", "dp"),
        Mutant("sum over queries", "the sum goes over keys, the last axis of P",
               "(p * dp).sum(axis=-1", "(p * dp).sum(axis=-2"),
        Mutant("dk turned", "dk = scale dSᵀ q: dS must be transposed", "np.swapaxes(ds, -1, -2) @ q", "ds @ q"),
        Mutant("dv turned", "dv = Pᵀ dy: P must be transposed", "np.swapaxes(p, -1, -2) @ dy", "p @ dy"),
        Mutant("future seen", "P outside the softmax lets dS be nonzero where a query may not look",
               "p * (dp -", "p * dp - ("),
        _STEEP,
    ],
)  # fmt: skip


def flash_forward(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, Any]:
    """Attend as `attention` does, and save one number a query instead of P: lse = ln Σ_keys exp(S).

    q, k, v and y are (…, T, D), lse is (…, T, 1).
    """
    s = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])  # (…, T, T), which is not kept
    s = np.where(np.tri(s.shape[-1], dtype=bool), s, -np.inf)
    top = s.max(axis=-1, keepdims=True, initial=-np.inf)
    lse = top + np.log(np.exp(s - top).sum(axis=-1, keepdims=True))
    y = np.exp(s - lse) @ v
    return y, (q, k, v, y, lse)


def flash_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make P again from S and lse. Its row sum needs no P: Σ_keys P dP = Σ_keys P (dy v) = dy y, the sum over D.

    (Dao et al. 2022, arXiv:2205.14135, algorithm 4; there in blocks, so that no (T, T) array is ever whole.)
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
    "flash",
    flash_forward,
    flash_backward,
    question="P was not saved. How is it made again from q, k and lse, without a maximum or a sum? And can the row sum "
    "Σ_keys P dP be had from dy and y alone?",
    hints=(
        "softmax is exp(S - ln Σ exp(S)): P = exp(S - lse), and 0 for keys later than the query.",
        "Σ_s P_ts dP_ts = Σ_s P_ts Σ_d dy_td v_sd: swap the sums, and Σ_s P_ts v_sd is y_td.",
        "row = (dy y) summed over D; dS = P (dy vᵀ - row); then dq, dk, dv as in `attention`.",
    ),
    cases=[case("four tokens", normal(4, 3), normal(4, 3), normal(4, 3))],
    odd=_QKV,
    extremes=_SHARP,
    mutants=[
        Mutant("lse not taken away", "P = exp(S - lse); exp(S) is not normalised", " - lse)", ")"),
        Mutant("no mask", "P is 0 for keys later than the query, and must be made so again",
               "p = np.where(np.tri(p.shape[-1], dtype=bool), p, 0)", "pass"),
        Mutant("no row sum", "softmax's - Σ_keys P dP, here dy y, is missing", " - row)", ")"),
        Mutant("row of v", "the row sum is of dy y, not of dy v", "(dy * y).sum", "(dy * v).sum"),
        Mutant("scale left out of S", "S holds the scale: P made without it is another P",
               "np.exp(scale * q @", "np.exp(q @"),
        Mutant("mask turned", "np.tri keeps keys up to the query; its transpose keeps the future",
               "np.tri(p.shape[-1], dtype=bool)", "np.tri(p.shape[-1], dtype=bool).T"),
        Mutant("dk turned", "dk = scale dSᵀ q: dS must be transposed", "np.swapaxes(ds, -1, -2) @ q", "ds @ q"),
        _STEEP,
    ],
)  # fmt: skip


def heads_forward(qkv: np.ndarray, *, n_heads: int) -> tuple[np.ndarray, Any]:
    """Attend with several heads: qkv (B, T, 3 C) → y (B, T, C), where C = H D and H = n_heads.

    A token's row of qkv holds the queries of all heads, then their keys, then their values; its row of y what each head
    found, side by side. Within a head it is `attention`. Saved are q, k, v (B, H, T, D), P (B, H, T, T) and the scale.
    """
    B, T, width = qkv.shape
    q, k, v = qkv.reshape(B, T, 3, n_heads, width // (3 * n_heads)).transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each
    y, saved = attention_forward(q, k, v)
    return y.transpose(0, 2, 1, 3).reshape(B, T, width // 3), saved


def heads_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Cut dy into heads, pull each back, and lay the parts where they came from."""
    q, k, v, p, scale = saved
    B, H, T, D = q.shape
    dy = dy.reshape(B, T, H, D).transpose(0, 2, 1, 3)  # (B, H, T, D)
    dp = dy @ np.swapaxes(v, -1, -2)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
    dq, dk, dv = scale * ds @ k, scale * np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p, -1, -2) @ dy
    return (np.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * H * D),)


TRAIN = Drill(
    "train",
    heads_forward,
    heads_backward,
    imports="from nanograd.study.drills.attention import attention_forward",
    question="The last one: multi-head attention as it stands in the GPT. When it is right, a small GPT with your "
    "backward in both its blocks is trained on the documentation of Python, beside one with the reference's: "
    "the losses must fall alike. Bring your solution of `attention`; what is new is where the numbers lie.",
    hints=(
        "Undo the forward from its end: y was transposed (0, 2, 1, 3) and reshaped; dy is reshaped to (B, T, H, D) first.",
        "Within the heads it is attention's backward on (B, H, T, D), which gives dq, dk and dv of that shape.",
        "np.stack([dq, dk, dv]) is (3, B, H, T, D); bring it to (B, T, 3, H, D), then to (B, T, 3 H D).",
    ),
    cases=[case("two heads", normal(2, 3, 12), n_heads=2)],
    odd=[
        case("one head", normal(1, 4, 6), n_heads=1),
        case("heads as many as tokens", normal(2, 2, 12), n_heads=2),
        case("heads of one feature", normal(1, 3, 9), n_heads=3),
        case("no batch", normal(0, 3, 6), n_heads=1),
    ],
    extremes=[case("sharp looks", exactly([[[60.0, 0, 1, 2, 1, 0], [0, 60.0, 2, 0, 0, 1]]]), n_heads=1)],
    trains=True,
    mutants=[
        Mutant("heads mixed", "dy is (B, T, H D): reshape first, then move the heads",
               "dy.reshape(B, T, H, D).transpose(0, 2, 1, 3)", "dy.reshape(B, H, T, D)"),
        Mutant("order of q, k, v", "qkv holds queries, then keys, then values",
               "np.stack([dq, dk, dv])", "np.stack([dk, dq, dv])"),
        Mutant("laid out by heads", "a row is all of q, then all of k, then all of v; this goes head by head",
               ".transpose(1, 3, 0, 2, 4)", ".transpose(1, 3, 2, 0, 4)"),
        Mutant("scale forgotten", "scale stands in S, so it stands in dq and dk",
               "scale * ds @ k, scale *", "ds @ k, "),
        Mutant("no row sum", "softmax's - Σ_keys P dP is missing", "(dp - (p * dp).sum(axis=-1, keepdims=True))", "dp"),
        Mutant("values alone", "q and k were taken for constants: nothing teaches where to look",
               "np.stack([dq, dk, dv])", "np.stack([0 * dq, 0 * dk, dv])"),
        Mutant("reshaped only", "numbers must be moved before the shape is read otherwise",
               ".transpose(1, 3, 0, 2, 4)", ""),
    ],
)  # fmt: skip
