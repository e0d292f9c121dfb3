"""Write text: from the model's logits a token, with it new logits, again and again; and of the tokens whole characters."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gpt.config import SampleConfig
from gpt.generation.decoder import Decoder
from gpt.generation.sampling import draw, next_token_probabilities
from gpt.model import GPT
from gpt.tokenizer import Tokenizer
from nanograd.seeds import SAMPLE, generator


def generate(model: GPT, ids: Iterable[int], config: SampleConfig, *, stop_id: int | None = None) -> Iterator[int]:
    """Yield up to max_new_tokens ids that continue `ids`, until stop_id comes, which is not yielded.

    The n-th token is drawn from (seed, n): the same seed gives the same text. Of a prompt longer than the context the
    model sees the end. ValueError where there is nothing to continue, or the weights are lost.
    """
    return generate_samples(model, ids, config, 1, stop_id=stop_id)[0]


def generate_samples(
    model: GPT, ids: Iterable[int], config: SampleConfig, n: int, *, stop_id: int | None = None
) -> list[Iterator[int]]:
    """Return n iterators, each over the ids of its own continuation of `ids`; they are written side by side in a batch.

    The one that is asked for a token it does not have lets all take a step, and the others find theirs waiting. One that
    is closed, or let go, is not written on. Sample s draws its t-th token from (seed, t, s), and (seed, t, 0) is
    (seed, t): the first is what `generate` gives, as far as a batch's logits round like those of one row.
    """
    prompt = list(ids)
    if not prompt:
        raise ValueError("generate: needs at least one token to continue")
    going = set(range(n))
    waiting: list[deque[int]] = [deque() for _ in range(n)]
    steps = _steps(model, prompt, config, stop_id, going, waiting)
    return [_sample(row, steps, going, waiting) for row in range(n)]


def _steps(
    model: GPT, prompt: list[int], config: SampleConfig, stop_id: int | None, going: set[int], waiting: list[deque[int]]
) -> Iterator[bool]:
    """Draw a token for each sample that is going, and leave it where it waits; those that end leave `going`."""
    n, T = len(waiting), model.config.context_length
    seen = [set(prompt) for _ in range(n)]
    tokens = np.array(prompt[-1:] * n)
    for t in range(config.max_new_tokens):
        if t == 0:
            decoder = Decoder(model, n, min(len(prompt) + config.max_new_tokens, T))
            logits = decoder.prefill(np.tile(prompt, (n, 1)))  # (n, V)
        else:
            logits = decoder.step(tokens)
        for row in sorted(going):
            p = next_token_probabilities(
                logits[row],
                temperature=config.temperature,
                top_k=config.top_k,
                top_p=config.top_p,
                min_p=config.min_p,
                repetition_penalty=config.repetition_penalty,
                seen=seen[row],
            )
            tokens[row] = token = draw(p, generator(config.seed, SAMPLE, t, row).random())
            seen[row].add(token)
            if token == stop_id:
                going.discard(row)
            else:
                waiting[row].append(token)
        yield True


def _sample(row: int, steps: Iterator[bool], going: set[int], waiting: list[deque[int]]) -> Iterator[int]:
    """Yield the ids of one sample, and let all take a step where none waits."""
    try:
        while True:
            while not waiting[row]:
                if row not in going or not next(steps, False):
                    return
            yield waiting[row].popleft()
    finally:
        going.discard(row)


def write(
    model: GPT, tokenizer: Tokenizer, ids: Iterable[int], config: SampleConfig, *, n: int = 1, stop: Sequence[str] = ()
) -> list[Iterator[str]]:
    """Return n texts that continue `ids`, each an iterator over its pieces: whole characters, as soon as they are sure.

    A text ends at an end of text, and before the first of the strings in `stop`, of which nothing is given out. A table
    may have more rows than the vocabulary has tokens; an id from there stands for nothing and is left out.
    """
    samples = generate_samples(model, ids, config, n, stop_id=tokenizer.eot_id)
    return [until_stop(tokenizer.decode_stream(id for id in new if id in tokenizer.vocab), stop) for new in samples]


def until_stop(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield a text that comes in pieces, until the first of the strings in `stop` is complete; it is cut off.

    What may still become one is held back, so that none shows, also where it comes spread over several pieces.

    >>> list(until_stop(["one\\n", "two\\n", "\\n", "three"], ["\\n\\n"]))
    ['one', '\\ntwo']
    """
    if not all(stop):
        raise ValueError("stop: must not be empty, as every text begins with that; leave it out")
    held = ""
    for piece in pieces:
        held += piece
        if found := [(held.index(s) + len(s), -len(s)) for s in stop if s in held]:
            end, minus = min(found)  # the one complete first; of those that end there, the longest
            held = held[: end + minus]
            break
        sure = len(held) - max((_overlap(held, s) for s in stop), default=0)
        if sure:
            yield held[:sure]
            held = held[sure:]
    if held:
        yield held


def _overlap(text: str, s: str) -> int:
    """Return how many characters at the end of the text may be the beginning of s."""
    return next(n for n in range(min(len(text), len(s) - 1), -1, -1) if text.endswith(s[:n]))


def start_ids(tokenizer: Tokenizer) -> list[int]:
    """Return what a text starts from where there is no prompt.

    A new line, which a model has seen before most beginnings; an end of text, which one that learned from a single text
    never saw, only where the tokenizer has no new line; and failing both its first token.
    """
    try:
        if ids := tokenizer.encode("\n"):
            return ids
    except ValueError:  # a character tokenizer whose text had only one line
        pass
    return [min(tokenizer.vocab) if tokenizer.eot_id is None else tokenizer.eot_id]
