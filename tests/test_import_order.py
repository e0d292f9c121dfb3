"""The import order: a module imports only from modules above it in ORDER, and only what the project may depend on.

`python tests/test_import_order.py` prints the order, file by file, with the first line of each docstring.
"""

import ast
import graphlib
import importlib
import re
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 400  # lines that a reader will follow

# From the ground up, a line each. A package stands for its modules, unless they have lines of their own; inside it imports
# only must not form a cycle. An `__init__` that exports what lies below it comes after it.
ORDER = (
    "nanograd.runtime",
    "nanograd.seeds",
    "nanograd.op",
    "nanograd.ops",
    "nanograd.tape",
    "nanograd.methods",
    "nanograd._tensor",
    "nanograd.functional",
    "nanograd.nn",
    "nanograd.optim",
    "nanograd.recompute",
    "nanograd.parallel",
    "nanograd.check",
    "nanograd.study.notation",
    "nanograd.inspect",
    "nanograd.study",
    "nanograd",
    "nanograd.__main__",
    "gpt.config",
    "gpt.text",
    "gpt.tokenizer",
    "gpt.data",
    "gpt.model",
    "gpt.lora",
    "gpt.training",
    "gpt.generation",
    "gpt.evaluation",
    "gpt.runs",
    "gpt.pretrained",
    "gpt.finetune",
    "gpt.study",
    "gpt.api",
    "gpt.guide",
    "gpt.commands",
    "gpt",
    "gpt.__main__",
)
RANK = {name: rank for rank, name in enumerate(ORDER)}
LATE = {("gpt.model", "gpt.generation"), ("gpt.model", "gpt.api")}  # in a function: GPT.generate, GPT.from_pretrained
OUTSIDE = {"numpy", "regex", *sys.stdlib_module_names}


