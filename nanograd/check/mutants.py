"""Mutation testing of every backward: plant each small mistake that its code allows, and see whether the Cases catch it.

A mutant is the backward's syntax tree with one change, such as a sign flipped or an axis dropped. It is caught if on some
Case it raises, or gives another gradient, shape or dtype than the backward that was checked against finite differences.
"""

import ast
import copy
import inspect
import itertools
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from nanograd.check.cases import CASES, EQUIVALENT
from nanograd.check.cases.case import Case, small_blocks
from nanograd.op import OPS, Op, Pair
from nanograd.tape import arrays_in

TOLERANCE = 1e-9
COMMUTATIVE = ("np.add", "np.multiply", "np.maximum", "np.minimum")  # to swap their arguments is no mistake
HARMLESS = ("strict", "optimize")  # keywords that change no number


@dataclass
class Score:
    """What became of the mutants of one backward."""

    name: str
    total: int = 0
    caught: int = 0
    equivalent: list[tuple[str, str]] = field(default_factory=list)  # mutant, proof
    survived: list[str] = field(default_factory=list)


def mutants(backward: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the mutants of a backward: what was changed, and the changed function."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(backward)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    if isinstance(function.body[0], ast.Expr) and isinstance(function.body[0].value, ast.Constant):
        del function.body[0]  # the docstring
    function.returns = None
    for argument in function.args.args:
        argument.annotation = None
    for each in ast.walk(function):
        if isinstance(each, ast.AnnAssign):
            each.annotation = ast.Name("object", ast.Load())
    seen = {ast.unparse(tree)}
    for place, node in enumerate(ast.walk(tree)):
        for change in _changes(node):
            changed = copy.deepcopy(tree)
            target = next(itertools.islice(ast.walk(changed), place, None))
            before, statement = ast.unparse(target), _statement_of(changed, target)
            after = change(copy.deepcopy(target))
            _replace(changed, target, after)
            ast.fix_missing_locations(changed)
            source = ast.unparse(changed)
            if source not in seen:
                seen.add(source)
                scope: dict[str, Any] = dict(backward.__globals__)
                exec(compile(changed, f"<mutant of {backward.__name__}>", "exec"), scope)
                yield f"{before} → {ast.unparse(after)} in {statement}", scope[backward.__name__]


def _statement_of(tree: ast.AST, node: ast.AST) -> str:
    """Return the code of the innermost statement around a node, a compound one by its first line."""
    around = [each for each in ast.walk(tree) if isinstance(each, ast.stmt) and any(n is node for n in ast.walk(each))]
    return ast.unparse(around[-1]).splitlines()[0]


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Put `new` in the place of `old`."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list):
                for i, each in enumerate(value):
                    if each is old:
                        value[i] = new
                        return
    raise AssertionError("the node is not in the tree")


def _changes(node: ast.AST) -> Iterator[Callable[[Any], ast.AST]]:
    """Yield the mistakes that can be made at one node of the tree."""
    if isinstance(node, ast.BinOp):
        yield lambda n: n.left
        yield lambda n: n.right
        swapped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
        if type(node.op) in swapped:
            yield lambda n: ast.BinOp(n.left, swapped[type(n.op)](), n.right)
        if isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult)):
            yield lambda n: ast.BinOp(n.right, n.op, n.left)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield lambda n: n.operand
    elif isinstance(node, ast.AugAssign):
        yield lambda n: ast.Assign([n.target], n.value)
        flipped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
        if type(node.op) in flipped:
            yield lambda n: ast.AugAssign(n.target, flipped[type(n.op)](), n.value)
        yield lambda n: ast.Pass()
    elif isinstance(node, ast.Call) and ast.unparse(node.func) != "np.errstate":  # which changes warnings, not numbers
        yield from _changes_of_a_call(node)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield lambda n: n.value
    elif isinstance(node, ast.IfExp):
        yield lambda n: ast.IfExp(n.test, n.orelse, n.body)
    elif isinstance(node, ast.Return) and node.value is not None:
        yield from _changes_of_a_return(node)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield lambda n: ast.Constant(n.value + 1)


def _changes_of_a_call(node: ast.Call) -> Iterator[Callable[[Any], ast.AST]]:
    """Yield: a keyword dropped, the call left out (no un-broadcast, no transpose), two arguments swapped, = for +=."""
    for i in [i for i, keyword in enumerate(node.keywords) if keyword.arg not in HARMLESS]:
        yield partial(_without_keyword, i=i)
    if ast.unparse(node.func) == "np.add.at":
        yield _assigning
    elif isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield lambda n: n.func.value  # a method: a.sum(…) → a
    elif node.args:
        yield lambda n: n.args[0]  # a function: unbroadcast(g, shape) → g
    if len(node.args) > 1 and ast.unparse(node.func) not in COMMUTATIVE:
        yield lambda n: ast.Call(n.func, [n.args[1], n.args[0], *n.args[2:]], n.keywords)


def _without_keyword(node: ast.Call, i: int) -> ast.Call:
    return ast.Call(node.func, node.args, node.keywords[:i] + node.keywords[i + 1 :])


