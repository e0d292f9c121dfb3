"""Read tokenizer.model, the file of Google's SentencePiece library, if its model is byte-pair encoding.

It is a Protocol Buffers message. On the wire a message is a list of fields. Each begins with a number that holds the
field's number and its wire type: 0 is a varint, 1 and 5 are eight and four bytes, 2 is a length and as many bytes, which
hold a text or a message. A varint has seven bits a byte, the lowest first; its last byte is below 128.

Sources: https://github.com/google/sentencepiece, src/sentencepiece_model.proto, model_interface.cc (InitializePieces) and
normalizer.cc; https://protobuf.dev/programming-guides/encoding
"""

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from gpt.tokenizer.added_tokens import AddedToken
from gpt.tokenizer.piece_merges import PieceMerges
from gpt.tokenizer.sentencepiece import SentencePieceTokenizer, Spaces, Unknown
from nanograd.runtime.typed_json import quote

PIECES, TRAINER, NORMALIZER = 1, 2, 3  # fields of a ModelProto
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # types of a piece
MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5  # wire types


def read_message(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field, an int of a varint or the bytes of another.

    Raises ValueError if the message ends inside of a field.

    >>> list(read_message(bytes([8, 172, 2, 18, 2, 104, 105])))
    [(1, 300), (2, b'hi')]
    """
    offset = 0
    while offset < len(data):
        tag, offset = _varint(data, offset)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            value, offset = _varint(data, offset)
            yield number, value
            continue
        if wire_type == LENGTH:
            size, offset = _varint(data, offset)
        elif wire_type in (EIGHT, FOUR):
            size = 8 if wire_type == EIGHT else 4
        else:
            raise ValueError(f"a field before byte {offset} has the wire type {wire_type}, which is unknown")
        if not number or size > len(data) - offset:
            raise ValueError(
                f"field {number} would have {size} bytes, and {len(data) - offset} are left; is it cut off?"
            )
        yield number, data[offset : offset + size]
        offset += size


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """Return a number below 2**64 and the offset after it."""
    value = 0
    for i, byte in enumerate(data[offset : offset + 10]):
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value % (1 << 64), offset + i + 1
    raise ValueError(f"byte {offset} begins a number that does not end")


def from_sentencepiece_model(data: bytes, config: Mapping[str, Any] | None = None) -> SentencePieceTokenizer:
    """Make the tokenizer from the bytes of a tokenizer.model; ValueError names what is damaged or not supported.

    `config` is the object of the tokenizer_config.json beside it: whether <s> precedes a text (add_bos_token, by default
    True), and whether a ▁ is added after special tokens too ("legacy", by default True).
    """
    config = config or {}
    fields: dict[int, list[bytes]] = {PIECES: [], TRAINER: [], NORMALIZER: []}
    for number, value in read_message(data):
        if number in fields:
            fields[number].append(_as(bytes, value, f"field {number}"))
    trainer = _merged(fields[TRAINER])
    kind = _as(int, trainer.get(3, 1), "trainer_spec.model_type")
    if kind != 2:
        raise ValueError(
            f"trainer_spec.model_type must be bpe, got {MODEL_TYPES.get(kind, kind)}, which is not supported"
        )
    if trainer.get(24):
        raise ValueError("trainer_spec.treat_whitespace_as_suffix must be false, got true, which is not supported")
    normalizer = _merged(fields[NORMALIZER])
    if normalizer.get(2) or normalizer.get(6):
        name = _text(normalizer.get(1, b""), "normalizer_spec.name")
        raise ValueError(
            f"normalizer_spec must be identity, got {quote(name)} with a table of characters, which is not supported"
        )
    if normalizer.get(4, 1):
        raise ValueError("normalizer_spec.remove_extra_whitespaces must be false, got true, which is not supported")
    adds_prefix = bool(normalizer.get(3, 1))
    prefix = "never" if not adds_prefix else "segment" if config.get("legacy", True) else "first"
    spaces = Spaces("▁" if normalizer.get(5, 1) else " ", prefix, strip=adds_prefix)
    pieces, scores, added, unk_id = _pieces(fields[PIECES])
    falls_back = bool(trainer.get(35))
    merges = PieceMerges(pieces, scores=scores)
    if unmade := next((p for p in scores if not merges.pieces.keys() >= set(p)), None):
        raise ValueError(f"the piece {quote(unmade)} has a character that is no piece, which is not supported")
    eos_id, bos_id = (_id(trainer, key, default, pieces) for key, default in ((42, 2), (41, 1)))
    tokenizer = SentencePieceTokenizer(merges, added, spaces=spaces, unknown=Unknown(falls_back, unk_id), eot_id=eos_id)
    adds_bos = bos_id is not None and config.get("add_bos_token", True) is not False
    return tokenizer.with_bos_eos(bos_id=bos_id, adds_bos=adds_bos, end_ids=tokenizer.end_ids)


def _pieces(messages: list[bytes]) -> tuple[dict[str, int], dict[str, float], list[AddedToken], int]:
    """Return the ids of all pieces, the scores of those that merge, the added tokens, and the id of the unknown token."""
    pieces: dict[str, int] = {}
    scores: dict[str, float] = {}
    added: list[AddedToken] = []
    unk_ids = []
    for id, message in enumerate(messages):
        fields = _merged([message])
        name = f"piece {id}"
        piece = _text(fields.get(1, b""), name)
        score, kind = fields.get(2, bytes(4)), _as(int, fields.get(3, NORMAL), name)
        if not piece or piece in pieces:
            raise ValueError(f"{name} must have a text that no other has, got {quote(piece)}")
        if (
            not isinstance(score, bytes)
            or len(score) != 4
            or not math.isfinite(number := struct.unpack("<f", score)[0])
        ):
            raise ValueError(f"{name}, {quote(piece)}, must have a number as its score")
        pieces[piece] = id
        if kind == NORMAL:
            scores[piece] = number
        elif kind == USER_DEFINED:  # found after spaces are written as ▁
            added.append(AddedToken(piece, id, special=False, normalized=True))
        elif kind in (CONTROL, UNKNOWN):
            added.append(AddedToken(piece, id))
            unk_ids += [id] if kind == UNKNOWN else []
        elif kind != BYTE:
            found = "UNUSED" if kind == UNUSED else kind
            raise ValueError(f"{name}, {quote(piece)}, has the type {found}, which is not supported")
    if len(unk_ids) != 1:
        raise ValueError(f"one piece must be the unknown token, got {len(unk_ids)}")
    return pieces, scores, added, unk_ids[0]


def _id(trainer: Mapping[int, int | bytes], key: int, default: int, pieces: Mapping[str, int]) -> int | None:
    """Return the id of a field, or None if it says that there is none."""
    id = _as(int, trainer.get(key, default), "trainer_spec")
    return id if id < len(pieces) else None  # -1, which means none, is 2**64 - 1


def _merged(messages: list[bytes]) -> dict[int, int | bytes]:
    """Return the fields of a message; of one that is repeated the last counts."""
    return {number: value for message in messages for number, value in read_message(message)}


def _text(value: int | bytes, name: str) -> str:
    try:
        return _as(bytes, value, name).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{name} must be UTF-8") from None


_Value = TypeVar("_Value", int, bytes)


def _as(kind: type[_Value], value: int | bytes, name: str) -> _Value:
    if not isinstance(value, kind):
        raise ValueError(
            f"{name} must be {'a number' if kind is int else 'bytes'} on the wire; is it a tokenizer.model?"
        )
    return value
