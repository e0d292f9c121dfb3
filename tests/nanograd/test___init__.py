"""Importing nanograd is fast, prints nothing, and loads checking and inspection only at first use."""

import subprocess
import sys

import pytest

import nanograd

COUNT = "import time; began = time.perf_counter(); import nanograd; print(time.perf_counter() - began)"


def test_import_takes_less_than_a_third_of_a_second_numpy_included() -> None:
    seconds = []
    for _ in range(5):  # the best of five: the machine may be busy
        done = subprocess.run([sys.executable, "-c", COUNT], check=True, capture_output=True, text=True)
        assert done.stderr == ""
        seconds.append(float(done.stdout))
    assert min(seconds) < 0.3


def test_checking_and_inspection_are_loaded_at_first_use() -> None:
    code = (
        "import sys, nanograd; assert not any(m.startswith(('nanograd.check', 'nanograd.inspect')) for m in sys.modules);"
        "nanograd.gradcheck, nanograd.trace; assert 'nanograd.check.gradcheck' in sys.modules, sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_unknown_names_are_refused() -> None:
    assert set(nanograd.__all__) <= set(dir(nanograd))
    assert all(getattr(nanograd, name) is not None for name in nanograd.__all__)
    assert nanograd.optim.AdamW
    assert nanograd.nn.Linear
    with pytest.raises(AttributeError, match="module 'nanograd' has no attribute 'gradchek'"):
        nanograd.gradchek  # type: ignore[attr-defined]  # noqa: B018
