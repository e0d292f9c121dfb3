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
NOTHING, SPACE, CELL, LINE, PARAGRAPH = range(5)  # what stands between two words: the strongest that was asked for
GAPS = ("", " ", "\t", "\n", "\n\n")
SPACES = re.compile(r"[ \t\n\f\r]+")  # HTML's own; a no-break space is none of them
COMMENT = re.compile("<!--(?:-?>|.*?--!?>)", re.DOTALL)
MARKUP = re.compile("<[a-zA-Z/!?]")


def strip_html(text: str) -> str:
    """Return the text of a page: no tags, comments, scripts or styles, entities decoded.

    Block tags become line breaks (paragraphs a blank line), table cells tabs; inline tags leave no trace. Outside <pre>
    a run of white space is one space. Any string is accepted: what is no tag ("a < b") stays, and a tag, a comment or a
    script that never ends is dropped to the end of the text, as browsers do.

    >>> strip_html("<h1>Fish &amp; chips</h1><p>An <b>in</b>line tag<script>f()</script>.<br>Bye")
    'Fish & chips\\n\\nAn inline tag.\\nBye'
    """
    page = _Page()
    page.feed(text.replace("\0", ""))  # which browsers pass over; within a tag it would make text of it
    if not MARKUP.match(page.rawdata):  # else it ends inside a tag or a comment
        page.close()
    return "".join(page.words)


class _Page(HTMLParser):
    """Collects words and the gaps between them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.gap = NOTHING
        self.hidden: list[str] = []  # open elements whose text nobody sees
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
        """Return where the comment at i ends, -1 if it does not: "<!-->" and "--!>" are ends too, in any Python."""
        comment = COMMENT.match(self.rawdata, i)
        return comment.end() if comment else -1

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Read "<![…" as the comment it is in HTML; the inherited method raises where it is no SGML."""
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
