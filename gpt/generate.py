"""Write text: turn logits into the next token, again and again."""

from collections.abc import Iterable, Iterator

import numpy as np

from gpt.config import SampleConfig
from gpt.model import GPT
from nanograd.op import no_grad
from nanograd.ops.softmax import softmax_array
from nanograd.seeds import SAMPLE, generator


def next_token_probabilities(
    logits: np.ndarray, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> np.ndarray:
    """Turn the logits (V,) of the next token into the probabilities (V,) it is drawn with.

    temperature divides the logits; 0 puts all probability on the first largest. top_k keeps the k likeliest tokens (Fan
    et al. 2018, arXiv:1805.04833), top_p the fewest likeliest that together reach p (Holtzman et al. 2020,
    arXiv:1904.09751); at least one is always kept.

    >>> next_token_probabilities(np.log([0.5, 0.3, 0.2]), top_k=2).round(3)
    array([0.625, 0.375, 0.   ])
    """
    logits = logits.astype(np.float64)
    if np.isnan(logits).any() or np.isposinf(logits).any():
        raise ValueError("generate: the model's logits are not finite, its weights are lost; use an earlier checkpoint")
    if temperature == 0:
        p = np.zeros_like(logits)
        p[logits.argmax()] = 1
        return p
    order = np.argsort(-logits, kind="stable")  # likeliest first, ties by id
    keep = np.ones(len(logits), bool)
    if top_k is not None:
        keep[top_k:] = False
    p = softmax_array((logits[order] - logits.max()) / temperature)
    if top_p is not None:
        p[~keep] = 0
        p /= p.sum()
        keep[1:] &= p.cumsum()[:-1] < top_p
    p[~keep] = 0
    p /= p.sum()
    result = np.empty_like(p)
    result[order] = p
    return result


def generate(model: GPT, ids: Iterable[int], config: SampleConfig, *, stop_id: int | None = None) -> Iterator[int]:
    """Yield up to max_new_tokens ids that continue `ids`, until stop_id comes. The model sees its last context_length.

    The n-th token is drawn from (seed, n): the same seed gives the same text.
    """
    context = list(ids)
    if not context:
        raise ValueError("generate: needs at least one token to continue")
    was_training = model.training
    model.eval()
    try:
        for n in range(config.max_new_tokens):
            with no_grad():
                logits = model(np.array([context[-model.config.context_length :]])).data[0, -1]
            p = next_token_probabilities(logits, temperature=config.temperature, top_k=config.top_k, top_p=config.top_p)
            chosen = int(generator(config.seed, SAMPLE, n).choice(len(p), p=p))
            if chosen == stop_id:
                return
            context.append(chosen)
            yield chosen
    finally:
        model.train(was_training)  # a sample in the middle of a run must not leave its dropout off
