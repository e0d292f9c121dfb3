"""What all tests share."""

import gc
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nanograd.runtime import blas

GOLDEN = Path(__file__).parent / "golden"


def pytest_sessionstart() -> None:
    """Collect no garbage while pytest collects: 11,000 tests are objects that all stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Set the collected tests aside: the garbage collector need not look at them again. Saves 10 s of 185."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Compute on one BLAS thread: on matrices this small, a second one costs more than it saves, and five times as much
    on a busy machine. A module that tests threads defines this fixture itself, and leaves BLAS all of them.
    """
    with blas.one_thread():
        yield


def folder_of(variable: str, content: str) -> Path:
    """Return the folder that a variable of the environment names; skip where it is unset, fail where it names nothing."""
    folder = os.environ.get(variable)
    if folder is None:
        pytest.skip(f"{variable} is not set: tests on {content} need it")
    path = Path(folder)
    assert path.is_dir(), f"{variable}={folder} is not a folder"
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real texts."""
    return folder_of("GPT_DATA_DIR", "real data")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Return the folder of SmolLM2-135M-Instruct: config.json, model.safetensors, tokenizer.json."""
    return folder_of("GPT_SMOLLM2_DIR", "a real chat model")


@pytest.fixture(scope="session")
def real_tokenizers() -> Path:
    """Return the folder that has the tokenizer.json and tokenizer_config.json of each family in a folder of its own."""
    return folder_of("GPT_TOKENIZERS_DIR", "real tokenizers")


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
