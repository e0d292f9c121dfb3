"""python -m gpt import and export: a checkpoint that the other commands open, and back."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.pretrained import load_pretrained
from gpt.pretrained.export import export
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint
from gpt.runs.safetensors import load_file, read_header, save_file
from gpt.tokenizer import EOT, BPETokenizer, CharTokenizer

TOKENIZER = BPETokenizer.train("the cat sat on the mat, and the rat " * 9, 280, special_tokens=(EOT,))
CONFIG = ModelConfig(vocab_size=TOKENIZER.vocab_size + 3, context_length=16, d_model=16, n_layers=2, n_heads=2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a GPT-2 and its tokenizer; we stand in the folder around it."""
    monkeypatch.chdir(tmp_path)
    export("theirs", CONFIG, GPT(CONFIG, np.random.default_rng(0)).state_dict(), TOKENIZER)
    return tmp_path / "theirs"


def test_an_imported_model_is_opened_by_the_other_commands(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["import", "theirs"]) == 0
    said = capsys.readouterr().out
    assert f"source    {folder.resolve() / 'model.safetensors'} (gpt2)" in said
    assert "ignored   keys of its config.json that do not affect logits: " in said
    assert "architectures" in said
    assert "2 layers, d_model 16, 2 heads, context 16" in said
    checkpoint = load_checkpoint(find_checkpoint("runs/theirs"))
    assert checkpoint.tokenizer.sha256 == load_pretrained(folder).tokenizer.sha256  # type: ignore[union-attr]
    assert (checkpoint.state.step, checkpoint.model_config.vocab_size) == (0, CONFIG.vocab_size)
    assert all(name.startswith("model.") for name in checkpoint.tensors)
    for name, array in GPT(CONFIG, np.random.default_rng(0)).state_dict().items():
        np.testing.assert_array_equal(checkpoint.tensors[f"model.{name}"], array)

    (tmp_path / "text.txt").write_text("the cat sat on the mat " * 40, encoding="utf-8")
    assert main(["sample", "runs/theirs", "--prompt", "the", "--max-new-tokens", "5"]) == 0
    assert main(["eval", "runs/theirs", "--data", "text.txt"]) == 0
    capsys.readouterr()
    assert main(["info", "runs/theirs"]) == 0
    assert "imported from " in capsys.readouterr().out
    assert main(["eval", "runs/theirs"]) == 1
    assert "give a text with --data" in capsys.readouterr().err
    assert main(["train", "--resume", "runs/theirs"]) == 1
    said = capsys.readouterr().err
    assert "was imported from" in said
    assert ": no optimizer and no text to go on with; `sample`" in said
    assert said.count("\n") == 1
    main(["doctor", "runs/theirs"])
    assert "at step 0, on random tokens" in capsys.readouterr().out


def test_keys_and_prefixes_that_are_left_out_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8")) | {"clip_qkv": 8.0, "logit_cap": 30}
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    tensors, metadata = load_file(folder / "model.safetensors")
    save_file({f"_orig_mod.{name}": array for name, array in tensors.items()}, folder / "model.safetensors", metadata)
    assert main(["import", "theirs", "--out", "a", "--ignore-config", "clip_qkv"]) == 1
    assert "logit_cap is unknown and may change what the model computes (if not: python -m gpt import --ignore-" in (
        capsys.readouterr().err
    )
    assert main(["import", "theirs", "--out", "a", "--ignore-config", "clip_qkv", "--ignore-config", "logit_cap"]) == 0
    said = capsys.readouterr().out
    assert "ignored   by --ignore-config, whatever they mean: clip_qkv, logit_cap\n" in said
    assert "names     every tensor's name begins with '_orig_mod.', which is left out\n" in said


def test_there_and_back_is_the_same_file(folder: Path) -> None:
    assert main(["import", "theirs", "--out", "a"]) == 0
    assert main(["export", "a", "--out", "back"]) == 0
    for name in ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"):
        assert Path("back", name).read_bytes() == (folder / name).read_bytes(), name
    entries, metadata = read_header("back/model.safetensors")
    assert metadata == {"format": "pt"}
    assert entries["transformer.h.1.attn.c_attn.weight"].shape == (16, 48)
    assert not any("lm_head" in name for name in entries)
    assert json.loads(Path("back/config.json").read_text(encoding="utf-8"))["eos_token_id"] == TOKENIZER.eot_id


def test_what_is_there_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["import", "theirs", "--out", "theirs"], ["import", "theirs", "--out", "theirs/config.json"]):
        assert main(command) == 1
        assert "already exists and is not empty; choose another --out" in capsys.readouterr().err
    assert main(["import", "theirs"]) == 0
    assert main(["export", "runs/theirs", "-o", "theirs"]) == 1
    assert "already exists" in capsys.readouterr().err


def test_a_tokenizer_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(folder / "tokenizer.json", "own.json")
    assert main(["import", "theirs"]) == 1
    said = capsys.readouterr().err
    assert "a checkpoint needs the model's tokenizer" in said
    assert "put tokenizer.json beside the weights" in said
    assert not Path("runs").exists()
    assert main(["import", "theirs", "--tokenizer", "missing.json"]) == 1
    assert "missing.json" in capsys.readouterr().err
    assert main(["import", "theirs", "--tokenizer", "own.json"]) == 0


def test_gpt2_without_its_files_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpt2-large").mkdir()
    assert main(["import", "gpt2-large"]) == 1
    said = capsys.readouterr().err
    assert "https://huggingface.co/openai-community/gpt2-large/resolve/main/model.safetensors" in said
    assert not Path("runs").exists()
    with pytest.raises(SystemExit):
        main(["import", "gpt3", "--download"])
    assert "--download is for gpt2, gpt2-medium, gpt2-large, gpt2-xl, got gpt3" in capsys.readouterr().err


def test_a_char_model_is_exported_without_its_tokenizer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CharTokenizer("abcdefg").save("own.json")
    assert main(["import", "theirs", "--tokenizer", "own.json"]) == 0
    assert main(["export", "runs/theirs", "-o", "out"]) == 0
    assert "without a tokenizer: Hugging Face's format has none of kind char" in capsys.readouterr().out
    assert sorted(path.name for path in Path("out").iterdir()) == ["config.json", "model.safetensors"]


def test_a_bin_of_llama2c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), " ", "a"]
    V, C, F, T = len(pieces), 8, 12, 10
    n = V * C + C + 4 * C * C + C + 3 * C * F + C + 2 * T * 2
    weights = 0.1 * np.random.default_rng(0).standard_normal(n).astype("<f4")
    Path("stories.bin").write_bytes(struct.pack("<7i", C, F, 1, 2, 2, V, T) + weights.tobytes())
    entries = [struct.pack("<fi", 0.0, len(p)) + p.encode() for p in pieces]
    Path("tokenizer.bin").write_bytes(struct.pack("<i", 6) + b"".join(entries))
    assert main(["import", "stories.bin"]) == 0
    assert "tokenizer scored, 261 tokens" in capsys.readouterr().out
    assert load_checkpoint(find_checkpoint("runs/stories")).tokenizer.encode_data("a") == [259, 260]
    assert main(["sample", "runs/stories", "--prompt", "a", "--max-new-tokens", "9"]) == 0
