"""GPT.generate: the text of `python -m gpt sample`, whole or in pieces. The model is untrained, which is enough."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, SampleConfig
from gpt.model import GPT
from gpt.tokenizer import BPETokenizer, CharTokenizer

BYTES = BPETokenizer({id: bytes([id]) for id in range(256)}, [])  # without <|endoftext|>: no text ends early


def model(**options: Any) -> GPT:
    config = ModelConfig(vocab_size=256, context_length=16, d_model=16, n_layers=1, n_heads=2, **options)
    made = GPT(config, np.random.default_rng(0))
    made.tokenizer = BYTES
    return made


def test_it_is_the_text_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    made = model()
    made.save(path)
    options: list[dict[str, float]] = [
        {},
        {"temperature": 1.5, "seed": 7, "max_new_tokens": 33},
        {"top_k": 3, "min_p": 0.1},
    ]
    texts = set()
    for sampling in options:
        words = [f"--{name.replace('_', '-')}={value}" for name, value in sampling.items()]
        assert main(["sample", str(path), "--prompt", "to be", *words]) == 0
        text = made.generate("to be", **sampling)
        assert capsys.readouterr().out == f"to be{text}\n"
        texts.add(text)
    assert len(texts) == 3


def test_the_pieces_are_the_text_in_whole_characters() -> None:
    made = model()
    text = made.generate("a", 300, temperature=2)
    pieces = list(made.generate("a", 300, temperature=2, stream=True))
    assert "".join(pieces) == text
    assert all(pieces)
    assert len(pieces) > 100
    assert made.generate("a", SampleConfig().max_new_tokens) == made.generate("a")
    assert made.generate("a", 0) == ""
    assert list(made.generate("a", 0, stream=True)) == []


def test_it_ends_before_a_stop_string() -> None:
    made = model()
    text = made.generate("a", 100)
    stop = text[50:53]
    before = text[: text.index(stop)]
    assert made.generate("a", 100, stop=stop) == made.generate("a", 100, stop=[stop]) == before
    assert "".join(made.generate("a", 100, stop=stop, stream=True)) == before


def test_without_a_prompt_it_continues_a_new_line() -> None:
    made = model()
    assert made.generate() == made.generate("\n")


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_stays_and_dropout_is_off(training: bool) -> None:
    made = model(dropout=0.5).train(training)
    assert made.generate("a") == model().generate("a")
    assert all(module.training is training for module in made.modules())
    assert all(p.grad is None for p in made.parameters())


def test_a_prompt_longer_than_the_context_is_said() -> None:
    with pytest.warns(UserWarning, match="the prompt has 17 tokens; the model sees only the last 16") as warned:
        model().generate("a" * 17, 1)
    assert warned[0].filename == __file__
    model().generate("a" * 16, 1)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        (("a",), {"temprature": 1}, TypeError, "generate: there is no option 'temprature'; did you mean temperature"),
        (("a",), {"temperature": -1}, ValueError, "temperature must be at least 0, got -1"),
        (("a",), {"top_k": 1.5}, ValueError, "top_k must be int or none, got 1.5"),
        (("a", -1), {}, ValueError, "max_new_tokens must be at least 0, got -1"),
        (("a",), {"stop": ["x", ""]}, ValueError, "stop: must not be empty"),
        (("a",), {"stop": ""}, ValueError, "stop: must not be empty"),
        ((["a"],), {}, TypeError, "generate: text must be a str, got list"),
        (("\ud800",), {}, ValueError, "generate: UTF-8 cannot encode a lone surrogate"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_it_refuses_at_the_call(
    arguments: Any, options: dict[str, Any], kind: type[Exception], message: str, stream: bool
) -> None:
    with pytest.raises(kind, match=message):
        model().generate(*arguments, **{**options, "stream": stream})


def test_it_needs_a_tokenizer_that_has_the_prompt() -> None:
    made = model()
    made.tokenizer = CharTokenizer("abc")
    assert set(made.generate("cab", 9)) <= set("abc")
    with pytest.raises(ValueError, match=r"prompt: .*'d'"):
        made.generate("d")
    with pytest.raises(ValueError, match="generate: the model has no tokenizer"):
        GPT(made.config).generate("a")
