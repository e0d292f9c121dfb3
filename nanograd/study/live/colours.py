"""One colour per symbol, the same in formulas, code and tables: classes, which the style sheet colours."""

import re
from collections.abc import Iterable
from html import escape, unescape

COLOURS = 8
WORD = re.compile(r"[^\W\d]\w*")
MARKED = re.compile(
    r'<mi>(?P<mi>[^<]+)</mi>|<table data-of="(?P<table>[^"]+)"|(?P<pre><pre[^>]*><code>.*?</code></pre>)', re.DOTALL
)


def colour_classes(names: Iterable[str]) -> dict[str, str]:
    """Return the class of each symbol. dx has the colour of x; dy, which all gradients begin with, has one of its own.

    >>> colour_classes(["x", "dy", "y", "∂y/∂x", "dx"])
    {'x': 's0', 'dy': 's1', 'y': 's2', 'dx': 's0'}
    """
    classes: dict[str, str] = {}
    for name in names:
        if not name.startswith("∂"):
            of = name.removeprefix("d") if name != "dy" else name
            number = len(set(classes.values())) % COLOURS
            classes[name] = classes.get(of, f"s{number}")
    return classes


def coloured(html: str, classes: dict[str, str]) -> str:
    """Mark the symbols in the formulas, in the NumPy lines and on the tables of a piece of a page."""

    def attributes(name: str) -> str:
        return f' class="symbol {classes[name]}"'

    def mark(found: re.Match[str]) -> str:
        if found["mi"]:
            name = unescape(found["mi"])
            return f"<mi{attributes(name)}>{found['mi']}</mi>" if name in classes else found[0]
        if found["table"]:
            name = unescape(found["table"])
            return f"<table{attributes(name)}{found[0].removeprefix('<table')}" if name in classes else found[0]
        return re.sub(r"(<[^>]*>)|([^<]+)", lambda part: part[1] or code(part[2]), found["pre"])

    def code(text: str) -> str:
        def word(found: re.Match[str]) -> str:
            name = unescape(found[0])
            return f"<span{attributes(name)}>{escape(name)}</span>" if name in classes else found[0]

        return WORD.sub(word, text)

    return MARKED.sub(mark, html)
