"""Beam search: find a most probable continuation instead of drawing a random one."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np

from gpt.generation.decoder import Decoder
from gpt.generation.sampling import log_probabilities, top_k_ids
from gpt.model import GPT


@dataclass(frozen=True)
class Beam:
    """A continuation: its ids, the ln p of these and of the stop id if it ended with one, and its score."""

    ids: list[int]
    log_probability: float
    score: float


def beam_search(
    model: GPT,
    ids: Iterable[int],
    *,
    beams: int,
    max_new_tokens: int,
    length_penalty: float = 1.0,
    end_ids: Collection[int] = (),
    complete: Callable[[list[int]], bool] | None = None,
) -> list[Beam]:
    """Return the best continuations of `ids` that the search found, at most `beams` of them, the best first.

    Every step extends each beam by every token, and continues with the `beams` most probable results. A continuation is
    finished by one of end_ids (which is not among its ids), if `complete` returns True for its new ids, or after
    max_new_tokens. Its score is

        score = ln p / n^length_penalty                                    (1)

    for its n new tokens, a stop id included. Every further token lowers ln p, so the sum alone (length_penalty 0) would
    favour short texts; at 1 the score is the mean over the tokens. (Wu et al. 2016, arXiv:1609.08144, equation 14, divide
    by ((5 + n) / 6)^length_penalty for the same reason.) The most probable text is often dull and repeats itself.

    The search stops early only if no beam can still beat the finished ones: ln p only falls, so (1) is at best
    ln p / max_new_tokens^length_penalty. With enough beams for all texts it finds the best one.
    """
    prompt = list(ids)
    if not prompt:
        raise ValueError("beam_search: needs at least one token to continue")
    if beams < 1 or length_penalty < 0:
        raise ValueError(f"beams must be at least 1 and length_penalty at least 0, got {beams} and {length_penalty}")
    finished: list[Beam] = []

    def finish(new: list[int], log_p: float, n: int) -> None:
        finished.append(Beam(new, log_p, log_p / n**length_penalty))  # (1)
        finished.sort(key=lambda beam: -beam.score)
        del finished[beams:]

    texts: list[list[int]] = [[] for _ in range(beams)]
    log_p = np.full(beams, -np.inf)  # of the text of each row; a row at -∞ is unused
    log_p[0] = 0
    for n in range(1, max_new_tokens + 1):
        if n == 1:
            decoder = Decoder(model, beams, len(prompt) + max_new_tokens)
            logits = decoder.prefill(np.tile(prompt, (beams, 1)))
        else:
            logits = decoder.step(np.array([text[-1] for text in texts]))
        log_p_next = log_p[:, None] + log_probabilities(logits)  # (beams, V): every text with every token
        for id in end_ids:
            for row in np.flatnonzero(log_p_next[:, id] > -np.inf).tolist():
                finish(texts[row], float(log_p_next[row, id]), n)
            log_p_next[:, id] = -np.inf
        best = top_k_ids(log_p_next.reshape(-1), beams)[:beams]  # fewer if there are fewer texts
        rows, tokens = np.divmod(best, log_p_next.shape[1])
        log_p = np.full(beams, -np.inf)
        log_p[: len(best)] = log_p_next.reshape(-1)[best]
        texts = [texts[row] + [token] for row, token in zip(rows.tolist(), tokens.tolist(), strict=True)]
        for row, text in enumerate(texts):
            if n == max_new_tokens or (complete is not None and complete(text)):
                finish(text, float(log_p[row]), n)
                log_p[row] = -np.inf
        bound = log_p.max() / max_new_tokens**length_penalty
        if bound == -np.inf or (len(finished) == beams and finished[-1].score >= bound):
            break
        n_unused = beams - len(texts)
        texts += [texts[0]] * n_unused
        decoder.reorder(np.concatenate((rows, np.repeat(rows[:1], n_unused))))
    return finished
