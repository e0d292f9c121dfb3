"""embedding: look rows up in a table."""

from itertools import pairwise
from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op


def embedding_forward(weight: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, Any]:
    """Return the row of each id: weight (V, C), ids (…) of integers in [0, V) → (…, C).
    y_t = weight[ids_t]                                    (1)
    Raises ValueError if an id is outside the table.
    """
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (V, C), one row per id, got {weight.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids must be integers, got {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= len(weight)):
        raise ValueError(
            f"embedding: ids must lie in [0, {len(weight)}), the rows of weight {weight.shape}, got {ids.min()} to "
            f"{ids.max()}"
        )
    return weight[ids], (ids, weight.shape)


def embedding_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> Gradients:
    """Send each dy back to the row that was looked up.
    A row that several ids name appears in several outputs of (1); sum over them:
    dweight[v] = Σ_{t: ids_t = v} dy_t                     (2)
    Check: the entries of dweight and of dy have the same sum; a row never looked up gets exactly 0.
    """
    if not needs[0]:
        return None, None
    ids, shape = saved
    dweight = np.zeros(shape, dy.dtype)
    # (2); `dweight[ids] += dy` would keep only one gradient of each id
    np.add.at(dweight, ids.reshape(-1), dy.reshape(ids.size, shape[1]))
    return dweight, None


def embedding_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> Gradients:
    """Sort the ids, so that equal ones are adjacent, and sum each group at once.

    4096 ids of 8192, 512 features, two shards at once: 24 ms, readable 35 ms; most of it goes into the memory of dweight.
    """
    if not needs[0]:
        return None, None
    ids, shape = saved
    dweight = np.zeros(shape, dy.dtype)
    order = np.argsort(ids, axis=None)
    ids = ids.ravel()[order]
    rows = dy.reshape(ids.size, shape[1])[order]
    ends = [*np.flatnonzero(ids[1:] != ids[:-1]) + 1, ids.size]
    for start, end in pairwise([0, *ends] if ids.size else []):
        np.add.reduce(rows[start:end], out=dweight[ids[start]])  # (2)
    return dweight, None


embedding = Op(
    embedding_forward, embedding_backward, fast=(embedding_forward, embedding_backward_fast),
    nondifferentiable=("ids",), promotes_to_float=True,
)  # fmt: skip
