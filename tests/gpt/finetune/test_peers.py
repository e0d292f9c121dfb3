"""A real chat model: its conversations have the ids of transformers, and a chat is as good as reading it anew."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.config import SampleConfig
from gpt.finetune.chat import Chat
from gpt.finetune.conversations import Message
from gpt.finetune.examples import encode
from gpt.finetune.templates import template_of_model
from gpt.generation.decoder import Decoder
from gpt.generation.generate import generate
from gpt.model import GPT
from gpt.pretrained import load_pretrained
from gpt.tokenizer import Tokenizer, load_tokenizer

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:.* have no token and are left out")]

WORDS = (
    "Hello",
    " world",
    "\n",
    "\n\n",
    " ",
    "  ",
    "é",
    "東京",
    "🎉",
    "x = 5",
    "12345",
    "'s",
    "don't",
    "{{ x }}",
    "\t",
)
QUESTIONS = ("What is the capital of France?", "And of Italy?", "Write a haiku about the sea.")


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="needs the extra [hf]")


def random_chat(rng: random.Random) -> list[Message]:
    """Return a conversation that asks for an answer; answers begin with a letter, as those of models do."""
    roles = [*(["system"] if rng.random() < 0.4 else []), *["user", "assistant"] * rng.randrange(3), "user"]
    return [Message(role, "A" + "".join(rng.choices(WORDS, k=rng.randrange(6)))) for role in roles]


@pytest.mark.parametrize("family", ["smollm2", "qwen3", "llama3_1", "gemma3"])
def test_conversations_have_the_ids_of_transformers(
    transformers: Any, request: pytest.FixtureRequest, family: str
) -> None:
    """The tokenizer is that of tokenizer.json; AutoTokenizer takes SmolLM2's for GPT-2's, which splits no digits."""
    folder = request.getfixturevalue("smollm2" if family == "smollm2" else "real_tokenizers")
    folder = folder if family == "smollm2" else folder / family
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = template_of_model(config["chat_template"], config["bos_token"] or "", config["eos_token"])
    assert template.name == {"qwen3": "jinja", "llama3_1": "llama3", "gemma3": "gemma", "smollm2": "chatml"}[family]
    tokenizer, rng = load_tokenizer(folder), random.Random(0)
    tokens = {name: config[name] for name in ("bos_token", "eos_token", "chat_template")}
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **tokens)
    for _ in range(100):
        messages = random_chat(rng)
        chat = [{"role": message.role, "content": message.content} for message in messages]
        expected = theirs.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
        assert encode(messages, template, tokenizer).tokens.tolist() == expected, messages


def test_a_chat_is_as_good_as_reading_it_anew(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Greedy answers and logits are those of a decoder that reads the whole conversation, and ends are the model's own."""
    pretrained = load_pretrained(smollm2)
    assert pretrained.chat is not None
    template = template_of_model(pretrained.chat.template, pretrained.chat.bos_token, pretrained.chat.eos_token)
    model, tokenizer = pretrained.model(), pretrained.chat.tokenizer
    assert tokenizer.decode(tokenizer.end_ids) == "<|im_end|>"
    notes: list[str] = []
    chat = Chat(model, tokenizer, template, warn=notes.append)
    config = SampleConfig(max_new_tokens=40, temperature=0.0)
    for question in QUESTIONS:
        chat.say(question, config)
        *messages, reply = chat.messages
        ids = encode(messages, template, tokenizer).tokens.tolist()
        assert reply.content == tokenizer.decode(greedy(model, tokenizer, ids, config.max_new_tokens))
        again = encode([*chat.messages, Message("user", "And?")], template, tokenizer).tokens
        once, anew = chat.decoder.read(again.tolist()), Decoder(model).prefill(again[None])
        np.testing.assert_allclose(once, anew, rtol=0, atol=1e-5 * np.abs(anew).max())
    assert capsys.readouterr().out.startswith("The capital of France is Paris.\nThe capital of Italy is Rome.\n")
    assert set(notes) <= {"the answer is cut after max_new_tokens=40"}


def greedy(model: GPT, tokenizer: Tokenizer, ids: list[int], n: int) -> list[int]:
    """Return n tokens, or fewer if the model ends earlier, written by a decoder of their own."""
    columns = generate(model, ids, SampleConfig(max_new_tokens=n, temperature=0.0), end_ids=tokenizer.end_ids)
    return [token for (token,) in columns if token is not None]
