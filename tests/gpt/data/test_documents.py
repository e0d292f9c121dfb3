"""Tests of gpt/data/documents.py: chunks have the ids of their text, and a document's hash determines its split."""

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt.data.dataset import TRAIN, VAL
from gpt.data.documents import MANY, Chunk, TextFiles, cut_chunks, hash_fraction, slice_text, split_documents
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


def shares(chunks: list[Chunk]) -> dict[str, int]:
    return {split: sum(len(chunk.text) for chunk in chunks if chunk.split == split) for split in (TRAIN, VAL)}


def test_of_a_few_documents_each_is_divided() -> None:
    chunks = list(split_documents([document("one two three", "a"), document("xyz", "b")], 0.25, size=8))
    assert chunks == [
        Chunk("a", TRAIN, "one two", True, False),  # round(13 · 0.75) = 10 characters
        Chunk("a", TRAIN, " th", False, True),
        Chunk("a", VAL, "ree", True, True),
        Chunk("b", TRAIN, "xy", True, True),  # round(16 · 0.75) - 10
        Chunk("b", VAL, "z", True, True),
    ]
    assert {chunk.split for chunk in split_documents([document("ab", "a"), document("cd", "b")], 0.0)} == {TRAIN}


@pytest.mark.parametrize(("n", "fraction"), [(40, 0.1), (99, 0.1), (80, 0.05), (60, 0.9)])
def test_of_many_documents_those_with_the_lowest_hashes_are_for_validation(n: int, fraction: float) -> None:
    documents = [document(f"the text {i:03}", str(i)) for i in range(n)]
    assigned = splits(list(split_documents(documents, fraction)))
    lowest = sorted(range(n), key=lambda i: hash_fraction(documents[i]))[: round(n * fraction)]
    assert {name for name, split in assigned.items() if split == VAL} == set(map(str, lowest))
    assert splits(list(split_documents(documents[::-1], fraction))) == assigned  # in any order


