"""Tests of gpt/commands/plot.py."""

import shutil
import sys
from pathlib import Path

import pytest

from gpt.__main__ import main

Output = pytest.CaptureFixture[str]


def test_plot_draws_one_run_or_several(run: Path, tmp_path: Path, capsys: Output) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "curves.png"
    assert main(["plot", str(run), str(run), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"drawn: {out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")


def test_plot_writes_a_page_into_the_first_run(run: Path, tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(run, folder)
    assert main(["plot", str(folder), str(run)]) == 0
    assert capsys.readouterr().out == f"drawn: {folder / 'curves.html'}\n"
    page = (folder / "curves.html").read_text(encoding="utf-8")
    assert "Update to weight by layer" in page
    assert "What it wrote, by step" in page


def test_the_page_needs_no_matplotlib(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", str(run), "-o", str(tmp_path / "a.html")]) == 0


@pytest.mark.parametrize("name", ["a.html", "a.png"])
def test_a_run_without_steps_is_refused(tmp_path: Path, capsys: Output, name: str) -> None:
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    assert main(["plot", str(tmp_path), "-o", str(tmp_path / name)]) == 1
    assert f"plot: {tmp_path} has no steps yet" in capsys.readouterr().err
