"""The guide as a PDF: printed by a browser, twice, so that contents and index have the numbers of their pages."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from gpt.guide.html import EXTRA, Guide, page

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
)
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
    r"C:\Program Files\Microsoft\Edge\Application\msedge.exe",
)
LONGEST = 300  # seconds for one print


def find_browser() -> str:
    """Return a Chromium, Chrome or Edge: $BROWSER if it is one, a program of the PATH, or one at its usual place.

    Raises ValueError, with the way out, if there is none.
    """
    named = os.environ.get("BROWSER", "")
    if named and shutil.which(named) and any(word in named.lower() for word in ("chrom", "edge")):
        return named
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    for place in PLACES:
        if Path(place).is_file():
            return place
    raise ValueError(
        "guide: --pdf needs Chromium, Chrome or Edge, and none was found; install one, or set BROWSER to its path, or "
        "write --out guide.html and print it with another browser"
    )


def write_pdf(guide: Guide, path: Path) -> int:
    """Write the guide as a PDF; return how many pages it has."""
    try:
        from pypdf import PdfReader
    except ImportError:
        raise ValueError(f"guide: {EXTRA.format(name='pypdf')}") from None
    browser = find_browser()
    numbers: dict[str, int] = {heading.id: 0 for heading in guide.headings}
    with tempfile.TemporaryDirectory(prefix="guide-") as folder:
        printed = Path(folder, "guide.pdf")
        for _ in range(4):  # numbers take room, and may move what they number
            source = Path(folder, "guide.html")
            source.write_text(page(guide, numbers), encoding="utf-8")
            print_page(browser, source, printed)
            reader = PdfReader(printed)
            found = destinations(reader)
            if found == numbers:
                break
            numbers = found
        else:
            raise ValueError("guide: the page numbers do not settle")
        path.write_bytes(printed.read_bytes())
        return len(reader.pages)


def print_page(browser: str, source: Path, target: Path) -> None:
    """Print an HTML file to a PDF. Raises ValueError with what the browser says."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [
            browser, "--headless", "--disable-gpu", "--no-pdf-header-footer", "--generate-pdf-document-outline",
            f"--user-data-dir={profile}", f"--print-to-pdf={target}", source.as_uri(),
        ]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # Chromium's sandbox does not start as root
            command.insert(1, "--no-sandbox")
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    if done.returncode or not target.is_file():
        raise ValueError(f"guide: {browser} did not print: {done.stderr.strip()[-300:]}")


def destinations(reader: Any) -> dict[str, int]:
    """Return the page, counted from 1, of every anchor that a link of the PDF leads to."""
    pages = {p.indirect_reference.idnum: i + 1 for i, p in enumerate(reader.pages)}
    found = {}
    for name, place in reader.named_destinations.items():
        found[name.lstrip("/")] = pages[place.page.idnum]
    return found
