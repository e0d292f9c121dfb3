"""Suspects: wrong backwards with a name, made from the reference's own code, to compare a learner's numbers with.

A suspect is the reference with one or two mistakes. A mistake is one that the drill declares, a known constant too much or
missing, or a small change that the code allows: another sign, a missing bracket, a factor left out, another axis.
"""

import ast
import copy
import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

from nanograd.check.mutator import mistakes, redefine
from nanograd.study.drills.calls import Call
from nanograd.study.drills.drill import Drill
from nanograd.study.markup import code_of

AXES = ("0", "-2", "-1", "None")  # of a sum: what people write for one another
PAIRS = 400  # the most that are tried: a second of computing
LIKELY = (
    "a sign",
    "left out",
    "a bracket",
    "not transposed",
    "not summed",
    "another axis",
)  # also beside another mistake


class Change(NamedTuple):
    """A piece of code, from byte `start` to `end`, replaced by `new`; the name of the mistake, and what is wrong."""

    start: int
    end: int
    new: str
    name: str
    wrong: str


class Factor(NamedTuple):
    """A mistake that multiplies a right gradient by a number, which may depend on the inputs and options of a call."""

    value: Callable[..., float]
    name: str
    wrong: str


Suspect = tuple[Change | Factor, ...]  # in this order: a second change is one of the changed code
Run = Callable[[Call, Any], list[Any] | None]  # from a call and what forward saved to the gradients


def build(drill: Drill, suspect: Suspect) -> Run:
    """Return the reference with the mistakes of a suspect; it returns None if it cannot run."""
    changes = [mistake for mistake in suspect if isinstance(mistake, Change)]
    factors = [mistake for mistake in suspect if isinstance(mistake, Factor)]
    code = code_of(drill.backward)
    for change in changes:
        code = _apply(code, change)
    try:
        backward = redefine(drill.backward, code, f"suspect of {drill.name}") if changes else drill.backward
    except SyntaxError:
        return lambda call, saved: None

    def run(call: Call, saved: Any) -> list[Any] | None:
        c = math.prod(float(factor.value(*call.inputs, **call.case.options)) for factor in factors)
        if factors and c == 1:
            return None
        try:
            returned = backward(call.dy, saved)
        except Exception:  # whatever changed code raises, it is not what the learner wrote
            return None
        gradients = returned if isinstance(returned, (tuple, list)) else (returned,)
        return [dx if dx is None or not factors else dx * c for dx in gradients]

    return run


def declared(drill: Drill) -> list[Suspect]:
    """Return the mistakes that a drill declares."""
    return [(change,) for change in _declared_in(drill, code_of(drill.backward))]


def factors(drill: Drill) -> list[Suspect]:
    """Return the drill's constants, their reciprocals, and -1, as factors."""
    suspects: list[Suspect] = [(Factor(lambda *_, **__: -1.0, "a sign", "the whole gradient has the wrong sign"),)]
    for name, value in drill.constants.items():
        for ours, inverse, power in ((name, f"1/{name}", 1.0), (f"1/{name}", name, -1.0)):
            wrong = f"the gradient is {ours} times the right one: {inverse} is missing, or {ours} is one too many"
            suspects.append((Factor(partial(_power, value, power), "a factor", wrong),))
    return suspects


def small_changes(drill: Drill) -> list[Suspect]:
    """Return every small change that the code of the reference allows, each named after its kind."""
    return [(change,) for change in _small_changes(code_of(drill.backward))]


def pairs(drill: Drill) -> Iterator[Suspect]:
    """Yield two mistakes at once, the likely ones first, up to a number of them."""
    return itertools.islice(_pairs(drill), PAIRS)


def _pairs(drill: Drill) -> Iterator[Suspect]:
    code = code_of(drill.backward)
    text = ast.unparse(ast.parse(code))
    named, small = _declared_in(drill, code), _small_changes(code)
    for a in named:
        yield from ((a, b) for b in _declared_in(drill, _apply(code, a)))
    for a in named:
        yield from ((a, factor) for (factor,) in factors(drill))
    for a in (*named, *(change for change in small if change.name in LIKELY)):
        changed = _apply(code, a)
        likely = (b for b in _small_changes(changed) if b.name in LIKELY)
        yield from ((a, b) for b in likely if ast.unparse(ast.parse(_piece(changed, b))) in text)
        yield from ((a, factor) for (factor,) in factors(drill))


def _power(value: Callable[..., float], power: float, *inputs: Any, **options: Any) -> float:
    return float(value(*inputs, **options)) ** power


def _apply(code: str, change: Change) -> str:
    data = code.encode()
    return (data[: change.start] + change.new.encode() + data[change.end :]).decode()


def _piece(code: str, change: Change) -> str:
    return code.encode()[change.start : change.end].decode()


def _declared_in(drill: Drill, code: str) -> list[Change]:
    """Return the declared mistakes whose piece of code is still there."""
    data = code.encode()
    there = [(mutant, mutant.old.encode()) for mutant in drill.mutants if code.count(mutant.old) == 1]
    return [
        Change(start := data.index(old), start + len(old), mutant.new, mutant.name, mutant.wrong)
        for mutant, old in there
    ]


@cache
def _small_changes(code: str) -> list[Change]:
    lines = code.encode().splitlines(keepends=True)
    offsets = [0, *itertools.accumulate(map(len, lines))]
    tree = ast.parse(code)
    where, names = _definitions(tree), _saved_names(tree)
    seen, changes = set(), []
    for node in ast.walk(tree):
        if not isinstance(node, (ast.expr, ast.AugAssign)) or node.end_lineno is None:
            continue
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[node.end_lineno - 1] + (node.end_col_offset or 0)
        for after in _changes_of(node, names):
            before_text, after_text = ast.unparse(node), ast.unparse(ast.fix_missing_locations(after))
            new = f"({after_text})" if isinstance(node, ast.expr) else after_text
            if before_text != after_text and (start, end, new) not in seen:
                seen.add((start, end, new))
                wrong = f"your numbers are those of `{after_text}` where it should be `{before_text}`"
                used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
                known = ", ".join(text for name, text in where.items() if name in used)
                wrong += f", with {known}" if known else ""
                changes.append(Change(start, end, new, _kind(node, after), wrong))
    return sorted(changes, key=lambda change: change.name == "another array")


