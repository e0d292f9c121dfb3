"""The mutator: every small mistake that a piece of code allows, as changed source."""

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

Changes = Callable[[ast.AST], Iterator[Callable[[Any], ast.AST]]]  # of a node: functions from a copy to another node

EXCHANGED: dict[type[ast.AST], type[Any]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Gt: ast.Lt, ast.Lt: ast.Gt,
    ast.GtE: ast.LtE, ast.LtE: ast.GtE,
}  # fmt: skip
COMMUTATIVE = ("np.add", "np.multiply", "np.maximum", "np.minimum")  # exchanging their arguments is no mistake
HARMLESS = ("strict", "optimize")  # keywords that change no number


class Mutation(NamedTuple):
    """One mistake: the code of the changed node before and after, and the source of the whole with it."""

    before: str
    after: str
    statement: str  # the innermost statement around the node; of a compound one the first line
    source: str

    def __str__(self) -> str:
        return f"{self.before} → {self.after} in {self.statement}"


def mutations(tree: ast.AST, changes: Changes) -> Iterator[Mutation]:
    """Yield the mutations of a tree, each different code once; changes yields the changes of one node."""
    harmless = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg in HARMLESS]
    skipped = {id(inner) for node in harmless for inner in ast.walk(node)}
    seen = {ast.unparse(tree)}
    for node in list(ast.walk(tree)):
        for change in () if id(node) in skipped else changes(node):
            after = change(copy.deepcopy(node))
            source = ast.unparse(ast.fix_missing_locations(_Replacement(node, after).visit(tree)))
            _Replacement(after, node).visit(tree)
            if source not in seen:
                seen.add(source)
                yield Mutation(ast.unparse(node), ast.unparse(after), _statement_around(tree, node), source)


def function_tree(function: Callable[..., Any]) -> ast.Module:
    """Return the syntax tree of a function, without docstring and annotations."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    if ast.get_docstring(definition) is not None:
        del definition.body[0]
    definition.returns = None
    for argument in definition.args.args:
        argument.annotation = None
    for node in ast.walk(definition):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Name("object", ast.Load())
    return tree


def redefine(function: Callable[..., Any], code: ast.Module | str, label: str) -> Callable[..., Any]:
    """Run changed code of a function where the function is defined; return the new function."""
    scope: dict[str, Any] = dict(getattr(function, "__globals__", {}))
    exec(compile(code, f"<{label}>", "exec"), scope)
    redefined: Callable[..., Any] = scope[function.__name__]
    return redefined


def slips(node: ast.AST) -> Iterator[Callable[[Any], ast.AST]]:
    """Yield the small mistakes in a formula: + for -, × for /, < for >, no minus, 3 for 2."""
    if isinstance(node, ast.BinOp) and type(node.op) in EXCHANGED:
        yield lambda n: ast.BinOp(n.left, EXCHANGED[type(n.op)](), n.right)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in EXCHANGED:
        yield lambda n: ast.Compare(n.left, [EXCHANGED[type(n.ops[0])](), *n.ops[1:]], n.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield lambda n: n.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield lambda n: ast.Constant(n.value + 1)


def mistakes(node: ast.AST) -> Iterator[Callable[[Any], ast.AST]]:
    """Yield the mistakes in a backward: slips, operands and calls left out or exchanged, wrong returns."""
    if isinstance(node, ast.BinOp):
        yield lambda n: n.left
        yield lambda n: n.right
    yield from slips(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult)):
        yield lambda n: ast.BinOp(n.right, n.op, n.left)
    elif isinstance(node, ast.AugAssign):
        yield lambda n: ast.Assign([n.target], n.value)
        if type(node.op) in EXCHANGED:
            yield lambda n: ast.AugAssign(n.target, EXCHANGED[type(n.op)](), n.value)
        yield lambda n: ast.Pass()
    elif isinstance(node, ast.Call) and ast.unparse(node.func) != "np.errstate":  # which changes warnings, not numbers
        yield from _mistakes_in_call(node)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield lambda n: n.value
    elif isinstance(node, ast.IfExp):
        yield lambda n: ast.IfExp(n.test, n.orelse, n.body)
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        yield from _mistakes_in_return(node.value)


def _mistakes_in_call(node: ast.Call) -> Iterator[Callable[[Any], ast.AST]]:
    """Yield: a keyword left out, the call left out (no un-broadcast, no transpose), two arguments exchanged, = for +=."""
    for i, keyword in enumerate(node.keywords):
        if keyword.arg not in HARMLESS:
            yield partial(_without_keyword, i=i)
    if ast.unparse(node.func) == "np.add.at":  # → dx[index] = dy, which keeps one of the values of a repeated index
        yield lambda n: ast.Call(ast.Attribute(n.args[0], "__setitem__", ast.Load()), n.args[1:], [])
    elif isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield lambda n: n.func.value  # a method: a.sum(…) → a
    elif node.args:
        yield lambda n: n.args[0]  # a function: unbroadcast(g, shape) → g
    if len(node.args) > 1 and ast.unparse(node.func) not in COMMUTATIVE:
        yield lambda n: ast.Call(n.func, [n.args[1], n.args[0], *n.args[2:]], n.keywords)


def _without_keyword(node: ast.Call, i: int) -> ast.Call:
    return ast.Call(node.func, node.args, node.keywords[:i] + node.keywords[i + 1 :])


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node).split(".")[0] in ("np", "math")


def _mistakes_in_return(returned: ast.Tuple) -> Iterator[Callable[[Any], ast.AST]]:
    """Yield, for each returned gradient: zeros, 1 % too much, the wrong sign, dy itself, its mean everywhere."""
    for i, value in enumerate(returned.elts):
        if isinstance(value, ast.Constant):
            continue
        dx = ast.unparse(value)
        codes = f"({dx}) * 0", f"({dx}) * 1.01", f"-({dx})", f"np.full_like({dx}, np.mean({dx}))"
        zeros, more, negative, mean = (f"(None if ({dx}) is None else {code})" for code in codes)
        for code in (zeros, more, negative, "dy", mean):
            yield partial(_returning, i=i, code=code)


def _returning(node: ast.Return, i: int, code: str) -> ast.Return:
    assert isinstance(node.value, ast.Tuple)
    elements = list(node.value.elts)
    elements[i] = ast.parse(code, mode="eval").body
    return ast.Return(ast.Tuple(elements, ast.Load()))


def _statement_around(tree: ast.AST, node: ast.AST) -> str:
    """Return the code of the innermost statement around a node; of a compound one the first line."""
    statements = [s for s in ast.walk(tree) if isinstance(s, ast.stmt) and any(inner is node for inner in ast.walk(s))]
    return ast.unparse(statements[-1]).splitlines()[0]


class _Replacement(ast.NodeTransformer):
    """Replace a node of a tree."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
