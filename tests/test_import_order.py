"""The floors of the house: a module imports only from lower floors, and nothing from outside that was not agreed on."""

import ast
import graphlib
import importlib
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

from nanograd import Op, ops

ROOT = Path(__file__).parents[1]
LONGEST = 400

# From the cellar up. Modules of one floor do not know each other; a package stands for all of its modules, which may
# import one another in an order without cycles. A new module gets its place here.
FLOORS = (
    ("nanograd.runtime", "nanograd.seeds"),
    ("nanograd.op",),
    ("nanograd.ops",),
    ("nanograd.tape",),
    ("nanograd.methods",),
    ("nanograd._tensor",),
    ("nanograd.functional", "nanograd.check.numeric", "nanograd.check.diagnosis", "nanograd.inspect.anomaly"),
    ("nanograd.check.target", "nanograd.inspect.profiler"),
    ("nanograd.check.contract",),
    ("nanograd.check.gradcheck", "nanograd.check.cases", "nanograd.nn"),
    ("nanograd.optim", "nanograd.inspect.trace", "nanograd.inspect.explain"),
    ("nanograd.recompute", "nanograd.parallel", "nanograd.check.cost", "nanograd.check.mutants"),
    ("nanograd.inspect.player",),
    ("nanograd.check", "nanograd.inspect"),
    ("nanograd",),
    ("nanograd.study.drills",),
    ("nanograd.study",),
    ("nanograd.__main__",),
    ("gpt.config", "gpt.text.read", "gpt.text.html"),
    ("gpt.tokenizer", "gpt.data.batches", "gpt.runs.safetensors", "gpt.commands.arguments", "gpt.text.clean"),
    ("gpt.data.dataset", "gpt.pretrained"),
    ("gpt.data.documents",),
    ("gpt.data.encode",),
    ("gpt.data.prepare",),
    ("gpt.data", "gpt.text"),
    ("gpt.attention", "gpt.mlp", "gpt.norm", "gpt.lora"),
    ("gpt.block", "gpt.runs.task"),
    ("gpt.model",),
    ("gpt.generation.layers",),
    ("gpt.generation.decoder", "gpt.generation.sampling"),
    ("gpt.runs.checkpoint", "gpt.generation", "gpt.training"),
    ("gpt.runs.estimate", "gpt.runs.init_from"),
    ("gpt.runs.run", "gpt.doctor"),
    ("gpt.doctor_cache", "gpt.runs.supervise"),
    ("gpt.runs",),
    ("gpt.finetune",),
    ("gpt.commands",),
    ("gpt",),
    ("gpt.__main__",),
)
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
ROOMS = sorted(HEIGHT, key=len, reverse=True)
OUTSIDE = {"numpy", "regex", *sys.stdlib_module_names}


