"""The two files of SentencePiece's tokenizers: tokenizer.json, and tokenizer.model with its own wire format."""

import copy
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from gpt.tokenizer import SentencePieceTokenizer, load_tokenizer, to_huggingface
from gpt.tokenizer.formats.huggingface import from_huggingface
from gpt.tokenizer.formats.sentencepiece_model import from_sentencepiece_model, read_message
from gpt.tokenizer.sentencepiece import BYTE_PIECES

VOCAB = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "h": 4, "i": 5, "hi": 6, "▁hi": 7}
JSON: dict[str, Any] = {
    "added_tokens": [{"id": id, "content": text, "special": True} for text, id in list(VOCAB.items())[:3]],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "pre_tokenizer": None,
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "vocab": VOCAB, "merges": ["h i", ["▁", "hi"]]},
}
PREPEND = {"type": "Prepend", "prepend": "▁"}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}


def test_a_tokenizer_json_of_llama_2() -> None:
    tokenizer = from_huggingface(JSON)
    assert (tokenizer.bos_id, tokenizer.adds_bos, tokenizer.eot_id, tokenizer.end_ids) == (1, True, 2, (2,))
    assert tokenizer.encode("hi hi</s>hx", allowed_special="all") == [7, 7, 2, 3, 4, 0]
    assert tokenizer.decode([7, 7]) == "hi hi"


def test_a_tokenizer_json_with_metaspace() -> None:
    tokenizer = from_huggingface({**JSON, "normalizer": None, "pre_tokenizer": METASPACE})
    assert tokenizer.encode(" hi</s>hi", allowed_special="all") == [7, 2, 6]  # " hi" begins with a space already


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "type"), "Unigram", "model.type must be 'BPE', got 'Unigram'"),
        (("model", "dropout"), 0.1, "model.dropout must be null or false, got 0.1"),
        (("model", "ignore_merges"), True, "model.ignore_merges must be null or false"),
        (("model", "unk_token"), "<x>", "model.unk_token is '<x>', which is not in model.vocab"),
        (("model", "merges"), [["h", "i", "h"]], "must hold pairs of pieces"),
        (("model", "merges"), [["<unk>", "i"]], "needs '<unk>i', which is no piece"),
        (("model", "vocab"), {"h": -1}, "model.vocab must give pieces an id, got 'h': -1"),
        (("normalizer", "normalizers"), [PREPEND, {"type": "NFKC"}], "normalizer: {'type': 'NFKC'} is not supported"),
        (("normalizer", "normalizers"), [PREPEND], "neither normalizer nor pre_tokenizer replaces spaces"),
        (("pre_tokenizer",), {"type": "Whitespace"}, "pre_tokenizer: {'type': 'Whitespace'} is not supported"),
        (("pre_tokenizer",), METASPACE, "Metaspace with ▁ where no normalizer adds one"),
        (("decoder",), {"type": "WordPiece"}, "decoder must be a Sequence of .*; got WordPiece"),
        (("decoder",), None, "got none"),
        (
            ("post_processor",),
            {"type": "BertProcessing"},
            "post_processor must be ByteLevel or TemplateProcessing, got BertProcessing",
        ),
        (
            ("post_processor", "single"),
            [{"SpecialToken": {"id": "<x>"}}, {"Sequence": {}}],
            "post_processor.TemplateProcessing.single must be",
        ),
        (("added_tokens",), [{"id": 9, "content": "h"}], "'h' has two ids, 4 and 9"),
        (("added_tokens",), [{"id": 9}], "an added token must have a text as content"),
    ],
)
def test_what_is_not_supported_is_named(path: tuple[str, ...], value: Any, message: str) -> None:
    fields = copy.deepcopy(JSON)
    inner = fields
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        from_huggingface(fields)


# tokenizer.model, written field by field


def varint(number: int) -> bytes:
    number %= 1 << 64
    digits = []
    while number > 127:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


def field(number: int, value: float | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text: str, score: float = 0.0, kind: int = 1) -> bytes:
    return field(1, field(1, text.encode()) + field(2, score) + field(3, kind))


SPECIALS = piece("<unk>", kind=2) + piece("<s>", kind=3) + piece("</s>", kind=3)
PLAIN = piece("▁", -3.0) + piece("h", -4.0) + piece("i", -5.0) + piece("hi", -0.0) + piece("▁hi", -1.0)
TRAINER = field(2, field(3, 2))  # bpe
NORMALIZER = field(3, field(1, b"identity") + field(4, 0))
MODEL = SPECIALS + PLAIN + TRAINER + NORMALIZER


def test_a_tokenizer_model() -> None:
    tokenizer = from_sentencepiece_model(MODEL)
    assert (tokenizer.bos_id, tokenizer.adds_bos, tokenizer.end_ids, tokenizer.unknown.id) == (1, True, (2,), 0)
    assert tokenizer.encode("hi  hxx") == [7, 3, 3, 4, 0]
    assert tokenizer.encode("hi</s>hi", allowed_special="all") == [7, 2, 7]
    assert tokenizer.decode([7, 7]) == "hi hi"


