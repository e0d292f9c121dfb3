"""Drill: block, a whole transformer block; its forward and its backward are one function each."""

import math
from typing import Any

import numpy as np

from nanograd.check.cases.case import Make, case, exactly, normal
from nanograd.ops.layernorm import layernorm_backward, layernorm_forward
from nanograd.study.drills.drill import Drill, Mutant


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
    imports="from nanograd.ops.layernorm import layernorm_backward, layernorm_forward",
    question="Everything you have solved, in a row: linear, relu, layernorm, attention, and a residual stream that forks "
    "twice. Draw the graph, and write the gradient on every edge. An array that is used twice gets the sum of two "
    "gradients: which arrays are these? You may call layernorm_backward(dn, norm1)[0].",
    hints=(
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
        Mutant("q and k swapped", "the rows of w_qkv are queries, keys, values: dq = dS k comes first",
               "[ds @ k, ds.T @ q, dv]", "[ds.T @ q, ds @ k, dv]"),
        Mutant("dw_out from dy", "w_out's gradient is dhᵀ a", "dh.T @ a", "dy.T @ a")],
)  # fmt: skip
