"""One more check of the doctor: text is written by the decoder, training runs the model; the two must be one."""

import numpy as np

from gpt.doctor import BAD, OK, Finding
from gpt.generation.decoder import Decoder
from gpt.model import GPT
from nanograd.op import no_grad

STEPS = 32  # tokens that are read one at a time, after the prompt
APART = 1e-4  # of the largest logit: float32 sums in another order are up to about 1e-5 apart


@no_grad()
def cached_generation(model: GPT, ids: np.ndarray) -> Finding:
    """Compare the decoder's logits with those of the model's own forward: of a prompt, then token by token.

    ids are two texts (2, T) that are written side by side; the second lacks its first token, and is padded on the left.
    """
    T = ids.shape[1]
    skip = np.array([0, min(1, T - 1)])
    due = [model(ids[b : b + 1, skip[b] :]).data[0] for b in range(2)]  # (T, V) and (T - 1, V)
    read = min(T, max(2, T // 2, T - STEPS))  # tokens of the prompt
    decoder = Decoder(model, 2)
    logits = decoder.prefill(ids[:, :read], read - skip)
    apart = {}
    while True:
        apart[read] = max(float(np.abs(logits[b] - due[b][read - 1 - skip[b]]).max()) for b in range(2))
        if read == T:
            break
        logits, read = decoder.step(ids[:, read]), read + 1
    worst = max(apart, key=apart.__getitem__)
    largest = max(float(np.abs(each).max()) for each in due)
    number = f"{apart[worst]:.2g}, logits to {largest:.2g}"
    if apart[worst] <= APART * largest:
        return Finding(OK, "generation", number, "with its cache it says what the model says, also beside other texts")
    meaning = (
        f"after {worst} tokens sample would not write what was trained: gpt.generation.decoder must follow gpt.model"
    )
    return Finding(BAD, "generation", number, meaning)
