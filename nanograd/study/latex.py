r"""A study as LaTeX: one document that any LaTeX makes a PDF of, with amsmath and nothing else.

The file is ASCII; what is not, in the prose and the code, becomes a command.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nanograd.study.facts import Facts, Step
from nanograd.study.formula import to_latex
from nanograd.study.notation.latex import LETTERS, SIGNS, SYMBOLS

HEAD = r"""\documentclass[11pt]{article}
\usepackage[a4paper, margin=25mm]{geometry}
\usepackage{amsmath}
\setlength{\parindent}{0pt}
\setlength{\parskip}{5pt plus 1pt}
\emergencystretch=3em
\newcommand{\code}[1]{{\small\ttfamily\raggedright\hangindent=2em\hspace*{1em}#1\par}}
\newcommand{\checked}[1]{{\small\hspace*{1em}#1\par}}
\begin{document}
"""
TAIL = "\\end{document}\n"
COLUMNS = 8  # of a matrix; a wider one is written as rows of digits
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\ensuremath{<}", ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}", "“": "``", "”": "''", "’": "'", "‘": "`", "–": "--", "—": "---", "'": "'", "\"": "''",
}  # fmt: skip
MATHS = {
    **LETTERS, **SYMBOLS, **{sign: command for sign, command in SIGNS.items() if not sign.isascii()},
    "²": "^{2}", "³": "^{3}", "ᵀ": r"^{\top}", "√": r"\surd", "⟨": r"\langle", "⟩": r"\rangle", "±": r"\pm", "→": r"\to",
    "≈": r"\approx", "¼": r"\tfrac{1}{4}", "×": r"\times", "−": "-", "∂": r"\partial", "✓": r"\surd", "τ": r"\tau",
    "ρ": r"\rho", "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "μ": r"\mu", "Δ": r"\Delta",
}  # fmt: skip


def document(studies: Sequence[Facts]) -> str:
    """Write one document of one or more studies, each a section."""
    return HEAD + "\\clearpage\n".join("\n".join(_section(facts)) + "\n" for facts in studies) + TAIL


def escape(text: str) -> str:
    """Write prose or code so that LaTeX prints it; a sign that no command is known for is named by its number."""
    said = []
    for sign in text:
        if sign in SPECIAL:
            said.append(SPECIAL[sign])
        elif sign in MATHS:
            said.append(rf"\ensuremath{{{MATHS[sign]}}}")
        else:
            said.append(sign if sign.isascii() else f"[U+{ord(sign):04X}]")
    return "".join(said)


def _section(facts: Facts) -> Iterator[str]:
    yield rf"\section*{{{escape(facts.name)}}}"
    yield rf"\code{{{escape(facts.call)}}}"
    yield paragraph(facts.summary)
    yield r"\subsection*{Forward}"
    yield from _side(facts, backward=False)
    yield r"\subsection*{Backward}"
    yield from _side(facts, backward=True)
    yield r"\subsection*{Worked example}"
    yield from _example(facts)
    yield r"\subsection*{Cost}"
    yield paragraph(
        f"On {facts.cost.shapes}, in float32: {facts.cost.forward} FLOPs forward, {facts.cost.backward} backward; between "
        f"the two it keeps {facts.cost.saved} bytes."
    )
    yield r"\subsection*{Mistakes}"
    for mistake in facts.mistakes:
        yield paragraph(f"{mistake.name}: {mistake.wrong}.")
        yield code(f"{mistake.change[0]} → {mistake.change[1]}")
        yield rf"\checked{{caught by {escape(mistake.caught)}}}"
    yield r"\subsection*{Code}"
    yield from (code(f"{name}  {place}") for name, place in facts.places.items())


def _side(facts: Facts, backward: bool) -> Iterator[str]:
    for step in facts.steps:
        if step.line.backward is backward:
            yield from _step(step)
    yield paragraph(facts.remarks[backward])
    if backward:
        yield paragraph(facts.check)


def _step(step: Step) -> Iterator[str]:
    yield paragraph(step.line.lead)
    yield rf"\begin{{equation*}}{to_latex(step.line.whole)} \tag{{{step.line.number}}}\end{{equation*}}"
    yield paragraph(step.twin.why)
    yield code(f"{step.twin.name} = {step.twin.code}")
    yield from (code(f"{name} = {each}") for name, each in step.given.items())
    yield rf"\checked{{{escape(step.verdict)}}}"


def _example(facts: Facts) -> Iterator[str]:
    worked = facts.worked
    yield paragraph("".join([f"seed {facts.seed}", *(f", {name} = {each!r}" for name, each in worked.options.items())]))
    made = [
        (step.line.backward, f"{name} ({step.line.number})", each)
        for step in facts.steps
        for name, each in step.values.items()
    ]
    inputs = [(False, name, each) for name, each in zip(worked.names, worked.arrays, strict=True) if each is not None]
    # what the forward makes, then dy, then what the backward makes
    for _, name, each in sorted([*inputs, (True, "dy", worked.dy), *made], key=lambda value: value[0]):
        yield from _value(name, each)


def _value(name: str, value: Any) -> Iterator[str]:
    """Write an array: a number, a row or a matrix as such, others as rows of digits."""
    array = np.asarray(value)
    array = array + 0.0 if array.dtype.kind == "f" else array  # which makes 0 of -0
    label = rf"\texttt{{{escape(name)}}}"
    if array.ndim <= 2 and 0 < array.size and array.shape[-1:] <= (COLUMNS,) and array.dtype.kind in "fiu":
        rows = r" \\ ".join(" & ".join(map(_entry, row)) for row in np.atleast_2d(array))
        yield rf"\[\text{{{label}}} = \begin{{pmatrix}} {rows} \end{{pmatrix}}\]"
    else:
        text = np.array2string(array, max_line_width=76, precision=4, suppress_small=True, threshold=64, edgeitems=2)
        yield f"{label} =\n\\begin{{verbatim}}\n{text}\n\\end{{verbatim}}"


def _entry(value: Any) -> str:
    if isinstance(value, np.integer):
        return str(value)
    if not np.isfinite(value):
        return r"\mathrm{NaN}" if np.isnan(value) else r"\infty" if value > 0 else r"-\infty"
    text = f"{value:.4f}"
    return text.removeprefix("-") if float(text) == 0 else text


def paragraph(text: str) -> str:
    return f"{escape(text)}\n" if text else ""


def code(text: str) -> str:
    return rf"\code{{{escape(' '.join(text.split()))}}}"
