"""Turn HTML into the text that a reader of the page sees."""

import re
from html.parser import HTMLParser

HIDDEN = {"iframe", "script", "style", "template"}
CELLS = {"td", "th"}
LINES = {"address", "caption", "dd", "div", "dt", "figcaption", "legend", "li", "optgroup", "option", "summary", "tr"}
PARAGRAPHS = {
    "article", "aside", "blockquote", "body", "center", "details", "dialog", "dl", "fieldset", "figure", "footer", "form",
    "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "title", "ul",
}  # fmt: skip
NOTHING, SPACE, CELL, LINE, PARAGRAPH = range(5)  # the gap between two words: the strongest that the tags ask for
GAPS = ("", " ", "\t", "\n", "\n\n")
SPACES = re.compile(r"[ \t\n\f\r]+")  # as HTML defines it, without the no-break space
COMMENT = re.compile("<!--(?:-?>|.*?--!?>)", re.DOTALL)
MARKUP = re.compile("<[a-zA-Z/!?]")


def strip_html(text: str) -> str:
    """Return the text of a page: no tags, comments, scripts or styles, entities decoded.

    Block tags become line breaks (paragraphs a blank line), table cells tabs; inline tags leave no trace. Outside <pre>
    a run of white space is one space. Any string is accepted: text that is not a tag ("a < b") stays. A tag, a comment or
    a script that never ends is dropped to the end of the text, as in browsers.

    >>> strip_html("<h1>Fish &amp; chips</h1><p>An <b>in</b>line tag<script>f()</script>.<br>Bye")
    'Fish & chips\\n\\nAn inline tag.\\nBye'
    """
    page = _Page()
    page.feed(text.replace("\0", ""))  # browsers ignore it; inside a tag it would turn the tag into text
    if not MARKUP.match(page.rawdata):  # otherwise the page ends inside a tag or a comment
        page.close()
    return "".join(page.words)


class _Page(HTMLParser):
    """Collects words and the gaps between them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.gap = NOTHING
        self.hidden: list[str] = []  # open elements whose text is not shown
        self.pre = 0  # open <pre>

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in HIDDEN:
            self.hidden.append(tag)
        elif tag == "br":
            self.gap = PARAGRAPH if self.gap >= LINE else LINE  # the second in a row makes a blank line
        else:
            self._edge(tag)
            self.pre += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if self.hidden and self.hidden[-1] == tag:
            self.hidden.pop()
        self._edge(tag)
        self.pre -= tag == "pre" and self.pre > 0

    def handle_data(self, data: str) -> None:
        if self.hidden:
            return
        if self.pre:
            self._put(data)
            return
        words = SPACES.sub(" ", data)
        if words.startswith(" "):
            self.gap = max(self.gap, SPACE)
        self._put(words.strip(" "))
        if words.endswith(" "):
            self.gap = max(self.gap, SPACE)

    def parse_comment(self, i: int, report: bool = True) -> int:
        """Return the end of the comment at i, or -1 if it has none; in every Python, "<!-->" and "--!>" end it too."""
        comment = COMMENT.match(self.rawdata, i)
        return comment.end() if comment else -1

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Read "<![…" as a comment, as HTML does; the inherited method raises unless it is SGML."""
        return self.parse_bogus_comment(i, report)

    def _edge(self, tag: str) -> None:
        if tag in PARAGRAPHS:
            self.gap = PARAGRAPH
        elif tag in LINES:
            self.gap = max(self.gap, LINE)
        elif tag in CELLS:
            self.gap = max(self.gap, CELL)

    def _put(self, words: str) -> None:
        if words:
            self.words += (GAPS[self.gap] if self.words else "", words)
            self.gap = NOTHING
