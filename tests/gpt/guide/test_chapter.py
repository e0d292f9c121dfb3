"""Chapters: a file is read as blocks and written back to the letter; numbers in prose come from somewhere."""

import ast
from pathlib import Path

import pytest

from gpt.guide.chapter import Chapter, chapters, read_chapter, unexplained_numbers

TEXT = """# 5 A title

Some words, 12 of them.

```python
print("half", 0.5)
```

```text
half 0.5
```

<!-- python
hidden = 1
-->

The half is 0.5, and a third is 0.33<!--= 1 / 3:.2f -->.

```sh
gpt --version
```

```text varies
gpt 1
```

```python source=gpt.guide.chapter.Block.runs
```

```text
only shown
```
"""


def chapter_of(folder: Path, text: str) -> Chapter:
    path = folder / "05_test.md"
    path.write_text(text, encoding="utf-8")
    return read_chapter(path)


def test_a_file_is_read_as_blocks_and_written_back_to_the_letter(tmp_path: Path) -> None:
    chapter = chapter_of(tmp_path, TEXT)
    assert [block.kind for block in chapter.blocks if block.text.strip()] == [
        "prose", "python", "hidden", "prose", "sh", "other",
    ]  # fmt: skip
    assert chapter.markdown() == TEXT
    assert chapter.title == "5 A title"
    printed = {block.text: (block.output, block.varies) for block in chapter.blocks if block.runs}
    assert printed['print("half", 0.5)\n'] == ("half 0.5\n", False)
    assert printed["gpt --version\n"] == ("gpt 1\n", True)


def test_every_chapter_is_read_and_written_back_to_the_letter() -> None:
    for chapter in chapters():
        assert chapter.markdown() == chapter.path.read_text(encoding="utf-8"), chapter.name


def test_the_lines_of_blocks_are_those_of_the_file(tmp_path: Path) -> None:
    chapter = chapter_of(tmp_path, TEXT)
    lines = TEXT.splitlines()
    for block in chapter.blocks:
        if block.text:
            assert lines[block.line - 1] == block.text.splitlines()[0]
        if block.output:
            assert lines[block.output_line - 1] == block.output.splitlines()[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nx = 1\n", "line 1: this block is not closed by ```"),
        ("one\n<!-- python\nx = 1\n", "line 2: this block is not closed by -->"),
        ("```python run\nx = 1\n```\n", "line 1: a fence has source=NAME, script=FILE or nothing, not 'run'"),
    ],
)
def test_a_fence_that_is_not_understood_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"05_test\.md") as error:
        chapter_of(tmp_path, text)
    assert message in str(error.value)


def test_chapters_are_chosen_by_number_or_name() -> None:
    assert [chapter.name for chapter in chapters(["0"])] == ["00_what_a_language_model_is"]
    assert chapters(["00_what"])[0].name == "00_what_a_language_model_is"
    with pytest.raises(ValueError, match="there is no chapter 77; there are 00_what"):
        chapters(["77"])


def test_a_number_in_prose_comes_from_somewhere(tmp_path: Path) -> None:
    text = TEXT.replace("12 of them", "in chapter 12, of 1917, `14` of $15$, [16](16_x.md)") + "It is 0.25.\n"
    assert unexplained_numbers(chapter_of(tmp_path, text)) == [(text.count("\n"), "0.25")]
    assert unexplained_numbers(chapter_of(tmp_path, TEXT)) == [(3, "12")]


def test_what_is_read_further_may_have_numbers(tmp_path: Path) -> None:
    assert unexplained_numbers(chapter_of(tmp_path, "# A\n\n## To read further\n\n- Volume 27.\n")) == []


def test_every_study_page_names_a_chapter_that_names_it_or_is_the_reference() -> None:
    from gpt.study import cache, merges, sampling
    from nanograd.study.course import NUMBER, chapter_of, following

    texts = {int(chapter.name[:2]): chapter.markdown() for chapter in chapters()}
    for page in NUMBER:
        number = chapter_of(page)
        assert f"python -m gpt guide {number}<" in following(page, linked=False)
        assert number in texts, page
    for topic in (merges.topic(merges.TEXT, 2, None), sampling.topic(), cache.topic()):
        assert topic.chapter
        assert f"gpt study {topic.name}" in texts[topic.chapter]
        assert f"python -m gpt guide {topic.chapter}<" in topic.page()


def test_every_page_and_drill_that_a_chapter_names_exists() -> None:
    import re

    from nanograd.op import OPS
    from nanograd.study.drills import EXERCISES
    from nanograd.study.topics import TOPICS

    for chapter in chapters():
        text = chapter.markdown()
        for name in re.findall(r"nanograd study ([a-z_]\w*)", text):
            assert name in (*OPS, *TOPICS), (chapter.name, name)
        for name in re.findall(r"gpt study ([a-z_]\w*)", text):
            assert name in ("tiny", "merges", "sampling", "cache", "runs"), (chapter.name, name)
        for name in re.findall(r"drill (?:start|check) ([a-z_][\w-]*)", text):
            assert name in EXERCISES, (chapter.name, name)


def test_only_the_packages_own_code_has_annotated_parameters() -> None:
    """Chapter 0 says so, that a reader may know which blocks are to be typed."""
    for chapter in chapters():
        for block in chapter.blocks:
            if block.kind in ("python", "source"):
                functions = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.FunctionDef)]
                annotated = any(argument.annotation for f in functions for argument in f.args.args)
                assert annotated == (block.kind == "source"), f"{chapter.name}, line {block.line}"
