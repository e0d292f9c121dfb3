"""python -m nanograd study, run in this process: its flags, its files, and what is wrong with a call."""

from pathlib import Path

import pytest

from nanograd.__main__ import main
from nanograd.op import OPS
from nanograd.study import command
from nanograd.study.page import study_page
from nanograd.study.topics import TOPICS, chain_rule


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page say what it was asked for."""
    monkeypatch.setattr(command, "_page", lambda *asked, **options: f"page of {asked} {options or ''}½\n")


def study(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["study", *arguments])
    message = capsys.readouterr()
    return code, message.out, message.err


# Files


@pytest.mark.parametrize(
    ("arguments", "file", "asked"),
    [
        (["softmax"], "softmax.html", ("softmax", False, None, 0)),
        (["softmax", "--shape", "3,5", "--seed", "7"], "softmax.html", ("softmax", False, (3, 5), 7)),
        (["sum", "--shape", "()"], "sum.html", ("sum", False, (), 0)),
        (["--book"], "book.html", (None, True, None, 0)),
        (["exp", "--out", "mine.html"], "mine.html", ("exp", False, None, 0)),
    ],
)
def test_a_page_is_a_file(
    arguments: list[str], file: str, asked: object, here: Path, pages: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = study(capsys, *arguments)
    assert (code, out, err) == (0, "", f"{file} written, 0 kB\n")
    assert (here / file).read_bytes().decode("utf-8") == f"page of {asked} ½\n"
    assert [path.name for path in here.iterdir()] == [file]


@pytest.mark.parametrize(
    ("arguments", "folder"), [([], "study"), (["--out", "my pages"], "my pages"), (["--out", "."], ".")]
)
def test_the_map_brings_the_pages_that_it_leads_to(
    arguments: list[str], folder: str, here: Path, pages: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = study(capsys, *arguments)
    written = f"{Path(folder, 'map.html')} and the pages of {len(OPS)} ops and {len(TOPICS)} topics were written\n"
    assert (code, out, err) == (0, "", written)
    assert {path.name for path in (here / folder).iterdir()} == {f"{name}.html" for name in ("map", *OPS, *TOPICS)}
    assert (here / folder / "map.html").read_text(encoding="utf-8").startswith("page of (None,) {'linked': True")
    assert (here / folder / "exp.html").read_text(encoding="utf-8").startswith("page of ('exp',) {'linked': True")


def test_a_page_on_its_own_leads_nowhere(here: Path) -> None:
    assert main(["study", "softmax"]) == 0
    alone = (here / "softmax.html").read_text(encoding="utf-8")
    assert "python -m nanograd study" in alone
    assert '.html"' not in alone
    assert 'href="map.html"' in study_page("softmax", linked=True)


def test_a_dash_prints(here: Path, pages: None, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = study(capsys, "exp", "--out", "-")
    assert (code, out, err) == (0, "page of ('exp', False, None, 0) ½\n", "")
    assert not list(here.iterdir())


def test_a_file_is_written_whole_or_not_at_all(
    here: Path, pages: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "exp.html").write_text("what was there", encoding="utf-8")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = study(capsys, "exp")
    assert code == 2
    assert "No space left on device" in err
    assert (here / "exp.html").read_text(encoding="utf-8") == "what was there"
    assert [path.name for path in here.iterdir()] == ["exp.html"]


def test_a_study_that_fails_leaves_the_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "old.html").write_text("what was there", encoding="utf-8")
    assert study(capsys, "rope", "--shape", "2,3", "--out", "old.html")[0] == 2
    assert (here / "old.html").read_text(encoding="utf-8") == "what was there"


# What is wrong with a call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sofmax"], "nanograd study: there is no op sofmax; did you mean softmax?"),
        (["adam"], "nanograd study: there is no op adam; did you mean adamw?"),
        (["adamw", "--seed", "1"], "nanograd study: --shape and --seed belong to the example of one op: name an op"),
        (["zzz"], "nanograd study: there is no op zzz; `python -m nanograd ops` lists them"),
        (["softmax", "--shpae", "2,4"], "unknown flag --shpae; did you mean --shape?"),
        (["softmax", "--zzz"], "unknown flag --zzz; see python -m nanograd study --help"),
        (["softmax", "--form", "text"], "unknown flag --form; did you mean --format?"),
        (["softmax", "exp"], "unexpected 'exp'; see python -m nanograd study --help"),
        (["softmax", "--format", "json"], "argument --format: must be html or text, got 'json'"),
        (["softmax", "--shape", "2x4"], "a shape is sizes separated by commas: 2,4, or () for a number; got '2x4'"),
        (["softmax", "--shape", ""], "a shape is sizes separated by commas: 2,4, or () for a number; got ''"),
        (["softmax", "--shape=-1,4"], "a shape is sizes separated by commas"),
        (["softmax", "--seed=-1"], "a seed is a non-negative integer; got '-1'"),
        (["softmax", "--seed", "1.5"], "a seed is a non-negative integer; got '1.5'"),
        (["softmax", "--book"], "--book contains all ops: leave out softmax, or leave out --book"),
        (["chain_rule", "--book"], "--book contains all ops: leave out chain_rule"),
        (["chain_rule", "--seed", "3"], "--shape and --seed belong to the example of one op: name an op"),
        (["chian_rule"], "there is no op chian_rule; did you mean chain_rule?"),
        (["--shape", "2,4"], "--shape and --seed belong to the example of one op: name an op"),
        (["--book", "--seed", "3"], "--shape and --seed belong to the example of one op: name an op"),
        (
            ["--out", "map.html"],
            "the map is written with the page of every op, so --out must name a folder; got map.html",
        ),
        (["exp", "--out", "missing/exp.html"], "there is no folder"),
        (["exp", "--out", "."], "is a folder; give the name of a file in it"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], message: str, here: Path, pages: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = study(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(here.iterdir())


def test_a_topic_is_a_page_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(capsys, "chain_rule")[0] == 0
    assert "From one number to arrays" in (here / "chain_rule.html").read_text(encoding="utf-8")
    code, out, _ = study(capsys, "chain_rule", "--format", "text")
    assert (code, out) == (0, chain_rule.topic().text())


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = study(capsys, "--help")
    assert code == 0
    assert all(flag in out for flag in ("--format", "--shape", "--seed", "--out", "--book", "chain_rule"))


def test_the_map_shows_the_progress_of_the_drills(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "OPS", {})
    monkeypatch.setattr(command, "TOPICS", ())
    (here / "mine").mkdir()
    (here / "mine" / "progress.json").write_text('{"mul": {"checks": 2, "hints": 0, "solved": true}}', encoding="utf-8")
    assert command.main(["--drills", "mine"]) == 0
    text = (here / "study" / "map.html").read_text(encoding="utf-8")
    assert "1 of " in text
    assert text.count("✓ solved") == 1
    (here / "mine" / "progress.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is damaged; delete it to start again"):
        command.main(["--drills", "mine"])
