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
    """Score how little a policy prefers the chosen answers to the rejected ones, compared with a frozen reference.

    All four arrays have one shape, one entry a pair: ln π(answer | prompt) of the policy and of the reference, in nats. β
    says how dear it is to leave the reference. label_smoothing ε is the share of pairs that may be labelled the wrong way
    round (conservative DPO). reduction: "mean" over all n pairs (0 where there is none), "sum", or "none". (Rafailov et
    al. 2023, arXiv:2305.18290, equation 7.)

    A pair's margin is the difference of two implicit rewards, β times how much likelier than to the reference an answer is:
    m = β ((chosen - reference_chosen) - (rejected - reference_rejected))   (1)
    The pair costs -ln p with p = 1/(1 + exp(-m)), the probability that the chosen answer wins, and the other way round
    with share ε:
    l = (1 - ε) ln(1 + exp(-m)) + ε ln(1 + exp(m))         (2)
    loss = Σ l / n                                         (3)

    Raises ValueError where shapes disagree.
    """
    if not chosen.shape == rejected.shape == reference_chosen.shape == reference_rejected.shape:
        raise ValueError(
            "dpo: chosen, rejected, reference_chosen and reference_rejected must have one shape, one entry a pair, got "
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
    The slope of ln(1 + exp(m)), the cost of a pair that is the wrong way round, is the probability that chosen wins:
    p = exp(m) / (1 + exp(m)) = 1 / (1 + exp(-m))          (4)
    and that of ln(1 + exp(-m)) is minus the probability that it loses:
    -exp(-m) / (1 + exp(-m)) = -(1 - p)                    (5)
    Weigh the two as (2) does, and each pair as (3) does:
    dm = dy (ε p - (1 - ε) (1 - p)) / n                    (6)
    In (1) each answer moves m by β, up or down:
    dchosen = β dm                                         (7)
    drejected = -dchosen                                   (8)
    dreference_chosen = -dchosen                           (9)
    dreference_rejected = dchosen                          (10)
    Check: for ε = 0 a pair that is won for sure, p = 1, teaches nothing, and one that is lost for sure moves chosen by β.
    """
    m, n, beta, label_smoothing = saved
    dm = -(1 - label_smoothing) * sigmoid_array(-m)  # not 1 - p, which has no digits left where p is almost 1
    if label_smoothing:
        dm += label_smoothing * sigmoid_array(m)
    dm *= dy / n  # (6)
    dchosen = beta * dm  # (7)
    against = -dchosen if needs[1] or needs[2] else None  # (8), (9)
    return (
        dchosen if needs[0] else None,
        against if needs[1] else None,
        against if needs[2] else None,
        dchosen if needs[3] else None,  # (10)
    )


dpo = Op(dpo_forward, dpo_backward, promotes_to_float=True)
