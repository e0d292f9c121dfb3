"""explain: which terms one entry of a gradient is the sum of, and which terms those are sums of.

    e = nanograd.explain(loss, model.tok_emb.weight, (5, 0))
    print(e)            the largest contributions to dL/dweight[5, 0]
    print(e.drill(0))   the largest one came through one entry of an op's dy: which terms that is the sum of

Every backward is linear in dy. So an entry of dx is a sum over the entries of dy, each times a slope:
    dx_i = Σ_j dy_j dy_j/dx_i                              (1)
and a slope is what the backward answers to a dy that is 1 at j and 0 elsewhere. No op needs code of its own for this.
Which j matter is found by asking the backward about whole groups of them with random weights, and halving the groups
that answer anything but 0: k terms among n entries take about 2 k log₂(n/k) questions.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.op import context
from nanograd.tape import Node, backpropagate, reachable

MOST = 10  # terms in a table
BUDGET = 4096  # runs of a backward for one level
Index = tuple[int, ...]


class Term(NamedTuple):
    """One product of the sum (1)."""

    value: float  # dy · slope
    dy: float  # the entry of the gradient that arrived at the op
    slope: float  # how much that entry of the op's result moves with the entry that is explained
    node: Node  # the op
    slot: int  # which of the op's inputs the explained array is
    at: Index  # where that entry is in dy


class Tape:
    """A loss, the Nodes that lead to it, oldest first, and the whole dy of each."""

    def __init__(self, loss: Tensor) -> None:
        assert loss.node is not None
        self.root = loss.node
        self.nodes = reachable([self.root])
        for node in self.nodes:
            if node.parents is None:
                raise RuntimeError(
                    f"explain: {node.op.name} has let go of what it saved; explain the loss before its backward, or pass "
                    "retain_graph=True to that"
                )
            if node.op.name == "checkpoint":
                raise ValueError("explain: a checkpoint hides its ops; compute the loss without it")
        self.dys: dict[Any, np.ndarray] = {}  # by Node, and by leaf
        with context(observers=()):
            backpropagate([(self.root, loss.cotangent())], self._arrive, retain_graph=True, retained=set(self.nodes))

    def _arrive(self, target: Any, dx: np.ndarray, owned: bool) -> None:
        self.dys[target] = self.dys[target] + dx if target in self.dys else dx.copy()

    def uses(self, target: Node | Tensor) -> list[tuple[Node, int]]:
        """List the ops that use the target and that the loss depends on, each with the input that it is."""
        return [
            (node, slot)
            for node in self.nodes
            if node in self.dys
            for slot, parent in enumerate(node.parents or ())
            if parent is target
        ]

    def label(self, node: Node) -> str:
        """Name an op by its place on the tape and, where it was traced, its module."""
        scope = ".".join(node.record.scope[1:]) if node.record else ""
        return f"{node.op.name} {self.nodes.index(node)} {scope}".rstrip()

    def name(self, target: Node | Tensor, index: Index) -> str:
        """Name an entry of a gradient: of a parameter as its module does, of what an op made by the op, else of `w`."""
        if isinstance(target, Node):
            return f"dL/dy{_at(index)} of {self.label(target)}"
        for node in self.nodes:
            known = dict(zip(map(id, node.parents or ()), node.record.leaves if node.record else (), strict=False))
            if name := known.get(id(target)):
                return f"dL/d {name}{_at(index)}"
        return f"dL/dw{_at(index)}"


class Explanation:
    """One entry of a gradient as a sum: `terms`, the largest first, and `rest`, what terms not found would add.

    value is the entry itself, as backward makes it. print() shows the largest terms; drill(k) explains the k-th one's dy.
    """

    def __init__(self, tape: Tape, target: Node | Tensor, index: Index, name: str, most: int, budget: int) -> None:
        self.tape, self.index, self.name = tape, index, name
        self.most, self.budget = most, budget
        self.value = float(tape.dys[target][index])
        self.terms: list[Term] = []
        self.complete = True
        uses = tape.uses(target)
        for node, slot in uses:
            found, complete = _terms(node, slot, index, tape.dys[node], max(2, budget // len(uses)))
            self.terms += found
            self.complete &= complete
        self.terms.sort(key=lambda term: -abs(term.value))
        self.at_loss = target is tape.root
        total = self.value if self.at_loss else sum(term.value for term in self.terms)
        self.rest = 0.0 if self.complete else self.value - total
        size = sum(abs(term.value) for term in self.terms) + abs(self.value)
        tolerance = 50 * float(np.finfo(tape.dys[target].dtype).eps) * len(self.terms) ** 0.5 + 1e-12
        assert abs(total + self.rest - self.value) <= tolerance * size, (
            f"{name}: the terms add up to {total}, the gradient is {self.value}: is a backward not linear in dy?"
        )

    def drill(self, *path: int) -> "Explanation":
        """Explain the dy of term k, and of a term of that, and so on: `drill(0, 2)` is `drill(0).drill(2)`."""
        if not path:
            return self
        k, *rest = path
        if not 0 <= k < len(self.terms):
            there = (
                f"there are 0 to {len(self.terms) - 1}" if self.terms else "it is the loss itself, the path ends here"
            )
            raise IndexError(f"explain: {self.name} has no term {k}; {there}")
        term = self.terms[k]
        inner = Explanation(self.tape, term.node, term.at, self.tape.name(term.node, term.at), self.most, self.budget)
        return inner.drill(*rest)

    def __str__(self) -> str:
        value = f" = {self.value:+.6g}"
        lines = [_fit(self.name, 80 - len(value)) + value]
        if self.at_loss:
            return "\n".join([*lines, "  the loss itself: where every path ends"])
        shown = self.terms[: self.most]
        lines.append(f"  {'#':>3} {'term':>9} = {'dy':>9} × {'slope':<9}  through")
        for k, term in enumerate(shown):
            where = _fit(f"y{_at(term.at)} {self.tape.label(term.node)}".replace(", ", ","), 39)
            lines.append(f"  {k:>3} {term.value:>+9.3g} = {term.dy:>+9.3g} × {term.slope:<+9.3g}  {where}")
        left = sum(term.value for term in self.terms[self.most :]) + self.rest
        if len(self.terms) > self.most or not self.complete:
            count = f"{len(self.terms) - len(shown)} more" if self.complete else "all others"
            lines.append(f"      {left:>+9.3g}   {count}")
        lines.append(f"      {sum(term.value for term in shown) + left:>+9.3g}   sum")
        return "\n".join(lines)

    __repr__ = __str__


def explain(
    loss: Tensor, param: Tensor, index: int | Sequence[int], *, most: int = MOST, budget: int = BUDGET
) -> Explanation:
    """Say which terms the gradient of the loss by param[index] is the sum of, the largest first.

    param is any Tensor that the loss was computed from, a leaf or not. The tape must be whole: before backward, or after
    one with retain_graph=True; it stays as it is. That the terms add up to the gradient is asserted. Where a level has
    more terms than `budget` runs of a backward find, the largest groups are split first and `rest` has what is left.

    Inside a fused op a term is one entry of its dy and no more: linear_cross_entropy has one entry, and so one term.

    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> loss = (w * np.float32([3, 4])).sum() + w[0]
    >>> print(explain(loss, w, 0))
    dL/dw[0] = +4
        #      term =        dy × slope      through
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
    return Explanation(tape, target, position, tape.name(target, position), most, budget)