def _changes_of(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    if isinstance(node, (ast.Constant, ast.Return)):
        return  # another number is a mistake that nobody makes; an axis is changed below
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        return
    for change in mistakes(node):
        after = change(copy.deepcopy(node))
        if not (isinstance(after, ast.Call) and any(isinstance(argument, ast.UnaryOp) for argument in after.args[:1])):
            yield after  # not np.swapaxes(-1, a, -2)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield from _without_bracket(node)
    if isinstance(node, ast.BinOp):
        for name in names:
            if isinstance(node.left, ast.Name) and node.left.id in names:
                yield ast.BinOp(ast.Name(name, ast.Load()), node.op, node.right)
            if isinstance(node.right, ast.Name) and node.right.id in names:
                yield ast.BinOp(node.left, node.op, ast.Name(name, ast.Load()))
    if isinstance(node, ast.Attribute) and node.attr in ("sum", "mean"):
        yield ast.Attribute(node.value, "mean" if node.attr == "sum" else "sum", ast.Load())
    if isinstance(node, ast.Call):
        for i, keyword in enumerate(node.keywords):
            for axis in AXES if keyword.arg == "axis" else ():
                value = ast.parse(axis, mode="eval").body
                others = [*node.keywords[:i], ast.keyword("axis", value), *node.keywords[i + 1 :]]
                yield ast.Call(node.func, node.args, others)


def _without_bracket(product: ast.BinOp) -> Iterator[ast.AST]:
    """Yield a b ± c for a (b ± c), and a ± b c for (a ± b) c."""
    left, right, sums = product.left, product.right, (ast.Add, ast.Sub)
    if isinstance(right, ast.BinOp) and isinstance(right.op, sums):
        yield ast.BinOp(ast.BinOp(left, ast.Mult(), right.left), right.op, right.right)
    if isinstance(left, ast.BinOp) and isinstance(left.op, sums):
        yield ast.BinOp(left.left, left.op, ast.BinOp(left.right, ast.Mult(), right))


def _kind(before: ast.AST, after: ast.AST) -> str:
    """Name a small change."""
    match before, after:
        case ast.Attribute(attr="sum"), ast.Attribute(attr="mean"):
            return "a mean, not a sum"
        case ast.Attribute(attr="mean"), ast.Attribute(attr="sum"):
            return "a sum, not a mean"
        case ast.AugAssign(), ast.Assign():
            return "overwritten, not added"
        case (ast.AugAssign(), ast.AugAssign()) | (ast.UnaryOp(), _):
            return "a sign"
        case ast.BinOp(), _ if _same_code(after, before.left) or _same_code(after, before.right):
            return "left out"
        case ast.BinOp(), ast.BinOp() if _is_another_array(before, after):
            return "another array"
        case ast.BinOp(op=ast.Mult()), ast.BinOp(op=ast.Add() | ast.Sub()):
            return "a bracket"
        case ast.BinOp(), ast.BinOp() if _same_code(after.left, before.left):
            signs: dict[type[Any], str] = {ast.Add: "a sign", ast.Sub: "a sign", ast.Mult: "divided, not multiplied"}
            return signs.get(type(before.op), "multiplied, not divided")
        case ast.BinOp(), ast.BinOp():
            return "the other way round"
        case ast.Attribute(attr="T"), _:
            return "not transposed"
        case ast.Call(), ast.Call() if _same_code(after.func, before.func):
            lost = [k.arg for k in before.keywords if k.arg not in {other.arg for other in after.keywords}]
            if lost:
                return f"without {lost[0]}"
            return (
                "another axis" if [*map(ast.unparse, before.args)] == [*map(ast.unparse, after.args)] else "exchanged"
            )
        case ast.Call(), _:
            name = ast.unparse(before.func).rpartition(".")[2].removesuffix("_over")
            transposes = dict.fromkeys(("swapaxes", "transpose"), "not transposed")
            return {**transposes, "unbroadcast": "not summed", "sum": "not summed"}.get(name, f"no {name}")
        case ast.Compare(), _:
            return "the other side"
    return "left out"


def _is_another_array(before: ast.BinOp, after: ast.BinOp) -> bool:
    sides = [(before.left, after.left), (before.right, after.right)]
    changed = [pair for pair in sides if not _same_code(*pair)]
    return type(before.op) is type(after.op) and len(changed) == 1 and all(isinstance(n, ast.Name) for n in changed[0])


def _same_code(a: ast.AST, b: ast.AST) -> bool:
    return ast.dump(a) == ast.dump(b)


def _definitions(tree: ast.AST) -> dict[str, str]:
    """Return "row = …" for every name that the code computes in one place, so that a message can say what it is."""
    assigned: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        assigned.setdefault(name.id, []).append(ast.unparse(node))
    single = {name: texts[0] for name, texts in assigned.items() if len(texts) == 1}
    return {name: text for name, text in single.items() if text.startswith(f"{name} = ") and not text.endswith("saved")}


def _saved_names(tree: ast.AST) -> list[str]:
    """Return dy and the arrays that are unpacked from `saved`: people mix them up."""
    unpacked = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and ast.unparse(node.value) == "saved"]
    return ["dy", *(name.id for node in unpacked for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name))]
