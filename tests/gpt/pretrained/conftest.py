"""A small model as transformers writes it, to be changed by one thing at a time."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.runs.safetensors import load_file, save_file

GOLDEN = Path(__file__).parents[2] / "golden"


class Written:
    """A folder with config.json and model.safetensors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "model.safetensors"

    def config(self, **changes: Any) -> None:
        """Change keys of config.json; a value of ... takes the key out."""
        path = self.path / "config.json"
        fields = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps({k: v for k, v in fields.items() if v is not ...}), encoding="utf-8")

    def change(self, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
        """Write the tensors again as `change` returns them."""
        tensors, metadata = load_file(self.weights)
        save_file(change(tensors), self.weights, metadata)

    def shard(self, n: int = 3) -> dict[str, str]:
        """Split model.safetensors into n files with an index, as transformers does; return the index."""
        tensors, metadata = load_file(self.weights)
        self.weights.unlink()
        index = {}
        for i in range(n):
            name = f"model-{i + 1:05}-of-{n:05}.safetensors"
            part = {key: tensors[key] for key in list(tensors)[i::n]}
            save_file(part, self.path / name, metadata)
            index |= dict.fromkeys(part, name)
        self.index(index)
        return index

    def index(self, index: Any) -> None:
        """Write the index."""
        text = json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
        (self.path / "model.safetensors.index.json").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder of the golden files."""
    return GOLDEN


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Written]:
    """Return what copies a golden model, by name, into a folder that the test may change."""

    def copy(case: str) -> Written:
        shutil.copytree(GOLDEN / "huggingface" / case, tmp_path / "model", copy_function=shutil.copyfile)
        return Written(tmp_path / "model")

    return copy


@pytest.fixture
def gpt2(written: Callable[[str], Written]) -> Written:
    """Return a GPT-2 of two layers with 16 features."""
    return written("gpt2-medium")
