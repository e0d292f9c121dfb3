"""The chapters as one HTML document: contents, mathematics as MathML, code coloured, figures inside, an index."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gpt.guide import FOLDER
from gpt.guide.chapter import Block, Chapter
from gpt.guide.drawing import STYLE as FIGURE_STYLE
from gpt.guide.reference import TITLE as TITLE_OF_OPS
from gpt.guide.reference import reference, reference_ids
from nanograd.inspect.player.html import HtmlPage, clean, document, resource

TITLE = "Build a Large Language Model from Scratch"
EXTRA = "needs {name}; install it with: pip install 'nanograd-gpt[guide]'"
OCCURRENCES = 6  # of a term in the index
SHORT = 20  # lines of a block that a printed page keeps together


class Heading(NamedTuple):
    """A heading of the guide: its level from 1, its id, its text and the key of its chapter."""

    level: int
    id: str
    text: str
    chapter: str


class Guide(NamedTuple):
    """The guide as HTML: its body, its headings, and for each term of the glossary the ids of the sections that have it."""

    body: str
    headings: list[Heading]
    terms: dict[str, list[str]]


def build(chapters: Sequence[Chapter]) -> HtmlPage:
    """Return the guide as one file without network. Raises ValueError where an extra package is missing."""
    return page(convert(chapters))


def page(guide: Guide, numbers: Mapping[str, int] | None = None) -> HtmlPage:
    """Return the document; `numbers` gives the pages of ids, for the contents and the index of a printed guide."""
    contents = "".join(_contents(guide.headings, numbers))
    listed = "".join(_index(guide, numbers))
    index = f'<article class="chapter cindex" id="index"><h2>Index</h2><ul class="index">{listed}</ul></article>'
    heads = "".join(
        f'@page c{h.chapter} {{ @top-right {{ content: "{_css(h.text)}" }} }}\n.c{h.chapter} {{ page: c{h.chapter} }}\n'
        for h in guide.headings
        if h.level == 1
    )
    body = f"""<a class="skip" href="#main">Skip the contents</a>
