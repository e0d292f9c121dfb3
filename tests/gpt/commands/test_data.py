"""python -m gpt data, and training on what it made: the same tokens, nothing copied, and resumed to the bit."""

import io
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.commands.data import Bar, line
from gpt.commands.tokenizer import _Progress
from gpt.data.dataset import MANIFEST, TOKENIZER, TRAIN, UNFINISHED, VAL, open_dataset
from gpt.data.prepare import Status
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.run import METRICS, TRAIN_TOKENS, Progress, read_metrics, run_tokens
from gpt.tokenizer import BPETokenizer, load_tokenizer
from gpt.training import Record

TEXTS = [f"{i} men went to mow, went to mow a meadow, {i * i} men and their dog.\n" * (5 + i) for i in range(12)]
TINY = (
    "--d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 3 --eval-batches 2 --max-steps 30 "
    "--eval-every 10 --save-every 10 --warmup-steps 5"
)
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "texts"
    folder.mkdir()
    for i, text in enumerate(TEXTS):
        (folder / f"{i:02}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def prepared(texts: Path) -> Path:
    out = texts.parent / "prepared"
    words = ["--tokenizer", "bpe", "--vocab-size", "280", "--shard-tokens", "400", "-o", str(out)]
    assert main(["data", "prepare", str(texts), *words]) == 0
    return out


@pytest.fixture
def said(capsys: Output) -> Callable[..., str]:
    """Return a function that runs a command which is refused, and gives the one line it says."""

    def run(*words: str) -> str:
        capsys.readouterr()
        assert main(words) == 1
        (said,) = capsys.readouterr().err.splitlines()
        return said

    return run


# Preparing


def test_info_describes_a_prepared_folder(texts: Path, prepared: Path, capsys: Output) -> None:
    assert main(["data", "info", str(prepared), "--check"]) == 0
    manifest = open_dataset(prepared).manifest
    patterns = [
        rf"data      {re.escape(str(prepared))}: 8 kB of text in \d+ kB of tokens",
        rf"train     {manifest['tokens'][TRAIN]:,} tokens, 12 documents, \d+ shards",
        rf"val       {manifest['tokens'][VAL]:,} tokens, 12 documents, \d+ shards",
        r"documents 12, 10\.\d% of the tokens to validate",
        "note      the ends of large documents, or of a single one, are for validation",
        rf"tokenizer 280 tokens, sha256 {load_tokenizer(prepared / TOKENIZER).sha256[:16]}…",
        "checked   every byte is as it was written",
    ]
    for shown, pattern in zip(capsys.readouterr().out.splitlines(), patterns, strict=True):
        assert re.fullmatch(pattern, shown)
    words = ["--tokenizer", "bpe", "--vocab-size", "280", "--shard-tokens", "400", "-o", str(prepared)]
    assert main(["data", "prepare", str(texts), *words]) == 0  # again
    assert f"note      {prepared} is complete already: nothing was written" in capsys.readouterr().out


def test_texts_come_back(prepared: Path) -> None:
    dataset = open_dataset(prepared)
    tokenizer = dataset.tokenizer()
    both = [tokenizer.decode(dataset.tokens(split)[:].tolist()) for split in (TRAIN, VAL)]
    beginnings, endings = (split.split("<|endoftext|>")[:-1] for split in both)
    assert [a + b for a, b in zip(beginnings, endings, strict=True)] == TEXTS


def test_a_damaged_shard_is_found(prepared: Path, tmp_path: Path, said: Callable[..., str]) -> None:
    for path in prepared.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "train-00001.tokens").read_bytes())
    data[80] ^= 1
    (tmp_path / "train-00001.tokens").write_bytes(data)
    assert "is damaged: train-00001.tokens; prepare it again" in said("data", "info", str(tmp_path), "--check")


