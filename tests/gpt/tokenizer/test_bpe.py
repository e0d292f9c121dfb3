"""The tokenizer as its user sees it: round trips, special tokens, chunks, errors, speed."""

import itertools
import pickle
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.tokenizer import EOT, PATTERNS, BPETokenizer, tokenizer_from_dict, train_bpe
from gpt.tokenizer.pairs import encode_naively
from gpt.tokenizer.pretokens import BLOCK
from gpt.tokenizer.splits import word_finder

BYTES = {byte: bytes([byte]) for byte in range(256)}
TEXT = "low low low lower lowest; the newer, the wider: it's they'll 2024\n\n\tété 😀😀 中文"


@pytest.fixture(scope="module", params=PATTERNS)
def tokenizer(request: pytest.FixtureRequest) -> BPETokenizer:
    return BPETokenizer.train(TEXT * 3, 300, pattern=request.param, special_tokens=(EOT, f"{EOT}{EOT}", "<|pad|>"))


def test_ids_worked_by_hand() -> None:
    # words: low 1, " low" 2, " lower" 1, " lowest" 1
    # o w 5, l o 5, " " l 4, w e 2, e r 1, e s 1, s t 1: of the two with 5, (o, w) > (l, o)
    # l ow 5, " " l 4, ow e 2
    # " " low 4, low e 2
    tokenizer = BPETokenizer.train("low low low lower lowest", 260)
    assert tokenizer.merges == [(b"o", b"w"), (b"l", b"ow"), (b" ", b"low")]
    assert tokenizer.vocab_size == 260
    assert tokenizer.special_tokens == {EOT: 259}
    assert tokenizer.eot_id == 259
    assert tokenizer.encode("low slow lower") == [257, 32, 115, 257, 258, 101, 114]
    assert tokenizer.decode([257, 32, 115, 257, 258, 101, 114]) == "low slow lower"
    assert tokenizer.decode([259, 257]) == f"{EOT}low"


@settings(deadline=None)
@given(text=st.text() | st.text("low erst'l\n😀é中<|>"))
def test_every_text_comes_back(tokenizer: BPETokenizer, text: str) -> None:
    ids = tokenizer.encode_ordinary(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode("utf-8")
    assert tokenizer.decode(tokenizer.encode(text, allowed_special="all")) == text
    assert tokenizer.decode(np.array(ids, dtype=np.uint16)) == text
    assert all(0 <= id < tokenizer.vocab_size for id in ids)


def test_every_character_of_unicode_comes_back(tokenizer: BPETokenizer) -> None:
    text = "".join(chr(code) for code in itertools.chain(range(0xD800), range(0xE000, 0x110000, 7)))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None)
@given(text=st.text("low erst'\né<|>") | st.text())
def test_encoding_is_what_the_specification_says(tokenizer: BPETokenizer, text: str) -> None:
    ids_of = {token: id for id, token in tokenizer.vocab.items()}
    words = word_finder(tokenizer.pattern)(text)
    naive = [ids_of[token] for word in words for token in encode_naively(word.encode("utf-8"), tokenizer.merges)]
    assert tokenizer.encode_ordinary(text) == naive


def test_special_tokens_are_ids_or_text_or_refused(tokenizer: BPETokenizer) -> None:
    eot, two, pad = (tokenizer.special_tokens[token] for token in (EOT, EOT * 2, "<|pad|>"))
    assert (eot, two, pad) == (tokenizer.vocab_size - 3, tokenizer.vocab_size - 2, tokenizer.vocab_size - 1)
    text = f"{EOT * 3}<|pad|>"
    assert tokenizer.encode(text, allowed_special="all") == [two, eot, pad]  # the longest first
    assert tokenizer.encode(text, allowed_special={EOT}, disallowed_special=())[:3] == [eot, eot, eot]
    assert pad not in tokenizer.encode(text, allowed_special={EOT}, disallowed_special=())
    assert list(tokenizer.encode_iterable(text, allowed_special="all")) == [two, eot, pad]
    ordinary = tokenizer.encode(text, disallowed_special=())
    assert not {eot, two, pad} & set(ordinary)
    assert tokenizer.encode_ordinary(text) == tokenizer.encode_bytes(text.encode()) == ordinary
    assert tokenizer.decode(ordinary) == text
    assert tokenizer.encode_batch([text, "", "low"], disallowed_special=()) == [ordinary, [], tokenizer.encode("low")]


