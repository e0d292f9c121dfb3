"""The guide as HTML and as notebooks, with the libraries of the extra [guide]."""

import builtins
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from gpt.__main__ import main
from gpt.guide import html
from gpt.guide.chapter import chapters, read_chapter
from gpt.guide.html import Guide, build, convert, mathematics, page
from gpt.guide.notebook import write_notebooks
from gpt.guide.run import compare

TEXT = """# 5 Title & more

Mathematics, $a_i < b$ and `code $5`, costs $5 or $6.

$$\\frac{a}{b} = \\sum_i x_i. \\qquad (1)$$

## A *section*

See [the next](06_next.md#some-part) or [this](#a-section).

```python
print("<b>", 1)  # shown
```

```text
<b> 1
```

| a | b |
|---|---|
| 1 | 2 |
"""


@pytest.mark.peers
def test_a_chapter_as_html(tmp_path: Path) -> None:
    path = tmp_path / "05_title.md"
    path.write_text(TEXT, encoding="utf-8")
    guide = convert([read_chapter(path)])
    body = guide.body
    assert [(h.level, h.id, h.text) for h in guide.headings] == [
        (1, "05_title-h", "5 Title & more"), (2, "05-a-section", "A section"),
    ]  # fmt: skip
    assert "<code>code $5</code>, costs $5 or $6" in body
    assert body.count("<math") == 2
    assert 'href="#06-some-part"' in body
    assert 'href="#05-a-section"' in body
    assert "&lt;b&gt; 1" in body
    assert "<b>" not in body
    assert "<table>" in body


@pytest.fixture(scope="module")
def whole() -> Guide:
    """Return the whole guide, which takes seconds."""
    return convert(chapters())


@pytest.mark.peers
def test_the_whole_guide_is_one_well_formed_page_whose_links_lead_somewhere(whole: Guide) -> None:
    text = page(whole)
    assert text == build(chapters())
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert links <= set(ids), links - set(ids)
    assert not re.findall(r"\sstyle=", text)
    body = re.search(r"<body>(.*)</body>", text, re.DOTALL)
    assert body
    ET.fromstring(f"<body>{body[1]}</body>".replace("&nbsp;", " "))


@pytest.mark.peers
def test_no_formula_is_left_as_text(whole: Guide) -> None:
    """A command that the library does not know comes out as its own name."""
    for found in re.findall(r"<math.*?</math>", whole.body, re.DOTALL):
        words = re.sub(r"<mtext>.*?</mtext>|<[^>]+>", " ", found)
        assert "\\" not in words, found


@pytest.mark.peers
def test_the_numbers_of_pages_stand_in_contents_and_index(whole: Guide) -> None:
    heading = whole.headings[0]
    text = page(whole, {h.id: 77 for h in whole.headings})
    assert f'<a href="#{heading.id}">{heading.text}</a><span class="at">77</span>' in text


@pytest.mark.peers
@pytest.mark.parametrize(
    "latex", [r"\frac{a}{b}", r"x^{\mathsf T}", r"\sum_{t=1}^T x_t", r"\text{a word}", r"\sqrt{2L}"]
)
def test_mathematics_is_mathml(latex: str) -> None:
    ET.fromstring(mathematics(latex, display=False))


@pytest.mark.peers
def test_notebooks_run(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    [path] = write_notebooks(chapters(["0"]), tmp_path / "books")
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    before = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    after = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    for shown, printed in zip(before, after, strict=True):
        assert compare(*("".join(o["text"] for o in outputs) for outputs in (shown, printed))) == []
    with pytest.raises(FileExistsError, match=r"00_what_a_language_model_is\.ipynb exists"):
        write_notebooks(chapters(["0"]), tmp_path / "books")


@pytest.mark.parametrize(
    ("flag", "package"), [("--out", "markdown-it-py"), ("--notebook", "nbformat"), ("--pdf", "markdown-it-py")]
)
def test_a_missing_library_is_named(
    flag: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = builtins.__import__

    def fails(name: str, *args: Any, **options: Any) -> Any:
        if name.split(".")[0] in ("markdown_it", "nbformat", "latex2mathml", "pygments", "pypdf"):
            raise ImportError(name)
        return imported(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", fails)
    assert main(["guide", "0", flag, str(tmp_path / "x")]) == 1
    assert f"needs {package}; install it with: pip install 'nanograd-gpt[guide]'" in capsys.readouterr().err


def test_the_command_lists_and_prints_chapters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide"]) == 0
    assert capsys.readouterr().out.startswith("  0  0 What a language model is\n")
    assert main(["guide", "0"]) == 0
    assert capsys.readouterr().out.startswith("# 0 What a language model is\n")
    assert main(["guide", "77"]) == 1
    assert "there is no chapter 77" in capsys.readouterr().err


def test_slugs_are_those_of_code_hosts() -> None:
    assert html.slug("How good is it? The loss") == "how-good-is-it-the-loss"
