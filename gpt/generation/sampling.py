"""From the logits of the next token to the one that is drawn: each rule is one small function.

A rule takes logits (V,) in float64 and returns new ones, in which what may not be drawn is -∞; the likeliest token always
stays. `next_token_probabilities` applies them in this order, which is that of Hugging Face's transformers:

    penalise_repetition, divide_by_temperature, keep_top_k, keep_top_p, keep_min_p, softmax

So the penalty weighs what the model said, and each "keep" looks at the probabilities that those before it left.
"""

import math
from collections.abc import Iterable

import numpy as np

from nanograd.ops.softmax import softmax_array

HEAD = 256  # likeliest tokens that keep_top_p sorts at first; where they do not reach p, eight times as many, and so on


def penalise_repetition(logits: np.ndarray, seen: Iterable[int], penalty: float) -> np.ndarray:
    """Make each token that was seen less likely: a positive logit is divided by the penalty, a negative multiplied.

    Keskar et al. 2019 (CTRL, arXiv:1909.05858), section 4.1, who advise 1.2. There every logit is divided, which would
    favour what was seen where its logit is negative; multiplying those is what everybody does since. A token counts once,
    however often it was seen.

    >>> penalise_repetition(np.array([2.0, 2.0, -1.0, -1.0]), [0, 2], 2.0)
    array([ 1.,  2., -2., -1.])
    """
    ids = np.array(list(set(seen)), np.intp)
    penalised = logits.copy()
    z = logits[ids]
    penalised[ids] = np.where(z > 0, z / penalty, z * penalty)
    return penalised


def divide_by_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Sharpen (below 1) or flatten (above 1) the distribution: p^(1/temperature), made to add up to 1 again.

    The largest becomes 0, which changes no probability, and the others negative: a quotient that overflows is -∞, as it
    should be. At temperature 0 only the first largest stays.

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
    """Keep the k likeliest tokens (Fan et al. 2018, arXiv:1805.04833); of equals, those that come first.

    >>> keep_top_k(np.array([1.0, 3.0, 2.0, 2.0]), 2)
    array([-inf,   3.,   2., -inf])
    """
    return logits if k >= len(logits) else _only(logits, likeliest(logits, k)[:k])


def keep_top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest likeliest tokens that together reach p (Holtzman et al. 2020, arXiv:1904.09751), one at least.

    >>> keep_top_p(np.log([0.5, 0.25, 0.25]), 0.7).round(3)
    array([-0.693, -1.386,   -inf])
    """
    if p >= 1:
        return logits  # and not all but what rounding adds up to 1 without
    weights = np.exp(logits - logits.max())
    total = weights.sum()
    head = HEAD
    while True:
        order = likeliest(logits, head)
        reached = (weights[order] / total).cumsum()
        if reached[-1] >= p or len(order) < head:
            n = 1 + int(np.count_nonzero(reached[:-1] < p))
            return _only(logits, order[:n])
        head *= 8


def keep_min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the tokens that are at least p times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082).

    Where the model is sure few stay, where it is not many.

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
    """Turn the logits (V,) of the next token into the probabilities (V,), float64, that it is drawn with.

    seen are the ids that repetition_penalty holds against a token. Raises ValueError where a logit is NaN or infinite.

    >>> next_token_probabilities(np.log([0.5, 0.3, 0.2]), top_k=2).round(3)
    array([0.625, 0.375, 0.   ])
    """
    z = _finite(logits)
    if repetition_penalty is not None:
        z = penalise_repetition(z, seen, repetition_penalty)
    z = divide_by_temperature(z, temperature)
    left = None
    if top_k is not None and top_k < len(z):
        z = keep_top_k(z, top_k)
        left = np.flatnonzero(z > -np.inf)
        z = z[left]  # the rest need not look at all the others: of 50,257, with top_p, 0.4 ms instead of 1.4
    if top_p is not None:
        z = keep_top_p(z, top_p)
    if min_p is not None:
        z = keep_min_p(z, min_p)
    p = softmax_array(z)
    if left is None:
        return p
    everywhere = np.zeros(logits.shape)
    everywhere[left] = p
    return everywhere


def draw(probabilities: np.ndarray, u: float) -> int:
    """Return the token at u in [0, 1) of the cumulated probabilities: the first whose sum exceeds it.

    This is what `Generator.choice(p=…)` does with its next number, without looking at all probabilities again first.

    >>> [draw(np.array([0.25, 0.0, 0.75]), u) for u in (0.0, 0.2, 0.25, 0.99)]
    [0, 0, 2, 2]
    """
    reached = probabilities.cumsum()
    return int(reached.searchsorted(u * reached[-1], side="right"))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return ln p (…, V), float64, of logits (…, V); ValueError where one is NaN or infinite.

    >>> log_softmax(np.array([0.0, 0.0])).round(3)
    array([-0.693, -0.693])
    """
    z = _finite(logits)
    z -= z.max(axis=-1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return z


def likeliest(logits: np.ndarray, n: int) -> np.ndarray:
    """Return the ids of the n largest, or a few more, without those at -∞: the largest first, equals in their order.

    np.partition finds the n-th largest without sorting the rest: 0.05 ms of 50,257, where a sort takes 3.5. All that equal
    it are returned too, so that the first n are those that a stable sort of everything would put first.
    """
    least = np.partition(logits, -n)[-n] if n < len(logits) else -np.inf
    ids = np.flatnonzero((logits >= least) & (logits > -np.inf))
    return ids[np.argsort(-logits[ids], kind="stable")]


def _finite(logits: np.ndarray) -> np.ndarray:
    """Return logits (…, V) in float64; ValueError where there is NaN or ∞, or where a whole row is -∞."""
    z = logits.astype(np.float64)
    if not np.isfinite(z.max(axis=-1)).all():  # NaN and ∞ come out as the largest
        raise ValueError("the model's logits are not finite, its weights are lost; use an earlier checkpoint")
    return z


def _only(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return logits that are -∞ but for these ids."""
    kept = np.full_like(logits, -np.inf)
    kept[ids] = logits[ids]
    return kept
