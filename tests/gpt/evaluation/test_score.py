"""The score of a text: by hand, token by token against the model's own forward, and its sum against the loss."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.evaluation import score
from gpt.evaluation.score import Score, token_log_probabilities
from gpt.generation.sampling import log_probabilities
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, TrainingState, save_checkpoint
from gpt.tokenizer import BPETokenizer, CharTokenizer, Tokenizer
from gpt.training import evaluate, make_optimizer

T, V = 6, 11


def gpt(vocab_size: int = V, **kind: Any) -> GPT:
    model = GPT(ModelConfig(vocab_size=vocab_size, context_length=T, d_model=8, n_layers=2, n_heads=2, **kind))
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.copy_(0.5 * rng.standard_normal(p.shape))
    return model.astype(np.float64)


def alone(model: GPT, context: list[int], token: int) -> float:
    """Return ln p of a token after its context."""
    return float(log_probabilities(model(np.array([context])).data[0, -1])[token])


def test_what_a_score_comes_to() -> None:
    # Four tokens of ½, ¼, ¼ and ⅛: 1 + 2 + 2 + 3 = 8 bits; 6 bytes.
    s = Score(4, 6, math.log(1 / 256))
    assert s.loss == pytest.approx(2 * math.log(2))
    assert s.perplexity == pytest.approx(4)
    assert s.bits_per_byte == pytest.approx(8 / 6)
    assert str(s) == "loss 1.3863  perplexity 4.00  bits per byte 1.333"


@pytest.mark.parametrize(
    "kind",
    [{}, {"norm": "rmsnorm", "position": "rope", "mlp": "gated", "tie_embeddings": False}],
    ids=["gpt2", "llama"],
)
def test_a_text_as_long_as_the_context_is_the_models_loss(kind: dict[str, Any]) -> None:
    model, ids = gpt(**kind), [3, 1, 4, 1, 5, 9, 2]
    log_p = token_log_probabilities(model, ids)
    assert log_p.shape == (6,)
    np.testing.assert_allclose(log_p, [alone(model, ids[:n], ids[n]) for n in range(1, 7)], rtol=1e-9)
    loss = model.loss(np.array([ids[:-1]]), np.array([ids[1:]]), reduction="sum").item()
    assert -log_p.sum() == pytest.approx(loss, rel=1e-12)


def test_windows_by_hand() -> None:
    # Context 6, stride 2: the first window gives ids 1 to 6, the second (from id 2) 7 and 8, the third (from 4) 9.
    model, ids = gpt(), [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    starts = [0] * 6 + [2, 2] + [4]
    expected = [alone(model, ids[start:n], ids[n]) for n, start in enumerate(starts, start=1)]
    np.testing.assert_allclose(token_log_probabilities(model, ids, stride=2), expected, rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 30), st.integers(1, T))
def test_every_token_has_the_context_that_was_promised(n: int, stride: int) -> None:
    model = gpt()
    ids = np.random.default_rng(n).integers(0, V, n).tolist()
    log_p = token_log_probabilities(model, ids, stride=stride)
    for k in range(1, n):
        contexts = range(min(k, T - stride + 1), min(k, T) + 1)
        assert any(abs(log_p[k - 1] - alone(model, ids[k - c : k], ids[k])) < 1e-9 for c in contexts)


def test_windows_side_by_side_are_those_of_eval() -> None:
    model, ids = gpt(), np.random.default_rng(0).integers(0, V, 50)
    log_p = token_log_probabilities(model, ids, stride=T)
    assert -log_p.mean() == pytest.approx(evaluate(model, ids, 4), rel=1e-9)


def test_batches_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = gpt(), np.random.default_rng(0).integers(0, V, 50)
    expected = token_log_probabilities(model, ids, stride=2)
    monkeypatch.setattr(score, "BATCH_TOKENS", 3 * T)
    monkeypatch.setattr(score, "MAX_LOGITS", 4 * V)
    np.testing.assert_allclose(token_log_probabilities(model, ids, stride=2), expected, rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = gpt().train(training)
    token_log_probabilities(model, [1, 2, 3])
    with pytest.raises(ValueError, match="ids"):
        token_log_probabilities(model, [1, 2, 99, 3])
    assert {module.training for module in model.modules()} == {training}


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="score: needs two tokens or more, one to predict from, got 1"):
        token_log_probabilities(gpt(), [1])
    for stride in (0, T + 1):
        with pytest.raises(ValueError, match=f"score: stride must be from 1 to context_length=6, got {stride}"):
            token_log_probabilities(gpt(), [1, 2], stride=stride)


# The command


def saved(folder: Path, tokenizer: Tokenizer, model: GPT) -> str:
    config = TrainConfig()
    model = model.astype(np.float32)
    save_checkpoint(folder / LAST, model, make_optimizer(model, config), config, tokenizer, TrainingState())
    return str(folder / LAST)


def silent(folder: Path, tokenizer: Tokenizer) -> str:
    """Save a model that thinks every next token equally likely."""
    model = gpt(tokenizer.vocab_size)
    for p in model.parameters():
        p.copy_(np.zeros(p.shape))
    return saved(folder, tokenizer, model)


def test_a_table_of_the_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = silent(tmp_path, CharTokenizer("\nabé"))
    assert main(["score", checkpoint, "aé\n"]) == 0
    assert capsys.readouterr().out == (
        "    ln p         p  token\n"
        "  -1.386   25.000%  'a'\n"
        "  -1.386   25.000%  'é'\n"
        "  -1.386   25.000%  '\\n'\n"
        "3 tokens, 4 bytes: ln p -4.159\n"
        "loss 1.3863  perplexity 4.00  bits per byte 1.500\n"
    )


def test_the_first_token_is_predicted_from_a_new_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = CharTokenizer("\nabcdefghi")
    model = gpt(10)
    checkpoint = saved(tmp_path, tokenizer, model)
    assert main(["score", checkpoint, "cab", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["token"] for line in lines[:-1]] == ["c", "a", "b"]
    assert [line["id"] for line in lines[:-1]] == [3, 1, 2]
    expected = [alone(model, [0], 3), alone(model, [0, 3], 1), alone(model, [0, 3, 1], 2)]
    assert [line["log_probability"] for line in lines[:-1]] == pytest.approx(expected, rel=1e-4)
    assert list(lines[-1]) == ["tokens", "bytes", "log_probability", "loss", "perplexity", "bits_per_byte"]
    assert lines[-1]["log_probability"] == pytest.approx(sum(expected), rel=1e-4)
    assert (lines[-1]["tokens"], lines[-1]["bytes"]) == (3, 3)


def test_a_file_and_half_a_character(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("é" * 20, encoding="utf-8")
    checkpoint = silent(tmp_path, BPETokenizer.train("", 257))
    for words in ([], ["--stride", "1"]):
        assert main(["score", checkpoint, "--file", str(tmp_path / "text.txt"), *words]) == 0
        assert capsys.readouterr().out == (
            "40 tokens, 40 bytes: ln p -221.963\nloss 5.5491  perplexity 257.00  bits per byte 8.006\n"
        )
    assert main(["score", checkpoint, "é"]) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == [r"  -5.549    0.389%  '\\xc3'", r"  -5.549    0.389%  '\\xa9'"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            [],
            2,
            'gpt score: give either a text, as in: score RUN "a text", or --data FILE; see python -m gpt score --help',
        ),
        (["a", "--file", "b"], 2, 'gpt score: give either a text, as in: score RUN "a text", or --data FILE; see'),
        ([""], 1, "gpt score: text: must not be empty; give at least one character"),
        (["€"], 1, "gpt score: text: encode: characters must be among the 3 of the vocabulary"),
        (["a", "--stride", "0"], 2, "gpt score: argument --stride: must be a whole number from 1, got '0'"),
        (["a", "--stride", "7"], 1, "gpt score: score: stride must be from 1 to context_length=6, got 7"),
        (["--file", "missing"], 1, "gpt score: data: there is no file missing"),
    ],
)
def test_what_the_command_refuses(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = silent(tmp_path, CharTokenizer("\nab"))
    try:
        ended = main(["score", checkpoint, *words])
    except SystemExit as stop:
        ended = int(stop.code or 0)
    assert ended == code
    assert capsys.readouterr().err.startswith(message)
