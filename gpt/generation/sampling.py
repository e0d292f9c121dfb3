"""Choose the next token from the model's logits: each rule is one small function.

A rule takes logits (V,) in float64 and returns new ones, -∞ for tokens that may not be drawn; the most probable token
always remains. `next_token_probabilities` applies the rules in this order, that of Hugging Face's transformers:

    penalise_repetition, divide_by_temperature, keep_top_k, keep_top_p, keep_min_p, softmax

So the penalty applies to the model's own logits, and each "keep" to the probabilities that the rules before it left.
"""

import math
from collections.abc import Iterable

import numpy as np

from nanograd import ops
from nanograd.ops.softmax import softmax_array

ROUNDING = 1e-12  # 0.5 + 0.3 is less than 0.8 in float64: a sum that misses p by this much reaches it
TOP_P_CANDIDATES = 256  # tokens that keep_top_p sorts first; if they do not reach p, 8 times as many, and so on


def penalise_repetition(logits: np.ndarray, seen: Iterable[int], penalty: float) -> np.ndarray:
    """Make tokens seen before less probable: divide a positive logit by the penalty, multiply a negative one.

    Keskar et al. 2019 (CTRL, arXiv:1909.05858), section 4.1, who advise 1.2. They divide every logit, which would favour
    a seen token with a negative logit; later implementations multiply those. A token counts once, however often it was
    seen.

    >>> penalise_repetition(np.array([2.0, 2.0, -1.0, -1.0]), [0, 2], 2.0)
    array([ 1.,  2., -2., -1.])
    """
    ids = np.array(list(set(seen)), np.intp)
    penalised = logits.copy()
    z = logits[ids]
    penalised[ids] = np.where(z > 0, z / penalty, z * penalty)
    return penalised


def divide_by_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Sharpen (below 1) or flatten (above 1) the distribution: p^(1/temperature), normalised again.

    The largest logit is first subtracted from all, which changes no probability: the others become negative, and a
    quotient that overflows is -∞, as it should be. At temperature 0 only the first of the largest remains.

    >>> divide_by_temperature(np.array([1.0, 3.0, 3.0]), 0.5)
    array([-4.,  0.,  0.])
    >>> divide_by_temperature(np.array([1.0, 3.0, 3.0]), 0)
    array([-inf,   0., -inf])
    """
    if temperature == 0:
        return _only(logits, np.array([logits.argmax()])) - logits.max()
    shifted = logits - logits.max()
    with np.errstate(over="ignore"):
        shifted /= temperature
    return shifted


def keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep the k most probable tokens (Fan et al. 2018, arXiv:1805.04833); of equals, those that come first.

    >>> keep_top_k(np.array([1.0, 3.0, 2.0, 2.0]), 2)
    array([-inf,   3.,   2., -inf])
    """
    return logits if k >= len(logits) else _only(logits, top_k_ids(logits, k)[:k])


def keep_top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest most probable tokens that together reach p, at least one (Holtzman et al. 2020, arXiv:1904.09751).

    >>> keep_top_p(np.log([0.5, 0.25, 0.25]), 0.7).round(3)
    array([-0.693, -1.386,   -inf])
    """
    if p >= 1:
        return logits  # rounding could reach 1 before the last token
    weights = np.exp(logits - logits.max())
    total = weights.sum()
    k = TOP_P_CANDIDATES
    while True:
        ids = top_k_ids(logits, k)
        cumulative = (weights[ids] / total).cumsum()
        short = cumulative < p - ROUNDING
        if not short[-1] or len(ids) < k:
            n = 1 + int(np.count_nonzero(short[:-1]))
            return _only(logits, ids[:n])
        k *= 8


def keep_min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the tokens with at least p times the highest probability (Nguyen et al. 2024, arXiv:2407.01082).

    Few tokens remain when the model is sure, and many when it is not.

    >>> keep_min_p(np.log([0.5, 0.25, 0.125, 0.125]), 0.5).round(3)
    array([-0.693, -1.386,   -inf,   -inf])
    """
    if p <= 0:
        return logits
    return np.where(logits - logits.max() >= math.log(p), logits, -np.inf)


def next_token_probabilities(
    logits: np.ndarray,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seen: Iterable[int] = (),
) -> np.ndarray:
    """Turn the logits (V,) of the next token into the probabilities (V,), float64, to draw it with.

    repetition_penalty applies to the ids in `seen`. A logit may be -∞; raises ValueError for NaN, ∞, or -∞ alone.

    >>> next_token_probabilities(np.log([0.5, 0.3, 0.2]), top_k=2).round(3)
    array([0.625, 0.375, 0.   ])
    """
    z = _finite(logits)
    if repetition_penalty is not None:
        z = penalise_repetition(z, seen, repetition_penalty)
    z = divide_by_temperature(z, temperature)
    remaining = None
    if top_k is not None and top_k < len(z):
        z = keep_top_k(z, top_k)
        remaining = np.flatnonzero(z > -np.inf)
        z = z[remaining]  # the later rules see these alone: with top_p and 50,257 tokens, 0.4 ms instead of 1.4
    if top_p is not None:
        z = keep_top_p(z, top_p)
    if min_p is not None:
        z = keep_min_p(z, min_p)
    p = softmax_array(z)
    if remaining is None:
        return p
    probabilities = np.zeros(logits.shape)
    probabilities[remaining] = p
    return probabilities


def draw(probabilities: np.ndarray, u: float) -> int:
    """Return the first token whose cumulative probability exceeds u, a number in [0, 1).

    `Generator.choice(p=…)` does the same with its next number, but checks all probabilities first.

    >>> [draw(np.array([0.25, 0.0, 0.75]), u) for u in (0.0, 0.2, 0.25, 0.99)]
    [0, 0, 2, 2]
    """
    cumulative = probabilities.cumsum()
    return int(cumulative.searchsorted(u * cumulative[-1], side="right"))


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return ln p (…, V), float64, of logits (…, V). Raises ValueError for NaN, ∞ or a row of -∞ alone.

    >>> log_probabilities(np.array([0.0, 0.0])).round(3)
    array([-0.693, -0.693])
    """
    log_p: np.ndarray = ops.log_softmax(_finite(logits))
    return log_p


def top_k_ids(logits: np.ndarray, k: int) -> np.ndarray:
    """Return the ids of the k largest logits above -∞, the largest first; equal ones in the order of their ids.

    Every logit equal to the k-th is included, so there may be more than k; the first k are those of a stable sort.
    np.partition finds the k-th without sorting the rest: 0.4 ms for 50,257 logits, where a stable sort takes 7.
    """
    least = np.partition(logits, -k)[-k] if k < len(logits) else -np.inf
    ids = np.flatnonzero((logits >= least) & (logits > -np.inf))
    return ids[np.argsort(-logits[ids], kind="stable")]


def _finite(logits: np.ndarray) -> np.ndarray:
    """Return logits (…, V) in float64. Raises ValueError for NaN, ∞ or a row of -∞ alone."""
    z = logits.astype(np.float64)
    if not np.isfinite(z.max(axis=-1)).all():  # the largest is NaN or ∞ if any is
        raise ValueError("the model's logits are not finite, so its weights are damaged; use an earlier checkpoint")
    return z


def _only(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the logits of these ids, and -∞ for all others."""
    masked = np.full_like(logits, -np.inf)
    masked[ids] = logits[ids]
    return masked
