"""python -m gpt merge, and the commands that open a checkpoint with adapters."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.finetune.templates import TEMPLATES
from gpt.lora import LoRASettings, add_lora, lora_state
from gpt.model import GPT
from gpt.runs.checkpoint import Task, TrainingState, load_checkpoint, save_checkpoint
from gpt.tokenizer import CharTokenizer
from nanograd.optim import AdamW
from nanograd.runtime.files import file_sha256

PLAIN = ModelConfig(vocab_size=12, context_length=8, d_model=16, n_layers=2, n_heads=4)
MODERN = dataclasses.replace(
    PLAIN, norm="rmsnorm", position="rope", mlp="gated", n_kv_heads=2, bias=False, tie_embeddings=False, qk_norm=True
)
IDS = np.random.default_rng(1).integers(0, 12, (3, 8))
SETTINGS = LoRASettings(2, 6.0, ("w_qkv", "out_proj"))
TEMPLATE = TEMPLATES["alpaca"].to_dict()


def save_adapters(folder: Path, config: ModelConfig = PLAIN) -> GPT:
    """Write base.safetensors, and lora.safetensors with adapters on it; return the model with adapters."""
    base, tokenizer = folder / "base.safetensors", CharTokenizer("abcdefghijkl")
    model = GPT(config, np.random.default_rng(0))
    save_checkpoint(base, model, None, TrainConfig(), tokenizer, TrainingState())
    rng = np.random.default_rng(2)
    add_lora(model, SETTINGS.rank, SETTINGS.alpha, SETTINGS.targets, rng)
    for name, array in lora_state(model).items():
        if name.endswith("lora_b"):
            array[...] = rng.standard_normal(array.shape) * 0.3
    task = Task("instruct", lora=SETTINGS, base=str(base), base_sha256=file_sha256(base), template=TEMPLATE)
    optimizer = AdamW(model.named_parameters(), 0.1)
    save_checkpoint(
        folder / "lora.safetensors", model, optimizer, TrainConfig(), tokenizer, TrainingState(step=1), task
    )
    return model


@pytest.mark.parametrize("config", [PLAIN, MODERN], ids=["gpt2", "llama"])
def test_merge_writes_an_ordinary_checkpoint(
    tmp_path: Path, config: ModelConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    model, lora, out = save_adapters(tmp_path, config), tmp_path / "lora.safetensors", tmp_path / "merged.safetensors"
    assert main(["merge", str(lora), "--out", str(out)]) == 0
    assert main(["merge", str(lora), "--out", str(out)]) == 1
    assert "is there already" in capsys.readouterr().err
    (tmp_path / "base.safetensors").unlink()
    merged = load_checkpoint(out)
    assert merged.task is not None
    assert (merged.task.lora, merged.task.template) == (None, TEMPLATE)
    assert list(merged.with_prefix("model.")) == sorted(GPT(config).state_dict())
    assert np.abs(merged.model()(IDS).data - model(IDS).data).max() <= 1e-6
    with pytest.raises(ValueError, match="no optimizer to go on with: its adapters were merged"):
        merged.check_resumable("instruct")
    assert main(["merge", str(out), "--out", str(tmp_path / "again")]) == 1
    assert "has no LoRA adapters to merge" in capsys.readouterr().err
    assert main(["sample", str(out), "--prompt", "abc", "--max-new-tokens", "5"]) == 0


def test_sample_info_and_export_open_adapters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_adapters(tmp_path)
    lora = str(tmp_path / "lora.safetensors")
    words = ["--prompt", "abc", "--max-new-tokens", "20", "--temperature", "0"]
    assert main(["sample", lora, *words]) == 0
    text = capsys.readouterr().out
    assert main(["merge", lora, "--out", str(tmp_path / "merged.safetensors")]) == 0
    capsys.readouterr()
    assert main(["sample", str(tmp_path / "merged.safetensors"), *words]) == 0
    assert capsys.readouterr().out == text
    assert main(["sample", str(tmp_path / "base.safetensors"), *words]) == 0
    assert capsys.readouterr().out != text
    assert main(["info", lora]) == 0
    assert "LoRA adapters of rank 2, alpha 6, at w_qkv, out_proj" in capsys.readouterr().out
    assert main(["export", lora, "--out", str(tmp_path / "exported")]) == 0
    shutil.move(tmp_path / "base.safetensors", tmp_path / "moved.safetensors")
    assert main(["sample", lora, *words, "--base", str(tmp_path / "moved.safetensors")]) == 0
    capsys.readouterr()
    assert main(["sample", lora, *words]) == 1
    assert "--base FILE" in capsys.readouterr().err
    assert main(["doctor", lora]) == 1
    assert "examine its base checkpoint" in capsys.readouterr().err
    assert main(["train", "--resume", lora]) == 1
    assert "go on with python -m gpt finetune instruct --resume" in capsys.readouterr().err
