"""What all tests share."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real texts that GPT_DATA_DIR names; skip where it is unset, fail where it names nothing."""
    folder = os.environ.get("GPT_DATA_DIR")
    if folder is None:
        pytest.skip("GPT_DATA_DIR is not set: tests on real data need it")
    path = Path(folder)
    assert path.is_dir(), f"GPT_DATA_DIR={folder} is not a folder"
    return path


@pytest.fixture(scope="session")
def make_again() -> Callable[[str], dict[str, np.ndarray]]:
    """Return what runs a script of tests/golden, by name, and gives the numbers that PyTorch makes today."""
    pytest.importorskip("torch", reason="making the goldens again needs torch", exc_type=ImportError)

    def run(name: str) -> dict[str, np.ndarray]:
        spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        made: dict[str, np.ndarray] = script.make()
        return made

    return run
