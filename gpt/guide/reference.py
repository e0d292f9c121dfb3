"""The reference of ops: what each computes and its gradients, line by line, in about half a page."""

from nanograd.inspect.player.html import clean
from nanograd.study.book.whole import order
from nanograd.study.headline import headline
from nanograd.study.markup import code, inline
from nanograd.study.notation import to_mathml
from nanograd.study.sources import sources
from nanograd.study.study_data import StudyData, study_op

TITLE = "Reference of ops"


def reference() -> str:
    """Return all ops as HTML: those of a GPT first and in its order, then the others by family."""
    parts = "".join(
        f"<h4>{clean(part)}</h4>{''.join(_op(study_op(name, None, 0)) for name in names)}"
        for part, names in order().items()
    )
    return (
        "<p>Every line was evaluated and compared with finite differences, or with another computation of the same value. "
        "<code>nanograd study NAME</code> writes the page of an op, with its code, numbers and mistakes.</p>" + parts
    )


def reference_ids() -> dict[str, str]:
    """Return the id of every op's place in the reference, by its name, for the index."""
    return {name: f"op-{name}" for names in order().values() for name in names}


def _op(study: StudyData) -> str:
    name = study.worked.op.name
    formula = headline(name)
    lines = "".join(
        f'<li><span class="nth">({step.line.number})</span> {to_mathml(step.line.whole)} '
        f'<span class="why">{inline(step.check.why)}</span></li>'
        for step in study.steps
    )
    shown = f'<div class="math wide">{to_mathml(formula)}</div>' if formula else ""
    check = f"<p>{inline(study.check)}</p>" if study.check else ""
    cited = "; ".join(map(inline, sources(name)))
    return (
        f'<section class="op" aria-labelledby="op-{name}"><h5 id="op-{name}">{code(name)}</h5>'
        f'<p>{inline(study.summary)}</p><p class="call">{code(study.call)}</p>{shown}'
        f'<ul class="lines">{lines}</ul>{check}<p class="note">{cited}</p></section>'
    )
