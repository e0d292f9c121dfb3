"""examples/gpt2_vs_llama.py: the two models have the same size and the same training."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gpt
from gpt.commands.arguments import Parser, add_flags, take
from gpt.config import ModelConfig
from gpt.runs.estimate import count


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(gpt.__file__).parents[1] / "examples" / "gpt2_vs_llama.py"
    spec = importlib.util.spec_from_file_location("gpt2_vs_llama", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_have_as_many_parameters_to_one_percent(example: ModuleType) -> None:
    modern = example.as_large(example.MODERN, count(example.GPT2))
    assert abs(count(modern) / count(example.GPT2) - 1) < 0.01
    assert (modern.norm, modern.position, modern.mlp, modern.bias) == ("rmsnorm", "rope", "gated", False)


def test_flags_make_the_config_again(example: ModuleType) -> None:
    for config in (
        example.GPT2,
        example.as_large(example.MODERN, 900_000),
        ModelConfig(tie_embeddings=False, n_kv_heads=2),
    ):
        parser = Parser()
        add_flags(parser, ModelConfig)
        assert take(ModelConfig, parser.parse(example.flags(config))) == config


def test_two_short_runs(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{n} green bottles; {n * n % 97} fell. " for n in range(700)), encoding="utf-8")
    monkeypatch.setattr(example, "TRAINING", "--eval-every 2 --eval-batches 1 --vocab-size 270")
    for side in ("ADAMW", "MUON"):
        monkeypatch.setattr(example, side, getattr(example, side) + " --batch-size 1")
    out = tmp_path / "runs"
    words = [str(text), "--seeds", "5", "--steps", "2", "--out", str(out)]
    for name, config in (("GPT2", example.GPT2), ("MODERN", example.MODERN)):
        monkeypatch.setattr(example, name, dataclasses.replace(config, d_model=16, n_layers=1, context_length=16))
    monkeypatch.setattr(sys, "argv", ["gpt2_vs_llama.py", *words])
    example.main()
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert [line.partition("block")[0] for line in lines] == ["GPT-2 ", "modern ", "modern "]
    names = {"gpt-2-block": "adamw", "modern-block": "adamw", "modern-block-muon": "muon"}
    for line, (name, optimizer) in zip(lines, names.items(), strict=True):
        config = json.loads((out / f"{name}-5" / "config.json").read_text(encoding="utf-8"))
        assert config["train"]["optimizer"] == optimizer
        assert config["model"]["norm"] == ("layernorm" if name.startswith("gpt-2") else "rmsnorm")
        metrics = (out / f"{name}-5" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        loss = json.loads(metrics[-1])["val_loss"]
        assert f"validation loss {loss:.4f}" in line
