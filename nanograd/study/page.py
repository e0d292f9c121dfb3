"""The page of an op, one file without network."""

import re

from nanograd.inspect.player.html import HtmlPage, clean, document, resource
from nanograd.op import OPS
from nanograd.study import evidence, sections
from nanograd.study.course import is_simple, practice
from nanograd.study.frame import Section, framed
from nanograd.study.live.colours import colour_classes, coloured
from nanograd.study.live.export import live_graph
from nanograd.study.study_data import StudyData, study_op
from nanograd.study.worked_example import run_example

LIVE = f"{__package__}.live"
SCRIPTS = [
    (__package__, "shared.js"), *((LIVE, f"{name}.js") for name in ("evaluator", "explain", "page", "select")),
    (__package__, "study.js"),
]  # fmt: skip


def study_page(name: str, shape: tuple[int, ...] | None = (2, 4), seed: int = 0, *, linked: bool = False) -> HtmlPage:
    """Return the page of an op, with an example of this shape; the same call returns the same bytes.

    A notebook shows the page; `save` writes it. shape: of the example's first array; None chooses one for the op.
    linked: the page has links to the map and to the ops before and after it; else it says how to write them.

    Raises ValueError where there is no such op, or it cannot take the shape.
    """
    study = study_op(name, shape, seed)
    live, parts = live_graph(study.worked, study.mistakes), page_sections(study)
    if linked:
        parts = [part._replace(body=link_ops(part.body, name)) if part.id == "derivation" else part for part in parts]
    alone = f"One of {len(OPS)} ops: <code>python -m nanograd study</code> writes them all"
    folded = SELDOM | SIMPLE if is_simple(name) else SELDOM
    heading, lead = f"<code>{clean(name)}</code>, backward by hand", sections.notation_section(linked=linked)
    body = f"""{framed(name, heading, lead, parts, linked=linked, alone=alone, folded=folded)}
<script type="application/json" id="program">{live.to_json()}</script>"""
    style = resource(__package__, "study.css")
    colours = colour_classes(live.shown)
    script = "\n".join(resource(*file) for file in SCRIPTS)
    return document(f"{name}: backward by hand", coloured(body, colours), style=style, script=script)


def link_ops(html: str, own: str) -> str:
    """Make a link of the name of every other op that prose has as code."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        return f'<a href="{name}.html">{match[0]}</a>' if name in OPS and name != own else match[0]

    return re.sub(r"<code>(\w+)</code>", link, html)


def page_sections(study: StudyData) -> list[Section]:
    """Return the sections of the page of an op."""
    worked, name = study.worked, study.worked.op.name
    other = run_example(name, study.shape, study.seed + 1)
    return [
        Section("forward", "Forward", sections.forward_section(study, short=is_simple(name))),
        Section("derivation", "Derivation", sections.derivation_section(study)),
        Section("example", "Worked example", sections.example_section(study)),
        Section("jacobian", "Jacobian and shortcut", evidence.jacobian_section(worked)),
        Section("differences", "Finite differences", evidence.differences_section(worked)),
        Section("mistakes", "Mistakes", evidence.mistakes_section(name, study.mistakes)),
        Section("cost", "Cost, and what is saved", evidence.cost_section(worked)),
        Section("code", "Code", evidence.code_section(worked)),
        Section("paper", "Paper drill", sections.worksheet_section(other) + practice(name)),
    ]


SELDOM = {"differences", "cost", "code"}  # folded on every page: few readers need them
SIMPLE = {"jacobian", "mistakes", "paper"}  # folded on the page of a simple op too
