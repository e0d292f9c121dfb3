"""explain: the terms that one entry of a gradient is the sum of, and the terms of those.

    e = nanograd.explain(loss, model.tok_emb.weight, (5, 0))
    print(e)            the largest contributions to ∂L/∂weight[5, 0]
    print(e.drill(0))   the terms of the dy in the largest of them

Every backward is linear in dy. So an entry of dx is a sum over the entries of dy, times a derivative:
    dx_i = Σ_j dy_j ∂y_j/∂x_i                              (1)
A backward returns the derivative for a dy that is 1 at j and 0 elsewhere, so no op needs code of its own. The j with a
term are found by bisection: the backward is run on groups of entries with random weights, and a group whose result is
not 0 is halved. For k terms among n entries this takes about 2 k log₂(n/k) runs.
"""

import heapq
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.op import context
from nanograd.tape import Node, accumulate_sum, backpropagate, reachable

MAX_TERMS = 10  # in a printed table
BUDGET = 4096  # runs of a backward for one Explanation
Index = tuple[int, ...]


class Term(NamedTuple):
    """One product of the sum (1)."""

    value: float  # dy · derivative
    dy: float  # an entry of the op's upstream gradient
    derivative: float  # of that entry of the op's result, with respect to the explained entry
    node: Node  # the op
    slot: int  # index of the op's input that is the explained array
    entry: Index  # of dy


class Tape:
    """A loss, the Nodes that lead to it, oldest first, and the whole dy of each."""

    def __init__(self, loss: Tensor) -> None:
        assert loss.node is not None
        self.root = loss.node
        self.nodes = reachable([self.root])
        for node in self.nodes:
            if node.parents is None:
                raise RuntimeError(
                    f"explain: {node.op.name} has freed its saved arrays; explain the loss before its backward, or pass "
                    "retain_graph=True to backward"
                )
            if node.op.name == "checkpoint":
                raise ValueError("explain: a checkpoint hides its ops; compute the loss without it")
        self.dys: dict[Any, np.ndarray] = {}  # by Node, and by leaf
        with context(observers=()):
            accumulate = partial(accumulate_sum, self.dys)
            backpropagate([(self.root, loss.cotangent())], accumulate, retain_graph=True, retained=set(self.nodes))

    def uses(self, target: Node | Tensor) -> list[tuple[Node, int]]:
        """List the ops that use the target and that the loss depends on, with the index of the input."""
        used = [node for node in self.nodes if node in self.dys]
        return [(node, slot) for node in used for slot, parent in enumerate(node.parents or ()) if parent is target]

    def label(self, node: Node) -> str:
        """Name an op by its position on the tape and, if it was traced, its module."""
        scope = ".".join(node.record.scope[1:]) if node.record else ""
        return f"{node.op.name} {self.nodes.index(node)} {scope}".rstrip()

    def name(self, target: Node | Tensor, index: Index) -> str:
        """Name an entry of a gradient, after the op that computed the target, the parameter, or `w`."""
        if isinstance(target, Node):
            return f"∂L/∂y{_brackets(index)} of {self.label(target)}"
        for node, slot in self.uses(target):
            if node.record and (name := node.record.parameter_names[slot]):
                return f"∂L/∂{name}{_brackets(index)}"
        return f"∂L/∂w{_brackets(index)}"


