"""A study as plain text of 80 columns, as a terminal shows it at the far end of any connection."""

import math
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np

from nanograd.op import OPS
from nanograd.study.derivation import CHAIN_RULE, UPSTREAM, summary
from nanograd.study.headline import headline
from nanograd.study.notation import printed_name, to_text
from nanograd.study.sources import sources
from nanograd.study.study_data import Step, StudyData

WIDTH = 80
SHOWN = 64  # numbers of one array; of a larger one the corners


def to_text_page(study: StudyData) -> str:
    """Write a study; no line is longer than 80 columns."""
    cost = study.cost
    blocks = [
        fill(study.call, hanging="    "),
        fill(study.summary),
        f"{fill(UPSTREAM)}\nThe chain rule: {CHAIN_RULE}   (*)",
        "FORWARD",
        *_side(study, backward=False),
        "BACKWARD",
        *_side(study, backward=True),
        fill(f"Source: {'; '.join(sources(study.worked.op.name))}.", "  "),
        "WORKED EXAMPLE",
        *_example(study),
        "COST",
        fill(
            f"On {cost.shapes}, in float32: {cost.forward} FLOPs forward, {cost.backward} backward; between the two it "
            f"keeps {cost.saved} bytes.",
            "  ",
        ),
        "MISTAKES",
        *_mistakes(study),
        "CODE",
        "\n".join(f"  {name:<34} {place}" for name, place in study.locations.items()),
    ]
    return "\n\n".join(blocks) + "\n"


def list_of_ops() -> str:
    """Write the ops with their headlines, and how to go on."""
    lines = []
    for name in sorted(OPS):
        formula = headline(name)
        text = to_text(formula) if formula else summary(name)
        lines += [f"{name:<21} {text if len(text) <= WIDTH - 22 else text[: WIDTH - 23] + '…'}"]
    lines += ["", f"{len(OPS)} ops. Study one with: python -m nanograd study softmax --format text"]
    return "\n".join(lines) + "\n"


def _side(study: StudyData, backward: bool) -> Iterator[str]:
    for step in study.steps:
        if step.line.backward is backward:
            yield from (fill(paragraph, "  ") for paragraph in step.line.lead.split("\n\n") if paragraph)
            yield _step(step)
    yield from (fill(paragraph, "  ") for paragraph in study.remarks[backward].split("\n\n") if paragraph)
    if backward:
        yield fill(study.check, "  ")


def _step(step: Step) -> str:
    """Write a numbered line, its reason, its NumPy, and how it compares with its reference."""
    number = f"({step.line.number})"
    mark = "✗" if not step.right else "✓" if step.checked else "·"
    return "\n".join(
        [
            fill(f"{number:<5} {step.line.text}{step.line.tail}", "  ", "          "),
            fill(f"why   {step.check.why}", "        ", "              "),
            *(fill(f"numpy {statement.text}", "        ", "              ") for statement in step.statements),
            fill(f"{mark} {step.verdict}", "        ", "          "),
        ]
    )


def _example(study: StudyData) -> Iterator[str]:
    worked = study.worked
    options = "".join(f", {name}={value!r}" for name, value in worked.options.items())
    yield fill(f"seed {study.seed}{options}; the numbers below are computed by the NumPy of the lines", "  ")
    for name, array in zip(worked.names, worked.arrays, strict=True):
        if array is not None:
            yield show(name, array)
    yield from _values(study, backward=False)
    yield show("dy, here random", worked.dy)
    yield from _values(study, backward=True)


def _values(study: StudyData, backward: bool) -> Iterator[str]:
    for step in study.steps:
        if step.line.backward is backward:
            yield from (
                show(f"{printed_name(name)} ({step.line.number})", value) for name, value in step.values.items()
            )


def show(name: str, value: Any) -> str:
    """Write an array below its name and shape."""
    a = np.asarray(value)
    a = a + 0.0 if a.dtype.kind == "f" else a  # which makes 0 of -0
    text = np.array2string(a, max_line_width=WIDTH - 4, precision=4, suppress_small=True, threshold=SHOWN, edgeitems=2)
    return f"{fill(f'{name}   {a.shape}', '  ', '    ')}\n{textwrap.indent(text, '    ')}"


def _mistakes(study: StudyData) -> Iterator[str]:
    for mistake in study.mistakes:
        lines = [fill(f"✗ {mistake.name}: {mistake.wrong}", "  ", "    ")]
        before, after = (" ".join(code.split()) for code in mistake.change)
        lines.append(fill(f"{before} → {after}", "    ", "      "))
        if mistake.uniform and mistake.random:
            blind = "; a test with y.sum() passes" if mistake.hides else ""
            errors = (
                f"error {mistake.random.error:.1e} with a random dy, {mistake.uniform.error:.1e} with dy = 1{blind}"
                if math.isfinite(mistake.random.error)
                else "wrong shape, or not finite"
            )
            lines.append(fill(errors, "    ", "      "))
        lines.append(fill(f"caught by {mistake.caught}", "    ", "      "))
        yield "\n".join(lines)


def fill(text: str, first: str = "", hanging: str | None = None) -> str:
    """Break a paragraph into lines; a word that is longer than a line is cut."""
    rest = first if hanging is None else hanging
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, replace_whitespace=False
    )
    return "\n".join(lines)
