"""The numbers from which the page explains every entry of a gradient: the local derivatives of each op.

For one entry, the page lists the terms dy · ∂y/∂x that it is the sum of, as `nanograd.explain` does, and of each term the
terms of its dy. A derivative is what backward returns for a dy that is 1 at one entry and 0 elsewhere.
"""

import json
import math
from typing import Any

import numpy as np

from nanograd.inspect.player.drawing import Playback
from nanograd.inspect.trace import Summary, is_whole
from nanograd.op import context
from nanograd.tape import Node

DERIVATIVES = 8_000  # on a page: about 0.15 MB


def explanations(playback: Playback) -> tuple[str, list[Node]]:
    """Return the data of the page's script as JSON, and the ops whose derivatives are left out, newest first.

    Left out are ops with an array that is not shown whole, a checkpoint, and the oldest if there are more than DERIVATIVES
    in all.

        targets  by key, of the ops that are not left out: name, shape, y (the values), dy (their gradient, or null), and
                 the steps that complete them
        ops      newest first: key, name and inputs; of each input its name, its key (null for a constant), and
                 `local`: j, i, ∂y_j/∂x_i, j, i, … by flat index, without zeros; null if left out
    """
    ops, left_out, room = [], [], DERIVATIVES
    explained: set[str] = set()  # keys of the results and the inputs of ops that are not left out
    for node in playback.backwards:
        local = local_derivatives(node) if _is_small(node) else None
        size = 0 if local is None else sum(len(numbers) // 3 for numbers in local)
        if local is None or size > room:
            left_out.append(node)
            local, room = None, room if local is None else 0
        else:
            room -= size
            explained |= {playback.keys[a] for a in (node, *node.record.parents) if a is not None}
        inputs = [
            {"name": name, "target": playback.keys.get(parent), "local": None if local is None else local[slot]}
            for slot, (name, parent) in enumerate(zip(node.record.inputs, node.record.parents, strict=True))
        ]
        ops.append({"key": playback.keys[node], "name": playback.name(node), "inputs": inputs})
    if len(left_out) == len(playback.backwards):
        return "", left_out
    targets = {}
    for target, key in playback.keys.items():
        if key not in explained:
            continue
        if isinstance(target, Node):
            y, forward = target.record.y, playback.forward_step[target]
        else:
            y, forward = leaf_value(playback, target), None
        dy = gradient(playback, target)
        steps = [forward, playback.finished(target)]
        named = {"name": playback.name(target), "op": isinstance(target, Node), "shape": y.shape, "steps": steps}
        targets[key] = {**named, "y": _numbers(y), "dy": _numbers(dy)}
    text = json.dumps({"targets": targets, "ops": ops}, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c"), left_out


def local_derivatives(node: Node) -> list[list[float | str]]:
    """Return ∂y_j/∂x_i of every input of an op, as j, i, ∂y_j/∂x_i, j, i, … without zeros."""
    y: Summary = node.record.y
    local: list[list[float | str]] = [[] for _ in node.needs]
    dtype = node.record.dtype
    with context(observers=()):
        for j in range(math.prod(y.shape)):
            one = np.zeros(math.prod(y.shape), dtype)
            one[j] = 1
            for slot, dx in enumerate(
                node.op.run_backward(node.backward, one.reshape(y.shape), node.saved, node.needs)
            ):
                if dx is None or not node.needs[slot]:
                    continue
                flat = np.asarray(dx).reshape(-1)
                for i in np.flatnonzero(flat):
                    local[slot] += [j, int(i), _rounded(float(flat[i]))]
    return local


def gradient(playback: Playback, target: Any) -> Summary | None:
    """Return the complete gradient of an op's result or of a leaf."""
    if isinstance(target, Node):
        return target.record.backward.dy if target.record.backward else None
    made = playback.contributions.get(target)
    return made[-1][1].total if made else None


def leaf_value(playback: Playback, leaf: Any) -> Summary:
    """Return the value of a leaf."""
    record = playback.uses[leaf][0].record
    return next(a for parent, a in zip(record.parents, record.values, strict=True) if parent is leaf)


def _is_small(node: Node) -> bool:
    """Return whether the derivatives of an op can be in the page: its arrays are whole, and it hides no other ops."""
    shapes = [node.record.y.shape, *(a.shape for a in node.record.values if a is not None)]
    return node.parents is not None and node.op.name != "checkpoint" and all(map(is_whole, shapes))


def _numbers(a: Summary | None) -> list[Any] | None:
    return [_rounded(v) for line in a.rows for v in line] if a is not None and a.whole else None


def _rounded(value: float) -> float | int | str:
    """Return a number to eight digits; JSON has no infinity and no NaN, so these are text."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    value = float(f"{value:.8g}")
    return int(value) if value.is_integer() else value
