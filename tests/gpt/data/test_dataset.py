"""Shards byte by byte, damage, several read as one, and the manifest that makes a folder whole."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.data.dataset import (
    FORMAT,
    MANIFEST,
    TOKENIZER,
    TRAIN,
    UNFINISHED,
    VAL,
    Shards,
    is_prepared,
    open_dataset,
    read_shard,
    shard_writer,
    write_tokens,
)
from gpt.tokenizer import CharTokenizer
from nanograd.runtime.files import file_sha256

# Shards


SHA256 = "0123456789abcdef" * 4


def test_a_shard_byte_by_byte(tmp_path: Path) -> None:
    with shard_writer(tmp_path / "t", vocab_size=300, tokenizer_sha256=SHA256) as writer:
        writer.begin_document()
        writer.write([1, 258])
        writer.begin_document()
        writer.write([7])
    expected = (
        b"GPTTOKEN"  # magic
        b"\x02\0\0\0"  # version 2
        b"\x02\0\0\0"  # two bytes per id
        b"\x03\0\0\0\0\0\0\0"  # three ids
        b"\x2c\x01\0\0\0\0\0\0"  # below 300 = 256 + 44
        b"\x02\0\0\0\0\0\0\0"  # two documents
        b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"
        b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"
        b"\x01\0\x02\x01\x07\0"  # 1, 258 = 2 + 256 and 7
        b"\0\0"  # up to 8 bytes
        b"\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"  # the documents begin at 0 and 2
    )
    assert (tmp_path / "t").read_bytes() == expected
    shard = read_shard(tmp_path / "t")
    assert shard.tokens.tolist() == [1, 258, 7]
    assert shard.documents.tolist() == [0, 2]
    assert (shard.vocab_size, shard.tokenizer_sha256) == (300, SHA256)


def test_a_token_file_of_an_earlier_run_is_read(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(struct.pack("<8sIIQQ3H", b"GPTTOKEN", 1, 2, 3, 300, 1, 258, 7))
    shard = read_shard(tmp_path / "t")
    assert shard.tokens.tolist() == [1, 258, 7]
    assert shard.documents.tolist() == []
    assert (shard.vocab_size, shard.tokenizer_sha256) == (300, "")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_an_earlier_file_shorter_than_the_header_of_today_is_read(tmp_path: Path, count: int) -> None:
    (tmp_path / "t").write_bytes(struct.pack(f"<8sIIQQ{count}H", b"GPTTOKEN", 1, 2, count, 300, *range(count)))
    assert read_shard(tmp_path / "t").tokens.tolist() == list(range(count))


def test_what_fails_leaves_no_shard(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shard: ids must lie in"), shard_writer(tmp_path / "t", 300) as writer:
        writer.write([1, 300])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("vocab_size", "width"), [(1, 2), (65535, 2), (65536, 2), (65537, 4), (2**32, 4)])
def test_ids_take_two_bytes_while_they_fit(tmp_path: Path, vocab_size: int, width: int) -> None:
    ids = [0, vocab_size - 1]
    write_tokens(tmp_path / "t", np.array(ids), vocab_size)
    assert (tmp_path / "t").stat().st_size == 72 + 8 + 8  # a header, two ids filled up, and one document
    read = read_shard(tmp_path / "t").tokens
    assert read.dtype == np.dtype(f"<u{width}")
    assert read.tolist() == ids  # 65535 and 65536 are where a narrow type would wrap round


@pytest.mark.parametrize("vocab_size", [300, 70000])
def test_no_ids_are_a_file_too(tmp_path: Path, vocab_size: int) -> None:
    write_tokens(tmp_path / "t", [], vocab_size)
    assert (tmp_path / "t").stat().st_size == 72
    assert read_shard(tmp_path / "t").tokens.shape == (0,)


def test_the_ids_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    write_tokens(tmp_path / "t", [1, 2, 3], 4)
    tokens = read_shard(str(tmp_path / "t")).tokens
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 2


@pytest.mark.parametrize("ids", [[0, 5], [-1, 2]])
def test_ids_outside_the_vocabulary_are_not_written(tmp_path: Path, ids: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"shard: ids must lie in \[0, 5\), got {min(ids)} to {max(ids)}"):
        write_tokens(tmp_path / "t", ids, 5)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("content", [b"", b"GPTTOKEN", b"once upon a time there was a king who", b"\0" * 40])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match="t is not a token file: it does not begin with GPTTOKEN"):
        read_shard(tmp_path / "t")


@pytest.mark.parametrize("change", [-3, -1, 1, 2])
def test_a_file_of_another_length_is_damaged(tmp_path: Path, change: int) -> None:
    write_tokens(tmp_path / "t", [1, 2, 3], 4)
    whole = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(whole[:change] if change < 0 else whole + b"\0" * change)
    message = f"t is damaged: 3 ids and 1 documents need 88 bytes, not {88 + change}"
    with pytest.raises(ValueError, match=message):
        read_shard(tmp_path / "t")


@pytest.mark.parametrize(("version", "width"), [(3, 2), (2, 8), (2, 0), (1, 8)])
def test_another_version_is_refused(tmp_path: Path, version: int, width: int) -> None:
    (tmp_path / "t").write_bytes(struct.pack("<8sIIQQ", b"GPTTOKEN", version, width, 0, 4))
    with pytest.raises(
        ValueError, match=f"t: version {version} with {width} bytes per id; this program reads versions 1 and 2"
    ):
        read_shard(tmp_path / "t")


def test_a_header_that_is_cut_off(tmp_path: Path) -> None:
    write_tokens(tmp_path / "t", [1, 2, 3], 4)
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes()[:50])
    with pytest.raises(ValueError, match="t is damaged: its header needs 72 bytes, it has 50"):
        read_shard(tmp_path / "t")


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=8), st.integers(-50, 50), st.integers(-50, 50))
def test_a_slice_of_shards_is_a_slice_of_the_whole(sizes: list[int], start: int, stop: int) -> None:
    whole = np.arange(sum(sizes), dtype=np.uint32)
    shards = Shards(np.split(whole, np.cumsum(sizes)[:-1]) if sizes else [])
    assert len(shards) == len(whole)
    assert shards[start:stop].tolist() == whole[start:stop].tolist()
    assert shards[:].tolist() == whole.tolist()


def test_a_slice_within_a_shard_is_no_copy_and_across_two_of_both() -> None:
    parts = [np.arange(5), np.arange(5, 9)]
    shards = Shards(parts)
    assert np.shares_memory(shards[1:5], parts[0])
    assert np.shares_memory(shards[5:9], parts[1])
    assert shards[4:6].tolist() == [4, 5]
    with pytest.raises(ValueError, match="a slice must have step 1, got 2; take every 2th of"):
        shards[0:4:2]


# The folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a prepared folder of two parts, written by hand."""
    tokenizer = CharTokenizer("abc")
    tokenizer.save(tmp_path / TOKENIZER)
    parts: list[dict[str, Any]] = [{"pieces": 1, "text_bytes": 1, "text_sha256": ""} for _ in range(2)]
    for name, split, part, ids, starts in (
        ("train-00000.tokens", TRAIN, 0, [0, 1, 2, 1], [0, 3]),
        ("val-00000.tokens", VAL, 0, [2], [0]),
        ("train-00001.tokens", TRAIN, 1, [2, 0], [1]),
    ):
        with shard_writer(tmp_path / name, 3, tokenizer.sha256) as writer:
            for index, id in enumerate(ids):
                if index in starts:
                    writer.begin_document()
                writer.write([id])
        counts = {"file": name, "tokens": len(ids), "documents": len(starts)}
        parts[part][split] = {**counts, "sha256": file_sha256(tmp_path / name)}
    manifest = {
        "format": FORMAT, "tokenizer_sha256": tokenizer.sha256, "vocab_size": 3, "eot_id": None, "val_fraction": 0.1,
        "shard_tokens": 4, "sources": [], "encoding": None, "text_key": "text", "split": "document", "text_bytes": 9,
        "tokens": {TRAIN: 6, VAL: 1}, "documents": {TRAIN: 3, VAL: 1}, "skipped": {"count": 0, "first": []},
        "parts": parts,
    }  # fmt: skip
    (tmp_path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path


def test_shards_of_a_split_are_read_as_one(folder: Path) -> None:
    assert is_prepared(folder)
    dataset = open_dataset(folder)
    assert dataset.tokens(TRAIN)[:].tolist() == [0, 1, 2, 1, 2, 0]
    assert dataset.documents(TRAIN).tolist() == [0, 3, 5]
    assert dataset.tokens(VAL)[:].tolist() == [2]
    assert dataset.tokenizer().decode([0, 1, 2]) == "abc"
    assert dataset.sha256 == file_sha256(folder / MANIFEST)
    assert dataset.damaged() == []
    assert [path.name for path in dataset.files()] == ["train-00000.tokens", "val-00000.tokens", "train-00001.tokens"]


def test_another_tokenizer_is_refused(folder: Path) -> None:
    made, other = CharTokenizer("abc").sha256[:16], CharTokenizer("abd").sha256[:16]
    dataset = open_dataset(folder)
    dataset.check_tokenizer(CharTokenizer("abc"), "")
    with pytest.raises(ValueError, match=f"was prepared with the one of SHA-256 {made}…, got {other}…; leave it out"):
        dataset.check_tokenizer(CharTokenizer("abd"), "leave it out")
    CharTokenizer("abd").save(folder / TOKENIZER)
    with pytest.raises(ValueError, match=r"tokenizer\.json has changed: restore it"):
        dataset.tokenizer()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert not is_prepared(tmp_path)
    assert not is_prepared(None)
    assert not is_prepared("")
    with pytest.raises(FileNotFoundError, match=r"holds no prepared data \(manifest\.json\); make it with: python -m"):
        open_dataset(tmp_path)


def test_a_folder_that_is_not_whole(folder: Path) -> None:
    (folder / MANIFEST).rename(folder / UNFINISHED)
    assert is_prepared(folder)
    with pytest.raises(ValueError, match="is not complete: data prepare was stopped; run the same command again"):
        open_dataset(folder)


def test_a_shard_that_is_missing_or_another(folder: Path) -> None:
    shard = folder / "train-00001.tokens"
    whole = shard.read_bytes()
    write_tokens(shard, [1, 1, 1], 3, CharTokenizer("abc").sha256)
    with pytest.raises(
        ValueError, match=r"train-00001\.tokens is not the shard that manifest\.json lists; restore it or prepare"
    ):
        open_dataset(folder)
    write_tokens(shard, [2, 0], 3, CharTokenizer("abd").sha256)
    with pytest.raises(ValueError, match="is not the shard"):
        open_dataset(folder)
    shard.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match=r"train-00001\.tokens is damaged"):
        open_dataset(folder)
    shard.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"train-00001\.tokens is missing: manifest\.json lists it; restore it or prepare"
    ):
        open_dataset(folder)


