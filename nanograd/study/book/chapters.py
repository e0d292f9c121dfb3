"""One op on paper: a simple one in half a page, without an exercise; a hard one in one to three pages."""

from typing import NamedTuple

import numpy as np

from nanograd.inspect.player.html import clean
from nanograd.study.headline import headline
from nanograd.study.markup import code, error, inline, paragraphs, rows, table
from nanograd.study.mistakes import GENERIC, Mistake
from nanograd.study.notation import to_mathml
from nanograd.study.sections import derivation_section, example_section
from nanograd.study.study_data import StudyData, study_op
from nanograd.study.worked_example import WorkedExample, run_example

HARD = 4  # numbered lines of an op that gets whole pages
ALSO_HARD = {"softmax", "log_softmax", "matmul", "embedding"}  # few lines, but a GPT stands on them
ONCE = {*GENERIC, "dy forgotten"}  # mistakes of every op: the introduction shows them


class Place(NamedTuple):
    """Where an op stands in the book: its number, and the sources by their numbers in the bibliography."""

    number: int
    sources: list[int]


def is_hard(study: StudyData) -> bool:
    """Tell whether an op gets pages of its own."""
    return len(study.steps) >= HARD or study.worked.op.name in ALSO_HARD


def chapter(name: str, place: Place, seed: int = 0) -> tuple[str, str]:
    """Return an op on paper, and the solution of its exercise; a simple op has none."""
    study = study_op(name, None, seed)
    if not is_hard(study):
        return _article(study, place, _numbers(study.worked)), ""
    other = run_example(name, None, seed + 1)
    parts = [
        f"<h4>Worked example</h4>{example_section(study, printed=True)}",
        _mistakes(study.mistakes),
        f"<p>{_cost(study)}</p>",
        _exercise(other, name, place),
    ]
    return _article(study, place, "".join(parts), hard=True), _solution(other, name, place)


def _article(study: StudyData, place: Place, rest: str, *, hard: bool = False) -> str:
    """Return the part that all ops have, then the rest."""
    name, formula = study.worked.op.name, headline(study.worked.op.name)
    cited = "".join(f'<a href="#source-{n}">[{n}]</a>' for n in place.sources)
    return (
        f'<article class="op {"hard" if hard else "simple"} of-{name}" id="{name}" aria-labelledby="{name}-h">'
        f'<h3 id="{name}-h"><span class="section">{place.number}</span> {code(name)}</h3>'
        f"<p>{inline(study.summary)} {cited}</p>"
        f"{f'<div class={chr(34)}math big{chr(34)}>{to_mathml(formula)}</div>' if hard and formula else ''}"
        f'<p class="call">{code(study.call)}</p>{paragraphs(study.remarks.forward) if hard else ""}'
        f"{derivation_section(study, printed=True)}{rest}</article>"
    )


def _numbers(worked: WorkedExample) -> str:
    """Return inputs, result and gradients of an example side by side."""
    arrays = {name: a for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None}
    arrays |= {"y": worked.y, "dy": worked.dy}
    arrays |= {f"d{worked.names[i]}": worked.gradients[i] for i in worked.differentiated}
    options = ", ".join(f"{key}={value!r}" for key, value in worked.options.items())
    given = f"<p>With {code(options)}:</p>" if options else ""
    return f'{given}<div class="flow">{"".join(table(name, a) for name, a in arrays.items())}</div>'


def _mistakes(mistakes: list[Mistake]) -> str:
    """List the mistakes that are this op's own."""
    body = [
        [
            inline(mistake.name),
            inline(mistake.wrong),
            f"{code(_flat(mistake.change[0]))} → {code(_flat(mistake.change[1]) or 'nothing')}",
            "raises" if mistake.random is None else _size(mistake.random.error),
            "no" if mistake.hides else "yes",
        ]
        for mistake in mistakes
        if mistake.name not in ONCE
    ]
    head = ["mistake", "what is wrong", "right → wrong", "error", "seen, dy = 1"]
    return f"<h4>Mistakes</h4>{rows('Mistakes', head, body, 'mistakes', titled=False)}" if body else ""


def _size(relative: float) -> str:
    return "wrong shape" if relative == np.inf else error(relative)


def _flat(lines: str) -> str:
    return "; ".join(line.strip() for line in lines.splitlines())


def _cost(study: StudyData) -> str:
    cost, place = study.cost, next(iter(study.locations.values()))
    counted = f"{cost.forward} FLOPs forward, {cost.backward} backward; {cost.saved} bytes are kept between the two."
    return f"On {clean(cost.shapes)}, in float32: {counted} The code: {code(place)}."


def _exercise(worked: WorkedExample, name: str, place: Place) -> str:
    """Return other numbers, and a table of empty cells for the first gradient."""
    i = worked.differentiated[0]
    gradient = f"d{worked.names[i]}"
    arrays = "".join(table(n, a) for n, a in zip(worked.names, worked.arrays, strict=True) if a is not None)
    options = ", ".join(f"{key}={value!r}" for key, value in worked.options.items())
    empty = table(gradient, worked.gradients[i], cell=lambda flat: "")
    return (
        f'<div class="exercise" id="exercise-{name}"><h4>Exercise {place.number}</h4>'
        f"<p>Work out {code(gradient)}{f' with {code(options)}' if options else ''}. "
        f'<a href="#solution-{name}">Solution {place.number}</a></p>'
        f'<div class="flow">{arrays}{table("dy", worked.dy)}<div class="paper">{empty}</div></div></div>'
    )


def _solution(worked: WorkedExample, name: str, place: Place) -> str:
    """Return the result and the gradients of an exercise."""
    gradients = "".join(table(f"d{worked.names[i]}", worked.gradients[i]) for i in worked.differentiated)
    return (
        f'<div class="solution" id="solution-{name}"><h4><a href="#exercise-{name}">{place.number}</a> {code(name)}</h4>'
        f'<div class="flow">{table("y", worked.y)}{gradients}</div></div>'
    )
