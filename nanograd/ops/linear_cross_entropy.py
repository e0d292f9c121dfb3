"""linear_cross_entropy: the output projection of a language model and its loss in one op, in chunks of logits."""

from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._blocks import CACHED
from nanograd.ops.linear import linear_backward, linear_forward
from nanograd.ops.loss import check_rows, check_targets, cross_entropy_backward, cross_entropy_forward

LOGITS = 2**22  # entries of a chunk of logits: 16 MB in float32; if weight is larger, a chunk is as large as weight


def check_head(x: np.ndarray, weight: np.ndarray, reduction: str) -> None:
    """Raise if x and weight disagree, or if the loss would not be one number."""
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear_cross_entropy: x and weight must agree on the inner size, got x {x.shape} and weight {weight.shape}; "
            "weight is (V, C), one row per class"
        )
    if reduction not in ("mean", "sum"):
        raise ValueError(
            f"linear_cross_entropy: reduction must be mean or sum, got {reduction!r}; for one loss per target take "
            "cross_entropy(linear(x, weight), targets, reduction='none')"
        )


def linear_cross_entropy_forward(
    x: np.ndarray,
    weight: np.ndarray,
    targets: np.ndarray,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    needs: Needs = (True, True, False),
) -> tuple[np.ndarray, Any]:
    """Return the negative log-likelihood of the targets, in nats: x (…, C), weight (V, C), targets (…) → ().

    z = x weightᵀ                                          (1)
    loss = cross_entropy(z, targets)                       (2)

    Targets equal to ignore_index are ignored. reduction: "mean" over those that count, or "sum".
    """
    check_head(x, weight, reduction)
    z, saved_linear = linear_forward(x, weight, needs=(needs[0], needs[1], False))  # (1)
    loss, saved_loss = cross_entropy_forward(z, targets, ignore_index=ignore_index, reduction=reduction)  # (2)
    return loss, (saved_linear, saved_loss)


def linear_cross_entropy_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True, False)) -> Gradients:
    """Pull dy back through (2) and (1).
    Write p = softmax(z), q for 1 at the target and 0 elsewhere, and w for the weight of a target in the mean:
    dz = dy w ⊙ (p - q)                                    (3)
    dx = dz weight                                         (4)
    dweight = dzᵀ x                                        (5)
    Check: (3) is linear in dy, which is one number, so (4) and (5) can be computed before it, up to that factor.
    """
    saved_linear, saved_loss = saved
    dz, _ = cross_entropy_backward(dy, saved_loss)  # (3)
    assert dz is not None
    dx, dweight, _ = linear_backward(dz, saved_linear, (needs[0], needs[1], False))  # (4), (5)
    return dx, dweight, None


def linear_cross_entropy_forward_fast(
    x: np.ndarray,
    weight: np.ndarray,
    targets: np.ndarray,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    needs: Needs = (True, True, False),
    block: int | None = None,
) -> tuple[np.ndarray, Any]:
    """Process the tokens in chunks, and compute (4) and (5) for dy = 1 while a chunk's logits exist.

    A step holds one chunk of logits instead of logits, probabilities and their gradient: 16 MB, or as much as the weight
    if that is larger. `block` is the number of tokens in a chunk. (Hsu et al. 2024, arXiv:2410.10989, section 3.2.)
    Tokens whose target is ignored get no logits: of a conversation, only the tokens of its answers do.

    4096 tokens, 8192 classes: no faster (the products are the same), but it holds 16 MB instead of 400 MB.
    """
    check_head(x, weight, reduction)
    t, valid = check_targets((*x.shape[:-1], len(weight)), targets, ignore_index)
    shape, x = x.shape, x.reshape(t.size, x.shape[-1])
    counts = slice(None) if valid.all() else np.flatnonzero(valid)  # all rows, without a copy, or those that count
    x, t = x[counts], t[counts]
    w = np.full(t.size, 1 / max(t.size, 1) if reduction == "mean" else 1.0, x.dtype)
    dx = np.empty(x.shape, x.dtype) if needs[0] else None
    dweight = np.empty(weight.shape, x.dtype) if needs[1] else None
    if dweight is not None and t.size == 0:
        dweight[...] = 0
    losses = np.empty(t.size, x.dtype)
    # With C tokens a chunk is as large as dweight, which is read and written once per chunk.
    block = min(block or max(LOGITS // len(weight), x.shape[1], 1), max(t.size, 1))
    logits = np.empty((block, len(weight)), x.dtype)
    for i in range(0, t.size, block):
        chunk = slice(i, i + block)
        z = np.matmul(x[chunk], weight.T, out=logits[: t[chunk].size])  # (1)
        losses[chunk] = _losses_and_dz(z, t[chunk], w[chunk], with_dz=any(needs))  # (2), (3)
        if dx is not None:
            np.matmul(z, weight, out=dx[chunk])  # (4)
        if dweight is not None and i == 0:
            np.matmul(z.T, x[chunk], out=dweight)  # (5)
        elif dweight is not None:
            dweight += z.T @ x[chunk]
    if dx is not None and len(dx) < valid.size:
        dx, kept = np.zeros((valid.size, shape[-1]), dx.dtype), dx
        dx[counts] = kept
    return losses @ w, (None if dx is None else dx.reshape(shape), dweight)


def _losses_and_dz(z: np.ndarray, t: np.ndarray, w: np.ndarray, *, with_dz: bool) -> np.ndarray:
    """Return each target's loss, and replace the logits z (n, V) by (3) for dy = 1, a few rows at a time."""
    losses = np.empty(len(z), z.dtype)
    rows = max(1, CACHED // z.shape[1])
    for i in range(0, len(z), rows):
        chunk = slice(i, i + rows)
        p, target = z[chunk], t[chunk]
        row = np.arange(len(p))
        top = p.max(axis=1, keepdims=True)
        check_rows(top)
        p -= top
        target_logits = p[row, target]
        np.exp(p, out=p)
        total = p.sum(axis=1)
        losses[chunk] = np.log(total) - target_logits
        if with_dz:
            p *= (w[chunk] / total)[:, None]
            p[row, target] -= w[chunk]
    return losses


def linear_cross_entropy_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, True, False)) -> Gradients:
    """Multiply the gradients that forward computed for dy = 1 by dy."""
    dx, dweight = saved
    return dx * dy if needs[0] else None, dweight * dy if needs[1] else None, None


linear_cross_entropy = Op(
    linear_cross_entropy_forward,
    linear_cross_entropy_backward,
    fast=(linear_cross_entropy_forward_fast, linear_cross_entropy_backward_fast),
    nondifferentiable=("targets",),
    promotes_to_float=True,
)
