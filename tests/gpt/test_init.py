"""Tests of gpt/__init__.py: its names, which are loaded at first use."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gpt

ROOT = Path(gpt.__file__).parents[1]


def test_importing_gpt_loads_no_package() -> None:
    code = (
        "import sys, gpt; print(dir(gpt)); "
        "print([n for n in sys.modules if n.split('.')[0] in ('numpy', 'regex', 'nanograd') or n.startswith('gpt.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(sorted([*gpt.__all__, "__version__"])), "[]"]


@pytest.mark.parametrize("name", gpt.__all__)
def test_every_name_exists_is_documented_and_no_module_hides_it(name: str) -> None:
    value = getattr(gpt, name)
    assert inspect.getdoc(value)
    assert not inspect.ismodule(value)
    assert not (ROOT / "gpt" / name).exists()
    assert not (ROOT / "gpt" / f"{name}.py").exists()


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gpt' has no attribute 'Gpt'"):
        gpt.Gpt  # noqa: B018


def test_the_help_needs_no_package() -> None:
    code = (
        "import sys; from gpt.__main__ import main; code = main(['--help']); "
        "sys.exit(code or [n for n in sys.modules if n.split('.')[0] in ('numpy', 'regex')] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
