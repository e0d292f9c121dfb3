"""Multiple choice by likelihood: the model chooses the continuation to which it gives the greatest probability.

Context and choice are tokenised together, as in a text (and as in the lm-evaluation-harness). What all choices share
is read once, and each choice continues the same key–value cache. White space at the end of the context counts as part of
the choice, since most tokenizers join it to the next word.

Two rules choose, as for HellaSwag: the largest sum of ln p (acc), and the largest sum divided by the bytes of the choice
without white space around it (acc_norm), because a longer text is less probable in itself. The harness divides by
characters, which for English is the same.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gpt.evaluation.score import score_targets
from gpt.evaluation.tasks import Item
from gpt.generation.decoder import Decoder, common_prefix
from gpt.generation.generate import start_ids
from gpt.model import GPT
from gpt.tokenizer import Tokenizer
from nanograd.nn import evaluating
from nanograd.op import no_grad


class Encoded(NamedTuple):
    """An item as ids: what all choices share, at least one token, the rest of each, and how many tokens were cut off."""

    shared: list[int]
    rests: list[list[int]]
    n_cut: int


@dataclass(frozen=True)
class Outcome:
    """What a model made of an item: the sum of ln p of each choice in nats, and its numbers of tokens.

    written  what greedy decoding writes in place of the first choice, up to the first token that differs; of no use
             where there is something to choose from
    """

    item: Item
    log_p: tuple[float, ...]
    n_tokens: tuple[int, ...]
    n_cut: int
    is_greedy: bool
    written: str

    @property
    def chosen(self) -> int:
        """The choice with the largest sum of ln p; of equals the first."""
        return int(np.argmax(self.log_p))

    @property
    def chosen_norm(self) -> int:
        """The choice with the largest ln p per byte."""
        lengths = [max(1, len(choice.strip().encode())) for choice in self.item.choices]
        return int(np.argmax(np.divide(self.log_p, lengths)))

    @property
    def acc(self) -> float:
        """1 if the right choice was made; of a completion, if greedy decoding writes it."""
        return float(self.is_greedy if self.item.is_completion else self.chosen == self.item.answer)

    @property
    def acc_norm(self) -> float:
        """`acc` by ln p per byte."""
        return self.acc if self.item.is_completion else float(self.chosen_norm == self.item.answer)

    @property
    def p_right(self) -> float:
        """The probability of the right answer: of a choice, divided by that of all choices together."""
        p = np.exp(np.array(self.log_p) - max(self.log_p))
        return math.exp(self.log_p[0]) if self.item.is_completion else float(p[self.item.answer] / p.sum())

    @property
    def uniform(self) -> float:
        """What a model is expected to score that gives all tokens the same probability: the fewest tokens win."""
        if self.item.is_completion:
            return 0.0
        shortest = [n == min(self.n_tokens) for n in self.n_tokens]
        return shortest[self.item.answer] / sum(shortest)


def encode_item(tokenizer: Tokenizer, item: Item, context_length: int) -> Encoded:
    """Return the ids of an item, cut from the left so that a model of that context length reads all but the last.

    Where a token spans the end of the context, the choices are scored from the last boundary that they share. An item
    without a context is predicted from the beginning of a text. Raises ValueError if the tokenizer lacks a character, or if
    a choice alone is longer than the context.
    """
    context = tokenizer.encode_data(item.context.rstrip())
    texts = [tokenizer.encode_data(item.context + choice) for choice in item.choices]
    n = min(*(common_prefix(context, ids) for ids in texts), *(len(ids) - 1 for ids in texts))
    prefix = tokenizer.prefix or start_ids(tokenizer)[-1:] * (n == 0)
    n_cut = max(0, len(prefix) + max(map(len, texts)) - (context_length + 1))
    if n_cut and n_cut > n - (not prefix):
        longest = max(map(len, texts)) - n
        raise ValueError(f"a choice of {longest} tokens does not fit into the context of {context_length}")
    return Encoded(prefix + texts[0][n_cut:n], [ids[n:] for ids in texts], n_cut)


@no_grad()
def score_item(model: GPT, tokenizer: Tokenizer, item: Item) -> Outcome:
    """Return what the model makes of an item. Memory is bounded: the cache of one text, and the logits of some tokens.

    Raises ValueError as `encode_item` does.
    """
    encoded = encode_item(tokenizer, item, model.config.context_length)
    *before, last = encoded.shared
    capacity = len(encoded.shared) + max(map(len, encoded.rests)) - 1
    log_p, best = [], np.zeros(0, np.intp)
    with evaluating(model):
        decoder = _begin(model, before, capacity)
        for rest in encoded.rests:
            if not decoder.cache.cut(len(before)):  # with a window, the choice before this one overwrote the context
                decoder = _begin(model, before, capacity)
            x = decoder.hidden_states(np.array([[last, *rest[:-1]]]))[0]  # (T, C)
            values, tokens = score_targets(x, model.lm_head_weight.data, np.array(rest))
            log_p.append(float(values.sum()))
            best = best if len(log_p) > 1 else tokens
    written = best[: common_prefix(best.tolist(), encoded.rests[0]) + 1].tolist()
    text = tokenizer.decode_bytes(id for id in written if id in tokenizer.vocab).decode("utf-8", "replace")
    counts = tuple(map(len, encoded.rests))
    return Outcome(item, tuple(log_p), counts, encoded.n_cut, written == encoded.rests[0], text)


def _begin(model: GPT, ids: Sequence[int], capacity: int) -> Decoder:
    """Return a decoder that has read ids (T,), or nothing."""
    decoder = Decoder(model, capacity=capacity)
    if ids:
        decoder.prefill(np.array([ids]))
    return decoder


def score_items(
    model: GPT, tokenizer: Tokenizer, items: Iterable[Item], skip: Callable[[Item, str], None]
) -> list[Outcome]:
    """Return what the model makes of the items; `skip` is called with those that it cannot be asked, and the reason."""
    outcomes = []
    for item in items:
        try:
            outcomes.append(score_item(model, tokenizer, item))
        except ValueError as error:
            skip(item, str(error))
    return outcomes


class Mean(NamedTuple):
    """A mean of n values and its standard error, which is NaN for a single value."""

    value: float
    error: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


def mean(values: Sequence[float]) -> Mean:
    """Return the mean of independent values and its standard error s/√n, with s² = Σ (v - mean)²/(n - 1).

    For values 0 and 1 with the mean p that is √(p (1 - p)/(n - 1)).

    >>> print(mean([1, 0, 1, 1, 0]))
    0.600 ± 0.245
    """
    n = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Mean(float(np.mean(values)), error, n)


def paired_difference(outcomes: Sequence[Outcome], others: Sequence[Outcome], measure: str) -> Mean | None:
    """Return the mean difference `others` - `outcomes` of a measure, such as "acc", over the items that both have.

    Its standard error is that of the differences: items that are hard for both models do not count twice. None if there
    is no common item.
    """
    first = {outcome.item.number: getattr(outcome, measure) for outcome in outcomes}
    differences = [
        getattr(outcome, measure) - first[outcome.item.number] for outcome in others if outcome.item.number in first
    ]
    return mean(differences) if differences else None
