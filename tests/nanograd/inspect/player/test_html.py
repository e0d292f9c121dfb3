"""A page shows itself in a notebook, as a frame that leads nowhere else."""

from html.parser import HTMLParser
from pathlib import Path

import nanograd as ng
from nanograd.inspect.player.html import HtmlPage, document


class Frame(HTMLParser):
    """The attributes of the tags of what a notebook is given."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))


def test_a_page_is_text_that_is_shown_in_a_frame(tmp_path: Path) -> None:
    title = "\"'></iframe><script>alert(1)</script>"
    page = document(title, '<p id="x">a &lt; b <a href="#x">link</a></p>', style="p { color: red }", script="let a")
    [(tag, attributes)] = Frame(page._repr_html_()).tags
    assert tag == "iframe"
    assert attributes["title"] == title
    assert attributes["sandbox"] == "allow-scripts"
    base = '<base href="about:srcdoc">\n'  # without it #x would lead to the notebook's own address
    shown = attributes["srcdoc"]
    assert shown is not None
    assert shown.index(base) < shown.index("Content-Security-Policy")  # which allows no base after it
    assert shown.replace(base, "", 1) == page
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == page.encode()


def test_its_repr_is_short() -> None:
    page = document("Title", "x" * 100_000, style="")
    assert repr(page).startswith("<HtmlPage 'Title', 10")
    assert repr(page).endswith(" kB; save(path) writes it>")


def test_a_traced_graph_and_a_study_page_show_themselves() -> None:
    x = ng.Tensor([1.0, 2.0], requires_grad=True)
    with ng.trace():
        loss = (x * x).sum()
    for page in (ng.graph(loss, title="x²"), ng.study_page("softmax", (3, 5))):
        assert isinstance(page, HtmlPage)
        [(_, attributes)] = Frame(page._repr_html_()).tags
        assert attributes["title"] in ("x²", "softmax: backward by hand")
