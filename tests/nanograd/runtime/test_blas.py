"""The BLAS behind NumPy: its threads are limited in a block and restored after it."""

import numpy as np
import pytest

from nanograd.runtime import blas

can_set = pytest.mark.skipif(not blas.can_set_threads(), reason="the threads of this NumPy's BLAS cannot be set")


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread() -> None:
    """Leave BLAS all its threads: they are tested here."""


@can_set
def test_one_thread_ends_with_its_block_even_after_an_error() -> None:
    before = blas.threads()

    def fail() -> None:
        with blas.one_thread():
            assert blas.threads() == 1
            raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        fail()
    assert blas.threads() == before


def test_another_blas_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_library", lambda: None)
    assert (blas.kernel(), blas.threads(), blas.can_set_threads()) == ("unknown", None, False)
    with blas.one_thread():
        assert blas.threads() is None


def test_the_description_names_everything_that_bits_depend_on() -> None:
    description = blas.description()
    assert description["numpy"] == np.__version__
    assert description.keys() == {"numpy", "blas", "kernel", "threads", "sums"}
    assert (description["kernel"], description["threads"]) == (blas.kernel(), blas.threads())