def test_bytes_and_symbols_of_the_user() -> None:
    fallback = field(2, field(3, 2) + field(35, 1))
    model = (
        SPECIALS
        + b"".join(piece(byte, kind=6) for byte in BYTE_PIECES)
        + PLAIN
        + piece("ih", kind=4)
        + fallback
        + NORMALIZER
    )
    tokenizer = from_sentencepiece_model(model)
    assert tokenizer.encode("hihé") == [259, 260, 264, 3 + 0xC3, 3 + 0xA9]  # ▁ h ih: no segment of its own, so no ▁
    assert tokenizer.decode(tokenizer.encode("hihé")) == "hihé"


def test_the_options_of_a_tokenizer_model() -> None:
    no_prefix = from_sentencepiece_model(SPECIALS + PLAIN + TRAINER + field(3, field(3, 0) + field(4, 0)))
    assert no_prefix.encode("hi hi") == [6, 7]
    assert no_prefix.decode([7]) == " hi"
    no_bos = from_sentencepiece_model(SPECIALS + PLAIN + field(2, field(3, 2) + field(41, -1)) + NORMALIZER)
    assert (no_bos.bos_id, no_bos.adds_bos) == (None, False)
    newer = from_sentencepiece_model(MODEL, {"legacy": False, "add_bos_token": False})
    assert newer.encode("hi</s>hi", allowed_special="all") == [7, 2, 6]
    assert (newer.bos_id, newer.adds_bos) == (1, False)


def test_files_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(MODEL)
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": false}', encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert not tokenizer.adds_bos
    fields = {**JSON, "normalizer": None, "pre_tokenizer": METASPACE}
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)  # tokenizer.json comes first
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert (tokenizer.spaces.prefix, tokenizer.adds_bos) == ("first", False)


@pytest.mark.parametrize("changes", [{}, {"normalizer": None, "pre_tokenizer": METASPACE}])
def test_written_and_read_again(changes: dict[str, Any]) -> None:
    tokenizer = from_huggingface(JSON | changes)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert from_huggingface(to_huggingface(tokenizer)).sha256 == tokenizer.sha256


def test_a_tokenizer_model_as_tokenizer_json() -> None:
    tokenizer = from_sentencepiece_model(MODEL)
    again = from_huggingface(to_huggingface(tokenizer))
    assert again.encode("hi  hxx") == tokenizer.encode("hi  hxx")
    symbols = from_sentencepiece_model(MODEL + piece("ih", kind=4))
    with pytest.raises(ValueError, match="the symbol 'ih' is found after a ▁ is added, which the format cannot say"):
        to_huggingface(symbols)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"", "trainer_spec.model_type must be bpe, got unigram"),
        (MODEL[:-1], "would have 12 bytes, and 11 are left; is it cut off?"),
        (SPECIALS + PLAIN + field(2, field(3, 1)), "model_type must be bpe, got unigram, which is not supported"),
        (SPECIALS + PLAIN + TRAINER, "remove_extra_whitespaces must be false, got true"),
        (MODEL + field(3, field(1, b"nmt_nfkc") + field(2, b"x")), "must be identity, got 'nmt_nfkc'"),
        (MODEL + field(2, field(24, 1)), "treat_whitespace_as_suffix must be false"),
        (MODEL + piece("hi"), "piece 8 must have a text that no other has, got 'hi'"),
        (MODEL + piece(""), "piece 8 must have a text"),
        (MODEL + piece("x", float("nan")), "piece 8, 'x', must have a number as its score"),
        (MODEL + piece("hy"), "the piece 'hy' has a character that is no piece"),
        (MODEL + piece("x", kind=5), "piece 8, 'x', has the type UNUSED"),
        (MODEL + piece("x", kind=2), "one piece must be the unknown token, got 2"),
        (MODEL + field(2, field(35, 1)), "must have a piece for <0x00>"),
        (MODEL + field(1, 7), "field 1 must be bytes on the wire"),
        (MODEL + field(1, field(1, b"\xff")), "piece 8 must be UTF-8"),
        (b"\x0a" + varint(1 << 60), "field 1 would have 1152921504606846976 bytes"),
        (b"\x80" * 20, "byte 0 begins a number that does not end"),
        (b"\x0b", "has the wire type 3, which is unknown"),
    ],
)
def test_what_a_tokenizer_model_must_not_have(model: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        from_sentencepiece_model(model)
    assert "\n" not in str(caught.value)


def test_numbers_on_the_wire() -> None:
    assert list(read_message(field(3, 300) + field(4, 1.0) + field(5, b"x") + varint(6 << 3 | 1) + bytes(8))) == [
        (3, 300),
        (4, struct.pack("<f", 1.0)),
        (5, b"x"),
        (6, bytes(8)),
    ]
