"""cross_entropy: softmax and negative log-likelihood in one step."""

from typing import Any

import numpy as np

from nanograd.op import Needs, Op


def cross_entropy_forward(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> tuple[np.ndarray, Any]:
    """Return the negative log-likelihood of the targets, in nats.

    logits (…, V) are scores before softmax, targets (…) integer classes. Targets equal to `ignore_index` are ignored.
    reduction: "mean" over the N targets that count (0 if there are none), "sum", or "none" for one value per target.
    label_smoothing ε takes that share of the target's probability and spreads it over all V classes (Szegedy et
    al. 2016, arXiv:1512.00567, section 7); z_loss λ keeps the log-sum near 0 (Chowdhery et al. 2022, arXiv:2204.02311,
    section 5).

    Per target t, with z its logits and q_k = (1 - ε) 1[k = t] + ε/V:
    s = ln Σ_k exp(z_k)                                    (1)
    l = s - Σ_k q_k z_k + λ s²                             (2)
    and over the targets that count:
    loss = Σ l / N                                         (3)

    Raises ValueError if shapes disagree or a target is no class.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"cross_entropy: reduction must be mean, sum or none, got {reduction!r}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie in [0, 1], got {label_smoothing}")
    t, valid = check_targets(logits.shape, targets, ignore_index)
    z = logits.reshape(t.size, -1) if t.size else logits.reshape(0, logits.shape[-1])  # (N, V)
    if not valid.all():
        z = np.where(valid[:, None], z, 0)  # ignored rows may hold anything, even NaN
    top = z.max(axis=-1, keepdims=True, initial=-np.inf)
    z = z - top  # the shift cancels in s - Σ q z, and keeps exp finite
    target_logits = z[np.arange(t.size), t]
    if label_smoothing:
        target_logits = (1 - label_smoothing) * target_logits + label_smoothing * z.mean(axis=-1)
    p = np.exp(z, out=z)
    total = p.sum(axis=-1, keepdims=True)
    p /= total
    s = np.log(total[:, 0])  # (1), minus the shift
    losses = s - target_logits
    s += top[:, 0]
    if z_loss:
        losses += z_loss * s * s
    losses *= valid  # (2)
    weight = valid.astype(p.dtype)  # of each target's loss in y
    if reduction == "mean":
        weight /= max(int(valid.sum()), 1)
        y = losses @ weight  # (3)
    else:
        y = losses.sum() if reduction == "sum" else losses.reshape(targets.shape)
    return y, (p, t, s if z_loss else None, weight, logits.shape, label_smoothing, z_loss)


def cross_entropy_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> tuple[np.ndarray | None, None]:
    """Pull dy back through (3), (2) and (1).
    The derivative of the log-sum (1) is softmax:
    ds/dz_k = exp(z_k) / Σ_j exp(z_j) = p_k                (4)
    so the derivative of (2) is
    dl/dz_k = p_k (1 + 2 λ s) - q_k                        (5)
    Each target has a weight w: by (3) 1/N, and 0 if it is ignored:
    dz_k = dy w (p_k (1 + 2 λ s) - q_k)                    (6)
    Check: for λ = 0 each row of dz sums to zero; for ε = 0 only the target's entry has the opposite sign.
    """
    if not needs[0]:
        return None, None
    p, t, s, weight, shape, label_smoothing, z_loss = saved
    w = dy.reshape(-1) * weight  # (N,)
    dz = p * (w if s is None else w * (1 + 2 * z_loss * s))[:, None]
    if label_smoothing:
        dz -= (w * (label_smoothing / shape[-1]))[:, None]
    dz[np.arange(t.size), t] -= w * (1 - label_smoothing)  # (6)
    return dz.reshape(shape), None


cross_entropy = Op(
    cross_entropy_forward, cross_entropy_backward, nondifferentiable=("targets",), promotes_to_float=True
)


def check_targets(logits: tuple[int, ...], targets: np.ndarray, ignore_index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets (N,), 0 where ignored, and which of them count; raise if they do not fit logits of this shape."""
    if not logits or logits[:-1] != targets.shape or logits[-1] == 0:
        raise ValueError(
            "cross_entropy: targets must have the shape of logits without its last axis, the classes, of which "
            f"there must be at least one; got logits {logits} and targets {targets.shape}"
        )
    if targets.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: targets must be integers, got {targets.dtype}")
    t = targets.reshape(-1)
    valid = t != ignore_index
    wrong = valid & ((t < 0) | (t >= logits[-1]))
    if wrong.any():
        raise ValueError(
            f"cross_entropy: targets must lie in [0, {logits[-1]}) or be ignore_index={ignore_index}, "
            f"got {t[wrong.argmax()]}"
        )
    return np.where(valid, t, 0), valid
