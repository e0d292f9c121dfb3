"""Inputs for every command that trains, and its arguments."""

import json
from pathlib import Path

import pytest

from gpt.__main__ import main

TINY = "--d-model 8 --n-layers 1 --n-heads 1 --context-length 64"
STEPS = "--max-steps 6 --eval-every 2 --save-every 2 --warmup-steps 1 --batch-size 2 --shards 1"
BASE = f"train --data text.txt --out base --vocab-size 270 {TINY} --max-steps 2 --batch-size 2 --shards 1"
TRAININGS = {  # each without --out
    "train": f"train --data text.txt --tokenizer char {TINY} {STEPS} --eval-batches 1",
    "classify": f"finetune classify --data labels.tsv --base random --tokenizer char {TINY} {STEPS}",
    "instruct": f"finetune instruct --data answers.json --base base --template chat --test-fraction 0.2 --lr 3e-5 {STEPS}",
    "prefer": f"finetune prefer --data pairs.json --base base --template chat --lora-rank 2 {STEPS}",
}


def write_inputs(folder: Path) -> None:
    """Write the files that TRAININGS read."""
    names = ["ann", "bob", "cem", "dan", "eve", "fay", "gus", "hal"]
    sentences = [f"{name} has {n} cats." for n in range(1, 6) for name in names]
    answers = [{"instruction": f"{n} cats?", "output": f"{name}."} for n in range(1, 4) for name in names]
    pairs = [{"prompt": f"{a} {n}?", "chosen": f"{n}.", "rejected": f"{a}."} for n in range(1, 3) for a in names]
    labels = [f"{'odd' if i % 2 else 'even'}\t{text} {'!' * (i % 2)}" for i, text in enumerate(sentences)]
    (folder / "text.txt").write_text("\n".join(sentences * 3), encoding="utf-8")
    (folder / "labels.tsv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    (folder / "pairs.json").write_text(json.dumps(pairs), encoding="utf-8")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that TRAININGS read, and the base of fine-tuning; tests run in a copy of it."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(BASE.split()) == 0
    return folder


@pytest.fixture(scope="session")
def trainings() -> dict[str, str]:
    """Return the arguments of every command that trains, without --out."""
    return TRAININGS
