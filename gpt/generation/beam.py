"""Beam search: look for the likeliest text, not for a random one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from gpt.generation.decoder import Decoder
from gpt.generation.sampling import likeliest, log_softmax
from gpt.model import GPT


@dataclass(frozen=True)
class Beam:
    """A continuation that was found: its ids, ln p of them and of the stop id where it ended with one, and its score."""

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
    stop_id: int | None = None,
    complete: Callable[[list[int]], bool] | None = None,
) -> list[Beam]:
    """Return the best continuations of `ids` that were found, at most `beams` of them, the best first.

    At every step each beam is continued with every token, and the likeliest `beams` of all go on. A continuation is
    done with stop_id (which its ids leave out), where `complete` says so of its new ids, or after max_new_tokens. Done,
    it is scored by

        score = ln p / n^length_penalty                                    (1)

    of its n new tokens, a stop id among them: every further token lowers ln p, so a sum alone (length_penalty 0) would
    favour the short; at 1 the score is the mean over the tokens. (Wu et al. 2016, arXiv:1609.08144, equation 14, divide
    by ((5 + n) / 6)^length_penalty, to the same end.) What is likeliest is often dull, and repeats itself.

    The search stops early only where no beam could still come before those that are done: ln p only falls, so (1) is at
    best ln p / max_new_tokens^length_penalty. With beams enough for all texts it finds the very best.
    """
    prompt = list(ids)
    if not prompt:
        raise ValueError("beam_search: needs at least one token to continue")
    if beams < 1 or length_penalty < 0:
        raise ValueError(
            f"beam_search: beams must be at least 1 and length_penalty at least 0, got {beams} and {length_penalty}"
        )
    done: list[Beam] = []

    def finish(new: list[int], log_p: float, n: int) -> None:
        done.append(Beam(new, log_p, log_p / n**length_penalty))  # (1)
        done.sort(key=lambda beam: -beam.score)
        del done[beams:]

    texts: list[list[int]] = [[] for _ in range(beams)]
    log_p = np.full(beams, -np.inf)  # of each row's text; a row at -∞ is free
    log_p[0] = 0
    for n in range(1, max_new_tokens + 1):
        if n == 1:
            decoder = Decoder(model, beams, min(len(prompt) + max_new_tokens, model.config.context_length))
            logits = decoder.prefill(np.tile(prompt, (beams, 1)))
        else:
            logits = decoder.step(np.array([text[-1] for text in texts]))
        each = log_p[:, None] + log_softmax(logits)  # (beams, V): ln p of every text with every token
        if stop_id is not None:
            for row in np.flatnonzero(each[:, stop_id] > -np.inf).tolist():
                finish(texts[row], float(each[row, stop_id]), n)
            each[:, stop_id] = -np.inf
        best = likeliest(each.reshape(-1), beams)[:beams]  # fewer where there are not so many texts
        rows, tokens = np.divmod(best, each.shape[1])
        log_p = np.full(beams, -np.inf)
        log_p[: len(best)] = each.reshape(-1)[best]
        texts = [texts[row] + [token] for row, token in zip(rows.tolist(), tokens.tolist(), strict=True)]
        for row, text in enumerate(texts):
            if n == max_new_tokens or (complete is not None and complete(text)):
                finish(text, float(log_p[row]), n)
                log_p[row] = -np.inf
        hope = log_p.max() / max_new_tokens**length_penalty
        if hope == -np.inf or (len(done) == beams and done[-1].score >= hope):
            break
        free = beams - len(texts)
        texts += [texts[0]] * free
        decoder.reorder(np.concatenate((rows, np.repeat(rows[:1], free))))
    return done
