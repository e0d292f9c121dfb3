"""What the script of a page evaluates: the graph of an op's numbers at the worked example, as JSON."""

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.target import as_op
from nanograd.study.live.graph import Encoded, Graph, encode
from nanograd.study.live.recorded import NotLive, Recorded, as_recorded
from nanograd.study.live.recorder import Recorder
from nanograd.study.mistakes import Mistake
from nanograd.study.notation import printed_name
from nanograd.study.worked_example import WorkedExample

LARGEST = 64  # a whole number that an input is tried with


class LiveGraph(NamedTuple):
    """The graph, and what of it a page shows.

    inputs: the arrays that can be edited: shape, data, kind, and of whole numbers what they may be.
    shown: the node of every table of the worked example by its name.
    y: the node of the result. gradients: the node of each differentiated input's gradient.
    mistakes: for each mistake, the nodes of its gradients by input; None where a page cannot run it again.
    """

    nodes: list[Encoded]
    inputs: dict[str, dict[str, Any]]
    shown: dict[str, int]
    y: int
    gradients: dict[str, int]
    mistakes: list[dict[str, int] | None]

    def to_json(self) -> str:
        """Return JSON that a <script> element can hold."""
        return json.dumps(self._asdict(), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def live_graph(worked: WorkedExample, mistakes: Sequence[Mistake] = ()) -> LiveGraph:
    """Record the lines of an op at its worked example, and its mistakes."""
    graph, name = Graph(), worked.op.name
    plain = {key: a for key, a in (*zip(worked.names, worked.arrays, strict=True), ("dy", worked.dy)) if a is not None}
    inputs = {key: Recorded(graph, graph.add("in", list(a.shape), key), a) for key, a in plain.items()}
    recorder = Recorder(graph, name, [inputs.get(key) for key in worked.names], worked.options, worked.dy)
    recorder.raw["dy"] = inputs["dy"]
    masks = {}
    for key, mask in drawn_masks(worked).items():
        masks[key] = recorder.values[key] = Recorded(graph, graph.add("in", list(mask.shape), key), mask)
    shown = {**inputs, **masks, **{key: as_recorded(graph, value) for key, value in _lines(recorder)}}
    result = "y" if "y" in (*recorder.lines, *recorder.definitions) else "loss"
    y = as_recorded(graph, recorder.native(result, recorder[result]))
    needed = [i for i, need in enumerate(worked.needs) if need]
    gradients = {worked.names[i]: as_recorded(graph, _gradient(recorder, worked.names[i], i)) for i in needed}
    computed = {key: a for key, a in recorder.values.items() if isinstance(a, Recorded)}
    wrong = [_mistake(graph, computed | shown | {result: y}, mistake) for mistake in mistakes]
    outputs = [*shown.values(), y, *gradients.values(), *(a for each in wrong if each for a in each.values())]
    nodes, new = graph.pruned([a.node for a in outputs])

    def numbers(of: dict[str, Recorded]) -> dict[str, int]:
        return {key: new[a.node] for key, a in of.items()}

    editable = {key: _input(worked, key, a.value) for key, a in (inputs | masks).items()}
    wrong_numbers = [numbers(each) if each else None for each in wrong]
    return LiveGraph(nodes, editable, numbers(shown), new[y.node], numbers(gradients), wrong_numbers)


def drawn_masks(worked: WorkedExample) -> dict[str, np.ndarray]:
    """Return the masks that the op draws at random, by name. They are inputs of the page, which draws none."""
    recorder = Recorder(Graph(), worked.op.name, list(worked.arrays), worked.options, worked.dy)
    drops = recorder.raw.get("p") or recorder.raw.get("dropout")
    names = [name for name, code in recorder.definitions.items() if "keep_mask(" in code and drops]
    return {name: np.asarray(recorder[name]) for name in names}


def _lines(recorder: Recorder) -> Iterator[tuple[str, Any]]:
    """Yield the values of all lines by their printed names, in the shapes that pages show."""
    for _, line in sorted(recorder.code.lines.items()):
        for name in line.names:
            value = recorder.native(name, recorder[name])
            if isinstance(value, tuple):
                yield from ((f"{name}[{i}]", a) for i, a in enumerate(value))
            else:
                yield printed_name(name), value


def _gradient(recorder: Recorder, name: str, i: int) -> Any:
    """Return the gradient of an input."""
    if recorder.op.variadic:
        return recorder["dxs"][i]
    return recorder.native(f"d{name}", recorder[f"d{name}"])


def _mistake(graph: Graph, known: dict[str, Recorded], mistake: Mistake) -> dict[str, Recorded] | None:
    """Record a wrong backward; None if its code cannot be run on recorded arrays, or was run on other inputs."""
    if mistake.pair is None:
        return None
    arrays = [copy.copy(known.get(name)) for name in mistake.names]
    op, options = as_op(*mistake.pair), mistake.options or {}
    needs = op.differentiable([None if a is None else a.value for a in arrays])
    try:
        try:
            keywords = {**options, "needs": needs} if op.forward_accepts_needs else options
            saved = mistake.pair[0](*arrays, **keywords)[1]
        except NotLive:
            plain = [None if a is None else a.value for a in arrays]
            saved = _recognised(op.run_forward(op.pair, plain, needs, options)[1], known)
        dy: Any = copy.copy(known["dy"])  # it stands for an array, by NumPy's own protocols
        got = op.run_backward(op.pair.backward, dy, saved, needs)
    except (NotLive, TypeError, ValueError, IndexError, AttributeError):
        return None
    gradients = zip(mistake.names, got, needs, strict=False)
    return {name: as_recorded(graph, a) for name, a, need in gradients if need and a is not None}


def _recognised(saved: Any, known: dict[str, Recorded]) -> Any:
    """Return what a forward saved, with the nodes that have its values; constants stay as they are."""
    if isinstance(saved, tuple):
        return tuple(_recognised(part, known) for part in saved)
    if not isinstance(saved, (np.ndarray, np.generic)):
        return saved
    for a in known.values():
        if a.shape == saved.shape and np.allclose(a.value, saved, rtol=1e-12, atol=0):
            return copy.copy(a)
    raise NotLive("a saved array that no line computes")


def _input(worked: WorkedExample, name: str, a: np.ndarray) -> dict[str, Any]:
    """Return what a page must know of an input: its numbers, and of whole numbers those that the op takes."""
    found: dict[str, Any] = {"shape": list(a.shape), "data": encode(a)}
    if name not in (*worked.names, "dy"):  # a mask that was drawn
        return found | {"choices": sorted(set(a.ravel().tolist()) | {0.0})}
    if a.dtype.kind == "f":
        return found
    if a.dtype.kind == "b":
        return found | {"choices": [0, 1], "bool": True}
    return found | {"choices": [number for number in range(LARGEST) if _takes(worked, name, a, number)]}


def _takes(worked: WorkedExample, name: str, a: np.ndarray, number: int) -> bool:
    """Tell whether the op runs with this whole number in an input."""
    changed = a.copy()
    changed.flat[:1] = number
    arrays = [changed if key == name else b for key, b in zip(worked.names, worked.arrays, strict=True)]
    try:
        worked.op.run_forward(worked.op.pair, arrays, worked.needs, worked.options)
    except (ValueError, IndexError):
        return False
    return True
