"""The lines of an op, evaluated once on arrays that record: the graph of every number on its page."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from nanograd.study import helpers
from nanograd.study.evaluator import Evaluator
from nanograd.study.helpers import HELPERS
from nanograd.study.live import recorded
from nanograd.study.live.graph import Graph
from nanograd.study.live.recorded import Recorded
from nanograd.study.notation import printed_name


class Recorder(Evaluator):
    """An Evaluator of recorded arrays; every name that it computes is a node with that name."""

    def __init__(self, graph: Graph, name: str, arrays: list[Any], options: Any, dy: Any = None) -> None:
        """Take arrays and dy as they are, or recorded."""
        plain = [a.value if isinstance(a, Recorded) else a for a in arrays]
        super().__init__(name, plain, options, dy)
        self.graph = graph
        if self.op.variadic:
            self.raw["xs"] = tuple(arrays)
        else:
            self.raw |= dict(zip(self.op.arrays, arrays, strict=False))
        self.raw |= _helpers(graph)

    def _compute(self, name: str) -> Any:
        value = super()._compute(name)
        again = name in self.raw and name in self.definitions  # an input, prepared: its numbers are those of the input
        return self.named(name, value) if name in (*self.lines, *self.definitions) and not again else value

    def named(self, name: str, value: Any) -> Any:
        """Give a recorded value a name, and the arrays of a tuple the name with their index."""
        if isinstance(value, Recorded):
            return Recorded(self.graph, self.graph.add("name", printed_name(name), value.node), value.value)
        if isinstance(value, tuple) and any(isinstance(part, Recorded) for part in value):
            return tuple(self.named(f"{name}[{i}]", part) for i, part in enumerate(value))
        return value


def _helpers(graph: Graph) -> dict[str, Any]:
    """Return the helpers whose own code decides by numbers, or converts them, as functions of recorded arrays."""

    def either(function: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
        def chosen(*args: Any, **options: Any) -> Any:
            return (function if any(isinstance(a, Recorded) for a in args) else plain)(*args, **options)

        return chosen

    def place(values: Recorded, positions: np.ndarray) -> Any:
        return recorded.rearranged(graph, lambda ids: HELPERS["place"](ids, positions), (values,), {})

    def sum_where(condition: Any, a: Any) -> Any:
        rows = condition.reshape(*condition.shape, *(1,) * (np.ndim(a) - 1))
        return np.where(rows, a, 0).sum(axis=1)

    own = {
        "place": either(place, HELPERS["place"]),
        "put_along_axis": either(lambda *args: recorded.put_along(graph, *args), HELPERS["put_along_axis"]),
        "sum_where": either(sum_where, HELPERS["sum_where"]),
        "erf": either(lambda x: recorded.elementwise(graph, "erf", HELPERS["erf"], x), HELPERS["erf"]),
        "max": either(np.maximum, max),
    }
    namespace: dict[str, Any] = {**vars(helpers), **own}  # helpers call one another
    for name, function in HELPERS.items():
        if name not in own:
            namespace[name] = FunctionType(function.__code__, namespace, name, function.__defaults__)
    return {name: namespace[name] for name in (*HELPERS, "max")}
