"""Record the player of the tiny model as an animated PNG, examples/img/player.png: forward, backward, and one number.

    pip install playwright pillow
    python examples/record_player.py
    python examples/record_player.py --chromium /usr/bin/chromium

It takes about half a minute.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.study.example import example_page
from gpt.study.tiny import EXAMPLE, tiny_model
from nanograd.runtime.arguments import Parser

if TYPE_CHECKING:
    from playwright.sync_api import Page

OUT = Path(__file__).parent / "img" / "player.png"
WIDTH, HEIGHT = 1100, 660
COLOURS = 160  # of the palette that all frames share


def record(page: "Page") -> list[tuple[bytes, int]]:
    """Return the frames, each a PNG and how long it is shown, in ms."""
    frames = []

    def shoot(ms: int) -> None:
        page.wait_for_timeout(150)
        frames.append((page.screenshot(), ms))

    def step(number: int, ms: int) -> None:
        page.evaluate(f"location.hash = 'step={number}'")
        shoot(ms)

    for number in (1, 3, 10, 12, 13, 14):  # embedding, positions, scores, mask, softmax, values
        step(number, 1300)
    step(24, 1300)  # the loss
    for number in (25, 35, 36, 39):  # backward: the loss, the values, softmax, the scores
        step(number, 1500)
    step(44, 1500)  # the gradient of w_qkv
    page.locator(".step:visible .contribution table[data-of] tbody td").nth(12 + 5).click()
    shoot(2600)
    page.locator("#explain button.entry").first.click()  # and of the largest term of that
    shoot(2600)
    return frames


def main() -> int:
    parser = Parser(description=__doc__)
    parser.option("--chromium", "the browser (default: that on the PATH)", shutil.which("chromium"), metavar="FILE")
    args = parser.parse()
    try:
        from PIL import Image
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        print(f"{error}; pip install playwright pillow")
        return 1
    model = tiny_model()
    assert model.tokenizer is not None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "tiny.html"
        example_page(model, model.tokenizer, model.tokenizer.encode(EXAMPLE), [], unfused=True).save(path)
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
        page.goto(path.as_uri())
        frames = record(page)
        browser.close()
    images = [Image.open(io.BytesIO(png)).convert("RGB") for png, _ in frames]
    sheet = Image.new("RGB", (WIDTH, HEIGHT * len(images)))
    for i, image in enumerate(images):
        sheet.paste(image, (0, i * HEIGHT))
    palette = sheet.quantize(COLOURS, dither=Image.Dither.NONE)  # one for all, so that frames do not flicker
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [ms for _, ms in frames]
    first.save(OUT, save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
    print(f"{OUT}: {len(frames)} frames, {OUT.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