def test_a_special_token_that_is_not_allowed_raises(tokenizer: BPETokenizer) -> None:
    message = (
        r"encode: a special token must be allowed, got '<\|pad\|>' at index 4 of the text; "
        r"allowed_special=\{'<\|pad\|>'\} gives its id, disallowed_special=\(\) reads it as text"
    )
    with pytest.raises(ValueError, match=message):
        tokenizer.encode("low <|pad|>")
    with pytest.raises(ValueError, match=message):
        tokenizer.encode("low <|pad|>", allowed_special={EOT})
    with pytest.raises(ValueError, match=message):  # named, it is refused although it is allowed
        tokenizer.encode("low <|pad|>", allowed_special="all", disallowed_special={"<|pad|>"})
    with pytest.raises(ValueError, match="encode: a special token must be allowed, got"):
        tokenizer.encode_batch(["low", EOT])
    with pytest.raises(ValueError, match="explain: a special token must be allowed, got"):
        tokenizer.explain(EOT)
    with pytest.raises(ValueError, match=r"disallowed_special must name special tokens of .*got '<\|x\|>'"):
        tokenizer.encode("low", disallowed_special={"<|x|>"})
    assert tokenizer.encode("<|pad|", disallowed_special="all") == tokenizer.encode_ordinary("<|pad|")


def test_a_refused_special_token_is_seen_across_chunks() -> None:
    tokenizer = BPETokenizer(BYTES, [], ["<|pad|>", "<|x|>"], allowed_special=())
    text = "low <|pad|>"
    for cuts in itertools.combinations(range(1, len(text)), 2):
        chunks = [text[start:stop] for start, stop in itertools.pairwise((0, *cuts, len(text)))]
        with pytest.raises(ValueError, match=r"encode_iterable: .* got '<\|pad\|>' at index 4 of the text"):
            list(tokenizer.encode_iterable(chunks))
    with pytest.raises(ValueError, match=r"got '<\|pad\|>' at index 4 of the text"):
        list(tokenizer.encode_iterable(text))


@settings(deadline=None)
@given(data=st.binary() | st.text().map(str.encode))
def test_any_bytes_come_back(tokenizer: BPETokenizer, data: bytes) -> None:
    ids = tokenizer.encode_bytes(data)
    assert tokenizer.decode_bytes(ids) == data
    assert tokenizer.decode(ids) == data.decode("utf-8", "replace")


def test_bytes_that_are_no_text_worked_by_hand() -> None:
    tokenizer = BPETokenizer({**BYTES, 256: b"ab", 257: b"\xff\xfe"}, [(b"a", b"b"), (b"\xff", b"\xfe")])
    assert tokenizer.encode_bytes(b"ab\xff\xfe\xe4\xb8ab") == [256, 257, 0xE4, 0xB8, 256]
    assert tokenizer.encode_bytes("中ab".encode()) == tokenizer.encode("中ab")


def test_merges_are_explained_in_order() -> None:
    # ranks: o w 0, l ow 1, " " low 2; lower and lowest by hand as in test_ids_worked_by_hand
    tokenizer = BPETokenizer.train("low low low lower lowest", 260)
    low, lower, eot = tokenizer.explain(f"low lower{EOT}", allowed_special="all")
    assert low == ("low", (b"l", b"o", b"w"), [(0, (b"l", b"ow")), (1, (b"low",))], [257])
    assert lower.steps == [
        (0, (b" ", b"l", b"ow", b"e", b"r")),
        (1, (b" ", b"low", b"e", b"r")),
        (2, (b" low", b"e", b"r")),
    ]
    assert lower.ids == [258, 101, 114]
    assert eot == (EOT, (), [], [259])


@settings(deadline=None)
@given(text=st.text("low erst'\né") | st.text())
def test_an_explanation_ends_in_the_ids(tokenizer: BPETokenizer, text: str) -> None:
    explained = tokenizer.explain(text, disallowed_special=())
    assert "".join(step.text for step in explained) == text
    assert [id for step in explained for id in step.ids] == tokenizer.encode_ordinary(text)
    for step in explained:
        tokens = step.steps[-1][1] if step.steps else tuple(bytes([byte]) for byte in step.text.encode())
        assert [tokenizer.vocab[id] for id in step.ids] == list(tokens)