def test_copies_stay_together_or_are_all_divided() -> None:
    copies = [document("same", f"copy {i}") for i in range(3)]
    others = [document(f"text {i:04} of many", str(i)) for i in range(200)]
    chunks = list(split_documents([*copies, *others], 0.1))
    assert len({split for name, split in splits(chunks).items() if name.startswith("copy")}) == 1
    twins = list(split_documents([document("one two three four", str(i)) for i in range(5)], 0.5))
    assert shares(twins) == {TRAIN: 45, VAL: 45}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([20, 50, 300, 1000, 5000, 40_000]), min_size=1, max_size=150),
    st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 0.9]),
    st.randoms(use_true_random=False),
    st.integers(1, 40),
)
@example([300_000, 32], 0.1, random.Random(0), 40)
@example([32, 300_000], 0.1, random.Random(0), 40)
@example([50_000, 50_000, 31_000], 0.1, random.Random(0), 40)
def test_the_share_of_the_characters_is_the_one_asked_for(
    lengths: list[int], fraction: float, rng: random.Random, n_words: int
) -> None:
    words = [f"word{i} " for i in range(n_words)]
    texts = ["".join(rng.choices(words, k=length // 5))[:length] for length in lengths]
    chunks = list(split_documents([document(text, str(i)) for i, text in enumerate(texts)], fraction))
    for i, text in enumerate(texts):
        assert "".join(chunk.text for chunk in chunks if chunk.document == str(i)) == text
    total, share = sum(map(len, texts)), shares(chunks)
    for split, asked in ((VAL, fraction), (TRAIN, 1 - fraction)):
        assert asked * total / 1.25 - 1 <= share[split] <= asked * total * 1.25 + 1, split


def test_of_very_many_documents_each_goes_where_its_hash_says() -> None:
    documents = [document(f"text {i}", str(i)) for i in range(9000)]
    assigned = splits(list(split_documents(documents, 0.2)))
    assert list(assigned.values()).count(VAL) == pytest.approx(1800, abs=4 * (9000 * 0.2 * 0.8) ** 0.5)
    fewer = splits(list(split_documents(documents[::5], 0.2)))
    assert len(fewer) > MANY
    assert fewer.items() <= assigned.items()  # whatever other documents there are
    assert set(splits(list(split_documents(documents, 0.0))).values()) == {TRAIN}


@pytest.mark.parametrize("held", [10**9, 5000])
def test_among_very_many_documents_a_large_one_is_divided(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.data.documents.HELD", held)
    documents = [document(f"text {i:04} of very many", str(i)) for i in range(MANY + 500)]
    documents.insert(7, document("large " * 9000, "large"))
    n_bytes = sum(len(d.text) for d in documents)
    chunks = list(split_documents(documents, 0.1, n_bytes=n_bytes))
    assert shares([chunk for chunk in chunks if chunk.document == "large"]) == {TRAIN: 48_600, VAL: 5_400}
    assert n_bytes / 12.5 < shares(chunks)[VAL] < n_bytes / 8
    assert len({chunk.document for chunk in chunks}) == len(documents)


# Reading


def test_what_cannot_be_read_is_counted_and_the_first_of_it_named(tmp_path: Path) -> None:
    lines = ['{"text": "good"}', *["nonsense"] * 25, '{"text": "better"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.txt").write_bytes(b"a\0b")
    (tmp_path / "d.html").write_text("<p>A <b>page</b><script>f()</script>", encoding="utf-8")
    (tmp_path / "e.htm").write_text("<script>f()</script>", encoding="utf-8")
    (tmp_path / "f.py").write_text("print('é')", encoding="utf-8")
    (tmp_path / "g.py").write_bytes(b"# latin-1: \xe9")
    for name in ("h.pdf", "i.png", "j.pdf", "k.docx"):
        (tmp_path / name).write_bytes(b"a\0b")
    files = TextFiles([tmp_path])
    for _ in range(2):  # counted anew each time
        assert [chunk.text for chunk in files.chunks(0.0)] == ["good", "better", "A page", "print('é')"]
        assert len(files.skipped) == 25 + 4
    unreadable, empty, binary, other, html = files.notes()
    assert other == "skipped   4 of other kinds: h.pdf; i.png; j.pdf; …"
    assert unreadable.startswith(
        f"skipped   26 unreadable: {tmp_path / 'a.jsonl'}, line 2: a line must be one JSON object"
    )
    assert unreadable.endswith("; …")
    assert empty == f"skipped   2 empty: {tmp_path / 'b.txt'} is empty; {tmp_path / 'e.htm'} has no text in its tags"
    assert binary.startswith(f"skipped   1 binary: {tmp_path / 'c.txt'} is binary")
    assert html == "html      1 page of HTML, without tags and scripts"
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: a line must be one JSON object"):
        list(TextFiles([tmp_path], skip=False).chunks(0.0))


@pytest.mark.parametrize("name", ["b.txt", "c.txt", "gone.txt"])
def test_a_file_that_is_named_is_an_error_unless_it_is_to_be_skipped(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("good", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.txt").write_bytes(b"a\0b")
    named = [tmp_path / "a.txt", tmp_path / name]
    for skip in (None, False):
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            list(TextFiles(named, skip=skip).chunks(0.0))
    assert [chunk.text for chunk in TextFiles(named, skip=True).chunks(0.0)] == ["good"]
    assert [chunk.text for chunk in TextFiles([tmp_path]).chunks(0.0)] == ["good"]


def test_one_unreadable_document_does_not_stop_a_thousand(tmp_path: Path) -> None:
    for i in range(1000):
        (tmp_path / f"{i:04}.txt").write_bytes(b"" if i == 500 else b"text %d" % i)
    files = TextFiles([tmp_path])
    assert len(list(files.chunks(0.0))) == 999
    assert files.notes() == [f"skipped   1 empty: {tmp_path / '0500.txt'} is empty"]
