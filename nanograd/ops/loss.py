"""mse: the mean of squared differences."""

from typing import Any

import numpy as np

from nanograd.op import Needs, Op


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


def mse_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back through (2) and (1).
    dx = 2 e dy / n                                        (3)
    dtarget = -dx                                          (4)
    Check: zero where x equals the target.
    """
    e, n = saved
    dx = e * (dy * 2 / n)  # (3)
    return (dx if needs[0] else None), (-dx if needs[1] else None)  # (4)


mse = Op(mse_forward, mse_backward, promotes_to_float=True)