def test_a_tokenizer_built_from_its_parts_sees_special_tokens_as_cs336_asks(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(f"the cat{EOT}the hat", encoding="utf-8")
    vocab, merges = train_bpe(path, 270, [EOT])
    tokenizer = BPETokenizer(vocab, merges, [EOT])
    assert tokenizer.encode(f"{EOT}a{EOT}") == [tokenizer.eot_id, 97, tokenizer.eot_id]
    assert list(tokenizer.encode_iterable([f"{EOT}a<|endof", "text|>"])) == [tokenizer.eot_id, 97, tokenizer.eot_id]
    assert (
        tokenizer.encode(EOT, allowed_special=(), disallowed_special=())
        == BPETokenizer(vocab, merges, [EOT]).encode_ordinary(EOT)
        != [tokenizer.eot_id]
    )
    assert BPETokenizer(vocab, merges).eot_id is None


def test_special_tokens_that_the_vocabulary_lacks_come_after_it() -> None:
    vocab = {**BYTES, 300: b"ab", 290: b"<|x|>"}
    tokenizer = BPETokenizer(vocab, [(b"a", b"b")], ["<|x|>", "<|y|>"])
    assert tokenizer.special_tokens == {"<|x|>": 290, "<|y|>": 301}
    assert tokenizer.vocab_size == 302  # ids may leave gaps: an embedding needs a row for the greatest
    assert tokenizer.encode("ab<|x|><|y|>", allowed_special="all") == [300, 290, 301]
    assert len(vocab) == 258  # the caller's dict is left alone


@settings(max_examples=12, deadline=None)
@given(
    unit=st.text("ab 'sl\n\r1é中A", min_size=1, max_size=9),
    offsets=st.lists(st.integers(0, 2 * BLOCK), max_size=8),
    tail=st.text(max_size=9),
)
def test_no_cut_is_seen_in_the_ids(tokenizer: BPETokenizer, unit: str, offsets: list[int], tail: str) -> None:
    text = (unit * (BLOCK // len(unit)) + tail + EOT) * 2
    edges = [0, *sorted(offset for offset in offsets if offset < len(text)), len(text)]
    chunks = [text[start:stop] for start, stop in itertools.pairwise(edges)]
    assert list(tokenizer.encode_iterable(chunks, disallowed_special=())) == tokenizer.encode_ordinary(text)
    assert list(tokenizer.encode_iterable(chunks, allowed_special="all")) == tokenizer.encode(
        text, allowed_special="all"
    )


def test_chunks_are_encoded_in_little_memory() -> None:
    tokenizer = BPETokenizer.train(TEXT, 300)
    lines = itertools.repeat("the newer, the wider 12\n", 60_000)  # 1.4 MB
    tracemalloc.start()
    try:
        n_ids = sum(1 for _ in tokenizer.encode_iterable(lines))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_ids > 400_000
    assert peak < 2e6
    assert list(itertools.islice(tokenizer.encode_iterable(itertools.repeat("low ")), 2)) == tokenizer.encode("low low")


def test_decoding_half_a_character_and_unknown_ids() -> None:
    tokenizer = BPETokenizer(BYTES, [])
    assert tokenizer.decode([0xC3, 0xA9, 0xC3]) == "é\ufffd"
    assert tokenizer.decode_bytes([0xC3]) == b"\xc3"
    for wrong in ([256], [-1], ["a"], np.array([1, 300])):
        with pytest.raises(
            ValueError, match=r"decode: every id must be a token of this vocabulary, from 0 to 255, got"
        ):
            tokenizer.decode(wrong)
    for wrong in (5, [[1, 2]], np.zeros((2, 2), int)):
        with pytest.raises(
            TypeError, match=r"decode: ids must be a flat sequence of ids, got .*; for one id write \[id\]"
        ):
            tokenizer.decode(wrong)  # type: ignore[arg-type]


def test_what_is_no_text_is_refused(tokenizer: BPETokenizer) -> None:
    with pytest.raises(
        ValueError, match=r"encode: UTF-8 cannot encode a lone surrogate, got U\+DC80 at index 2; replace it"
    ):
        tokenizer.encode("ab\udc80")
    with pytest.raises(
        ValueError, match=r"encode_iterable: UTF-8 cannot encode a lone surrogate, got U\+D83D at index 0"
    ):
        list(tokenizer.encode_iterable(["a", "\ud83d", "\ude00"]))
    with pytest.raises(TypeError, match="encode: text must be a str, got bytes; bytes become text with"):
        tokenizer.encode(b"ab")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"BPETokenizer\.train: UTF-8 cannot encode a lone surrogate"):
        BPETokenizer.train("\ud800", 300)


def test_wrong_special_tokens_are_refused(tokenizer: BPETokenizer) -> None:
    with pytest.raises(
        ValueError, match=r"special tokens of this tokenizer \('<\|endoftext\|>', .*\), got '<\|eot\|>'"
    ):
        tokenizer.encode("a", allowed_special={"<|eot|>"})
    with pytest.raises(
        ValueError, match=r"allowed_special must be 'all' or a set of special tokens, got '<\|endoftext\|>'"
    ):
        tokenizer.encode("a", allowed_special=EOT)
    with pytest.raises(
        ValueError, match=r"BPETokenizer: a special token must not be the result of a merge, got 'ab'; write it"
    ):
        BPETokenizer({**BYTES, 256: b"ab"}, [(b"a", b"b")], ["ab"])
    with pytest.raises(ValueError, match=r"BPETokenizer.train: vocab_size must be at least 258"):
        BPETokenizer.train("text", 257, special_tokens=("<|a|>", "<|b|>"))


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        ({}, [], "the vocabulary must have tokens, got none"),
        ({**BYTES, -1: b"ab"}, [], "ids must be 0 or greater, got -1"),
        ({**BYTES, 256: b""}, [], "a token must have at least one byte, got b'' for id 256"),
        ({**BYTES, 256: b"a"}, [], "a token must have one id, got 97 and 256 for b'a'"),
        (BYTES, [(b"a", b"b")], "merge 0 of b'a' and b'b' needs b'ab', which the vocabulary does not have"),
        ({**BYTES, 256: b"ab"}, [(b"a", b"b"), (b"a", b"b")], "merge 1 of b'a' and b'b' is there twice"),
    ],
)
def test_wrong_vocabularies_are_refused(
    vocab: dict[int, bytes], merges: list[tuple[bytes, bytes]], message: str
) -> None:
    with pytest.raises(ValueError, match=f"BPETokenizer: {message}"):
        BPETokenizer(vocab, merges)


