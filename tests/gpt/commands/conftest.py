"""Tiny trained runs, which many commands read."""

from pathlib import Path

import pytest

from gpt.__main__ import main

TINY = "--d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 2 --eval-batches 1"
NAMES = ["ann", "bob", "cem", "dan", "eve", "fay", "gus", "hal", "ida", "jim"]
HAM = [f"see you at {n}, {name}" for n in range(1, 5) for name in NAMES]  # 40
SPAM = [f"win {10 * n}! call {name} now" for n in range(1, 3) for name in NAMES]  # 20
CLASSIFY_TINY = "--d-model 16 --n-layers 1 --n-heads 2 --tokenizer char --batch-size 8 --shards 1"
CLASSIFY_QUICK = "--max-steps 12 --eval-every 4 --warmup-steps 2 --lr 1e-2"


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


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with labelled texts, a classifier from random weights, a base, and one with adapters on it.

    test_finetune.py and test_classify.py read it; they must not change it.
    """

    def finetune(*words: str | Path) -> int:
        return main(["finetune", "classify", *map(str, words)])

    folder = tmp_path_factory.mktemp("classify")
    rows = [f"ham\t{text}" for text in HAM] + [f"spam\t{text}" for text in [*SPAM, SPAM[0]]]
    (folder / "data.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "base.txt").write_text("\n".join(HAM + SPAM), encoding="utf-8")
    data = ("--data", folder / "data.tsv", *CLASSIFY_QUICK.split())
    assert finetune(*data, "--init", "random", "--balance", "--out", folder / "run", *CLASSIFY_TINY.split()) == 0
    shape = f"{CLASSIFY_TINY} --context-length 32 --batch-size 2 --max-steps 3".split()
    assert main(["train", "--data", str(folder / "base.txt"), "--out", str(folder / "base"), *shape]) == 0
    adapters = ("--lora-rank", "2", "--lora-alpha", "2", "--shards", "1", "--batch-size", "8")
    assert finetune(*data, "--init", folder / "base", "--out", folder / "adapted", *adapters) == 0
    return folder
