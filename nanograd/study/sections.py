"""The first half of an op's page: what it does, its derivation, and every number of a worked example."""

import numpy as np

from nanograd.inspect.player.html import clean
from nanograd.study.code import highlight
from nanograd.study.facts import Facts, Step
from nanograd.study.formula import to_mathml
from nanograd.study.prose import code, inline, paragraphs
from nanograd.study.tables import rows, table
from nanograd.study.uses import Uses, made_of
from nanograd.study.worked import Worked

LONG = 34  # letters of a formula that does not fit beside its numbers


def forward(facts: Facts) -> str:
    """Say what goes in and comes out, with shapes."""
    worked = facts.worked
    body = [
        [
            code(name),
            "left out" if a is None else code(a.shape),
            "" if a is None else clean(str(a.dtype)),
            code(f"d{name} {worked.gradients[i].shape}") if worked.needs[i] else "none",
        ]
        for i, (name, a) in enumerate(zip(worked.names, worked.arrays, strict=True))
    ]
    body.append([code("y"), code(worked.y.shape), clean(str(worked.y.dtype)), f"{code('dy')} is given"])
    lines = [step.line for step in facts.steps if not step.line.backward]
    equation = f'<div class="math big">{to_mathml(lines[-1].whole)}</div>' if lines else ""
    return (
        f"<p>{inline(facts.summary)}</p>{equation}"
        f'<p class="call">{code(facts.call)}</p><p class="call">Here {code(_this_call(worked))}</p>'
        f"{rows('Arrays of the example', ['array', 'shape', 'dtype', 'gradient'], body, 'shapes')}"
        f"{paragraphs(facts.remarks.forward)}"
    )


def _this_call(worked: Worked) -> str:
    """Write the call that the example makes."""
    options = "".join(f", {key}={_short(value)}" for key, value in worked.options.items())
    names = [name for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None]
    return f"{worked.op.name}({', '.join(names)}{options}) → {worked.y.shape}"


def the_derivation(facts: Facts) -> str:
    """Return the numbered lines: in signs, in NumPy, why, and how far each is from its neighbour."""
    parts = []
    for backward, title in ((False, "Forward"), (True, "Backward")):
        lines = [step for step in facts.steps if step.line.backward == backward]
        if lines:
            parts.append(f'<h3>{title}</h3><ol class="lines">{"".join(map(_line, lines))}</ol>')
    parts.append(paragraphs(facts.remarks.backward))
    if facts.check:
        parts.append(f'<p class="mind">{inline(facts.check)}</p>')
    return "".join(parts)


def _line(step: Step) -> str:
    line = step.line
    lead = f'<div class="lead">{paragraphs(line.lead)}</div>' if line.lead else ""
    sign = "✓" if step.checked and step.right else "✗" if step.checked else "·"
    lines = [*(f"{name} = {said}" for name, said in step.given.items()), step.twin.shown]
    check = f'<p class="check"><span aria-hidden="true">{sign}</span> {inline(step.verdict)}</p>'
    region = f'tabindex="0" role="region" aria-label="Line {line.number}'
    return (
        f'<li value="{line.number}">{lead}<div class="math wide" {region}">'
        f'<span class="nth">({line.number})</span>{to_mathml(line.whole)}</div>'
        f'<p class="why">{inline(step.twin.why)}</p>'
        f'<pre {region} in NumPy"><code>{highlight(chr(10).join(lines))}</code></pre>'
        f"{check}</li>"
    )


def example(facts: Facts, *, printed: bool = False) -> str:
    """Return every number: inputs, dy, each line's value; where a script can use it, cells know what they were made of."""
    worked, told_dy = facts.worked, False
    arrays = [(name, a) for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None]
    parts = [_stage("Given", [table(name, a, key=name) for name, a in arrays])]
    for step in facts.steps:
        if step.line.backward and not told_dy:
            told_dy = True
            parts.append(_stage("Given: what each y is worth", [table("dy", worked.dy, key="dy")]))
        if step.checked is not None:
            title = f'<span class="nth">({step.line.number})</span> {to_mathml(step.line.formula)}'
            parts.append(_stage(title, _values(worked, step, printed), long=len(step.line.text) > LONG))
    live = (
        '<p class="live" hidden>Choose a number that was computed, with Tab and arrow keys or a click: the numbers it was '
        "made of light up. They were found by planting NaN in one cell at a time and running the line again.</p>"
    )
    readout = '<p class="readout" role="status" aria-live="polite" hidden>No number is chosen.</p>'
    return (
        f"<p>Every line at small numbers, seed {facts.seed}.</p>{'' if printed else live}"
        f'<div class="worked">{"".join(parts)}{"" if printed else readout}</div>'
    )


def _values(worked: Worked, step: Step, printed: bool) -> list[str]:
    made = {} if printed else made_of(worked, step)
    tables = []
    for name, value in step.values.items():
        used = made.get(name)

        def attributes(flat: int, used: list[Uses] | None = used) -> str:
            return f' data-uses="{_uses(used[flat])}"' if used else ""

        tables.append(table("both sides" if name == "varied" else name, value, key=name, attributes=attributes))
    return tables


def _stage(title: str, tables: list[str], *, long: bool = False) -> str:
    kind = "stage long" if long else "stage"
    return f'<div class="{kind}"><p class="title">{title}</p><div class="flow">{"".join(tables)}</div></div>'


def _uses(used: Uses) -> str:
    return ";".join(f"{clean(name)} {' '.join(map(str, cells))}" for name, cells in used.items())


def _short(value: object) -> str:
    return f"array of {value.shape}" if isinstance(value, np.ndarray) else repr(value)
