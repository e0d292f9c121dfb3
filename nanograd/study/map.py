"""The map: a GPT whose boxes lead to the pages of their ops, and a table of all ops."""

from collections.abc import Callable

from nanograd.check.cost import cost
from nanograd.inspect.player.html import clean, document, resource
from nanograd.op import OPS
from nanograd.ops._equations import equations
from nanograd.study.block import drawing
from nanograd.study.families import about, families
from nanograd.study.formula import parse, to_mathml
from nanograd.study.prose import inline
from nanograd.study.tables import rows


def map_page() -> str:
    """Return the map, whose links lead to files called after their ops, in the same folder."""
    body = f"""<a class="skip" href="#ops">Skip the drawing</a>
<header>
<h1>Study a backward pass by hand</h1>
<p>Choose one of {len(OPS)} ops: its derivation, checked line by line; its numbers, mistakes and cost; and a drill for
your pencil.</p>
</header>
<main class="map">
<section class="card" aria-labelledby="block-h"><h2 id="block-h">A GPT</h2>
<p class="note">Forward runs down, backward up.</p>{drawing(_file)}</section>
<section class="card" id="ops" tabindex="-1" aria-labelledby="ops-h"><h2 id="ops-h">All {len(OPS)} ops</h2>
{table(_file)}</section>
</main>"""
    return document("Study a backward pass by hand", body, style=resource(__package__, "study.css"))


def table(link: Callable[[str], str]) -> str:
    """Return the table of all ops by family: equation and gradients."""
    parts = []
    for family, names in families().items():
        body = []
        for name in names:
            forward, row = equations(OPS[name].pair.forward), cost(OPS[name])
            equation = _math(forward[-1]) if forward else ""
            gradients = "<br>".join(_math(each) for each in row.gradients)
            body.append([f'<a href="{clean(link(name))}"><code>{clean(name)}</code></a>', equation, gradients])
        parts.append(f'<h3 class="family">{inline(about(family))}</h3>')
        parts.append(rows(about(family), ["op", "forward", "backward"], body, "ops", titled=False))
    return "".join(parts)


def _math(text: str) -> str:
    return to_mathml(parse(text))


def _file(name: str) -> str:
    return f"{name}.html"
