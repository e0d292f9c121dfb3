"""Tests of gpt/commands/info.py: the parameters of a checkpoint, and what a token costs."""

import re
from pathlib import Path

import pytest

from gpt.__main__ import main
from gpt.runs.checkpoint import BEST, load_checkpoint
from gpt.text.read import text_sha256

Output = pytest.CaptureFixture[str]


def test_info_accounts_for_every_parameter(run: Path, text: Path, capsys: Output) -> None:
    assert main(["info", str(run)]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    step = load_checkpoint(run / BEST).state.step
    assert re.fullmatch(rf".*best\.safetensors: \d+ kB, step {step}", lines[0])
    assert f"sha256 {text_sha256(text.read_text(encoding='utf-8'))[:16]}…" in lines[1]
    assert "tokenizer: char, 23 tokens" in lines
    rows = re.findall(r"^(\S+(?: \S+)?) +([\d,]+) +([\d.]+)% +(\d+) kB$", shown, re.MULTILINE)
    blocks = {f"blocks {part}" for part in ("norm1", "attn", "norm2", "mlp")}
    assert {name for name, *_ in rows} == {"tok_emb", *blocks, "norm", "all"}
    *parts, (_, total, share, _) = rows
    assert sum(int(size.replace(",", "")) for _, size, *_ in parts) == int(total.replace(",", ""))
    assert sum(float(share) for _, _, share, _ in parts) == pytest.approx(100, abs=0.5)
    assert share == "100.0"


def test_info_says_what_a_token_costs(run: Path, capsys: Output) -> None:
    """The run has 23 tokens in the vocabulary, context 8, d_model 16, one block; batches of 2."""
    assert main(["info", str(run)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    step = load_checkpoint(run / BEST).state.step
    assert f"has seen {step * 2 * 8:,} tokens in {step * 2:,} windows" in lines
    # the matrices of the block, 2 products with 4½ tokens in the mean, and the head
    forward = 2 * (4 * 16 * 16 + 3 * 16 * 48 + 2 * 4.5 * 16 + 23 * 16)
    assert f"forward {forward / 1e3:.3g} kFLOP per token, in a full context of 8" in lines
    assert f"training {3 * forward / 1e3:.3g} kFLOP per token, forward and backward" in lines
    assert "cache 0 kB per token, 1 kB when full" in lines  # 2 · 16 · 4 bytes, and 8 times that
