"""A study as JSON, for programs: the same numbers, with all their digits, under keys that stay.

op, call, summary, check: texts. seed, right (whether every line holds).
inputs: one object an array, with name, shape, dtype and values, or null where the array is left out.
options: by name; what JSON has no word for is written as Python does.
y, dy: arrays as above. gradients: by the name of the input.
lines: number, side (forward or backward), lead, text, tail, latex, mathml;
    twin: name, code, why, given (what the code uses that the prose says and no line before did: names and code);
    values: what the line makes, by name, arrays as above;
    check: against (in words), error, tolerance, right; null where the example wants no such gradient.
remarks: forward, backward. cost: shapes, saved (bytes), forward, backward (FLOPs), on the op's first Case in float32.
mistakes: name, wrong, before, after (code), caught (by which test), hides (from dy = 1), and the errors with a random dy
    and with dy = 1, null where the wrong backward raises.
code: file and line of each function.

Numbers that JSON has not are written "NaN", "Infinity" and "-Infinity".
"""

import json
import math
import re
from typing import Any

import numpy as np

from nanograd.study.facts import Facts, Step
from nanograd.study.formula import to_latex, to_mathml

NUMBERS = re.compile(r'\[\n\s+([^\[\]{}"]*)\n\s+\]')  # a list of numbers over several lines, for one


def to_json(studies: Facts | list[Facts]) -> str:
    """Write a study, or a list of them."""
    data = [as_data(facts) for facts in studies] if isinstance(studies, list) else as_data(studies)
    text = json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False)
    return NUMBERS.sub(lambda row: f"[{' '.join(row[1].split())}]", text) + "\n"


def as_data(facts: Facts) -> dict[str, Any]:
    """Return a study as dicts, lists, texts and numbers."""
    worked = facts.worked
    return {
        "op": facts.name,
        "call": facts.call,
        "summary": facts.summary,
        "check": facts.check,
        "seed": facts.seed,
        "right": facts.right,
        "inputs": [
            None if array is None else {"name": name, **_array(array)}
            for name, array in zip(worked.names, worked.arrays, strict=True)
        ],
        "options": {name: _plain(value) for name, value in worked.options.items()},
        "y": _array(worked.y),
        "dy": _array(worked.dy),
        "gradients": {
            name: _array(dx) for name, dx in zip(worked.names, worked.gradients, strict=True) if dx is not None
        },
        "lines": [_step(step) for step in facts.steps],
        "remarks": facts.remarks._asdict(),
        "cost": {key: getattr(facts.cost, key) for key in ("shapes", "saved", "forward", "backward")},
        "mistakes": [
            {
                "name": each.name,
                "wrong": each.wrong,
                "before": each.change[0],
                "after": each.change[1],
                "caught": each.caught,
                "hides": each.hides,
                "error_random": _number(each.random.error) if each.random else None,
                "error_uniform": _number(each.uniform.error) if each.uniform else None,
            }
            for each in facts.mistakes
        ],
        "code": facts.places,
    }


def _step(step: Step) -> dict[str, Any]:
    line, checked = step.line, step.checked
    return {
        "number": line.number,
        "side": "backward" if line.backward else "forward",
        "lead": line.lead,
        "text": line.text,
        "tail": line.tail,
        "latex": to_latex(line.whole),
        "mathml": to_mathml(line.whole),
        "twin": {"name": step.twin.name, "code": step.twin.code, "why": step.twin.why, "given": step.given},
        "values": {name: _array(value) for name, value in step.values.items()},
        "check": checked
        and {
            "against": checked.neighbour,
            "error": _number(checked.error),
            "tolerance": checked.tolerance,
            "right": step.right,
        },
    }


def _array(value: Any) -> dict[str, Any]:
    array = np.asarray(value)
    return {"shape": list(array.shape), "dtype": array.dtype.name, "values": _plain(array.tolist())}


def _plain(value: Any) -> Any:
    """Return a value in the words of JSON."""
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return _number(value)
    return value if value is None or isinstance(value, (bool, int, str)) else repr(value)


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