def _assigning(node: ast.Call) -> ast.AST:
    """Turn np.add.at(dx, index, dy) into dx[index] = dy, which keeps one of each repeated index."""
    return ast.Call(ast.Attribute(node.args[0], "__setitem__", ast.Load()), node.args[1:], [])


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node).split(".")[0] in ("np", "math")


def _changes_of_a_return(node: ast.Return) -> Iterator[Callable[[Any], ast.AST]]:
    """Yield, for each gradient returned: zeros, 1 % too much, the wrong sign, dy in its place, its mean for all."""
    if not isinstance(node.value, ast.Tuple):
        return
    for i, value in enumerate(node.value.elts):
        if isinstance(value, ast.Constant):
            continue
        for source in ("({0}) * 0", "({0}) * 1.01", "-({0})", "dy", "np.full_like({0}, np.mean({0}))"):
            original = ast.unparse(value)
            text = (
                source.format(original)
                if source == "dy"
                else f"(None if ({original}) is None else {source.format(original)})"
            )
            expression = ast.parse(text, mode="eval").body
            yield partial(_returning, i=i, expression=expression)


def _returning(node: ast.Return, i: int, expression: ast.expr) -> ast.Return:
    assert isinstance(node.value, ast.Tuple)
    parts = [copy.deepcopy(expression) if k == i else each for k, each in enumerate(node.value.elts)]
    return ast.Return(ast.Tuple(parts, ast.Load()))


def _is_float(a: Any) -> bool:
    return a is not None and a.dtype.kind == "f"


@dataclass
class _Trial:
    """One Case with one pattern of needs, and the gradients that are right."""

    saved: Any
    dy: np.ndarray
    needs: tuple[bool, ...]
    right: tuple[Any, ...]


def _trials(op: Op, pair: Pair, cases: list[Case]) -> list[_Trial]:
    trials = []
    for dtype, case in itertools.product((np.float64, np.float32), cases):
        arrays = [a.astype(dtype) if _is_float(a) else a for a in case.arrays()]
        arrays += [None] * (len(op.arrays) - len(arrays))  # optional ones left out
        full = op.differentiable(arrays)
        patterns = {full, *(tuple(j == i for j in range(len(full))) for i, need in enumerate(full) if need)}
        for needs in sorted(patterns, reverse=True):
            for block in ({}, small_blocks(pair)) if small_blocks(pair) else ({},):
                y, saved = op.run_forward(pair, arrays, needs, {**case.options, **block})
                dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape)).astype(y.dtype)
                trials.append(_Trial(saved, dy, needs, _back(op, pair.backward, saved, dy, needs)))
    return trials


def _back(op: Op, backward: Callable[..., Any], saved: Any, dy: np.ndarray, needs: tuple[bool, ...]) -> Any:
    return op.run_backward(backward, dy.copy(), copy.deepcopy(saved), needs)


def _is_caught(op: Op, mutant: Callable[..., Any], trials: list[_Trial]) -> bool:
    """Tell whether some Case shows that the mutant is wrong."""
    for trial in trials:
        try:
            saved = copy.deepcopy(trial.saved)
            dxs = op.run_backward(mutant, trial.dy.copy(), saved, trial.needs)
            if any(a.tobytes() != b.tobytes() for a, b in zip(arrays_in(saved), arrays_in(trial.saved), strict=True)):
                return True  # it wrote into what was saved, which a second backward would use again
            if not isinstance(dxs, tuple) or len(dxs) != len(trial.right):
                return True
            for dx, right in zip(dxs, trial.right, strict=True):
                if (dx is None) != (right is None):
                    return True
                if right is None:
                    continue
                dx, right = np.asarray(dx), np.asarray(right)
                if dx.shape != right.shape or dx.dtype != right.dtype:
                    return True
                bound = TOLERANCE * max(1.0, float(np.nanmax(np.abs(right), initial=0)))
                if right.dtype == np.float64 and not np.allclose(dx, right, rtol=0, atol=bound, equal_nan=True):
                    return True
        except Exception:  # whatever a mutant raises, the mistake is seen
            return True
    return False


def score(op: Op, pair: Pair, name: str) -> Score:
    """Plant every mutant of one backward, and count."""
    result = Score(name)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mutant may average nothing
        trials = _trials(op, pair, CASES[op.name])
        for change, mutant in mutants(pair.backward):
            result.total += 1
            if _is_caught(op, mutant, trials):
                result.caught += 1
            elif (proof := EQUIVALENT.get((op.name, change))) is not None:
                result.equivalent.append((change, proof))
            else:
                result.survived.append(change)
    return result


def catching_case(op: Op, mutant: Callable[..., Any]) -> str:
    """Return the label of the first Case that shows that a mutant of the readable backward is wrong, or nothing."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = (case.label for case in CASES[op.name] if _is_caught(op, mutant, _trials(op, op.pair, [case])))
        return next(found, "")


def scores(names: list[str] | None = None) -> Iterator[Score]:
    """Score the readable pair of each op, and the fast one where there is one."""
    for name in names or sorted(OPS):
        op = OPS[name]
        yield score(op, op.pair, name)
        if op.fast is not None:
            yield score(op, op.fast, f"{name}, fast")
