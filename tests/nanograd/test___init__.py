"""Importing nanograd is fast, prints nothing, and loads checking and inspection only at first use."""

import subprocess
import sys

import pytest

import nanograd

TIME_IMPORTS = """
import time
start = time.perf_counter()
import numpy
middle = time.perf_counter()
import nanograd
print((time.perf_counter() - middle) / (middle - start))
"""


def test_import_takes_at_most_one_and_a_half_times_as_long_as_that_of_numpy() -> None:
    ratios = []
    for _ in range(5):  # together they take 0.25 s on an idle machine
        result = subprocess.run([sys.executable, "-c", TIME_IMPORTS], check=True, capture_output=True, text=True)
        assert result.stderr == ""
        ratios.append(float(result.stdout))
    assert min(ratios) < 1.5


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
