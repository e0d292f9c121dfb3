"""What all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real texts that GPT_DATA_DIR names; skip where it is unset, fail where it names nothing."""
    folder = os.environ.get("GPT_DATA_DIR")
    if folder is None:
        pytest.skip("GPT_DATA_DIR is not set: tests on real data need it")
    path = Path(folder)
    assert path.is_dir(), f"GPT_DATA_DIR={folder} is not a folder"
    return path
