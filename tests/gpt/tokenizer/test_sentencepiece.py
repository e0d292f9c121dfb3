"""SentencePiece's byte-pair encoding on small vocabularies, with ids worked out by hand."""

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.generation.generate import TextStream, decode_generated
from gpt.tokenizer import SentencePieceTokenizer, tokenizer_from_dict
from gpt.tokenizer.added_tokens import AddedToken
from gpt.tokenizer.piece_merges import PieceMerges
from gpt.tokenizer.sentencepiece import BYTE_PIECES, Spaces, Unknown

#         0      1    2     3    4    5    6    7     8      9      10    11    12
NAMES = ["<unk>", "▁", "<s>", "l", "o", "w", "e", "lo", "low", "▁low", "▁▁", "we", "ow"]
PIECES = {piece: id for id, piece in enumerate(NAMES)}
MERGES = [("l", "o"), ("lo", "w"), ("▁", "low"), ("▁", "▁"), ("w", "e"), ("o", "w")]
S = AddedToken("<s>", 2)
UNK = Unknown(id=0)
BYTES = PIECES | {piece: 13 + byte for byte, piece in enumerate(BYTE_PIECES)}


def make(prefix: str = "segment", unknown: Unknown = UNK, *added: AddedToken, **spaces: Any) -> SentencePieceTokenizer:
    merges = PieceMerges(BYTES if unknown.byte_fallback else PIECES, MERGES)
    return SentencePieceTokenizer(merges, added or [S], spaces=Spaces(prefix=prefix, **spaces), unknown=unknown)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("low", [9]),
        (" low", [1, 9]),  # ▁ is added, and the spaces do not merge: ▁low ranks before ▁▁
        ("lowe low", [9, 6, 9]),  # low ranks before we
        ("   ", [10, 10]),
        ("▁low", [1, 9]),  # a ▁ in the text is a space
        ("l<s>l", [1, 3, 2, 1, 3]),  # ▁ before every segment
        ("<s><s> ", [2, 2, 10]),
        ("xyl", [1, 0, 3]),  # unknown characters become one
        ("xy xz", [1, 0, 1, 0]),
    ],
)
def test_ids_by_hand(text: str, ids: list[int]) -> None:
    assert make().encode(text, allowed_special="all") == ids


@pytest.mark.parametrize(
    ("prefix", "text", "ids"),
    [
        ("never", "l<s>l", [3, 2, 3]),
        ("missing", "l<s> l", [1, 3, 2, 1, 3]),
        ("first", "l<s>l", [1, 3, 2, 3]),
        ("first", "<s>l", [2, 3]),
        ("segment", " l<s> l", [10, 3, 2, 10, 3]),
    ],
)
def test_where_a_space_is_added(prefix: str, text: str, ids: list[int]) -> None:
    assert make(prefix).encode(text, allowed_special="all") == ids


def test_words_that_end_before_each_space() -> None:
    assert make("never", split=True).encode("l  low") == [3, 1, 9]
    assert make("never").encode("l  low") == [3, 1, 9]
    assert make("never", split=True).encode("  ") == [1, 1]
    assert make("never").encode("  ") == [10]


def test_unknown_characters() -> None:
    assert make("never", Unknown(id=0, fuse=False)).encode("xyl") == [0, 0, 3]
    tokenizer = make("never", Unknown(byte_fallback=True))
    assert tokenizer.encode("é<0x41>l") == [13 + 0xC3, 13 + 0xA9, *(13 + ord(c) for c in "<0x41>"), 3]
    assert tokenizer.decode(tokenizer.encode("é<0x41>l")) == "é<0x41>l"
    with pytest.raises(ValueError, match="neither bytes nor an unknown token, got 'x'"):
        make("never", Unknown()).encode("lx")


def test_added_tokens_that_are_looked_for_after_normalization() -> None:
    normalized = make("segment", UNK, AddedToken("<s>", 2, normalized=True, pattern="▁<s>"))
    assert normalized.encode("l <s>l<s>", allowed_special="all") == [1, 3, 2, 3, 0]  # ▁<s> is looked for
    never = make("never", UNK, AddedToken("l o", 13, special=False, normalized=True, pattern="l▁o"))
    assert never.encode("l o▁l▁o") == [13, 1, 13]


def test_special_tokens_are_read_where_they_are_allowed() -> None:
    tokenizer = make()
    with pytest.raises(ValueError, match="a special token must be allowed, got '<s>'"):
        tokenizer.encode("l<s>")
    assert tokenizer.encode_ordinary("l<s>") == [1, 3, 0]
    assert tokenizer.encode_data("l<s>") == [1, 3, 2]
    plain = make("never", UNK, AddedToken("ow", 12, special=False))
    assert plain.encode_ordinary("low") == [3, 12]  # not special: cut out of every text, before any merge


def test_decoding() -> None:
    tokenizer = make("segment", Unknown(byte_fallback=True), strip=True)
    assert tokenizer.decode([9, 9, 2, 9]) == "low low<s> low"
    assert tokenizer.decode([13 + 0xC3, 13 + 0xA9]) == "é"
    assert tokenizer.decode([13 + 0xC3, 13 + 0xA9, 13 + 0xC3, 3]) == "���l"  # one for each byte of the run
    assert tokenizer.decode_bytes([9]) == b" low"


