"""What the tests in a real browser share: Chromium, pages that must be quiet, and how far text stands out."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Launch the system's Chromium; skip where it or Playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need: pip install playwright")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("browser tests need Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def quietly(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page in a context of its own, and check at the end that all were quiet: they
    asked for themselves and nothing else."""
    contexts, noise = [], []

    def at(address: str, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: noise.append(request.url) if not request.url.startswith("file:") else None)
        page.on("requestfinished", lambda request: requests.append(request.url))
        page.on("framenavigated", lambda frame: visits.append(frame.url))
        page.goto(address)
        return page

    requests: list[str] = []
    visits: list[str] = []
    yield at
    for context in contexts:
        context.close()
    assert noise == []
    assert {url.partition("#")[0] for url in requests} == {url.partition("#")[0] for url in visits}


@pytest.fixture
def until() -> Callable[[Any, str], None]:
    """Return a function that waits until an expression holds in a page. Playwright's own wait_for_function calls eval,
    which the Content-Security-Policy of the pages forbids."""

    def wait(page: Any, expression: str) -> None:
        for _ in range(300):
            if page.evaluate(expression):
                return
            page.wait_for_timeout(100)
        raise AssertionError(f"after 30 s this does not hold: {expression}")

    return wait


CONTRAST = """() => {
  const rgb = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const background = (e) => e === null ? [255, 255, 255, 1]
    : over(rgb(getComputedStyle(e).backgroundColor), background(e.parentElement));
  const poor = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length || e.tagName === "SCRIPT" || e.tagName === "title") continue;
    const svg = e.closest("svg");
    const style = getComputedStyle(e);
    const ink = rgb(svg ? style.fill : style.color);
    let behind = background(svg ?? e);
    const box = e.closest("g")?.querySelector("rect");
    if (box) behind = over(rgb(getComputedStyle(box).fill), behind);
    const [a, b] = [light(over(ink, behind)), light(behind)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push([e.className.baseVal ?? e.className, e.textContent.slice(0, 20), ratio]);
  }
  return poor;
}"""


@pytest.fixture
def poor_contrast() -> Callable[[Any], list[Any]]:
    """Return a function that lists the texts of a page that stand out by less than 4.5 to 1."""
    return lambda page: list(page.evaluate(CONTRAST))
