"""Tests of gpt/runs/lock.py: one process writes in a run's folder, and the lock of a dead one is taken over."""

import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt.__main__ import main
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.lock import LOCK, FolderLock, check_unlocked, process_start

TINY = "--tokenizer char --d-model 8 --n-layers 1 --n-heads 1 --context-length 8 --batch-size 2 --max-steps 4"
LIVING = {"host": socket.gethostname(), "pid": os.getpid(), "start": process_start(os.getpid()), "since": "2020-01-02"}


@pytest.fixture(scope="module")
def dead() -> int:
    """Return the pid of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_second_lock_is_refused_until_the_first_is_released(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(
        ValueError, match=rf"is being trained by process {os.getpid()} since .*; wait for it, or stop it"
    ):
        FolderLock(tmp_path)
    lock.release()
    lock.release()  # twice is once
    assert os.listdir(tmp_path) == []
    FolderLock(tmp_path).release()


def test_a_lock_that_nobody_holds_any_longer_is_released(tmp_path: Path) -> None:
    """As where an error comes between the making of a run and its training."""
    lock: FolderLock | None = FolderLock(tmp_path)
    assert os.listdir(tmp_path) == [LOCK]
    del lock
    gc.collect()
    assert os.listdir(tmp_path) == []


def test_a_lock_that_another_process_took_over_is_not_released(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    (tmp_path / LOCK).write_text("of another", encoding="utf-8")
    lock.release()
    assert (tmp_path / LOCK).read_text(encoding="utf-8") == "of another"


STALE: dict[str, Callable[[int], Any]] = {
    "its process is dead": lambda dead: {**LIVING, "pid": dead},
    "its pid is that of a later process": lambda dead: {**LIVING, "start": "long ago"},
    "killed before a byte was written": lambda dead: "",
    "killed while it was written": lambda dead: '{"host": "a',
    "not ours": lambda dead: [1],
    "without a pid": lambda dead: {**LIVING, "pid": None},
}


@pytest.mark.parametrize("kind", STALE)
def test_a_stale_lock_is_taken_over_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dead: int, kind: str
) -> None:
    content = STALE[kind](dead)
    (tmp_path / LOCK).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    lock = FolderLock(tmp_path)
    assert (
        capsys.readouterr().out == f"note      the process that wrote in {tmp_path} is gone: its lock is taken over\n"
    )
    assert os.listdir(tmp_path) == [LOCK]
    lock.release()
    assert os.listdir(tmp_path) == []


def test_a_lock_of_another_machine_is_respected_and_the_way_out_is_said(tmp_path: Path, dead: int) -> None:
    (tmp_path / LOCK).write_text(json.dumps({**LIVING, "host": "elsewhere", "pid": dead}), encoding="utf-8")
    with pytest.raises(
        ValueError, match=rf"process {dead} on elsewhere since 2020-01-02; if it is gone, delete .*\.lock"
    ):
        check_unlocked(tmp_path)


def test_of_two_that_take_over_one_stale_lock_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one takes it over after we have read the stale lock, and before we move it away."""
    (tmp_path / LOCK).write_text(json.dumps({**LIVING, "start": "long ago"}), encoding="utf-8")
    rename, others = os.rename, list[FolderLock]()

    def too_late(old: Path, new: Path) -> None:
        if not others:
            monkeypatch.undo()
            others.append(FolderLock(tmp_path))
        rename(old, new)

    monkeypatch.setattr(os, "rename", too_late)
    with pytest.raises(ValueError, match="is being trained by process"):
        FolderLock(tmp_path)
    assert (tmp_path / LOCK).read_text(encoding="utf-8") == others[0].content
    assert os.listdir(tmp_path) == [LOCK]


def test_the_start_of_a_process(dead: int) -> None:
    assert process_start(os.getpid()) == process_start(os.getpid()) != ""
    assert process_start(dead) is None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert process_start(child.pid) not in (None, "")
        child.kill()
        child.wait()
        assert process_start(child.pid) is None


@pytest.mark.skipif(sys.platform == "win32", reason="ps")
def test_without_proc_the_start_is_asked_of_ps(monkeypatch: pytest.MonkeyPatch, dead: int) -> None:
    stat = os.stat

    def no_proc(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).startswith("/proc"):
            raise FileNotFoundError(path)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", no_proc)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "S+ Sun Nov 29 11:20\n"))
    assert process_start(os.getpid()) == "Sun Nov 29 11:20"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, ""))
    assert process_start(dead) is None

    def no_ps(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("ps")

    monkeypatch.setattr(subprocess, "run", no_ps)
    assert process_start(os.getpid()) == ""  # it lives, and nothing more is known
    assert process_start(dead) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locked")
    (folder / "text.txt").write_text("abcdefgh " * 60, encoding="utf-8")
    assert main(["train", "--data", str(folder / "text.txt"), "--out", str(folder / "run"), *TINY.split()]) == 0
    assert not (folder / "run" / LOCK).exists()
    return folder / "run"


WRITERS = [
    ["train", "--resume", "RUN", "--max-steps", "9"],
    ["train", "--data", "TEXT", "--out", "RUN"],
    ["finetune", "classify", "--resume", "RUN"],
    ["finetune", "prefer", "--data", "TEXT", "--out", "RUN"],
]
READERS = [["sample", "RUN", "--max-new-tokens", "1"], ["info", "RUN"], ["doctor", "RUN"], ["score", "RUN", "abc"]]


@pytest.mark.parametrize("words", [*WRITERS, *READERS], ids=" ".join)
def test_a_locked_run_is_read_but_not_written(run: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    lock = FolderLock(run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    text = str(run.parent / "text.txt")
    code = main([{"RUN": str(run), "TEXT": text}.get(word, word) for word in words])
    errors = capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    lock.release()
    if words in READERS:
        assert code == 0
    else:
        assert code == 1
        assert f"{run} is being trained by process {os.getpid()} since" in errors


def test_a_run_that_fails_releases_its_lock(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    before = load_checkpoint(run / LAST).state
    with monkeypatch.context() as patch:
        patch.setattr("gpt.runs.supervise.fit", fail)
        assert main(["train", "--resume", str(run), "--max-steps", "5"]) == 1
    assert not (run / LOCK).exists()
    with monkeypatch.context() as patch:
        patch.setattr("gpt.runs.start.truncate_metrics", fail)
        assert main(["train", "--resume", str(run), "--max-steps", "5"]) == 1
    assert not (run / LOCK).exists()
    assert load_checkpoint(run / LAST).state == before
