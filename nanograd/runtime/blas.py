"""The BLAS behind NumPy's matrix products: its kernel and its threads. Results are bit-exact only with the same BLAS."""

import contextlib
import ctypes
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@cache
def _library() -> ctypes.CDLL | None:
    """Return the OpenBLAS inside NumPy's wheel, or None if NumPy uses another BLAS (Accelerate, MKL)."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs", package / ".libs"):
        for path in sorted(folder.glob("*scipy_openblas*")):
            try:
                library = ctypes.CDLL(str(path))
                library.scipy_openblas_get_corename64_.restype = ctypes.c_char_p
                return library
            except (OSError, AttributeError):
                continue
    return None


def kernel() -> str:
    """Return the name of the CPU kernel that OpenBLAS selected, such as "Zen"; "unknown" for other libraries."""
    library = _library()
    return library.scipy_openblas_get_corename64_().decode() if library else "unknown"


def threads() -> int | None:
    """Return the number of threads a product may use, or None if it is unknown."""
    library = _library()
    return int(library.scipy_openblas_get_num_threads64_()) if library else None


def can_set_threads() -> bool:
    """Return whether the number of threads can be set: only for the OpenBLAS inside NumPy's wheel."""
    return _library() is not None


# Counts the changes of how gradients are added up: 2 since blocks of rows are added in float64, 3 since shards are added as
# a tree and norms in float64
SUMS = 3


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit every product in the block to one thread, in the whole process, if the BLAS supports it."""
    library = _library()
    if library is None:
        yield
        return
    before = library.scipy_openblas_get_num_threads64_()
    library.scipy_openblas_set_num_threads64_(1)  # 0.2 µs
    try:
        yield
    finally:
        library.scipy_openblas_set_num_threads64_(before)


def description() -> dict[str, Any]:
    """Return the versions and settings on which bit-exact results depend, besides the program itself."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "numpy": np.__version__,
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "kernel": kernel(),
        "threads": threads(),
        "sums": SUMS,
    }