def test_skipped_texts_are_counted(texts: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\x00")
    words = [str(texts / "01.txt"), str(tmp_path / "bad.txt"), str(texts / "02.txt"), str(tmp_path / "none.txt")]
    words += ["--tokenizer", "bpe", "--vocab-size", "260", "-o", str(tmp_path / "out"), "--on-error", "skip"]
    assert main(["data", "prepare", *words]) == 0
    shown, _ = capsys.readouterr()
    assert "skipped   2 texts that could not be read; manifest.json lists the first" in shown
    assert f"\nskipped   1 binary: {tmp_path / 'bad.txt'} is binary" in shown
    assert f"\nskipped   1 unreadable: there is no file {tmp_path / 'none.txt'}\n" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tokenizer", "none.json"], "tokenizer must be bpe or the path of a saved tokenizer, got 'none.json'"),
        (["--tokenizer", "TOKENIZER", "--vocab-size", "280"], "--vocab-size is for --tokenizer bpe: a saved tokenizer"),
        (["--tokenizer", "bpe", "--vocab-size", "5"], "vocab_size must be at least 257"),
        (["--tokenizer", "TOKENIZER", "--val-fraction", "1"], "val_fraction must be at least 0 and below 1, got 1.0"),
        (["--tokenizer", "TOKENIZER", "--encoding", "utf-9"], "encoding: Python has none called 'utf-9'"),
    ],
)
def test_invalid_flags_of_prepare_are_refused(
    texts: Path, prepared: Path, tmp_path: Path, said: Callable[..., str], words: list[str], message: str
) -> None:
    words = [str(prepared / TOKENIZER) if word == "TOKENIZER" else word for word in words]
    assert message in said("data", "prepare", str(texts), "-o", str(tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_without_an_action_or_with_an_unknown_one(capsys: Output) -> None:
    assert main(["data"]) == 0
    assert "python -m gpt data info DIR" in capsys.readouterr().out
    assert main(["data", "prepar"]) == 2
    assert "unknown action 'prepar'; did you mean prepare?" in capsys.readouterr().err


def test_stopped_while_byte_pairs_wait_it_does_not_learn_them_again(
    texts: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    words = ["data", "prepare", str(texts), "--tokenizer", "bpe", "--vocab-size", "280", "--shard-tokens", "400"]

    def interrupt(self: object, status: Status) -> None:
        if status.n_tokens > 1000:
            raise KeyboardInterrupt

    monkeypatch.setattr("gpt.commands.data.Bar.show", interrupt)
    assert main([*words, "-o", str(tmp_path / "out")]) == 130
    shown, errors = capsys.readouterr()
    assert "learned in" in shown
    assert "stopped; the same command resumes after the last complete shard" in errors
    monkeypatch.undo()
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert "learned in" not in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        p.name: p.read_bytes() for p in prepared.iterdir()
    }


def test_the_line_of_progress() -> None:
    status = Status(
        total_bytes=400_000_000, start_time=100.0, resumed_bytes=50_000_000, n_bytes=100_000_000, n_tokens=9999
    )
    assert line(status, 110.0) == " 25%  100 MB of text  9,999 tokens  5.0 MB/s  1:00 left"


@pytest.mark.parametrize("columns", [30, 40, 60, 80, 200])
def test_the_live_lines_of_long_work_say_how_much_time_is_left(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    bar, counting = Bar(), _Progress()
    for shown in (bar, counting):
        shown.live, shown.out = True, io.StringIO()
    bar.last_shown_s = -math.inf
    bar.show(Status(10**12, time.monotonic() - 100, n_bytes=4 * 10**8, n_tokens=10**8))
    counting.start -= 1000
    counting(10**9, 10**11)
    for shown in (bar, counting):
        assert shown.out.getvalue().rstrip().endswith(" left")  # type: ignore[attr-defined]
        assert len(shown.out.getvalue()) == columns  # type: ignore[attr-defined]


# Training


def result(folder: Path) -> dict[str, Any]:
    """Return what must not depend on how often a run was stopped."""
    checkpoint = load_checkpoint(folder / LAST)
    metrics = [(r.step, r.loss, r.val_loss, r.grad_norm) for r in read_metrics(folder)]
    return {"metrics": metrics, **{name: array.tobytes() for name, array in checkpoint.tensors.items()}}


class Killed(BaseException):
    """The end of a process, as far as one process can play it."""


@pytest.mark.parametrize("sampling", [[], ["--sampling", "epochs", "--stride", "5"]], ids=["random", "epochs"])
def test_a_run_on_prepared_data_copies_nothing_and_resumes_to_the_bit(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: list[str]
) -> None:
    words = ["train", "--data", str(prepared), *TINY.split(), *sampling]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    show = Progress.show

    def die(self: Progress, record: Record) -> None:
        if record.step == 17:
            raise Killed
        show(self, record)

    monkeypatch.setattr(Progress, "show", die)
    with pytest.raises(Killed):
        main([*words, "--out", str(tmp_path / "run")])
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)  # wherever one is
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert result(tmp_path / "run") == result(tmp_path / "whole")
    assert not list((tmp_path / "run").glob("*.tokens"))
    position = load_checkpoint(tmp_path / "run" / LAST).state
    assert position.dataset == str(prepared.resolve())
    assert position.tokens_sha256 == {MANIFEST: open_dataset(prepared).sha256}


def test_the_tokens_are_those_of_the_folder_of_texts(texts: Path, prepared: Path, tmp_path: Path) -> None:
    words = ["train", *TINY.split(), "--max-steps", "1"]
    tokenizer = ["--tokenizer", str(prepared / TOKENIZER)]
    assert main([*words, "--data", str(texts), *tokenizer, "--out", str(tmp_path / "texts")]) == 0
    dataset = open_dataset(prepared)
    checkpoint = load_checkpoint(tmp_path / "texts" / LAST)
    for name, split in ((TRAIN_TOKENS, TRAIN), ("val.tokens", VAL)):
        tokens = run_tokens(tmp_path / "texts", name, checkpoint.state)
        whole = dataset.tokens(split)
        np.testing.assert_array_equal(tokens[:], whole[: len(whole) - 1])  # between documents, not after the last
    assert main([*words, "--data", str(prepared), *tokenizer, "--out", str(tmp_path / "prepared")]) == 0
    first, second = (load_checkpoint(tmp_path / name / LAST) for name in ("texts", "prepared"))
    assert first.tokenizer.sha256 == second.tokenizer.sha256
    assert second.model_config.vocab_size == 280


def test_a_folder_of_texts_with_byte_pairs_of_its_own(texts: Path, tmp_path: Path, capsys: Output) -> None:
    words = ["--data", str(texts), *TINY.split(), "--max-steps", "1", "--vocab-size", "280"]
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    assert re.search(
        rf"data      {re.escape(str(texts))}: {sum(map(len, TEXTS)):,} characters", capsys.readouterr().out
    )
    assert load_checkpoint(tmp_path / "run" / LAST).model_config.vocab_size == 280


@pytest.fixture(scope="module")
def run(prepared: Path) -> Path:
    out = prepared.parent / "run"
    words = ["--data", str(prepared), *TINY.split(), "--max-steps", "10", "--sampling", "epochs"]
    assert main(["train", *words, "--out", str(out)]) == 0
    return out


def test_eval_and_info_find_the_prepared_data(run: Path, prepared: Path, capsys: Output) -> None:
    assert main(["eval", str(run)]) == 0
    n = open_dataset(prepared).manifest["tokens"][VAL] - 1
    assert capsys.readouterr().out.startswith(f"validation text: {n:,} tokens, ")
    assert main(["info", str(run)]) == 0
    assert f"trained on {prepared} (sha256 {open_dataset(prepared).sha256[:16]}…)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--val-fraction", "0.2"], "was split when it was prepared; leave --val-fraction out"),
        (["--tokenizer", "bpe"], "was prepared with one, which is tokenizer.json; leave --tokenizer out"),
        (["--tokenizer", "OTHER"], "was prepared with the one of SHA-256 "),
        (["--vocab-size", "279"], "vocab_size=279 is below the tokenizer's 280 tokens; leave --vocab-size out"),
        (["--context-length", "100000"], "data: the training text has "),
        (["--sampling", "shuffled"], "sampling must be random or epochs, got 'shuffled'"),
        (["--stride", "0"], "stride must be at least 1, got 0"),
    ],
)
def test_flags_that_do_not_fit_prepared_data_are_refused(
    prepared: Path, tmp_path: Path, said: Callable[..., str], words: list[str], message: str
) -> None:
    BPETokenizer.train("other", 257).save(tmp_path / "other.json")
    words = [str(tmp_path / "other.json") if word == "OTHER" else word for word in words]
    assert message in said("train", "--data", str(prepared), *TINY.split(), "--out", str(tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "4"], "resume: --batch-size was 3 and cannot change to 4; start a new run for that"),
        (["--grad-accum-steps", "2"], "resume: --grad-accum-steps was 1 and cannot change to 2"),
        (["--sampling", "random"], "resume: --sampling was epochs and cannot change to random"),
        (["--stride", "3"], "resume: --stride was None and cannot change to 3"),
    ],
)
def test_what_says_which_windows_were_seen_cannot_change(
    run: Path, said: Callable[..., str], words: list[str], message: str
) -> None:
    assert message in said("train", "--resume", str(run), "--max-steps", "20", *words)


