"""What the tests of study pages share: a reader of HTML, and worked examples with chosen numbers."""

import base64
import hashlib
import html
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from nanograd.op import OPS
from nanograd.study.command import TOPICS
from nanograd.study.course import NUMBER
from nanograd.study.worked_example import WorkedExample, run_on

VOID = {"meta", "br", "input"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `op_name` for every op; those beside the course are slow."""
    if "op_name" in metafunc.fixturenames:
        names = [pytest.param(name, marks=() if name in NUMBER else pytest.mark.slow) for name in sorted(OPS)]
        metafunc.parametrize("op_name", names)


class Page(HTMLParser):
    """A page's tags and text; every tag that is opened must be closed, and in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), tag
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def read_html() -> Callable[[str], Page]:
    """Return a function that reads HTML and fails where tags are not closed in order."""
    return Page


@pytest.fixture
def text_of() -> Callable[[str], str]:
    """Return a function that leaves out tags."""
    return lambda part: " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split())


@pytest.fixture
def by_hand() -> Callable[..., WorkedExample]:
    """Return a function that runs an op on chosen numbers, with a chosen dy."""

    def run(name: str, *arrays: object, dy: object = None, **options: object) -> WorkedExample:
        worked = run_on(name, [np.array(a, np.float64) if a is not None else None for a in arrays], dict(options))
        if dy is None:
            return worked
        op, up = worked.op, np.array(dy, np.float64)
        gradients = op.run_backward(op.pair.backward, up, worked.saved, worked.needs)
        return replace(worked, dy=up, gradients=gradients)

    return run


@pytest.fixture
def whole_page() -> Callable[[str], Page]:
    """Return a function that checks what every page must have, and returns it read."""

    def check(text: str) -> Page:
        read = Page(text)
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
        assert policy is not None
        assert policy[1].startswith("default-src 'none';")
        for tag in ("style", "script"):
            if f"<{tag}>" in text:
                body = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
                digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
                assert f"{tag}-src 'sha256-{digest}'" in policy[1]
        ids = [a["id"] for _, a in read.tags if "id" in a]
        assert len(ids) == len(set(ids))
        for tag, a in read.tags:
            assert not [name for name in a if name in ("style", "src") or name.startswith("on")]
            assert tag != "th" or a.get("scope") in ("row", "col")
            assert a.get("aria-labelledby", "main") in (*ids, "main")
            link = a.get("href") or "#"
            if link.startswith("#"):
                assert link == "#" or link[1:] in ids, link
            else:
                assert link.removesuffix(".html") in (*OPS, *TOPICS, "map"), link
        assert "xmlns" not in text
        assert "<td>nan" not in text.lower()
        return read

    return check