def test_a_flipped_bit_is_found_by_whoever_reads_all(folder: Path) -> None:
    shard = folder / "train-00001.tokens"
    data = bytearray(shard.read_bytes())
    data[72] ^= 1
    shard.write_bytes(data)
    assert open_dataset(folder).damaged() == ["train-00001.tokens"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "manifest.json is damaged: it is not JSON: Expecting"),
        ("[]", "manifest.json is damaged: it must be a dict, got list"),
        ("{}", "manifest.json is damaged: the key 'format' is missing"),
        ('{"format": "gpt-dataset-9"}', "its format is 'gpt-dataset-9'; this program reads 'gpt-dataset-1'"),
        ('{"format": "gpt-dataset-1"}', "manifest.json is damaged: the key 'tokenizer_sha256' is missing"),
        (("parts", 0, 3), r"manifest.json is damaged: 'parts\[0\]' must be a dict, got 3"),
        (("parts", 1, {}), r"manifest.json is damaged: the key 'parts\[1\].pieces' is missing"),
        (("tokens", TRAIN, 2.5), "manifest.json is damaged: 'tokens.train' must be a whole number from 0, got 2.5"),
        (("skipped", "count", -1), "manifest.json is damaged: 'skipped.count' must be a whole number from 0, got -1"),
    ],
)
def test_a_manifest_that_is_damaged(folder: Path, content: str | tuple[Any, ...], message: str) -> None:
    if not isinstance(content, str):
        manifest, (outer, inner, value) = json.loads((folder / MANIFEST).read_text(encoding="utf-8")), content
        manifest[outer][inner] = value
        content = json.dumps(manifest)
    (folder / MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        open_dataset(folder)


@pytest.mark.parametrize("name", ["../train-00000.tokens", "/etc/passwd", "C:x.tokens", "a/b", "a\\b", "", ".x"])
def test_a_manifest_names_files_of_its_folder_only(folder: Path, name: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["parts"][0][TRAIN]["file"] = name
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ValueError, match=r"manifest\.json is damaged: the file .* must be a plain name"):
        open_dataset(folder)