class Explanation:
    """One entry of a gradient as a sum: `terms`, largest first, and `rest`, the sum of the terms that were not found.

    value is the entry as backward computes it. print() shows the largest terms; drill(k) explains the dy of term k.
    """

    def __init__(self, tape: Tape, target: Node | Tensor, index: Index, most: int, budget: int) -> None:
        self.tape, self.index, self.most, self.budget = tape, index, most, budget
        self.name = tape.name(target, index)
        self.value = float(tape.dys[target][index])
        self.terms: list[Term] = []
        self.complete = True
        uses = tape.uses(target)
        for node, slot in uses:
            terms, complete = _terms(node, slot, index, tape.dys[node], max(2, budget // len(uses)))
            self.terms += terms
            self.complete &= complete
        self.terms.sort(key=lambda term: -abs(term.value))
        self.is_loss = target is tape.root
        total = self.value if self.is_loss else sum(term.value for term in self.terms)
        self.rest = 0.0 if self.complete else self.value - total
        size = sum(abs(term.value) for term in self.terms) + abs(self.value)
        tolerance = 50 * float(np.finfo(tape.dys[target].dtype).eps) * len(self.terms) ** 0.5 + 1e-12
        assert abs(total + self.rest - self.value) <= tolerance * size, (
            f"{self.name}: the terms add up to {total}, the gradient is {self.value}: is a backward not linear in dy?"
        )

    def drill(self, *path: int) -> "Explanation":
        """Explain the dy of term k, and of a term of that, and so on: `drill(0, 2)` is `drill(0).drill(2)`."""
        explanation = self
        for k in path:
            terms = explanation.terms
            if not 0 <= k < len(terms):
                rule = f"k must be from 0 to {len(terms) - 1}" if terms else "it is the loss, which has no terms"
                raise IndexError(f"explain: {explanation.name} has no term {k}; {rule}")
            explanation = Explanation(self.tape, terms[k].node, terms[k].entry, self.most, self.budget)
        return explanation

    def __str__(self) -> str:
        value = f" = {self.value:+.6g}"
        lines = [_truncate(self.name, 80 - len(value)) + value]
        if self.is_loss:
            return "\n".join([*lines, "  the loss itself, which has no terms"])
        shown = self.terms[: self.most]
        lines.append(f"  {'#':>3} {'term':>9} = {'dy':>9} × {'∂y/∂x':<9}  through")
        for k, term in enumerate(shown):
            entry = _truncate(f"y{_brackets(term.entry)} {self.tape.label(term.node)}".replace(", ", ","), 39)
            lines.append(f"  {k:>3} {term.value:>+9.3g} = {term.dy:>+9.3g} × {term.derivative:<+9.3g}  {entry}")
        left = sum(term.value for term in self.terms[self.most :]) + self.rest
        if len(self.terms) > self.most or not self.complete:
            count = f"{len(self.terms) - len(shown)} more" if self.complete else "all others"
            lines.append(f"      {left:>+9.3g}   {count}")
        lines.append(f"      {sum(term.value for term in shown) + left:>+9.3g}   sum")
        return "\n".join(lines)

    __repr__ = __str__


def explain(
    loss: Tensor, param: Tensor, index: int | Sequence[int], *, most: int = MAX_TERMS, budget: int = BUDGET
) -> Explanation:
    """Return the terms that the gradient of the loss with respect to param[index] is the sum of, largest first.

    param is any Tensor that the loss was computed from. Call this before backward, or after backward with
    retain_graph=True; it does not change the tape. It asserts that the terms add up to the gradient. If there are more
    terms than `budget` runs of a backward can find, it splits the largest groups first, and `rest` is the remaining sum.

    A term is one entry of an op's dy. linear_cross_entropy has a single entry, and so a single term.

    Raises ValueError or IndexError if there is nothing to explain, RuntimeError if the tape was freed.

    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> loss = (w * np.float32([3, 4])).sum() + w[0]
    >>> print(explain(loss, w, 0))
    ∂L/∂w[0] = +4
        #      term =        dy × ∂y/∂x      through
        0        +3 =        +1 × +3         y[0] mul 0
        1        +1 =        +1 × +1         y getitem 2
                 +4   sum
    """
    if not isinstance(param, Tensor) or not param.requires_grad:
        raise ValueError("explain: param must be a Tensor that requires grad")
    if loss.node is None:
        raise ValueError("explain: the loss is a leaf; there is nothing to explain")
    position = tuple(int(i) for i in index) if isinstance(index, (tuple, list)) else (int(index),)  # type: ignore[arg-type]
    if len(position) != param.ndim or any(not -n <= i < n for i, n in zip(position, param.shape, strict=True)):
        raise IndexError(f"explain: index must name one entry of shape {param.shape}, got {position}")
    position = tuple(i % n for i, n in zip(position, param.shape, strict=True))
    tape, target = Tape(loss), param.node or param
    if target not in tape.dys:
        raise ValueError("explain: the loss does not depend on param")
    return Explanation(tape, target, position, most, budget)


def _terms(node: Node, slot: int, index: Index, dy: np.ndarray, budget: int) -> tuple[list[Term], bool]:
    """Return the terms of entry `index` of an op's input, and whether these are all.

    The backward is run on a group of entries of dy times random normal weights. The square of the result is, on average,
    the sum of the squares of the group's terms, and 0 only if all are 0. So the group with the largest result is halved
    first.
    """
    needs = tuple(i == slot for i in range(len(node.needs)))

    def entry_of_dx(cotangent: np.ndarray) -> float:
        value = float(np.asarray(node.op.run_backward(node.backward, cotangent, node.saved, needs)[slot])[index])
        if not math.isfinite(value):
            raise ValueError(
                f"explain: the backward of {node.op.name} returned {value}; "
                "`with nanograd.detect_anomaly():` finds the cause"
            )
        return value

    entries = np.flatnonzero(dy)
    weighted = (dy * np.random.default_rng(0).standard_normal(dy.shape).astype(dy.dtype)).reshape(-1)

    def run_on(group: np.ndarray) -> float:
        cotangent = np.zeros_like(weighted)
        cotangent[group] = weighted[group]
        return entry_of_dx(cotangent.reshape(dy.shape))

    groups = [(-abs(run_on(entries)), 0, entries)] if entries.size else []
    terms: list[Term] = []
    runs = 1
    while groups and runs < budget:
        size, _, group = heapq.heappop(groups)
        if size == 0:
            continue
        if len(group) == 1:
            j = tuple(int(i) for i in np.unravel_index(group[0], dy.shape))
            one = np.zeros_like(dy)
            one[j] = 1
            derivative = entry_of_dx(one)
            terms.append(Term(float(dy[j]) * derivative, float(dy[j]), derivative, node, slot, j))
            runs += 1
            continue
        for half in np.array_split(group, 2):
            runs += 1
            heapq.heappush(groups, (-abs(run_on(half)), runs, half))
    return terms, all(size == 0 for size, _, _ in groups)


def _brackets(index: Index) -> str:
    return str(list(index)) if index else ""


def _truncate(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
