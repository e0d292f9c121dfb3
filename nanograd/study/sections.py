"""The first half of an op's page: what it does, its derivation, a worked example, and the worksheet."""

import numpy as np

from nanograd.inspect.player.html import clean
from nanograd.study.derivation import CHAIN_RULE, UPSTREAM
from nanograd.study.headline import headline
from nanograd.study.live.export import drawn_masks
from nanograd.study.markup import code, highlight, index, inline, paragraphs, rows, table
from nanograd.study.notation import parse, printed_name, to_mathml
from nanograd.study.program import given_code, helpers_code, script
from nanograd.study.projection import projection
from nanograd.study.sources import sources
from nanograd.study.study_data import Step, StudyData
from nanograd.study.worked_example import WorkedExample

LONG = 34  # letters of a formula that does not fit beside its numbers


def notation_section(*, linked: bool = False) -> str:
    """Say what L and dy are, and the chain rule (*), which derivations quote; linked: beside page 0, which derives it."""
    derived = ' <a href="chain_rule.html">Where it comes from</a>' if linked else ""
    return (
        f'<div class="notation"><p>{inline(UPSTREAM)}</p>'
        f"<p>The chain rule: {to_mathml(parse(CHAIN_RULE))} (*){derived}</p></div>"
    )


def forward_section(study: StudyData, *, short: bool = False) -> str:
    """Say what the op does, and list its inputs, result and gradients with their shapes; short: only how it is called."""
    worked = study.worked
    if short:
        return (
            f'<p>{inline(study.summary)}</p><p class="call">{code(study.call)}</p>{paragraphs(study.remarks.forward)}'
        )
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
    formula = headline(worked.op.name)
    equation = f'<div class="math big">{to_mathml(formula)}</div>' if formula else ""
    return (
        f"<p>{inline(study.summary)}</p>{equation}"
        f'<p class="call">{code(study.call)}</p><p class="call">Here {code(_this_call(worked))}</p>'
        f"{rows('Arrays of the example', ['array', 'shape', 'dtype', 'gradient'], body, 'shapes')}"
        f"{paragraphs(study.remarks.forward)}"
    )


def _this_call(worked: WorkedExample) -> str:
    """Write the call that the example makes."""
    options = "".join(f", {key}={_short(value)}" for key, value in worked.options.items())
    names = [name for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None]
    return f"{worked.op.name}({', '.join(names)}{options}) → {worked.y.shape}"


def derivation_section(study: StudyData, *, printed: bool = False) -> str:
    """Return the numbered lines: in symbols, in NumPy, the reason, and how each compares with its reference.

    printed: without what the book says once, and without the whole program.
    """
    html = [] if printed else [_before(study)]
    if not printed and any("unbroadcast(" in step.check.code for step in study.steps):
        html.append(
            "<p><i>U</i> sums a gradient over the axes along which broadcasting stretched its operand: the code calls it "
            "<code>unbroadcast</code>.</p>"
        )
    level = "h4" if printed else "h3"
    for backward, title in ((False, "Forward"), (True, "Backward")):
        lines = [step for step in study.steps if step.line.backward == backward]
        if lines:
            html.append(f'<{level}>{title}</{level}><ol class="lines">{"".join(map(_line, lines))}</ol>')
    if study.closing:
        html.append('<p class="why">And in the shapes of the op:</p>')
        html.append(_code_box("The shapes of the op in NumPy", "\n".join(study.closing)))
    html.append(paragraphs(study.remarks.backward))
    html.append(projection(study))
    if study.check:
        html.append(f'<p class="mind">{inline(study.check)}</p>')
    html.append(f"<p>Source: {inline('; '.join(sources(study.worked.op.name)))}.</p>")
    if not printed:
        program = _code_box("The whole program", script(study.worked))
        html.append(
            f'<details class="listing"><summary>Run it: all of this as one program, to copy</summary>{program}</details>'
        )
    return "".join(html)


def _before(study: StudyData) -> str:
    """Return what the code of the lines needs: the helpers, and the numbers of the example."""
    helpers = helpers_code(study.worked.op.name, study.closing)
    titles = "The helper functions and the example’s numbers" if helpers else "The example’s numbers"
    boxes = _code_box("Helper functions", helpers) if helpers else ""
    boxes += _code_box("The example's numbers", given_code(study.worked))
    return (
        "<p>The NumPy of the lines runs in the order printed, after <code>import numpy as np</code> and this:</p>"
        f'<details class="listing"><summary>{titles}, as code</summary>{boxes}</details>'
    )


def _code_box(label: str, source: str) -> str:
    return f'<pre role="group" aria-label="{clean(label)}"><code>{highlight(source)}</code></pre>'