def all_modules() -> dict[str, Path]:
    """Return every module of the two packages by its dotted name."""
    modules = {}
    for path in sorted([*ROOT.glob("nanograd/**/*.py"), *ROOT.glob("gpt/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = all_modules()


class Import(NamedTuple):
    """One import; `name` is None where a whole module is imported."""

    module: str
    name: str | None
    line: int
    in_function: bool
    type_checking: bool

    @property
    def ours(self) -> bool:
        return self.module.split(".")[0] in ("nanograd", "gpt")


def imports_of(module: str, source: str) -> Iterator[Import]:
    """List the imports of a module, also those under `if TYPE_CHECKING:`."""
    is_package = MODULES.get(module, Path()).name == "__init__.py"
    package = module if is_package else module.rpartition(".")[0]

    def walk(node: ast.AST, in_function: bool, type_checking: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            type_checking = True
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno, in_function, type_checking)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                target = (whole, None) if whole in MODULES else (origin, alias.name)
                yield Import(*target, node.lineno, in_function, type_checking)
        in_function = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, in_function, type_checking)

    return walk(ast.parse(source), in_function=False, type_checking=False)


def entry_of(module: str) -> str | None:
    """Return the line of ORDER that a module belongs to: its own, or that of the innermost package that has one."""
    names = [
        module.rsplit(".", i)[0] for i in range(module.count("."))
    ]  # nanograd.a.b, nanograd.a; never a whole package
    return next((name for name in [module, *names] if name in RANK), None)


def is_lazy_export(module: str, item: Import) -> bool:
    """Tell whether a package names, for type checkers alone, what it exports lazily."""
    return item.type_checking and MODULES.get(module, Path()).name == "__init__.py"


def errors_in(module: str, source: str) -> list[str]:
    """Return what is wrong with the imports of a module."""
    entry = entry_of(module)
    if entry is None:
        return [f"{module} has no line in ORDER"]
    errors = []
    for item in imports_of(module, source):
        where = f"{module}, line {item.line}: "
        if not item.ours:
            if not item.in_function and item.module.split(".")[0] not in OUTSIDE:
                errors.append(f"{where}{item.module} is neither numpy, regex nor the standard library")
            continue
        target = entry_of(item.module)
        if target is None:
            errors.append(f"{where}{item.module} has no line in ORDER")
        elif entry.startswith("nanograd.runtime") and target != entry:
            errors.append(f"{where}nanograd.runtime imports nothing of ours, not {item.module}")
        elif target != entry and RANK[target] > RANK[entry]:
            if not (item.in_function and (entry, target) in LATE) and not is_lazy_export(module, item):
                errors.append(f"{where}{item.module} comes later in ORDER")
        elif module.startswith("nanograd.ops.") and target == "nanograd.ops" and not is_array_helper(item):
            errors.append(f"{where}an op takes array helpers from other ops, not {item.name or item.module}")
    return errors


def is_array_helper(item: Import) -> bool:
    """Tell whether an import is a plain function of arrays: no op, and nothing that calls one."""
    from nanograd import Op, ops

    if item.name is None or item.module == "nanograd.ops" or item.name in ops.__all__:
        return False
    return not isinstance(getattr(importlib.import_module(item.module), item.name), Op)


def import_graph() -> dict[str, set[str]]:
    """Return which modules each module imports, lazy exports and the late imports of LATE aside."""
    graph = {}
    for module, path in MODULES.items():
        items = [item for item in imports_of(module, path.read_text(encoding="utf-8")) if item.ours]
        graph[module] = {
            item.module
            for item in items
            if item.module != module
            and not is_lazy_export(module, item)
            and not (item.in_function and (entry_of(module), entry_of(item.module)) in LATE)
        }
    return graph


def reading_order() -> list[str]:
    """Return all modules, each after those it imports, in the order of ORDER."""
    sorter = graphlib.TopologicalSorter(import_graph())
    sorter.prepare()  # raises CycleError, which names the cycle
    order: list[str] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        order += ready
        sorter.done(*ready)
    return sorted(order, key=lambda module: RANK[entry_of(module) or module])  # stable: imports stay above


def test_every_module_imports_only_from_above() -> None:
    errors = [
        error for module, path in MODULES.items() for error in errors_in(module, path.read_text(encoding="utf-8"))
    ]
    assert not errors, "\n".join(errors)


def test_no_imports_form_a_cycle() -> None:
    assert set(reading_order()) >= MODULES.keys()


def test_every_line_of_the_order_is_a_module() -> None:
    assert RANK.keys() <= MODULES.keys()
    assert len(RANK) == len(ORDER)


def test_no_file_is_too_long() -> None:
    lengths = {str(path): path.read_text(encoding="utf-8").count("\n") for path in MODULES.values()}
    assert not {path: lines for path, lines in lengths.items() if lines > LONGEST}, "take an idea out of it"


def test_importing_the_model_stays_small() -> None:
    import subprocess

    code = "import sys, gpt.model; print(sum(name.split('.')[0] in ('nanograd', 'gpt') for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(loaded.stdout) <= 60


def test_the_readme_lists_the_packages_in_the_import_order() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Read it") :].split("\n## ")[0]
    rows = [
        re.findall(r"`([\w/]+(?:\.py)?/?)`", line.split(": ")[0])
        for line in table.splitlines()
        if line.startswith("- `")
    ]
    names = [name.strip("/").removesuffix(".py").replace("/", ".") for row in rows for name in row]
    entries = [entry_of(name) for name in names]
    assert None not in entries, f"not a module: {[n for n, e in zip(names, entries, strict=True) if e is None]}"
    ranks = [RANK[entry] for entry in entries if entry]
    assert ranks == sorted(ranks)
    assert {e for e in ORDER if e.count(".") and "__main__" not in e} == set(entries)  # and none is missing


# The test itself must be able to fail


@pytest.mark.parametrize(
    ("module", "source", "error"),
    [
        ("nanograd.op", "from nanograd._tensor import Tensor", "nanograd._tensor comes later"),
        ("nanograd.op", "from nanograd import _tensor", "nanograd._tensor comes later"),
        ("nanograd.op", "import nanograd._tensor as t", "nanograd._tensor comes later"),
        ("nanograd.op", "from ._tensor import Tensor", "nanograd._tensor comes later"),
        ("nanograd.op", "from . import _tensor", "nanograd._tensor comes later"),
        ("nanograd.op", "def f():\n    from nanograd._tensor import Tensor", "line 2: nanograd._tensor comes later"),
        ("nanograd.op", "if TYPE_CHECKING:\n    from nanograd.tape import Node", "line 2: nanograd.tape comes later"),
        ("nanograd._tensor", "from nanograd import no_grad", "nanograd comes later"),
        ("nanograd.runtime.threads", "from nanograd.seeds import seeds", "runtime imports nothing of ours"),
        ("nanograd.nn", "from nanograd.optim import AdamW", "nanograd.optim comes later"),
        ("nanograd.nn", "from gpt.config import ModelConfig", "gpt.config comes later"),
        ("nanograd.__main__", "import gpt.model", "gpt.model comes later"),
        ("gpt.tokenizer.bpe", "from gpt.training import train", "gpt.training comes later"),
        ("gpt.training", "def f():\n    from gpt.pretrained import load_pretrained", "gpt.pretrained comes later"),
        ("gpt.model", "from gpt.pretrained import load_pretrained", "gpt.pretrained comes later"),
        ("nanograd.ops.softmax", "from nanograd._tensor import Tensor", "nanograd._tensor comes later"),
        ("nanograd.ops.softmax", "from nanograd.ops.erf import erf", "takes array helpers from other ops, not erf"),
        ("nanograd.ops.softmax", "from nanograd.ops.shape import split", "array helpers from other ops, not split"),
        ("nanograd.ops.softmax", "from nanograd.ops import erf", "array helpers from other ops, not nanograd.ops.erf"),
        ("nanograd.ops.softmax", "from nanograd.ops.shape import _concat", "from other ops, not _concat"),
        ("nanograd.attic", "", "nanograd.attic has no line in ORDER"),
        ("gpt.model", "import gpt.attic", "gpt.attic has no line in ORDER"),
        ("gpt.model", "import torch", "torch is neither numpy, regex nor the standard library"),
        ("gpt.model", "try:\n    from torch import nn\nexcept ImportError:\n    pass", "line 2: torch is neither"),
        ("gpt.model", "class A:\n    import matplotlib.pyplot", "line 2: matplotlib.pyplot is neither"),
    ],
)
def test_an_import_that_breaks_a_rule_is_an_error(module: str, source: str, error: str) -> None:
    errors = errors_in(module, source)
    assert len(errors) == 1
    assert error in errors[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nanograd.op", "import numpy as np\nimport os.path\nfrom numpy.lib.array_utils import normalize_axis_tuple"),
        ("nanograd._tensor", "from nanograd import ops"),
        ("nanograd", "if TYPE_CHECKING:\n    from nanograd.inspect.explain import explain"),
        ("nanograd.ops.attention", "from nanograd.ops.softmax import softmax_array\nfrom nanograd.op import Op"),
        ("gpt.tokenizer.bpe", "import regex\nfrom gpt.tokenizer.base import Tokenizer"),
        ("gpt.training", "from nanograd import no_grad\nfrom gpt.model import GPT"),
        ("gpt.training", "def plot():\n    import matplotlib"),
        ("gpt.model", "def f():\n    from gpt.api import load"),
    ],
)
def test_an_import_that_keeps_the_rules_is_none(module: str, source: str) -> None:
    assert errors_in(module, source) == []


if __name__ == "__main__":
    for name in reading_order():
        docstring = ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8"))) or ""
        print(f"{MODULES[name].relative_to(ROOT)!s:<46} {docstring.splitlines()[0] if docstring else ''}")
