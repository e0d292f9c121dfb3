"""HTML for every page: the document, escaped text, numbers in four digits, and tables of tinted cells."""

import base64
import hashlib
import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from os import PathLike

import numpy as np

from nanograd.runtime.files import write_text

TINTS = 4


class HtmlPage(str):
    """An HTML page: its text, which a notebook shows in a frame of its own."""

    __slots__ = ()

    @property
    def _title(self) -> str:
        """Its title, as HTML. `title` is a method of every string."""
        return self.partition("<title>")[2].partition("</title>")[0]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page as UTF-8, all of it or nothing."""
        write_text(path, self)

    def __repr__(self) -> str:
        return f"<HtmlPage {self._title!r}, {len(self.encode()) / 1000:.0f} kB; save(path) writes it>"

    def _repr_html_(self) -> str:
        """Return the page in a frame. In it scripts run, but cannot reach the notebook.

        The base makes links such as #step=2 stay in the frame. It is put before the policy, which allows no base.
        """
        page = self.replace("<head>", '<head>\n<base href="about:srcdoc">', 1)
        return (
            f'<iframe title="{self._title}" sandbox="allow-scripts" width="100%" height="640" style="border: 0" '
            f'srcdoc="{escape(page)}"></iframe>'
        )


def document(title: str, body: str, *, style: str, script: str = "") -> HtmlPage:
    """Return an HTML page whose Content-Security-Policy allows only its own style and script, by their hashes.

    body is HTML. `style` is appended to base.css, which all pages share. A page with formulas embeds a math font.
    """
    font = _math_font() if "<math" in body else ""
    style = f"\n{resource(__package__, 'base.css')}\n{style}{font}"
    script = f"\n{script}" if script else ""
    scripts = f" script-src {_hash(script)};" if script else ""
    fonts = " font-src data:;" if font else ""
    policy = f"default-src 'none'; style-src {_hash(style)};{scripts}{fonts} base-uri 'none'; form-action 'none'"
    return HtmlPage(f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{clean(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
{f"<script>{script}</script>" if script else ""}
</body>
</html>
""")


def resource(package: str, name: str) -> str:
    """Return the text of a data file of a package."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def _math_font() -> str:
    """Return the style that embeds the math font, for machines without one: a subset of STIX Two Math, see OFL.txt."""
    font = base64.b64encode(resources.files(__package__).joinpath("math.woff2").read_bytes()).decode()
    return (
        f'@font-face {{ font-family: "Embedded Math"; src: url("data:font/woff2;base64,{font}") format("woff2"); }}\n'
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def clean(text: str) -> str:
    """Return any text as HTML: markup is escaped, control characters and lone surrogates are replaced."""
    shown = "".join("\ufffd" if c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c <= "\udfff" else c for c in text)
    return escape(shown, quote=True)


def number(value: float) -> str:
    """Format a number with four digits."""
    return f"{value:.4g}"


def row(header: object, cells: str) -> str:
    """Return a row of a table; header and cells are HTML."""
    return f'<tr><th scope="row">{header}</th>{cells}</tr>'


def heatmap(
    caption: str, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, unit: float | None = None
) -> str:
    """Return a table of values (rows, columns), warm above 0 and cold below; NaN marks an unused cell.

    Cells show whole multiples of a unit, which the caption states. The default unit is the power of ten that gives the
    largest value two digits.
    """
    largest = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    unit = unit or 10.0 ** (math.floor(math.log10(largest)) - 1)
    caption = f"{caption}, in units of {unit:g}"
    head = "".join(f'<th scope="col"><bdi>{clean(name)}</bdi></th>' for name in columns)
    named = zip(rows, values.tolist(), strict=True)
    body = "".join(row(f"<bdi>{clean(n)}</bdi>", "".join(_cell(v, largest, unit) for v in line)) for n, line in named)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{clean(caption)}"><table class="heat"><caption>'
        f"{clean(caption)}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: float, largest: float, unit: float) -> str:
    if np.isnan(value):
        return '<td class="none">·</td>'
    tint = round(TINTS * abs(value) / largest)
    kind = f' class="{"n" if value < 0 else "p"}{tint}"' if tint else ""
    return f"<td{kind}>{round(value / unit)}</td>"
