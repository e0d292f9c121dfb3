"""Running chapters: one wrong number, one changed line of source or one changed figure is found, and --update mends it."""

from pathlib import Path

import pytest

from gpt.guide import data, run
from gpt.guide.run import compare, run_chapter, source_of
from nanograd.runtime import blas

TEXT = """# 5 A title

```python
x = 2
print("square", x * x)
```

```text
square 4
```

Its half is 1.00<!--= x / 2:.2f -->.

```python source=gpt.guide.data
SOURCE```

<!-- python
from gpt.guide.drawing import bars, save

save("05_bars", bars({"a": x}, "bars"))
-->
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a right chapter, in a folder with its figure."""
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    path = tmp_path / "05_test.md"
    path.write_text(TEXT.replace("SOURCE", source_of("gpt.guide.data")), encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    run_chapter(path, work)
    (work / "figures").rename(tmp_path / "figures")
    return path


def faults(path: Path) -> list[str]:
    return run_chapter(path, path.parent / "work").faults


def test_a_right_chapter_has_no_fault(path: Path) -> None:
    result = run_chapter(path, path.parent / "work")
    assert result.faults == []
    assert result.checked == 4  # an output, a number in prose, a source and a figure
    assert result.markdown == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("square 4", "square 5", "line 9: the chapter says 'square 5', and it prints 'square 4'"),
        ("x = 2", "x = 3", "line 9: the chapter says 'square 4', and it prints 'square 9'"),
        ("1.00<", "1.01<", "line 12: the chapter says 1.01, and x / 2 is 1.00"),
        ("Its half", "Its 37 halves", "line 12: no code, output or expression gives the number 37"),
        ("FOLDER / ", "FOLDER // ", "line 15: the source of gpt.guide.data is another"),
        ('{"a": x}', '{"a": x + 1}', "figure 05_bars.svg comes out in another way"),
        ("x * x)", "x / 0)", 'line 5, in <module>\n    print("square", x / 0)'),
    ],
)
def test_one_change_is_found(path: Path, right: str, wrong: str, fault: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert right in text
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    assert any(fault in found for found in faults(path)), faults(path)


def test_shown_code_that_needs_a_hidden_name_is_found(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("\n```python\nbars\n```\n")
    assert any("name 'bars' is not defined" in found for found in faults(path)), faults(path)


def test_an_update_makes_a_chapter_true(path: Path) -> None:
    right = path.read_text(encoding="utf-8")
    wrong = right.replace("square 4", "square 5").replace("1.00<", "7.00<").replace("FOLDER / ", "FOLDER // ")
    path.write_text(wrong, encoding="utf-8")
    assert run_chapter(path, path.parent / "work").markdown == right


def test_an_output_that_is_not_shown_is_a_fault_and_an_update_shows_it(path: Path) -> None:
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace("\n```text\nsquare 4\n```\n", ""), encoding="utf-8")
    result = run_chapter(path, path.parent / "work")
    assert len(result.faults) == 1
    assert result.markdown == right


def test_what_is_not_compared_is_counted(path: Path) -> None:
    varying = "# 5\n\n```python\nprint(1)\n```\n\n```text varies\n2\n```\n\n```text script=examples/x.py\n3\n```\n"
    path.write_text(varying, encoding="utf-8")
    result = run_chapter(path, path.parent / "work")
    assert (result.checked, result.skipped) == (0, 2)


def test_commands_run_as_in_a_shell(path: Path) -> None:
    path.write_text("# 5\n\n```sh\nnanograd --version\n```\n", encoding="utf-8")
    assert "```text\nnanograd " in run_chapter(path, path.parent / "work").markdown
    path.write_text("# 5\n\n```sh\nrm -rf x\n```\n", encoding="utf-8")
    assert "sh blocks run gpt and nanograd, not rm" in faults(path)[0]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("≈ 40 ms", "≈ 60 ms", True),
        ("≈ 40 ms", "≈ 400 ms", False),
        ("≈ 40 ms", "≈ -40 ms", False),
        ("≈40 ms", "40 ms", False),
        ("0.50 ± 0.02", "0.52 ± 0.02", True),
        ("0.50 ± 0.02", "0.53 ± 0.02", False),
        ("0.50 ± 0.02", "0.50 ± 0.03", False),
        ("a  b", "a b", True),
        ("a", "a\nb", False),
    ],
)
def test_numbers_of_the_machine_may_differ(expected: str, printed: str, same: bool) -> None:
    assert (compare(expected, printed) == []) == same


@pytest.mark.skipif(not blas.can_set_threads(), reason="this BLAS has no setting for its threads")
def test_a_chapter_runs_on_one_thread_and_the_number_is_restored(path: Path) -> None:
    before = blas.threads()
    path.write_text(
        "# 5 A\n\n```python\nfrom nanograd.runtime import blas\n\nprint(blas.threads())\n```\n", encoding="utf-8"
    )
    assert "```text\n1\n```" in run_chapter(path, path.parent / "work").markdown
    assert blas.threads() == before


def test_the_source_of_a_name() -> None:
    assert source_of("gpt.guide.chapter.Chapter.name").startswith("@property\ndef name(self)")
    with pytest.raises(ValueError, match=r"there is no source of gpt\.guide\.nothing"):
        source_of("gpt.guide.nothing")


def test_the_data_of_the_chapters_is_what_its_program_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpt.guide import make_data

    monkeypatch.setattr(make_data, "FOLDER", tmp_path)
    make_data.main()
    for file in tmp_path.iterdir():
        assert file.read_bytes() == data(file.name).read_bytes(), file.name
    assert sum(file.stat().st_size for file in data("stories.txt").parent.iterdir()) <= 1e6


def test_data_that_does_not_exist_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no data story; there are fables\.txt, .*stories\.txt"):
        data("story")
