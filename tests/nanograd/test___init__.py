"""Importing nanograd is fast, prints nothing, and loads checking and inspection only at first use."""

import builtins
import importlib
import pkgutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from types import ModuleType

import pytest

import gpt
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
    assert {name for name in dir(nanograd) if not name.startswith("__")} == set(
        nanograd.__all__
    )  # and no import of ours
    assert all(getattr(nanograd, name) is not None for name in nanograd.__all__)
    assert nanograd.optim.AdamW
    assert nanograd.nn.Linear
    with pytest.raises(AttributeError, match="module 'nanograd' has no attribute 'gradchek'"):
        nanograd.gradchek  # type: ignore[attr-defined]  # noqa: B018


def test_what_users_build_with_is_in_the_package() -> None:
    expected = "Module Parameter Linear Embedding LayerNorm RMSNorm Dropout Sequential AdamW SGD clip_grad_norm"
    expected += " tensor zeros ones full rand randn arange gradcheck no_grad grad nn optim ops"
    assert set(expected.split()) <= set(nanograd.__all__)
    assert nanograd.Linear is nanograd.nn.Linear
    assert nanograd.AdamW is nanograd.optim.AdamW


def test_modules_and_optimizers_are_loaded_at_first_use() -> None:
    code = (
        "import sys, nanograd; assert not {'nanograd.nn', 'nanograd.optim'} & set(sys.modules); nanograd.AdamW;"
        "nanograd.Module; assert {'nanograd.nn', 'nanograd.optim'} < set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_star_import_takes_the_public_names_and_these_builtins() -> None:
    names: dict[str, object] = {}
    exec("from nanograd import *", names)
    assert set(nanograd.__all__) <= set(names)
    assert {name for name in nanograd.__all__ if hasattr(builtins, name)} == {"abs", "max", "min", "pow", "sum"}
    assert len(nanograd.__all__) == len(set(nanograd.__all__))


def test_type_checkers_are_told_every_lazy_name() -> None:
    source = importlib.util.find_spec("nanograd").loader.get_source("nanograd")  # type: ignore[union-attr,attr-defined]
    assert typing.TYPE_CHECKING is False
    assert not [name for name in nanograd._LAZY if f" import {name} as {name}\n" not in source]


def packages(package: ModuleType) -> Iterator[ModuleType]:
    """Yield a package and the packages inside it."""
    yield package
    for info in pkgutil.iter_modules(package.__path__):
        if info.ispkg:
            yield from packages(importlib.import_module(f"{package.__name__}.{info.name}"))


@pytest.mark.parametrize("package", [nanograd, gpt])
def test_no_public_name_is_also_a_module_with_another_meaning(package: ModuleType) -> None:
    hidden = []
    for inner in packages(package):
        modules = {info.name for info in pkgutil.iter_modules(inner.__path__)}
        if inner.__name__ != "nanograd.ops":  # its files are named after their ops
            for name in modules & set(getattr(inner, "__all__", ())):
                module = importlib.import_module(f"{inner.__name__}.{name}")
                hidden += [f"{inner.__name__}.{name}"] if getattr(inner, name) is not module else []
    assert not hidden
