"""Texts to shards: what is written, stopped in every way, and what cannot be prepared."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gpt
from gpt.__main__ import main
from gpt.data import documents
from gpt.data import prepare as module
from gpt.data.dataset import MANIFEST, TOKENIZER, TRAIN, UNFINISHED, VAL, open_dataset
from gpt.data.documents import TextFiles, split_documents
from gpt.data.prepare import prepare, train_tokenizer
from gpt.text.documents import Document
from gpt.tokenizer import BPETokenizer, CharTokenizer

ROOT = Path(gpt.__file__).parents[1]
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
TEXTS = {
    f"{i:02}.txt": "".join(
        f"{n} green bottles, hanging on the wall {i}; Só foi — {n * i % 97}.\n" for n in range(i * 9)
    )
    for i in range(1, 9)
}
BPE = BPETokenizer.train(TEXTS["08.txt"], 300)
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def expected_ids(split: str, val_fraction: float = 0.25) -> list[list[int]]:
    """Return the ids of each document of a split, with its end of text, in order."""
    chunks = split_documents([Document(name, (text,)) for name, text in TEXTS.items()], val_fraction)
    return [BPE.encode(chunk.text) + [BPE.eot_id] for chunk in chunks if chunk.split == split]  # type: ignore[list-item]


@pytest.mark.parametrize("shard_tokens", [100, 1000, 1 << 20])
@pytest.mark.parametrize("split", [TRAIN, VAL])
def test_shards_are_the_documents_one_after_the_other(
    texts: Path, tmp_path: Path, split: str, shard_tokens: int
) -> None:
    dataset = prepare(TextFiles([texts]), tmp_path / "out", BPE, val_fraction=0.25, shard_tokens=shard_tokens)
    documents = expected_ids(split)
    assert dataset.tokens(split)[:].tolist() == [id for ids in documents for id in ids]
    starts = [sum(map(len, documents[:k])) for k in range(len(documents))]
    assert dataset.documents(split).tolist() == starts
    manifest = dataset.manifest
    assert manifest["tokens"][split] == sum(map(len, documents))
    assert manifest["documents"][split] == len(documents)
    assert manifest["split"] == "position"  # few documents, of which each is divided
    assert manifest["n_documents"] == len(TEXTS)
    assert manifest["text_bytes"] == sum(len(text.encode()) for text in TEXTS.values())
    assert (len(manifest["parts"]) == 1) == (shard_tokens == 1 << 20)
    assert dataset.damaged() == []
    assert not (tmp_path / "out" / UNFINISHED).exists()


def test_a_single_text_is_split_by_position(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(TEXTS["08.txt"], encoding="utf-8")
    dataset = prepare(TextFiles([tmp_path / "one.txt"]), tmp_path / "out", BPE, val_fraction=0.1, shard_tokens=500)
    n_train = round(len(TEXTS["08.txt"]) * 0.9)
    assert dataset.tokens(TRAIN)[:].tolist() == BPE.encode(TEXTS["08.txt"][:n_train])  # no end of text: it goes on
    assert dataset.tokens(VAL)[:].tolist() == [*BPE.encode(TEXTS["08.txt"][n_train:]), BPE.eot_id]
    assert dataset.manifest["split"] == "position"
    assert dataset.manifest["documents"] == {TRAIN: 1, VAL: 1}


def test_a_tokenizer_without_end_of_text_and_four_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "abc"}\n{"text": "cba"}\n', encoding="utf-8")
    dataset = prepare(TextFiles([tmp_path / "a.jsonl"]), tmp_path / "out", CharTokenizer("abc"), val_fraction=0.0)
    assert dataset.tokens(TRAIN)[:].tolist() == [0, 1, 2, 2, 1, 0]
    assert dataset.documents(TRAIN).tolist() == [0, 3]
    wide = BPETokenizer({**{i: bytes([i]) for i in range(256)}, 70000: b"ab"}, [(b"a", b"b")])
    dataset = prepare(TextFiles([tmp_path / "a.jsonl"]), tmp_path / "wide", wide, val_fraction=0.0)
    assert dataset.tokens(TRAIN)[:].tolist() == [70000, 99, 99, 98, 97]


def test_workers_change_nothing_of_the_result(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.data.documents.BATCH", 1500)  # of 16,000 characters
    for workers in (1, 2):
        prepare(TextFiles([texts]), tmp_path / str(workers), BPE, shard_tokens=800, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


# Stopped


class Killed(BaseException):
    """The end of a process, as far as one process can play it."""


@pytest.mark.parametrize("at", range(0, 24, 3))
def test_stopped_before_any_rename_it_resumes_to_the_same_bytes(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    options: dict[str, Any] = {"val_fraction": 0.25, "shard_tokens": 700}
    prepare(TextFiles([texts]), tmp_path / "whole", BPE, **options)
    replace, renames = os.replace, [0]

    def stop(old: Path, new: Path) -> None:
        renames[0] += 1
        if renames[0] == at + 1:
            (new.parent / f".{new.name}.0123456789abcdef.tmp").write_bytes(b"half")  # what a real kill leaves
            raise Killed
        replace(old, new)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(Killed):
        prepare(TextFiles([texts]), tmp_path / "out", BPE, **options)
    monkeypatch.undo()
    assert not (tmp_path / "out" / MANIFEST).exists()
    encoded: list[str] = []
    monkeypatch.setattr(BPE, "encode_ordinary", lambda text: encoded.append(text) or BPE.encode(text), raising=False)
    prepare(TextFiles([texts]), tmp_path / "out", BPE, **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    if at > 6:
        assert sum(map(len, encoded)) < sum(map(len, TEXTS.values()))  # what was whole is not encoded again


def test_stopped_after_the_manifest_it_is_complete(texts: Path, tmp_path: Path) -> None:
    whole = prepare(TextFiles([texts]), tmp_path / "out", BPE)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / UNFINISHED).write_text("{}", encoding="utf-8")
    assert prepare(TextFiles([texts]), tmp_path / "out", BPE).sha256 == whole.sha256
    assert contents(tmp_path / "out") == before


def stopped(texts: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Leave an incomplete folder with at least one part."""
    seen = [0]

    def interrupt(status: module.Status) -> None:
        seen[0] += 1
        if seen[0] == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(TextFiles([texts]), out, BPE, shard_tokens=700, report=interrupt, **options)
    assert json.loads((out / UNFINISHED).read_bytes())["parts"]


