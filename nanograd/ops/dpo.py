"""dpo: learn which of two answers is preferred, without a reward model."""

from typing import Any

import numpy as np

from nanograd.op import Needs, Op
from nanograd.ops.trig import sigmoid_array


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


def dpo_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True, True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back through (3), (2) and (1).
    The derivative of ln(1 + exp(m)), the loss of a pair that is labelled wrongly, is the probability that chosen wins:
    p = exp(m) / (1 + exp(m)) = 1 / (1 + exp(-m))          (4)
    The derivative of ln(1 + exp(-m)) is minus the probability that it loses:
    -exp(-m) / (1 + exp(-m)) = -(1 - p)                    (5)
    Combine the two as in (2), and divide by n as in (3):
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