<header class="cover"><h1>{TITLE}</h1>
<p>In pure NumPy, with every backward pass derived by hand, every number printed by its own code.</p></header>
<nav class="contents card" id="contents" aria-label="Contents"><h2>Contents</h2><ol class="toc">{contents}</ol></nav>
<main id="main" tabindex="-1">
{guide.body}
{index if listed else ""}
</main>"""
    style = resource(__package__, "guide.css") + f".figure {{{FIGURE_STYLE}}}\n" + heads
    return document(TITLE, body, style=style)


def convert(chapters: Sequence[Chapter]) -> Guide:
    """Turn the chapters into HTML. If the glossary is among them, the reference of ops follows, and the index names ops."""
    headings: list[Heading] = []
    articles = [
        f'<article class="chapter c{_key(chapter)}" id="{chapter.name}">{_article(chapter, headings)}</article>'
        for chapter in chapters
    ]
    whole = any(chapter.name.endswith("glossary") for chapter in chapters)
    if whole:
        headings.append(Heading(1, "reference-h", TITLE_OF_OPS, "ref"))
        title = f'<h2 id="reference-h">{TITLE_OF_OPS}</h2>'
        articles.append(f'<article class="chapter cref" id="reference">{title}{reference()}</article>')
    body = "\n".join(articles)
    terms = _terms(chapters, body)
    if whole:
        for name, id in reference_ids().items():
            terms[name] = [*terms.get(name, []), id][-OCCURRENCES:]
    return Guide(body, headings, dict(sorted(terms.items(), key=lambda item: item[0].lower())))


def _key(chapter: Chapter) -> str:
    return chapter.name.split("_")[0]


def _article(chapter: Chapter, headings: list[Heading]) -> str:
    """Return the HTML of a chapter, and add its headings to `headings`."""
    markdown = "".join(_markdown(block) for block in chapter.blocks if block.kind != "hidden")
    renderer = _renderer()
    tokens = renderer.parse(re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL))
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            level, words = int(token.tag[1]), tokens[i + 1].content
            id = chapter.name if level == 1 else f"{_key(chapter)}-{slug(words)}"
            token.attrSet("id", f"{id}-h" if level == 1 else id)
            token.tag = tokens[i + 2].tag = f"h{level + 1}"
            headings.append(Heading(level, f"{id}-h" if level == 1 else id, re.sub(r"[`*$]", "", words), _key(chapter)))
    html: str = renderer.renderer.render(tokens, renderer.options, {"chapter": chapter})
    return html


def _markdown(block: Block) -> str:
    if block.kind == "prose":
        return block.text
    output = f"\n```text {'varies' if block.varies else 'output'}\n{block.output}```\n" if block.output else ""
    return f"```{block.language} {block.kind} {block.name}\n{block.text}```\n{output}"


def slug(words: str) -> str:
    """Return the anchor that code hosts give to a heading."""
    return re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")


def _renderer() -> Any:
    """Return a Markdown reader with mathematics in $…$, links between chapters, coloured code and figures inside."""
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise ValueError(f"guide: {EXTRA.format(name='markdown-it-py')}") from None
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.inline.ruler.before("escape", "math", _math_rule)
    reader.add_render_rule("math", lambda self, tokens, i, *_: mathematics(tokens[i].content, tokens[i].markup == "$$"))
    reader.add_render_rule("fence", _fence)
    reader.add_render_rule("image", _image)
    reader.add_render_rule("link_open", _link)
    reader.add_render_rule("table_open", lambda *_: '<div class="wide"><table>')
    reader.add_render_rule("table_close", lambda *_: "</table></div>")
    return reader


def _math_rule(state: Any, silent: bool) -> bool:
    """Read $…$ and $$…$$ inside a line or a paragraph."""
    match = re.compile(r"\$\$(.+?)\$\$|\$(?! )((?:\\.|[^$\\])+?)(?<! )\$(?!\d)", re.DOTALL).match(state.src, state.pos)
    if not match:
        return False
    if not silent:
        token = state.push("math", "math", 0)
        token.content, token.markup = (match[1], "$$") if match[1] else (match[2], "$")
    state.pos = match.end()
    return True


def mathematics(latex: str, display: bool) -> str:
    """Return LaTeX as MathML."""
    try:
        from latex2mathml.converter import convert as to_mathml
    except ImportError:
        raise ValueError(f"guide: {EXTRA.format(name='latex2mathml')}") from None
    kind = "block" if display else "inline"
    result = to_mathml(latex.strip(), display=kind)
    if not display:
        return str(result)
    return f'<div class="math wide" tabindex="0" role="region" aria-label="formula">{result}</div>'


def _fence(self: Any, tokens: Sequence[Any], i: int, options: Any, environment: Any) -> str:
    token = tokens[i]
    language, kind, name = [*token.info.split(), "", ""][:3]
    head = f'<p class="source">{clean(name)}</p>' if name else ""
    head += '<p class="source">another machine may write another text</p>' if kind == "varies" else ""
    content = colour(token.content, language) if language in ("python", "sh") else clean_lines(token.content)
    kind = "output" if kind == "varies" else kind or "other"
    kind += " short" if token.content.count("\n") <= SHORT else ""
    label = "output" if kind.startswith("output") else "code"
    return f'{head}<pre class="{kind}" tabindex="0" role="region" aria-label="{label}"><code>{content}</code></pre>\n'


def clean_lines(text: str) -> str:
    return "\n".join(map(clean, text.rstrip("\n").split("\n")))


def colour(code: str, language: str) -> str:
    """Return code as HTML with a class for each kind of word."""
    try:
        from pygments import lex
        from pygments.lexers import get_lexer_by_name
        from pygments.token import Comment, Keyword, Literal, Name, Token
    except ImportError:
        raise ValueError(f"guide: {EXTRA.format(name='Pygments')}") from None
    kinds = {
        Comment: "k-comment", Keyword: "k-word", Literal.String: "k-text", Literal.Number: "k-number",
        Name.Function: "k-name", Name.Class: "k-name",
    }  # fmt: skip
    html = []
    for kind, text in lex(code.rstrip("\n"), get_lexer_by_name(language)):
        name = next((kinds[above] for above in kinds if kind in above), "")
        shown = clean_lines(text) if text != "\n" else "\n"
        shown += "\n" * (text.endswith("\n") and text != "\n")
        html.append(f'<span class="{name}">{shown}</span>' if name and kind is not Token else shown)
    return "".join(html).rstrip("\n")


def _image(self: Any, tokens: Sequence[Any], i: int, options: Any, environment: Any) -> str:
    """Put a figure into the page, as text, without the style that it has as a file of its own."""
    source, words = tokens[i].attrs["src"], tokens[i].content
    picture = (FOLDER / str(source)).read_text(encoding="utf-8")
    picture = re.sub(r"<style>.*?</style>\n?", "", picture, flags=re.DOTALL)
    head = f"head-{slug(str(source))}"  # the id of its arrowhead, once in the document
    picture = picture.replace('id="head"', f'id="{head}"').replace("#head)", f"#{head})")
    return f'<span class="figure wide">{picture.strip()}<span class="caption">{clean(words)}</span></span>'


def _link(self: Any, tokens: Sequence[Any], i: int, options: Any, environment: Any) -> str:
    """Make a link to another chapter a link inside the document."""
    target = str(tokens[i].attrs["href"])
    file, _, anchor = target.partition("#")
    if file.endswith(".md") or not file:
        name = file.removesuffix(".md") or environment["chapter"].name
        target = f"#{name.split('_')[0]}-{anchor}" if anchor else f"#{name}"
    elif "://" not in target:
        target = "https://github.com/nanograd-gpt/nanograd-gpt/blob/main/" + target.lstrip("./")
    return f'<a href="{clean(target)}">'


def _contents(headings: Sequence[Heading], numbers: Mapping[str, int] | None) -> Iterator[str]:
    for heading in headings:
        if heading.level > 2:
            continue
        number = f'<span class="at">{numbers.get(heading.id, "")}</span>' if numbers else ""
        yield f'<li class="l{heading.level}"><a href="#{heading.id}">{clean(heading.text)}</a>{number}</li>'


def _terms(chapters: Sequence[Chapter], body: str) -> dict[str, list[str]]:
    """Return the terms of the glossary, each with the ids of the sections in which it stands."""
    glossary = next((c.markdown() for c in chapters if c.name.endswith("glossary")), "")
    terms = re.findall(r"^\*\*(.+?)\*\*", glossary, re.MULTILINE)
    plain = re.sub(r"<pre.*?</pre>|<svg.*?</svg>|<math.*?</math>", " ", body, flags=re.DOTALL)
    parts = re.split(r'<h[23] id="([^"]+)"', plain)
    sections = [(id, re.sub(r"<[^>]+>", "", text)) for id, text in zip(parts[1::2], parts[2::2], strict=True)]
    found: dict[str, list[str]] = {}
    for term in terms:
        word = re.compile(rf"\b{re.escape(term.split(' (')[0])}s?\b", re.IGNORECASE)
        found[term] = [id for id, text in sections if word.search(text)][:OCCURRENCES]
    return found


def _index(guide: Guide, numbers: Mapping[str, int] | None) -> Iterator[str]:
    names = {heading.id: heading for heading in guide.headings}
    for term, ids in guide.terms.items():
        shown = [str(numbers.get(id, "?")) if numbers else _place(names.get(id)) for id in ids]
        links = ", ".join(f'<a href="#{id}">{at}</a>' for id, at in zip(ids, shown, strict=True))
        yield f"<li><span>{clean(term)}</span> {links}</li>"


def _place(heading: Heading | None) -> str:
    """Return where a section is, in words for the index: its chapter, or the reference."""
    return str(int(heading.chapter)) if heading and heading.chapter.isdecimal() else "reference"


def _css(words: str) -> str:
    return words.replace("\\", "\\\\").replace('"', '\\"')
