"""cross_entropy, mse, dpo: losses, the number that training lowers."""

from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops.trig import sigmoid_array


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

    Raises ValueError if shapes disagree, a target is no class, or all logits of a target are -∞.
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
    check_rows(top)
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


def cross_entropy_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> Gradients:
    """Pull dy back through (3), (2) and (1).
    The derivative of the log-sum (1) is softmax:
    ∂s/∂z_k = exp(z_k) / Σ_j exp(z_j) = p_k                (4)
    so the derivative of (2) is
    ∂l/∂z_k = p_k (1 + 2 λ s) - q_k                        (5)
    Each target has a weight w: by (3) 1/N, and 0 if it is ignored:
    dz_k = dy w (p_k (1 + 2 λ s) - q_k)                    (6)
    Check: for λ = 0 each row of dz sums to zero; if also ε = 0, only the target's entry has the sign of -dy.
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


cross_entropy = Op(cross_entropy_forward, cross_entropy_backward, nondifferentiable=["targets"], promotes_to_float=True)


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
        first = t[wrong.argmax()]
        raise ValueError(f"cross_entropy: targets must lie in [0, {logits[-1]}) or be {ignore_index=}, got {first}")
    return np.where(valid, t, 0), valid


def check_rows(top: np.ndarray) -> None:
    """Raise if the largest logit of a row, in top (rows, 1), is -∞: then no class has a probability."""
    if np.isneginf(top).any():
        row = int(np.isneginf(top[:, 0]).argmax())
        raise ValueError(
            f"cross_entropy: all logits of row {row} are -∞, so no class has a probability; mask fewer classes, or ignore "
            "the target with ignore_index"
        )


def mse_forward(x: np.ndarray, target: np.ndarray, *, reduction: str = "mean") -> tuple[np.ndarray, Any]:
    """Measure how far x is from a target of the same shape; reduction: "mean" over all n entries, "sum" or "none".
    e = x - target                                         (1)
    y = Σ e² / n                                           (2)
    """
    if x.shape != target.shape:
        raise ValueError(f"mse: x and target must have one shape, got {x.shape} and {target.shape}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"mse: reduction must be mean, sum or none, got {reduction!r}")
    e = x - target  # (1)
    n = max(e.size, 1) if reduction == "mean" else 1
    y = e * e if reduction == "none" else (e * e).sum() / n  # (2)
    return y, (e, n)


def mse_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pull dy back through (2) and (1).
    dx = 2 e dy / n                                        (3)
    dtarget = -dx                                          (4)
    Check: zero where x equals the target.
    """
    e, n = saved
    dx = e * (dy * 2 / n)  # (3)
    return (dx if needs[0] else None), (-dx if needs[1] else None)  # (4)


mse = Op(mse_forward, mse_backward, promotes_to_float=True)


def dpo_forward(
    chosen: np.ndarray,
    rejected: np.ndarray,
    reference_chosen: np.ndarray,
    reference_rejected: np.ndarray,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[np.ndarray, Any]:
    """Compute the DPO loss of a policy: low if it prefers chosen to rejected answers more than a frozen reference does.

    All four arrays have one shape, one entry per pair: ln π(answer | prompt) of the policy and of the reference, in nats.
    The larger β, the more it costs to leave the reference. label_smoothing ε is the share of pairs that may be labelled
    wrongly (conservative DPO). reduction: "mean" over all n pairs (0 if there are none), "sum", or "none". (Rafailov et
    al. 2023, arXiv:2305.18290, equation 7.)

    A pair's margin is the difference of two implicit rewards, each β times the log-ratio of policy and reference:
    m = β ((chosen - reference_chosen) - (rejected - reference_rejected))   (1)
    The loss of a pair is -ln p, where p = 1/(1 + exp(-m)) is the probability that the chosen answer wins; the share ε of it
    is -ln (1 - p):
    l = (1 - ε) ln(1 + exp(-m)) + ε ln(1 + exp(m))         (2)
    loss = Σ l / n                                         (3)

    Raises ValueError if shapes disagree.
    """
    if not chosen.shape == rejected.shape == reference_chosen.shape == reference_rejected.shape:
        raise ValueError(
            "dpo: chosen, rejected, reference_chosen and reference_rejected must have one shape, one entry per pair, got "
            f"{chosen.shape}, {rejected.shape}, {reference_chosen.shape} and {reference_rejected.shape}"
        )
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"dpo: reduction must be mean, sum or none, got {reduction!r}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"dpo: label_smoothing must lie in [0, 1], got {label_smoothing}")
    m = ((chosen - reference_chosen) - (rejected - reference_rejected)) * beta  # (1)
    losses = np.logaddexp(0, -m)  # ln(1 + exp(-m)) without overflow
    if label_smoothing:
        losses = (1 - label_smoothing) * losses + label_smoothing * np.logaddexp(0, m)  # (2)
    n = max(m.size, 1) if reduction == "mean" else 1
    y = losses if reduction == "none" else losses.sum() / n  # (3)
    return y, (m, n, beta, label_smoothing)


def dpo_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True, True, True)) -> Gradients:
    """Pull dy back through (3), (2) and (1).
    The derivative of ln(1 + exp(m)), the loss of a pair that is labelled wrongly, is the probability that chosen wins:
    p = exp(m) / (1 + exp(m)) = 1 / (1 + exp(-m))          (4)
    The derivative of ln(1 + exp(-m)) is -exp(-m)/(1 + exp(-m)), minus the probability 1 - p that it loses. Combine the two
    as in (2):
    ∂l/∂m = ε p - (1 - ε) (1 - p)                          (5)
    By (3), each l has the coefficient 1/n:
    dm = dy (ε p - (1 - ε) (1 - p)) / n                    (6)
    By (1), the derivative of m by each input is β or -β:
    dchosen = β dm                                         (7)
    drejected = -dchosen                                   (8)
    dreference_chosen = -dchosen                           (9)
    dreference_rejected = dchosen                          (10)
    Check: for ε = 0, a pair with p = 1 has no gradient, and one with p = 0 has dchosen = -β dy / n.
    """
    m, n, beta, label_smoothing = saved
    dm = -(1 - label_smoothing) * sigmoid_array(-m)  # not 1 - p, which loses all digits if p is almost 1
    if label_smoothing:
        dm += label_smoothing * sigmoid_array(m)
    dm *= dy / n  # (6)
    dchosen = beta * dm  # (7)
    negative = -dchosen if needs[1] or needs[2] else None  # (8), (9)
    return (
        dchosen if needs[0] else None,
        negative if needs[1] else None,
        negative if needs[2] else None,
        dchosen if needs[3] else None,  # (10)
    )


dpo = Op(dpo_forward, dpo_backward, promotes_to_float=True)
