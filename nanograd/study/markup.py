"""HTML of prose, of source code and of arrays: what the pages are built from."""

import ast
import inspect
import io
import keyword
import re
import tokenize
from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd.inspect.player.html import clean, number, row

SYMBOL = re.compile(
    r"(?<!\w)([A-Za-zα-ωΑ-Ω]{1,2}|d?weight|d?bias)_(?:([a-z]{1,2}|\d|out|keys)|\{([^}]*)\})(?![A-Za-z0-9_])"  # x_i, x_{2i}
    r"|(?<!\w)[A-Za-z]\w*(?:\.\w+)*_\w+(?:\.\w+)*"  # or the name of a function or an option: n_heads
)


def code(text: object) -> str:
    """Return a few words of code."""
    return f"<code>{clean(str(text))}</code>"


def inline(text: str) -> str:
    """Return a sentence as HTML: names of functions and what stands in backquotes are code, x_i has its index below."""
    parts = clean(" ".join(text.split())).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else SYMBOL.sub(_symbol, part) for i, part in enumerate(parts))


def _symbol(found: re.Match[str]) -> str:
    base, *below = found.groups()
    if base is None:
        return f"<code>{found[0]}</code>"
    letter = base if base in "ΣΠ" or len(base) > 1 else f"<i>{base}</i>"  # dy is upright, as in a formula
    return f"{letter}<sub>{below[0] or below[1]}</sub>"


def paragraphs(text: str) -> str:
    """Return prose whose paragraphs are separated by a blank line."""
    return "".join(f"<p>{inline(part)}</p>" for part in text.split("\n\n") if part.strip())


def location(function: Callable[..., Any]) -> str:
    """Return the file and line of a function: nanograd/ops/softmax.py:12."""
    return f"{function.__module__.replace('.', '/')}.py:{function.__code__.co_firstlineno}"


def code_of(function: Callable[..., Any]) -> str:
    """Return the source of a function without its docstring."""
    lines = inspect.getsource(function).splitlines(keepends=True)
    node = ast.parse("".join(lines)).body[0]
    assert isinstance(node, ast.FunctionDef)
    assert ast.get_docstring(node) is not None
    docstring = node.body[0]
    return "".join([*lines[: docstring.lineno - 1], *lines[docstring.end_lineno :]])


def listing(function: Callable[..., Any], *, bare: bool = False) -> str:
    """Return the source of a function, and where it stands; bare: without its docstring."""
    source = code_of(function) if bare else inspect.getsource(function)
    name = clean(function.__name__)
    where = clean(location(function))
    return (
        f'<figure class="listing"><figcaption><code>{name}</code> <span class="of">{where}</span></figcaption>'
        f"<pre><code>{highlight(source)}</code></pre></figure>"
    )


def highlight(source: str) -> str:
    """Return Python source with its comments, strings, keywords and definitions marked."""
    lines = source.splitlines(keepends=True)
    html: list[str] = []
    row, column = 1, 0

    def text_until(end: tuple[int, int]) -> str:
        nonlocal row, column
        text = []
        while row < end[0]:
            text.append(lines[row - 1][column:])
            row, column = row + 1, 0
        if row <= len(lines):
            text.append(lines[row - 1][column : end[1]])
        column = end[1]
        return clean_code("".join(text))

    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = _kind(token, before)
        html.append(text_until(token.start))
        text = text_until(token.end)
        html.append(f'<span class="{kind}">{text}</span>' if kind and text else text)
        before = token.string
    return "".join(html).rstrip()


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


CELLS = 96  # of one array that are shown
OfCell = Callable[[int], str]  # from the flat index of a cell


def table(name: str, a: np.ndarray, *, key: str = "", cell: OfCell | None = None) -> str:
    """Return an array as tables, one for each matrix of a stack; of a large array the first rows of the first matrices.

    key: a name by which the script finds the tables; their i-th cell has the flat index i.
    cell(i): the content of that cell instead of the number.
    """
    a = np.asarray(a)
    if not a.size:
        return f'<div class="array"><p><b>{clean(name)}</b> <span class="of">{a.shape}</span> is empty</p></div>'
    stack = a.reshape((-1, *(a.shape[-2:] if a.ndim > 1 else (1, a.size))))
    columns = stack.shape[2]
    shown, height = max(1, CELLS // stack[0].size), max(1, CELLS // columns)
    tables = []
    for k, matrix in enumerate(stack[:shown, :height]):
        indices = ", ".join(map(str, np.unravel_index(k, a.shape[:-2]))) if a.ndim > 2 else ""
        caption = f'{inline(name)}{f"[{indices}]" if indices else ""} <span class="of">{clean(str(a.shape))}</span>'
        start = matrix.size * k
        cells = [cell(start + i) if cell else entry(v) for i, v in enumerate(matrix.reshape(-1).tolist())]
        tags = [f"<td>{text}</td>" for text in cells]
        tables.append(_matrix(caption, tags, columns, key))
    rest = []
    if stack.shape[1] > height:
        rest.append(f"{stack.shape[1] - height} more rows")
    if len(stack) > shown:
        rest.append(f"{len(stack) - shown} more of {clean(str(stack.shape[1:]))}")
    more = f'<p class="range">… and {", ".join(rest)}</p>' if rest else ""
    stacked = f'<div class="stack">{"".join(tables)}</div>' if len(tables) > 1 else tables[0]
    return f'<div class="array">{stacked}{more}</div>'


def entry(value: Any) -> str:
    """Write one number as the pages do: ids whole, truth in words."""
    return str(value) if isinstance(value, (bool, int)) else number(value + 0.0)  # no -0


def error(value: float) -> str:
    """Write how far something is off: two digits, and powers of ten only where it is small."""
    if value == np.inf:
        return "not finite"
    return f"{value:.2g}" if value == 0 or value >= 1e-3 else f"{value:.1e}"


def index(shape: tuple[int, ...], flat: int) -> str:
    """Write the index of an entry: [0, 2]."""
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(flat, shape))}]" if shape else ""


def rows(caption: str, head: list[str], body: list[list[str]], kind: str = "", *, titled: bool = True) -> str:
    """Return a table of text, HTML as it is; the first cell of a row is its header. titled: the caption is seen."""
    seen = "" if titled else ' class="unseen"'
    columns = "".join(f'<th scope="col">{column}</th>' for column in head)
    lines = "".join(row(first, "".join(f"<td>{cell}</td>" for cell in rest)) for first, *rest in body)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{clean(caption)}"><table class="words {kind}">'
        f"<caption{seen}>{clean(caption)}</caption><thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _matrix(title: str, cells: list[str], columns: int, key: str) -> str:
    head = "".join(f'<th scope="col">{j}</th>' for j in range(columns))
    body = "".join(row(i, "".join(cells[i * columns : (i + 1) * columns])) for i in range(len(cells) // columns))
    of = f' data-of="{clean(key)}"' if key else ""
    return f"<table{of}><caption>{title}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
