"""The first half of an op's page: what it does, its derivation, and every number of a worked example."""

import numpy as np

from nanograd.player.drawing import clean
from nanograd.study.code import highlight
from nanograd.study.derivation import check_sentence, derivation, remarks, summary
from nanograd.study.formula import to_mathml
from nanograd.study.prose import inline, paragraphs
from nanograd.study.steps import Step
from nanograd.study.tables import error, rows, table
from nanograd.study.uses import Uses
from nanograd.study.worked import Worked


def forward(worked: Worked) -> str:
    """Say what goes in and comes out, with shapes."""
    op = worked.op
    body = [
        [
            f"<code>{clean(name)}</code>",
            "left out" if a is None else f"<code>{clean(str(a.shape))}</code>",
            "" if a is None else clean(str(a.dtype)),
            f"<code>d{clean(name)} {clean(str(worked.gradients[i].shape))}</code>" if worked.needs[i] else "none",
        ]
        for i, (name, a) in enumerate(zip(worked.names, worked.arrays, strict=True))
    ]
    body.append(["<code>y</code>", f"<code>{clean(str(worked.y.shape))}</code>", clean(str(worked.y.dtype)), "<code>dy</code> is given"])
    lines = [line for line in derivation(op.name) if not line.backward]
    equation = f'<div class="math big">{to_mathml(lines[-1].whole)}</div>' if lines else ""
    return (
        f"<p>{inline(summary(op.name))}</p>{equation}"
        f'<p class="call"><code>{clean(call(worked))}</code></p>'
        f"{rows('Arrays of the example', ['array', 'shape', 'dtype', 'gradient'], body, 'shapes')}"
        f"{paragraphs(remarks(op.name).forward)}"
    )


def call(worked: Worked) -> str:
    """Write the call that the example makes."""
    options = "".join(f", {key}={_short(value)}" for key, value in worked.options.items())
    names = [name for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None]
    return f"{worked.op.name}({', '.join(names)}{options}) → {worked.y.shape}"


def the_derivation(worked: Worked, steps: list[Step]) -> str:
    """Return the numbered lines: in signs, in NumPy, why, and how far each is from its neighbour."""
    parts = []
    for backward, title in ((False, "Forward"), (True, "Backward")):
        lines = [step for step in steps if step.line.backward == backward]
        if lines:
            parts.append(f'<h3>{title}</h3><ol class="lines">{"".join(map(_line, lines))}</ol>')
    parts.append(paragraphs(remarks(worked.op.name).backward))
    if sentence := check_sentence(worked.op.name):
        parts.append(f'<p class="mind">{inline(sentence)}</p>')
    return "".join(parts)


def _line(step: Step) -> str:
    line, twin, checked = step.line, step.twin, step.checked
    lead = f'<p class="lead">{inline(line.lead)}</p>' if line.lead else ""
    check = '<p class="range">This example does not need the line.</p>'
    if checked is not None:
        sign, word = ("✓", "agrees with") if checked.ok else ("✗", "DIFFERS from")
        check = (
            f'<p class="check"><span aria-hidden="true">{sign}</span> {word} {clean(checked.neighbour)}; error '
            f"{checked.error:.1e}</p>"
        )
    return (
        f'<li value="{line.number}">{lead}<div class="math wide" tabindex="0" role="region" aria-label="Line {line.number}">'
        f'<span class="nth">({line.number})</span>{to_mathml(line.whole)}</div>'
        f'<p class="why">{inline(twin.why)}</p>'
        f'<pre tabindex="0" role="region" aria-label="Line {line.number} in NumPy"><code>{highlight(step.code)}</code></pre>'
        f"{check}</li>"
    )


def example(worked: Worked, steps: list[Step], place: str) -> str:
    """Return every number: inputs, each line's value, dy and the gradients; cells know what they were made of."""
    given = "".join(
        table(name, a, key=f"{place}{name}") for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None
    )
    parts = [f'<div class="stage"><h4>Given</h4><div class="flow">{given}</div></div>']
    told_dy = False
    for step in steps:
        if step.line.backward and not told_dy:
            told_dy = True
            dy = table("dy", worked.dy, key=f"{place}dy")
            parts.append(f'<div class="stage"><h4>Given: what each y is worth</h4><div class="flow">{dy}</div></div>')
        if step.values:
            parts.append(_stage(step, place))
    return (
        "<p>Every line at small numbers. <span class=\"live\" hidden>Choose a number that was computed, by click or with Tab and "
        "the arrow keys: the numbers it was made of light up. </span>They were found by planting NaN in one cell at a time "
        f'and running the line again.</p><div class="worked">{"".join(parts)}'
        f'<p class="readout" role="status" aria-live="polite" hidden>No number is chosen.</p></div>'
    )


def _stage(step: Step, place: str) -> str:
    tables = []
    for name, value in step.values.items():
        used = step.uses[name]

        def attributes(flat: int, used: list[Uses] = used) -> str:
            return f' data-uses="{_uses(used[flat], place)}"' if used else ""

        tables.append(table(name, value, key=f"{place}{name}", attributes=attributes))
    return (
        f'<div class="stage"><h4><span class="nth">({step.line.number})</span> {to_mathml(step.line.formula)}</h4>'
        f'<div class="flow">{"".join(tables)}</div></div>'
    )


def _uses(used: Uses, place: str) -> str:
    return ";".join(f"{clean(place + name)} {' '.join(map(str, cells))}" for name, cells in used.items())


def _short(value: object) -> str:
    return f"array of {value.shape}" if isinstance(value, np.ndarray) else repr(value)
