"""Tests of commands that are killed while they write: the same command works again, and no temporary file is left."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt
from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.lora import LoRASettings, add_lora
from gpt.model import GPT
from gpt.runs.checkpoint import Task, TrainingState, save_checkpoint
from gpt.tokenizer import BPETokenizer

ROOT = Path(gpt.__file__).parents[1]
COMMANDS = {
    "merge": "merge lora.safetensors --out merged.safetensors",
    "clean": "clean text.txt --out clean.txt",
    "export": "export base.safetensors --out exported",
    "import": "import given --out imported",
    "train": "tokenizer train text.txt --out new.json --vocab-size 260",
    "convert": "tokenizer convert given --out converted.json",
    "study": "study base.safetensors --text cat --out page.html",
}
KILL = """
import os, signal, sys
from gpt.__main__ import main
for line in sys.stdin.read().splitlines():
    call, *words = line.split()
    if not (child := os.fork()):
        setattr(os, call, lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
        main(words)
        os._exit(0)
    print(os.waitpid(child, 0)[1], file=sys.stderr)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_a_killed_command_runs_again_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("the cat sat on the mat. " * 9, encoding="utf-8")
    tokenizer = BPETokenizer.train("the cat sat on the mat", 260)
    model = GPT(ModelConfig(vocab_size=260, context_length=8, d_model=8, n_layers=1, n_heads=2))
    save_checkpoint("base.safetensors", model, None, TrainConfig(), tokenizer, TrainingState())
    settings = LoRASettings(2, 4.0, ("w_qkv",))
    add_lora(model, settings.rank, settings.alpha, settings.targets, np.random.default_rng(0))
    task = Task("instruct", lora=settings)
    save_checkpoint("lora.safetensors", model, None, TrainConfig(), tokenizer, TrainingState(), task)
    assert main(["export", "base.safetensors", "--out", "given"]) == 0
    before = sorted(tmp_path.rglob("*"))

    lines = [f"replace {words}" for words in COMMANDS.values()]
    lines += [f"rename {COMMANDS[name]}" for name in ("export", "import")]
    done = subprocess.run(
        [sys.executable, "-c", KILL], input="\n".join(lines), text=True, capture_output=True, timeout=120,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stderr.split() == ["9"] * len(lines), done.stderr
    assert len(set(tmp_path.rglob("*")) - set(before)) >= len(COMMANDS)  # what the kills left

    for words in COMMANDS.values():
        assert main(words.split()) == 0
    left = {path.name for path in tmp_path.iterdir()} - {path.name for path in before}
    assert left == {
        "merged.safetensors",
        "clean.txt",
        "exported",
        "imported",
        "new.json",
        "converted.json",
        "page.html",
    }
    assert not list(tmp_path.rglob("*.tmp"))