def test_a_stream_keeps_every_space_and_character() -> None:
    tokenizer = make("segment", Unknown(byte_fallback=True), strip=True)
    stream = TextStream(tokenizer)
    assert [stream.add(id) for id in (9, 13 + 0xC3, 13 + 0xA9, 9)] == [" low", "", "é", " low"]
    assert decode_generated(tokenizer, [9, 13 + 0xC3, 13 + 0xA9, 9]) == " lowé low"


def test_a_document_in_parts() -> None:
    for tokenizer in (make("segment"), make("missing"), make("first")):
        assert tokenizer.encode_data("low") + tokenizer.encode_data(" low", inside=True) == tokenizer.encode_data(
            "low low"
        )
        parts = tokenizer.encode_data("lo") + tokenizer.encode_data("low<s>l", inside=True)
        assert parts == tokenizer.encode_data("lolow<s>l")


def test_explanations() -> None:
    explanation, special = make().explain("low<s>", allowed_special="all")
    assert explanation.text == "▁low"
    assert explanation.start == tuple(c.encode() for c in "▁low")
    assert [rank for rank, _ in explanation.steps] == [0, 1, 2]
    assert explanation.ids == [9]
    assert special.ids == [2]


ALPHABET = ["l", "o", "w", "e", " ", "▁", "x", "é", "<s>", "low", " low", "  "]


@given(st.lists(st.lists(st.sampled_from(ALPHABET), max_size=6).map("".join), max_size=6), st.sampled_from(range(5)))
def test_chunks_make_no_difference(chunks: list[str], option: int) -> None:
    tokenizer = TOKENIZERS[option]
    whole = tokenizer.encode("".join(chunks), allowed_special="all")
    assert list(tokenizer.encode_iterable(chunks, allowed_special="all")) == whole


@given(st.lists(st.sampled_from(ALPHABET), max_size=12).map("".join), st.sampled_from([0, 1, 3, 4]))
def test_words_are_cut_where_nothing_merges(text: str, option: int) -> None:
    tokenizer = TOKENIZERS[option]  # one that does not split words
    text = text.replace(" ", "▁")
    assert [id for word in tokenizer._cut(text) for id in tokenizer._word_ids(word)] == tokenizer.merges.merge(
        tokenizer._symbols(text)
    )


@pytest.mark.parametrize("option", range(5))
def test_stored_and_read(option: int) -> None:
    tokenizer = TOKENIZERS[option].with_bos_eos(bos_id=2, adds_bos=True, end_ids=[0, 2])
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.sha256 == tokenizer.sha256 == pickle.loads(pickle.dumps(tokenizer)).sha256
    assert (again.bos_id, again.adds_bos, again.end_ids) == (2, True, (0, 2))
    text = " low <s>xé  lowe"
    assert again.encode_data(text) == tokenizer.encode_data(text)


TOKENIZERS = [
    make(),
    make("first", Unknown(byte_fallback=True), S, AddedToken("low", 8, special=False, lstrip=True)),
    make("missing", UNK, S, AddedToken("we", 11, special=False, single_word=True), split=True),
    make("segment", UNK, AddedToken("<s>", 2, normalized=True, pattern="▁<s>"), strip=True),
    make("never", UNK, S, AddedToken("lo", 7, special=False, rstrip=True)),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"added": [AddedToken("", 2)]}, "an added token must have a text"),
        ({"added": [AddedToken("<x>", 2)]}, "'<x>' has the id 2, which '<s>' has"),
        ({"added": [AddedToken("<s>", 3)]}, "'<s>' has the id 3, which 'l' has"),
        ({"added": [AddedToken("<s>", 99)]}, "'<s>' has two ids, 2 and 99"),
        ({"unknown": Unknown(byte_fallback=True)}, "must have a piece for <0x00>"),
        ({"unknown": Unknown(id=99)}, "must have a piece for the id 99"),
        ({"merges": [("l", "x")]}, "merge 0 of 'l' and 'x' needs 'x', which is no piece"),
        ({"merges": [("l", "e")]}, "needs 'le', which is no piece"),
        ({"merges": [("l", "o"), ("l", "o")]}, "merge 1 of 'l' and 'o' is there twice"),
        ({"pieces": {"a": 0, "b": 0}}, "'a' and 'b' have the same id, 0"),
        ({"pieces": {"a": 0}}, "must have a piece for the space, '▁'"),
        ({"pieces": {"▁": 0, "\ud800": 1}}, "lone surrogate"),
        ({"spaces": {"prefix": "often"}}, "prefix one of never, segment, missing, first, got '▁' and 'often'"),
    ],
)
def test_what_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SentencePieceTokenizer(
            PieceMerges(change.get("pieces", PIECES), change.get("merges", MERGES if "pieces" not in change else [])),
            change.get("added", []),
            spaces=Spaces(**change.get("spaces", {})),
            unknown=change.get("unknown", Unknown()),
        )
