"""cross_entropy: softmax and negative log-likelihood in one step."""

from typing import Any

import numpy as np

from nanograd.op import Op, as_float


def cross_entropy_forward(
    logits: np.ndarray, targets: np.ndarray, *, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[np.ndarray, Any]:
    """Score how little probability the logits give to the targets, in nats.

    logits (…, V) are scores before softmax, targets (…) integer classes. A target equal to `ignore_index` counts for
    nothing. reduction: "mean" over the N targets that count (0 where there is none), "sum", or "none" for one value a
    target.

    Per target t, with p = softmax(z) of its logits z:
    l = -ln p_t = ln Σ_k exp(z_k) - z_t                    (1)
    and over the targets that count:
    loss = Σ l / N                                         (2)

    Raises ValueError where shapes disagree or a target is no class.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"cross_entropy: reduction must be mean, sum or none, got {reduction!r}")
    classes = logits.shape[-1] if logits.ndim else 0
    z = as_float(logits).reshape(targets.size, classes) if logits.shape[:-1] == targets.shape and logits.ndim else None
    if z is None:
        raise ValueError(
            f"cross_entropy: targets must have the shape of logits without its last axis, got logits {logits.shape} "
            f"and targets {targets.shape}"
        )
    t = targets.reshape(-1)
    if t.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: targets must be integers, got {t.dtype}")
    valid = t != ignore_index
    if np.any(wrong := valid & ((t < 0) | (t >= classes))):
        raise ValueError(
            f"cross_entropy: targets must lie in [0, {classes}) or be ignore_index={ignore_index}, "
            f"got {t[wrong.argmax()]}"
        )
    t = np.where(valid, t, 0)
    rows = np.arange(t.size)
    with np.errstate(invalid="ignore"):  # ∞ - ∞ in a row that is ignored
        p = z - z.max(axis=-1, keepdims=True, initial=-np.inf)  # the shift cancels in (1) and keeps exp finite
    shifted_target = p[rows, t] if classes else np.zeros(t.size, z.dtype)
    np.exp(p, out=p)
    p[~valid] = 0  # what is ignored may hold anything, NaN too
    total = p.sum(axis=-1, keepdims=True)
    total[~valid] = 1
    losses = np.where(valid, np.log(total[:, 0]) - shifted_target, 0)  # (1)
    p /= total
    weight = valid.astype(z.dtype)  # how much each target's loss counts in y
    if reduction == "mean":
        weight /= max(int(valid.sum()), 1)
        y = losses @ weight  # (2)
    elif reduction == "sum":
        y = losses.sum()
    else:
        y = losses.reshape(targets.shape)
    return y, (p, t, weight, logits.shape)


def cross_entropy_backward(dy: np.ndarray, saved: Any, needs: Any = (True, False)) -> tuple[np.ndarray | None, None]:
    """Pull dy back through (2) and (1).
    The slope of the log-sum in (1) is softmax, that of -z_t is -1 at the target:
    dl/dz_k = p_k - 1[k = t]                               (3)
    Each target counts with weight w, by (2) 1/N or 0:
    dz_k = dy w (p_k - 1[k = t])                           (4)
    Check: each row of dz sums to zero; the target's entry alone has the other sign.
    """
    if not needs[0]:
        return None, None
    p, t, weight, shape = saved
    scale = (dy.reshape(-1) * weight)[:, None]
    dz = p * scale
    dz[np.arange(t.size), t] -= scale[:, 0]  # (4)
    return dz.reshape(shape), None


cross_entropy = Op(cross_entropy_forward, cross_entropy_backward, discrete=("targets",))