def modules() -> dict[str, Path]:
    """Return every module of the two packages by its dotted name."""
    found = {}
    for path in sorted([*ROOT.glob("nanograd/**/*.py"), *ROOT.glob("gpt/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


class Import(NamedTuple):
    """One name that a module imports; name is None where it takes a whole module."""

    module: str
    name: str | None
    line: int
    in_function: bool

    @property
    def ours(self) -> bool:
        return self.module.split(".")[0] in ("nanograd", "gpt")


def imports(module: str, source: str) -> Iterator[Import]:
    """List what a module imports when it runs: what stands under `if TYPE_CHECKING:` does not."""
    is_package = MODULES.get(module, Path()).name == "__init__.py"
    package = module if is_package else module.rpartition(".")[0]

    def walk(node: ast.AST, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno, in_function)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                taken = (whole, None) if whole in MODULES else (origin, alias.name)
                yield Import(*taken, node.lineno, in_function)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

    return walk(ast.parse(source), in_function=False)


def room(module: str) -> str | None:
    """Return the entry of FLOORS that a module belongs to."""
    for name in ROOMS:
        if module == name or (module.startswith(f"{name}.") and "." in name):
            return name
    return None


def complaints(module: str, source: str) -> list[str]:
    """Say what is wrong with the imports of a module."""
    here = room(module)
    if here is None:
        return [f"{module} stands on no floor: add it to FLOORS"]
    said = []
    for taken in imports(module, source):
        at = f"{module}, line {taken.line}: "
        if not taken.ours:
            if not taken.in_function and taken.module.split(".")[0] not in OUTSIDE:
                said.append(f"{at}{taken.module} is neither numpy, regex nor the standard library")
            continue
        there = room(taken.module)
        if there is None:
            said.append(f"{at}{taken.module} stands on no floor")
        elif there != here and HEIGHT[there] >= HEIGHT[here]:
            said.append(f"{at}{taken.module} is not on a lower floor")
        elif module.startswith("nanograd.ops.") and there == "nanograd.ops" and not is_array_helper(taken):
            said.append(f"{at}an op takes array helpers from other ops, not {taken.name or taken.module}")
    return said


def is_array_helper(taken: Import) -> bool:
    """Tell whether an import takes a plain function of arrays: no op, and nothing that calls one."""
    if taken.name is None or taken.module == "nanograd.ops" or taken.name in ops.__all__:
        return False
    return not isinstance(getattr(importlib.import_module(taken.module), taken.name), Op)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_lower_floors(module: str) -> None:
    said = complaints(module, MODULES[module].read_text(encoding="utf-8"))
    assert not said, "\n".join(said)


def test_no_module_imports_itself_around_a_corner() -> None:
    graph = {}
    for module, path in MODULES.items():
        taken = imports(module, path.read_text(encoding="utf-8"))
        graph[module] = {each.module for each in taken if each.ours and each.module != module}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in MODULES.values()])
def test_no_file_is_too_long(path: str) -> None:
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST, f"{path} has {lines} lines; take an idea out of it"


# The test itself must be able to fail


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("nanograd.op", "from nanograd._tensor import Tensor", "nanograd._tensor is not on a lower floor"),
        ("nanograd.op", "from nanograd import _tensor", "nanograd._tensor is not on a lower floor"),
        ("nanograd.op", "import nanograd._tensor as t", "nanograd._tensor is not on a lower floor"),
        ("nanograd.op", "from ._tensor import Tensor", "nanograd._tensor is not on a lower floor"),
        ("nanograd.op", "from . import _tensor", "nanograd._tensor is not on a lower floor"),
        ("nanograd.op", "def f():\n    from nanograd._tensor import Tensor", "line 2: nanograd._tensor is not"),
        ("nanograd._tensor", "from nanograd import no_grad", "nanograd is not on a lower floor"),
        ("nanograd.nn", "from nanograd.optim import AdamW", "nanograd.optim is not on a lower floor"),
        ("nanograd.nn", "import gpt", "gpt is not on a lower floor"),
        ("nanograd.nn", "from gpt.config import ModelConfig", "gpt.config is not on a lower floor"),
        ("nanograd.__main__", "import gpt.model", "gpt.model is not on a lower floor"),
        ("gpt.block", "from gpt.model import GPT", "gpt.model is not on a lower floor"),
        ("gpt.tokenizer.bpe", "from gpt.training import train", "gpt.training is not on a lower floor"),
        ("nanograd.ops.softmax", "from nanograd._tensor import Tensor", "nanograd._tensor is not on a lower floor"),
        ("nanograd.ops.softmax", "from nanograd.ops.erf import erf", "takes array helpers from other ops, not erf"),
        ("nanograd.ops.softmax", "from nanograd.ops.shape import split", "array helpers from other ops, not split"),
        ("nanograd.ops.softmax", "from nanograd.ops import erf", "array helpers from other ops, not nanograd.ops.erf"),
        ("nanograd.ops.softmax", "from nanograd.ops.shape import _concat", "from other ops, not _concat"),
        ("nanograd.attic", "", "nanograd.attic stands on no floor"),
        ("gpt.model", "import gpt.attic", "gpt.attic stands on no floor"),
        ("gpt.model", "import torch", "torch is neither numpy, regex nor the standard library"),
        ("gpt.model", "try:\n    from torch import nn\nexcept ImportError:\n    pass", "line 2: torch is neither"),
        ("gpt.model", "class A:\n    import matplotlib.pyplot", "line 2: matplotlib.pyplot is neither"),
    ],
)
def test_what_breaks_a_rule_is_complained_about(module: str, source: str, complaint: str) -> None:
    said = complaints(module, source)
    assert len(said) == 1
    assert complaint in said[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nanograd.op", "import numpy as np\nimport os.path\nfrom numpy.lib.array_utils import normalize_axis_tuple"),
        ("nanograd.tape", "if TYPE_CHECKING:\n    from nanograd._tensor import Tensor"),
        ("nanograd._tensor", "from nanograd import ops"),
        ("nanograd.ops.attention", "from nanograd.ops.softmax import softmax_array\nfrom nanograd.op import Op"),
        ("nanograd.check.cases.softmax", "from nanograd.check.cases.case import Case"),
        ("gpt.tokenizer.bpe", "import regex\nfrom gpt.tokenizer.base import Tokenizer"),
        ("gpt.training", "from nanograd import no_grad\nfrom gpt.model import GPT"),
        ("gpt.training", "def plot():\n    import matplotlib"),
    ],
)
def test_what_keeps_the_rules_is_not(module: str, source: str) -> None:
    assert complaints(module, source) == []
