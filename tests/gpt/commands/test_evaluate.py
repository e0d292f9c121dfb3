"""Tests of gpt/commands/evaluate.py: the loss of a model on a text."""

from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, TrainingState, save_checkpoint
from gpt.tokenizer import CharTokenizer
from gpt.training import make_optimizer

Output = pytest.CaptureFixture[str]


def save_uniform_model(folder: Path, characters: str) -> Path:
    """Save a model whose weights are all 0: it gives every next character the same probability."""
    tokenizer = CharTokenizer(characters)
    model = GPT(ModelConfig(vocab_size=len(characters), context_length=3, d_model=2, n_layers=1, n_heads=1))
    for parameter in model.parameters():
        parameter.copy_(np.zeros(parameter.shape))
    config = TrainConfig()
    save_checkpoint(folder / LAST, model, make_optimizer(model, config), config, tokenizer, TrainingState())
    return folder / LAST


def test_the_loss_of_a_model_that_knows_nothing(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "text.txt").write_text("abcdabcdab", encoding="utf-8")
    checkpoint = save_uniform_model(tmp_path, "abcd")
    for batch_size in ("1", "2", "100"):
        words = ["--data", str(tmp_path / "text.txt"), "--batch-size", batch_size]
        assert main(["eval", str(checkpoint), *words]) == 0
        assert capsys.readouterr().out == (
            "text.txt: 9 tokens, 9 bytes\nloss 1.3863  perplexity 4.00  bits per byte 2.000\n"  # ln 4, and log2 4
        )


def test_bits_are_counted_by_the_byte(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "text.txt").write_text("éàéàé", encoding="utf-8")  # of two bytes each
    assert main(["eval", str(save_uniform_model(tmp_path, "àé")), "--data", str(tmp_path / "text.txt")]) == 0
    assert capsys.readouterr().out == "text.txt: 4 tokens, 8 bytes\nloss 0.6931  perplexity 2.00  bits per byte 0.500\n"


def test_eval_takes_the_whole_validation_text(run: Path, text: Path, capsys: Output) -> None:
    assert main(["eval", str(run)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    n_bytes = len(text.read_text(encoding="utf-8")[-147:][1:].encode())
    assert first == f"validation text: 146 tokens, {n_bytes} bytes"
    assert 2 < float(second.split()[1]) < 4
