"""Pages in the frame that a notebook shows: scripts run, links stay inside, and the notebook stays where it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nanograd as ng
from nanograd.inspect.player.html import HtmlPage

pytestmark = pytest.mark.browser


@pytest.fixture
def framed(chromium: Any, tmp_path: Path) -> Callable[[HtmlPage], tuple[Any, Any]]:
    """Return a function that opens a notebook's view of a page, and returns the outer page and the frame."""

    def opened(page: HtmlPage) -> tuple[Any, Any]:
        path = tmp_path / "notebook.html"
        path.write_text(f"<!DOCTYPE html><title>notebook</title>{page._repr_html_()}", encoding="utf-8")
        outer = chromium.new_page()
        outer.set_default_timeout(30_000)
        outer.on("pageerror", lambda error: pytest.fail(str(error)))
        outer.goto(path.as_uri())
        assert outer.locator("iframe").bounding_box()["height"] >= 600
        return outer, outer.frames[1]

    return opened


def test_a_graph_is_stepped_in_its_frame(framed: Any) -> None:
    x = ng.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with ng.trace():
        loss = (x * x).softmax().sum()
    outer, frame = framed(ng.graph(loss, names={"x": x}))
    for heading in ("2 of 7: forward of softmax 1", "3 of 7: forward of sum 2", "4 of 7: backward of sum 2"):
        frame.click("[data-go=next]")
        frame.get_by_role("heading", name=f"Step {heading}").wait_for()
    frame.locator("#steps a:visible").first.click()
    frame.get_by_role("heading", name="Step 5 of 7: backward of softmax 1").wait_for()
    assert len(outer.frames) == 2  # a link to the notebook would open a notebook in the frame
    outer.close()


def test_the_contents_of_a_study_page_lead_down_its_frame(framed: Any, until: Any) -> None:
    outer, frame = framed(ng.study_page("softmax"))
    frame.locator(".contents a", has_text="Mistakes").click()
    until(frame, "document.getElementById('mistakes').getBoundingClientRect().top < 100")
    assert outer.evaluate("scrollY") == 0
    assert len(outer.frames) == 2
    outer.close()