def test_a_vocabulary_turned_round_is_refused() -> None:
    with pytest.raises(TypeError, match="vocab must map ids to bytes, got b'a': 0"):
        BPETokenizer({b"a": 0}, [])  # type: ignore[dict-item]


@pytest.mark.parametrize("length", [125_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("start", "unit"),
    [("", "a"), ("", " "), ("", "\n"), ("", "😀"), ("", "e\u0301"), ("中", "B"), ("", "'"), ("", "<|")],
    ids=["letter", "spaces", "lines", "emoji", "marks", "capitals", "quotes", "special"],
)
def test_a_megabyte_of_anything_takes_seconds(tokenizer: BPETokenizer, start: str, unit: str, length: int) -> None:
    text = start + unit * (length // len(unit.encode()))
    began = time.process_time()
    ids = tokenizer.encode(text, allowed_special="all")
    assert time.process_time() - began < 5e-6 * length
    assert tokenizer.decode(ids) == text


def test_real_texts_come_back_in_time(data_dir: Path) -> None:
    shakespeare = (data_dir / "tinyshakespeare.txt").read_text(encoding="utf-8")
    trained = BPETokenizer.train(shakespeare, 4096)
    for path in sorted(path for path in data_dir.rglob("*") if path.is_file()):
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        fresh = BPETokenizer(trained.vocab, trained.merges, trained.special_tokens)
        start = time.process_time()
        ids = fresh.encode_ordinary(text)
        seconds = time.process_time() - start
        assert fresh.decode(ids) == text, path.name
        if path.name == "tinyshakespeare.txt":
            assert seconds < 1  # 0.15 s on the machine where this was written
            assert len(ids) < len(text) / 3
            assert list(fresh.encode_iterable(text.splitlines(keepends=True))) == ids


def test_the_tokens_at_which_texts_begin_and_end_are_stored() -> None:
    tokenizer = BPETokenizer.train("low low lower", 258, special_tokens=["<s>", "</s>"])
    assert (tokenizer.bos_id, tokenizer.prefix, tokenizer.end_ids) == (None, [], ())
    bos, eos = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    other = tokenizer.with_bos_eos(bos_id=bos, adds_bos=True, end_ids=[eos, bos, eos])
    for copy in (other, tokenizer_from_dict(other.to_dict()), pickle.loads(pickle.dumps(other))):
        assert (copy.bos_id, copy.prefix, copy.end_ids) == (bos, [bos], (eos, bos))
        assert copy.encode("low") == tokenizer.encode("low")
        assert copy.sha256 == other.sha256 != tokenizer.sha256
    assert tokenizer.prefix == other.with_bos_eos(bos_id=bos, adds_bos=False, end_ids=()).prefix == []
    with pytest.raises(ValueError, match="every id must be a token of this vocabulary, got 999"):
        tokenizer.with_bos_eos(bos_id=None, adds_bos=False, end_ids=[999])
    with pytest.raises(ValueError, match="adds_bos needs a bos_id"):
        tokenizer.with_bos_eos(bos_id=None, adds_bos=True, end_ids=[])
