"""The table of all ops by family: what each does, its gradients, and the lines that define their letters."""

import inspect
from collections.abc import Callable, Iterator

from nanograd.check.cost import cost
from nanograd.inspect.player.html import clean
from nanograd.op import OPS
from nanograd.ops._equations import equations
from nanograd.study.headline import headline
from nanograd.study.markup import inline, rows
from nanograd.study.notation import parse, to_mathml
from nanograd.study.notation import tree as t
from nanograd.study.notation.names import name_of, subtrees
from nanograd.study.reasons import about, families

FUNCTIONS = {"U", "exp", "ln", "sin", "cos", "tanh", "sinh", "cosh", "erf", "sign", "softmax", "cross_entropy", "i-th"}


def table_of_ops(link: Callable[[str], str]) -> str:
    """Return the table of all ops by family: equation and gradients."""
    return "".join(f'<h3 class="family">{inline(title)}</h3>{table}' for title, table in family_tables(link))


def family_tables(link: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yield what each family is, and the table of its ops."""
    for family, names in families().items():
        body = []
        for name in names:
            formula = headline(name)
            equation = to_mathml(formula) if formula else ""
            backward = "<br>".join(to_mathml(parse(line)) for line in gradients(name)) or "in words: see its page"
            body.append([f'<a href="{clean(link(name))}"><code>{clean(name)}</code></a>', equation, backward])
        title = about(family).partition(". ")[0].rstrip(".")
        yield title, rows(about(family), ["op", "forward", "backward"], body, "ops", titled=False)


def gradients(name: str) -> list[str]:
    """Return the gradients of an op, then the lines that define their letters; empty if only words define one."""
    lines = {letter: line for function in OPS[name].pair for line in equations(function) for letter in defined(line)}
    shown = list(cost(OPS[name]).gradients)
    for formula in shown:  # which grows
        for letter in sorted(letters(name, formula) - {letter for line in shown for letter in defined(line)}):
            if letter not in lines:
                return []
            shown.append(lines[letter])
    return shown


def defined(formula: str) -> Iterator[str]:
    """Yield the names that an equation defines, at its left end or, as in ∂y/∂x = … = p, at its right."""
    whole = parse(formula)
    for clause in whole.items if isinstance(whole, t.List) else (whole,):
        if isinstance(clause, t.Infix) and "=" in clause.signs:
            first, *_, last = clause.operands
            yield from filter(None, (name_of(first), len(clause.operands) > 2 and name_of(last)))


def letters(name: str, formula: str) -> set[str]:
    """Return the names in a formula that are no input, option or result of the op, nor a gradient of one, nor an index."""
    tree = parse(formula)
    parameters = inspect.signature(OPS[name].pair.forward).parameters
    inputs = {letter for parameter in parameters for letter in (parameter, parameter.removesuffix("s"))}
    positions = [inner for part in subtrees(tree) for inner in _positions(part)]
    indices = {part.text for position in positions for part in subtrees(position) if isinstance(part, t.Name)}
    indices |= {letter for part in subtrees(tree) if isinstance(part, t.Indices) for letter in part.text}
    known = {*inputs, *indices, *FUNCTIONS, "y", "loss", *(f"d{name}" for name in (*inputs, "y"))}
    gradients = [part for part in subtrees(tree) if isinstance(part, t.Gradient)]
    named = [part for part in subtrees(tree) if isinstance(part, t.Name) and not any(part is g.of for g in gradients)]
    return set(filter(None, map(name_of, (*gradients, *named)))) - known


def _positions(part: t.Formula) -> list[t.Formula]:
    match part:
        case t.Sub(_, index):
            return [index]
        case t.Item(_, position):
            return [position]
        case t.Big(_, below, above):
            return [limit for limit in (below, above) if limit is not None]
    return []
