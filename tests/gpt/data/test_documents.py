"""Tests of gpt/data/documents.py: chunks have the ids of their text, and a document's hash determines its split."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt.data.dataset import TRAIN, VAL
from gpt.data.documents import (
    MANY,
    MAX_LISTED,
    Chunk,
    TextFiles,
    cut_chunks,
    hash_fraction,
    slice_text,
    split_documents,
)
from gpt.text.documents import Document
from gpt.tokenizer import PATTERNS, BPETokenizer

SAMPLE = (
    "Low lower lowest, they'll say: 12 345\n\nélan naïve — “so” 中文，字。\n  x\ty\r\n"
    " 'tis I'LL it's 3.5 a\u0301 b\u200b c\x1cd"
)
TOKENIZERS = {
    pattern: BPETokenizer.train(SAMPLE * 3 + "  \n\n \r\n 1234 ... !!\n\n", 330, pattern=pattern)
    for pattern in PATTERNS
}
ALPHABET = st.sampled_from([*"aZé中ß1²Ⅷ٣'’.,!\n\r\t  \u00a0\u3000\x1c\x85\u0301\u200d😀/", "'ll", "\n\n", "the "])
TEXTS = st.lists(ALPHABET | st.characters(exclude_categories=("Cs",)), max_size=60).map("".join)


def document(text: str, name: str = "d") -> Document:
    return Document(name, (text,))


# Cutting


def test_chunks_by_hand() -> None:
    assert list(cut_chunks(["one two three"], 8)) == ["one two", " three"]  # after 8 characters there is "one two "
    assert list(cut_chunks(["one two three"], 7)) == [
        "one",
        " two",
        " three",
    ]  # whether "two" ends at 7 is not seen yet
    assert list(cut_chunks(["one two three"], 100)) == ["one two three"]
    assert list(cut_chunks(["!!! ??? one !"], 3)) == ["!!! ??? one", " !"]  # the first split point there is
    assert list(cut_chunks(["!!! ??? one two six"], 3)) == [
        "!!! ??? one",
        " two",
        " six",
    ]  # and from there on as before
    assert list(cut_chunks(["", ""], 3)) == []


@settings(deadline=None)
@given(TEXTS, st.integers(1, 12), st.lists(st.integers(0, 60), max_size=6))
def test_chunks_are_the_text_and_the_same_however_it_comes(text: str, size: int, cuts: list[int]) -> None:
    chunks = list(cut_chunks([text], size))
    assert "".join(chunks) == text
    edges = [0, *sorted(min(index, len(text)) for index in cuts), len(text)]
    blocks = [text[a:b] for a, b in pairwise(edges)]
    assert list(cut_chunks(blocks, size)) == chunks
    assert list(cut_chunks(text, size)) == chunks


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(deadline=None, max_examples=200)
@given(TEXTS, st.integers(1, 12))
@example("a\n\n  b 12\n 3 'll", 1)
@example("x !\n\n y", 2)
def test_ids_of_the_chunks_are_those_of_the_text(pattern: str, text: str, size: int) -> None:
    tokenizer = TOKENIZERS[pattern]
    ids = [id for chunk in cut_chunks([text], size) for id in tokenizer.encode_ordinary(chunk)]
    assert ids == tokenizer.encode_ordinary(text)


@settings(deadline=None)
@given(st.lists(st.text(max_size=5), max_size=5), st.integers(0, 30), st.none() | st.integers(0, 30))
def test_a_slice_of_blocks_is_a_slice_of_the_text(blocks: list[str], start: int, stop: int | None) -> None:
    assert "".join(slice_text(blocks, start, stop)) == "".join(blocks)[start:stop]


# Splitting


def splits(chunks: list[Chunk]) -> dict[str, str]:
    return {chunk.document: chunk.split for chunk in chunks}


def test_a_single_document_is_split_by_position() -> None:
    assert list(split_documents([document("abcdefgh ij")], 0.2)) == [
        Chunk("d", TRAIN, "abcdefgh ", True, False),  # round(11 · 0.8) = 9 characters
        Chunk("d", VAL, "ij", True, True),
    ]
    assert list(split_documents([document("abc")], 0.0)) == [Chunk("d", TRAIN, "abc", True, True)]
    assert list(split_documents([document("a")], 0.1)) == [Chunk("d", TRAIN, "a", True, True)]  # nothing is left
    assert list(split_documents([], 0.1)) == []


def test_documents_are_kept_whole_and_say_where_they_begin_and_end() -> None:
    chunks = list(split_documents([document("one two three", "a"), document("x", "b")], 0.5, size=8))
    assert [(chunk.document, chunk.text, chunk.first, chunk.last) for chunk in chunks] == [
        ("a", "one two", True, False), ("a", " three", False, True), ("b", "x", True, True),
    ]  # fmt: skip
    assert sorted(splits(chunks).values()) == [TRAIN, VAL]


@pytest.mark.parametrize(("n", "n_val"), [(2, 1), (3, 1), (14, 1), (16, 2), (99, 10)])
def test_of_few_documents_a_share_is_for_validation(n: int, n_val: int) -> None:
    documents = [document(f"text {i}", str(i)) for i in range(n)]
    assigned = splits(list(split_documents(documents, 0.1)))
    lowest = sorted(range(n), key=lambda i: hash_fraction(documents[i]))[:n_val]
    assert {name for name, split in assigned.items() if split == VAL} == set(map(str, lowest))
    assert splits(list(split_documents(documents[::-1], 0.1))) == assigned  # in any order


def test_never_all_and_copies_stay_together() -> None:
    assert set(splits(list(split_documents([document("a", "1"), document("b", "2")], 0.99))).values()) == {TRAIN, VAL}
    twins = [document("same", str(i)) for i in range(5)]
    assert set(splits(list(split_documents(twins, 0.5))).values()) == {TRAIN}


def test_of_many_documents_each_goes_where_its_hash_says() -> None:
    documents = [document(f"text {i}", str(i)) for i in range(3000)]
    assigned = splits(list(split_documents(documents, 0.2)))
    assert list(assigned.values()).count(VAL) == pytest.approx(600, abs=4 * (3000 * 0.2 * 0.8) ** 0.5)
    fewer = splits(list(split_documents(documents[::7], 0.2)))
    assert len(fewer) > MANY
    assert fewer.items() <= assigned.items()  # whatever other documents there are
    assert set(splits(list(split_documents(documents, 0.0))).values()) == {TRAIN}


# Reading


def test_what_cannot_be_read_is_counted_and_the_first_of_it_named(tmp_path: Path) -> None:
    lines = ['{"text": "good"}', *["nonsense"] * (MAX_LISTED + 5), '{"text": "better"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"")
    warnings: list[str] = []
    files = TextFiles([tmp_path], skip=True, warn=warnings.append)
    for _ in range(2):  # counted anew each time
        assert [chunk.text for chunk in files.chunks(0.0)] == ["good", "better"]
        assert files.n_skipped == MAX_LISTED + 6
        assert len(files.skipped) == MAX_LISTED
    assert warnings[0].startswith(f"skipped: data: {tmp_path / 'a.jsonl'}, line 2: a line must be one JSON object")
    assert len(warnings) == 2 * MAX_LISTED
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: a line must be one JSON object"):
        list(TextFiles([tmp_path]).chunks(0.0))
    assert files.n_bytes() == (tmp_path / "a.jsonl").stat().st_size
