"""Answers end with the context, and a long conversation loses its oldest turns."""

import numpy as np
import pytest

from gpt.config import ModelConfig, SampleConfig
from gpt.finetune.chat import answer, truncate
from gpt.finetune.conversations import Message
from gpt.finetune.loss_mask import encode
from gpt.finetune.templates import CHAT, Template
from gpt.generation.generate import generate_text
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer

BYTES = BPETokenizer.train("ab", 257)
SHORT = Template(name="short", user="<{content}>", reply=":", between="/", system="[{content}]")


def test_an_answer_ends_with_the_context() -> None:
    model = GPT(
        ModelConfig(vocab_size=257, context_length=64, d_model=16, n_layers=1, n_heads=2), np.random.default_rng(3)
    )
    model.tok_emb.weight.copy_(model.tok_emb.weight.data * 20)
    question = [Message("user", "q" * 30)]
    text = "".join(answer(model, BYTES, CHAT, question, SampleConfig(max_new_tokens=999, temperature=0)))
    prompt = encode(question, CHAT, BYTES).tokens.tolist()
    assert len(prompt) == 48
    longest, one_more = (
        "".join(text for (text,) in generate_text(model, BYTES, prompt, SampleConfig(max_new_tokens=n, temperature=0)))
        for n in (64 - 48 + 1, 64 - 48 + 2)  # the model reads 64 tokens, and not the last one
    )
    assert text == longest != one_more
    with pytest.raises(ValueError, match="the question has 68 tokens, with its template, and the context 64: no room"):
        answer(model, BYTES, CHAT, [Message("user", "q" * 50)], SampleConfig())


def test_as_many_turns_stay_as_fit() -> None:
    messages = [Message("system", "s")]
    messages += [Message(role, "x") for _ in range(3) for role in ("user", "assistant")] + [Message("user", "q")]
    lengths = [len(encode([messages[0], *messages[k:]], SHORT, BYTES).tokens) for k in (1, 3, 5, 7)]
    for max_tokens in range(1, lengths[0] + 2):
        remaining, n_dropped = truncate(messages, SHORT, BYTES, max_tokens)
        assert n_dropped == next((k for k, n in enumerate(lengths) if n <= max_tokens), 3)
        assert remaining == [messages[0], *messages[1 + 2 * n_dropped :]]
