"""A tiny trained run, which many commands read."""

from pathlib import Path

import pytest

from gpt.__main__ import main

TINY = "--d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 2 --eval-batches 1"


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "café.txt"
    path.write_text("Où est le café ? Là-bas.\nThe cat sat on the mat.\n" * 30, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 7 steps, evaluated in 3, 6 and 7. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "mine"
    words = ["--data", str(text), "--tokenizer", "char", "--max-steps", "7", "--eval-every", "3", "--out", str(out)]
    assert main(["train", *words, *TINY.split()]) == 0
    return out