def test_prepared_data_that_changed_or_went_away_is_noticed(
    run: Path, prepared: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    words = ["train", "--resume", str(run), "--max-steps", "20"]
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    manifest = (prepared / MANIFEST).read_bytes()
    try:
        (prepared / MANIFEST).write_bytes(json.dumps(json.loads(manifest)).encode())
        assert "manifest.json is not the file this checkpoint was trained with: its SHA-256 differs" in said(*words)
        (prepared / MANIFEST).unlink()
        assert "manifest.json is missing: this checkpoint was trained with it; put it back" in said(*words)
    finally:
        (prepared / MANIFEST).write_bytes(manifest)
    shard = prepared / "train-00001.tokens"
    shard.rename(tmp_path / "elsewhere")
    try:
        assert "train-00001.tokens is missing: manifest.json lists it" in said(*words)
    finally:
        (tmp_path / "elsewhere").rename(shard)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert (run / METRICS).exists()


def test_prepared_data_that_is_not_whole_is_refused(tmp_path: Path, said: Callable[..., str]) -> None:
    (tmp_path / UNFINISHED).write_text("{}", encoding="utf-8")
    assert "is not complete: data prepare was stopped; run the same command again" in said(
        "train", "--data", str(tmp_path), "--out", str(tmp_path / "run")
    )
