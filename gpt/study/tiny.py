"""A GPT so small that a page shows each of its numbers: one block, four channels, three tokens, eight letters.

It learns to go on with `hello world`. After `e` comes `l`, after `el` another `l`, after `ell` an `o`: to tell the two l's
apart, the model has to look at positions and at other letters.
"""

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.tokenizer.char import CharTokenizer
from nanograd.optim import AdamW

TEXT = "hello world "  # repeated without end
EXAMPLE = "ello"
STEPS, RATE = 60, 0.03  # a little: its mistakes still have gradients
T = 3


def tiny_model(seed: int = 7) -> GPT:
    """Return the model, trained in less than a second; the same seed gives the same weights on one machine."""
    tokenizer = CharTokenizer.train(TEXT)
    config = ModelConfig(vocab_size=len(tokenizer.vocab), context_length=T, d_model=4, n_layers=1, n_heads=1, d_ff=8)
    model = GPT(config, np.random.default_rng(seed))
    model.tokenizer = tokenizer
    rows = np.array([tokenizer.encode((TEXT * 2)[i : i + T + 1]) for i in range(len(TEXT))])  # (12, T + 1)
    optimizer = AdamW(model.parameters(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model.loss(rows[:, :-1], rows[:, 1:]).backward()
        optimizer.step()
    return model