def _line(step: Step) -> str:
    line = step.line
    lead = f'<div class="lead">{paragraphs(line.lead)}</div>' if line.lead else ""
    sign = "✓" if step.checked and step.right else "✗" if step.checked else "·"
    box = _code_box(f"Line {line.number} in NumPy", "\n".join(statement.text for statement in step.statements))
    check = f'<p class="check"><span aria-hidden="true">{sign}</span> {inline(step.verdict)}</p>'
    return (
        f'<li value="{line.number}">{lead}<div class="in-symbols"><div class="math">'
        f'<span class="nth">({line.number})</span>{to_mathml(line.whole)}</div>'
        f'<p class="why">{inline(step.check.why)}</p></div><div class="in-numpy">{box}{check}</div></li>'
    )


def example_section(study: StudyData, *, printed: bool = False) -> str:
    """Return every number: inputs, dy, the value of each line; unless printed, with the controls of the script."""
    worked, dy_shown = study.worked, False
    arrays = [(name, a) for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None]
    html = [_stage("Given", [table(name, a, key=name) for name, a in (*arrays, *drawn_masks(worked).items())])]
    for step in study.steps:
        if step.line.backward and not dy_shown:
            dy_shown = True
            html.append(_stage("Given: the upstream gradient of y", [table("dy", worked.dy, key="dy")]))
        if step.checked is not None:
            title = f'<span class="nth">({step.line.number})</span> {to_mathml(step.line.formula)}'
            html.append(_stage(title, _values(step), long=len(step.line.text) > LONG))
    start = f"<p>Every line at small numbers, seed {study.seed}.</p>"
    return f'{start}{"" if printed else TOOLS}<div class="worked">{"".join(html)}{"" if printed else READOUT}</div>'


TOOLS = (
    '<div class="tools" hidden><p>Change any underlined number: click it, press Enter on it, or drag it sideways; in the '
    "field, ↑ and ↓ change it by 0.1. All other numbers follow. Point at a number, or choose it, to see its arithmetic.</p>"
    '<p><button type="button" data-do="newDy">New dy</button> <button type="button" data-do="reset">Reset</button> '
    '<span class="note">The numbers are not those that the page was made with.</span></p></div>'
)
READOUT = '<div class="readout" role="status" aria-live="polite" hidden></div>'


def _values(step: Step) -> list[str]:
    return [table(printed_name(name), value, key=printed_name(name)) for name, value in step.values.items()]


def _stage(title: str, tables: list[str], *, long: bool = False) -> str:
    kind = "stage long" if long else "stage"
    return f'<div class="{kind}"><p class="title">{title}</p><div class="flow">{"".join(tables)}</div></div>'


def _short(value: object) -> str:
    return f"array of {value.shape}" if isinstance(value, np.ndarray) else repr(value)


CLOSE = 0.01  # the tolerance for an answer, relative to the largest entry


def worksheet_section(worked: WorkedExample) -> str:
    """Return the inputs, a table of empty cells to type answers into, and the solution."""
    i = worked.differentiated[0]
    name, gradient = f"d{worked.names[i]}", worked.gradients[i]
    largest = float(np.abs(gradient).max(initial=0)) or 1.0
    arrays = "".join(table(name, a) for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None)
    options = ", ".join(f"{k} = {v!r}" for k, v in worked.options.items() if not isinstance(v, np.ndarray))
    options_text = f"<p>With {code(options)}.</p>" if options else ""
    gradients = "".join(table(f"d{worked.names[i]}", worked.gradients[i]) for i in worked.differentiated)
    solution = f'<div class="flow">{table("y", worked.y)}{gradients}</div>'
    cells = gradient.reshape(-1).tolist()

    def field(flat: int) -> str:
        label = clean(f"{name}{index(gradient.shape, flat)}")
        return f'<input aria-label="{label}" autocomplete="off" size="7" data-answer="{cells[flat]:.6g}"><span></span>'

    empty = table(name, gradient, cell=field) + (
        '<p class="grade" hidden><button type="button" data-grade>Check</button> '
        '<span role="status" aria-live="polite"></span></p>'
    )
    answer = f"<details><summary>Show the solution</summary>{solution}</details>"
    return (
        f"<p>Other numbers, the same op. Work out {code(name)} with a pencil, from {code('dy')} back through all lines; "
        f"type each entry, two digits are enough.</p>{options_text}"
        f'<div class="flow">{arrays}{table("dy", worked.dy)}</div>'
        f'<div class="paper" data-tolerance="{CLOSE * largest:.6g}">{empty}</div>{answer}'
    )