def _terms(node: Node, slot: int, index: Index, dy: np.ndarray, budget: int) -> tuple[list[Term], bool]:
    """Find the entries j of dy that reach entry `index` of an op's input, and whether these are all.

    A group of entries is asked about with dy times random normal weights: the answer's square is, on average, the sum of
    the squares of the group's terms, and it is 0 only where all are 0. So the group with the largest answer is halved
    first.
    """
    needs = tuple(i == slot for i in range(len(node.needs)))

    def answer(cotangent: np.ndarray) -> float:
        value = float(np.asarray(node.op.run_backward(node.backward, cotangent, node.saved, needs)[slot])[index])
        if not math.isfinite(value):
            raise ValueError(
                f"explain: {value} came out of the backward of {node.op.name}; `with nanograd.detect_anomaly():` says why"
            )
        return value

    entries = np.flatnonzero(dy)
    weighted = (dy * np.random.default_rng(0).standard_normal(dy.shape).astype(dy.dtype)).reshape(-1)
    ask = _asker(answer, weighted, dy.shape)
    groups = [(-abs(ask(entries)), 0, entries)] if entries.size else []
    terms: list[Term] = []
    asked = 1
    while groups and asked < budget:
        size, _, group = heapq.heappop(groups)
        if size == 0:
            continue
        if len(group) == 1:
            j = tuple(int(i) for i in np.unravel_index(group[0], dy.shape))
            one = np.zeros_like(dy)
            one[j] = 1
            slope = answer(one)
            terms.append(Term(float(dy[j]) * slope, float(dy[j]), slope, node, slot, j))
            asked += 1
            continue
        for half in np.array_split(group, 2):
            asked += 1
            heapq.heappush(groups, (-abs(ask(half)), asked, half))
    return terms, all(size == 0 for size, _, _ in groups)


def _asker(
    answer: Callable[[np.ndarray], float], weighted: np.ndarray, shape: tuple[int, ...]
) -> Callable[[np.ndarray], float]:
    """Return the function that asks about a group of entries, given by their flat positions."""

    def ask(group: np.ndarray) -> float:
        cotangent = np.zeros_like(weighted)
        cotangent[group] = weighted[group]
        return answer(cotangent.reshape(shape))

    return ask


def _at(index: Index) -> str:
    return str(list(index)) if index else ""


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
