"""Tests of gpt/commands/plot.py."""

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


def test_a_run_without_steps_is_refused(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    assert main(["plot", str(tmp_path)]) == 1
    assert "plot: a run has no steps yet" in capsys.readouterr().err
