"""Source code as HTML: comments, strings and keywords are set apart, and nothing else is touched."""

import inspect
import io
import keyword
import tokenize
from collections.abc import Callable
from typing import Any

from nanograd.inspect.player.html import clean


def listing(function: Callable[..., Any]) -> str:
    """Return the source of a function, and where it stands."""
    source = inspect.getsource(function)
    module = function.__module__.replace(".", "/")
    place = f"{module}.py:{inspect.getsourcelines(function)[1]}"
    name = clean(function.__name__)
    return (
        f'<figure class="listing"><figcaption><code>{name}</code> <span class="of">{clean(place)}</span></figcaption>'
        f'<pre tabindex="0" role="region" aria-label="Source of {name}"><code>{highlight(source)}</code></pre></figure>'
    )


def highlight(source: str) -> str:
    """Return Python source with its comments, strings, keywords and definitions marked."""
    lines = source.splitlines(keepends=True)
    parts: list[str] = []
    row, column = 1, 0

    def upto(end: tuple[int, int]) -> str:
        nonlocal row, column
        taken = []
        while row < end[0]:
            taken.append(lines[row - 1][column:])
            row, column = row + 1, 0
        if row <= len(lines):
            taken.append(lines[row - 1][column : end[1]])
        column = end[1]
        return clean_code("".join(taken))

    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = _kind(token, before)
        parts.append(upto(token.start))
        text = upto(token.end)
        parts.append(f'<span class="{kind}">{text}</span>' if kind and text else text)
        before = token.string
    return "".join(parts).rstrip()


def clean_code(text: str) -> str:
    """Return text as HTML that shows it, with its line ends."""
    return "\n".join(clean(line) for line in text.split("\n"))


def _kind(token: tokenize.TokenInfo, before: str) -> str:
    if token.type == tokenize.COMMENT:
        return "c"
    if token.type == tokenize.STRING:
        return "s"
    if token.type == tokenize.NAME and keyword.iskeyword(token.string):
        return "k"
    return "d" if token.type == tokenize.NAME and before == "def" else ""