def test_the_settings_cannot_change(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    stopped(texts, out, monkeypatch)
    before = contents(out)
    for sources, tokenizer, options, message in (
        ([texts], CharTokenizer("abc"), {}, "was begun with tokenizer_sha256 .* choose another -o"),
        ([texts / "01.txt"], BPE, {}, r"was begun with sources \['.*texts'\], which cannot change to \['.*01\.txt'\]"),
        ([texts], BPE, {"val_fraction": 0.2}, "was begun with val_fraction 0.1, which cannot change to 0.2"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(TextFiles(sources), out, tokenizer, **{"shard_tokens": 700, **options})  # type: ignore[arg-type]
    assert contents(out) == before


@pytest.mark.parametrize("change", ["edit", "insert"])
def test_texts_that_changed_in_the_meantime_are_an_error(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = tmp_path / "out"
    stopped(texts, out, monkeypatch, val_fraction=0.0)
    if change == "edit":
        (texts / "01.txt").write_text(TEXTS["01.txt"].replace("green", "brown"), encoding="utf-8")
    else:
        (texts / "00.txt").write_text("before all others", encoding="utf-8")
    before = contents(out)
    with pytest.raises(ValueError, match="the texts have changed since this was begun; restore them, or"):
        prepare(TextFiles([texts]), out, BPE, shard_tokens=700, val_fraction=0.0)
    assert contents(out) == before


@pytest.mark.parametrize("damage", ["remove", "change"])
def test_a_shard_that_was_lost_is_written_again(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    out = tmp_path / "out"
    stopped(texts, out, monkeypatch)
    parts = json.loads((out / UNFINISHED).read_bytes())["parts"]
    assert len(parts) > 2
    shard = out / next(parts[1][split]["file"] for split in (TRAIN, VAL) if split in parts[1])
    if damage == "remove":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    prepare(TextFiles([texts]), out, BPE, shard_tokens=700)
    prepare(TextFiles([texts]), tmp_path / "whole", BPE, shard_tokens=700)
    assert contents(out) == contents(tmp_path / "whole")


# What goes wrong


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail every write of ids after the third."""
    write, calls = module.ShardWriter.write, [0]

    def fail(self: module.ShardWriter, ids: Any) -> None:
        calls[0] += 1
        if calls[0] > 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, ids)

    monkeypatch.setattr(module.ShardWriter, "write", fail)
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    BPE.save(tmp_path / "bpe.json")
    words = ["data", "prepare", str(texts), "--tokenizer", str(tmp_path / "bpe.json"), "--shard-tokens", "700"]
    out = tmp_path / "out"
    assert main([*words, "-o", str(out)]) == 1
    assert capsys.readouterr().err == (
        f"gpt data: {out / 'val-00001.tokens'}: No space left on device; free some space, "
        "the files that were there are intact\n"
    )
    state = json.loads((out / UNFINISHED).read_bytes())
    listed = {part[split]["file"] for part in state["parts"] for split in (TRAIN, VAL) if split in part}
    assert listed
    assert {path.name for path in out.iterdir()} == {UNFINISHED, TOKENIZER, *listed}
    assert main(["data", "info", str(out)]) == 1
    assert f"is not complete: {len(state['parts'])} parts, " in capsys.readouterr().out
    monkeypatch.undo()
    assert main([*words, "-o", str(out)]) == 0
    prepare(TextFiles([texts]), tmp_path / "whole", BPE, shard_tokens=700)
    assert contents(out) == contents(tmp_path / "whole")


def test_an_unreadable_file_among_many(texts: Path, tmp_path: Path) -> None:
    (texts / "03.txt").write_bytes(b"\x00\x01")
    (texts / "05.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"03\.txt is binary"):
        prepare(TextFiles([texts], skip=False), tmp_path / "out", BPE)
    files = TextFiles([texts, texts / "gone.txt"], skip=True, warn=lambda m: None)
    dataset = prepare(files, tmp_path / "out", BPE, val_fraction=0.0)
    assert dataset.manifest["documents"] == {TRAIN: 6, VAL: 0}
    assert dataset.manifest["skipped"]["count"] == 3
    names = ["03.txt", "05.txt", "gone.txt"]  # whole paths: the number of pytest's folder may have 03 in it too
    reasons = dataset.manifest["skipped"]["first"]
    assert all(str(texts / name) in reason for name, reason in zip(names, reasons, strict=True))


def test_a_killed_worker_is_an_error(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.data.documents.BATCH", 500)

    def kill(status: module.Status) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(ChildProcessError, match="a worker process was killed, perhaps for its memory; try fewer"):
        prepare(TextFiles([texts]), tmp_path / "out", BPE, shard_tokens=400, workers=2, report=kill)


def test_a_character_that_the_tokenizer_lacks_is_named_with_its_text(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"01\.txt: encode: characters must be among the 3 of the vocabulary"):
        prepare(TextFiles([texts]), tmp_path / "out", CharTokenizer("abc"))


def test_without_text_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    files = TextFiles([tmp_path / "empty.txt"], skip=True, warn=lambda m: None)
    with pytest.raises(ValueError, match=r"data: there is no text in .*empty\.txt: 1 empty: "):
        prepare(files, tmp_path / "out", BPE)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", "mine", "is not empty, and was not made by data prepare; choose another -o"),
        (MANIFEST, "{}", r"manifest\.json is damaged or from another program; choose another -o"),
        (UNFINISHED, "x", r"unfinished\.json is damaged or from another program; choose another -o"),
        (None, "a file", "is a file; give a folder"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(
    texts: Path, tmp_path: Path, name: str | None, content: str, message: str
) -> None:
    out = tmp_path / "out"
    if name is None:
        out.write_text(content, encoding="utf-8")
    else:
        out.mkdir()
        (out / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        prepare(TextFiles([texts]), out, BPE)
    assert (out if name is None else out / name).read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 1.0}, "val_fraction must be at least 0 and below 1, got 1.0"),
        ({"val_fraction": float("nan")}, "val_fraction must be at least 0 and below 1, got nan"),
        ({"shard_tokens": 0}, "shard_tokens must be at least 1, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
    ],
)
def test_options_that_cannot_be(texts: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(TextFiles([texts]), tmp_path / "out", BPE, **options)


def test_byte_pairs_are_learned_from_the_training_texts_and_from_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.txt").write_text("ab " * 900 + "zz " * 100, encoding="utf-8")
    vocab = train_tokenizer(TextFiles([tmp_path / "t.txt"]), 300, 0.1).vocab.values()
    assert b"ab" in vocab
    assert b"zz" not in vocab
    monkeypatch.setattr(module, "SAMPLE", 600)  # of 3000 bytes: every fifth chunk, and there is one
    assert b"ab" in train_tokenizer(TextFiles([tmp_path / "t.txt"]), 300, 0.1).vocab.values()


# Killed for real

CHILD = """
import sys, time
from gpt.data import documents
from gpt.data import prepare
from gpt.__main__ import main

if __name__ == "__main__":
    write = prepare.ShardWriter.write
    def slow(self, ids):
        time.sleep(0.002)
        write(self, ids)
    prepare.ShardWriter.write = slow
    documents.BATCH = 500
    sys.exit(main(sys.argv[1:]))
"""


@posix_only
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(texts: Path, tmp_path: Path, workers: int) -> None:
    prepare(TextFiles([texts]), tmp_path / "whole", BPE, shard_tokens=500)
    BPE.save(tmp_path / "bpe.json")
    (tmp_path / "child.py").write_text(CHILD, encoding="utf-8")
    out = tmp_path / "out"
    words = ["data", "prepare", str(texts), "--tokenizer", str(tmp_path / "bpe.json"), "-o", str(out)]
    words += ["--shard-tokens", "500", "--workers", str(workers)]
    rng, kills, deadline = random.Random(workers), 0, time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        before = set(out.glob("*"))
        child = subprocess.Popen(
            [sys.executable, str(tmp_path / "child.py"), *words], env=ENV, stdout=subprocess.DEVNULL
        )
        if kills < 4:
            while child.poll() is None and set(out.glob("*")) == before:  # it cannot break before it writes
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
            kills += 1
        if child.wait(timeout=60) == 0:
            break
        if not (out / MANIFEST).exists():
            with pytest.raises((ValueError, FileNotFoundError)):
                open_dataset(out)
    assert contents(out) == contents(tmp_path / "whole")


def test_the_hash_of_a_part_depends_on_where_documents_begin_and_end() -> None:
    digests = set()
    for chunks in (
        [("a b", True, True)], [("a", True, False), (" b", False, True)], [("a", True, True), (" b", True, True)],
    ):  # fmt: skip
        digest = hashlib.sha256()
        status = module.Status(0)
        for text, first, last in chunks:
            status.count(documents.Chunk("d", TRAIN, text, first, last), digest)
        digests.add(digest.hexdigest())
    assert len(digests) == 3
