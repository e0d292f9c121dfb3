"""Read and write Hugging Face's tokenizer.json: byte-level BPE here, SentencePiece's in `sentencepiece_json.py`.

That file may have settings that change the ids: normalizers, other ways to split, tokens added around the text. A setting
that this project does not support is an error that names it, so the ids are never silently different.
"""

from collections.abc import Mapping
from typing import Any

from gpt.text.read import Warn
from gpt.tokenizer.added_tokens import FLAGS
from gpt.tokenizer.base import Vocab
from gpt.tokenizer.bpe import BPETokenizer
from gpt.tokenizer.formats.bos_eos import read_bos_eos, write_post_processor
from gpt.tokenizer.formats.openai import BYTE_OF, read_vocab, to_visible
from gpt.tokenizer.formats.pre_tokenizers import byte_level, kind_of, read_pretokenizer, steps_of, write_pretokenizer
from gpt.tokenizer.formats.sentencepiece_json import (
    from_huggingface_sentencepiece,
    is_sentencepiece,
    to_huggingface_sentencepiece,
)
from gpt.tokenizer.pairs import Pair
from gpt.tokenizer.sentencepiece import SentencePieceTokenizer
from nanograd.runtime.typed_json import quote, short

# The supported values of "model": the usual one, and one with the same meaning.
MODEL = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (False, None, True),  # True concerns bytes without a token: see _read_model
    "fuse_unk": (False, None, True),
    "ignore_merges": (False, None, True),
}


def from_huggingface(
    fields: Mapping[str, Any], config: Mapping[str, Any] | None = None, *, warn: Warn = lambda note: None
) -> BPETokenizer | SentencePieceTokenizer:
    """Make the tokenizer from the object of a tokenizer.json, and that of the tokenizer_config.json beside it.

    All added tokens become special tokens. `encode` reads those that the file calls special only if they are allowed, as
    in all tokenizers here; it always reads the others. A note for `warn` says what has no meaning here.

    Raises ValueError that names a setting that is not supported.
    """
    config = config or {}
    for key in ("truncation", "padding"):
        if fields.get(key) is not None:
            warn(f"{key} in tokenizer.json, which is for batches, is ignored")
    added = _read_added(fields, config)
    if is_sentencepiece(fields):
        pieces = from_huggingface_sentencepiece(fields, added.values())
        return read_bos_eos(pieces, fields.get("post_processor"), config, warn)
    model = _checked(fields.get("model"), "model")
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"the model must be BPE, got {quote(model.get('type'))}")
    for key, allowed in MODEL.items():
        value = model.get(key)
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise ValueError(f"model.{key} must be {allowed[0]!r}, got {quote(value)}, which is not supported")
    pattern = read_pretokenizer(fields.get("normalizer"), fields.get("pre_tokenizer"))
    _check_decoder(fields.get("decoder"))
    vocab, merges = _read_model(model, added)
    tokens = set(vocab.values())
    lost = [byte for byte in range(256) if bytes([byte]) not in tokens]
    if lost:
        if model.get("unk_token") is not None or model.get("byte_fallback"):
            found = f"got none for 0x{lost[0]:02x}, and an unk_token or byte_fallback"
            raise ValueError(f"model.vocab must have a token for each byte, {found}, which is not supported")
        names = ", ".join(f"0x{byte:02x}" for byte in lost[:4]) + (", …" if len(lost) > 4 else "")
        warn(f"{len(lost)} bytes ({names}) have no token and are left out of texts, as in Hugging Face's tokenizers")
    tokenizer = BPETokenizer(
        vocab,
        merges,
        {text: token["id"] for text, token in added.items()},
        pattern=pattern,
        allowed_special=[text for text, token in added.items() if token.get("special") is False],
        ignore_merges=model.get("ignore_merges") is True,
        drops_bytes=bool(lost),
        flags={text: [flag for flag in FLAGS if token.get(flag)] for text, token in added.items()},
    )
    return read_bos_eos(tokenizer, fields.get("post_processor"), config, warn)


def with_config(tokenizer: BPETokenizer, config: Mapping[str, Any], *, warn: Warn = lambda note: None) -> BPETokenizer:
    """Return the tokenizer of vocab.json and merges.txt with what the tokenizer_config.json beside them adds."""
    added = {text: token for text, token in _read_added({}, config).items() if text not in tokenizer.special_tokens}
    vocab = dict(tokenizer.vocab)
    for text, token in added.items():
        if vocab.setdefault(token["id"], text.encode("utf-8")) != text.encode("utf-8"):
            raise ValueError(f"{quote(text)} has the id {token['id']}, which another token has")
    if added:
        tokenizer = BPETokenizer(
            vocab,
            tokenizer.merges,
            {**tokenizer.special_tokens, **{text: token["id"] for text, token in added.items()}},
            pattern=tokenizer.pattern,
            allowed_special=[text for text, token in added.items() if token.get("special") is False],
            flags={text: [flag for flag in FLAGS if token.get(flag)] for text, token in added.items()},
        )
    return read_bos_eos(tokenizer, None, config, warn)


def _read_model(model: Mapping[str, Any], added: Mapping[str, Any]) -> tuple[Vocab, list[Pair]]:
    """Return the vocabulary, with the added tokens, and the merges."""
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise ValueError(f"'model.merges' must be a list, got {type(merges).__name__}")
    located = ((f"model.merges[{n}]", _split_merge(merge)) for n, merge in enumerate(merges))
    tokens = dict(_checked(model.get("vocab"), "model.vocab"))
    own = {}  # added tokens that are written as they are, not byte by byte
    for text, token in added.items():
        id = token["id"]
        if tokens.get(text, id) != id:
            raise ValueError(f"added_tokens gives {quote(text)} the id {id}, and model.vocab another")
        if text not in tokens or not text.isascii() or not all(character in BYTE_OF for character in text):
            tokens.pop(text, None)
            own[id] = text
    vocab, pairs = read_vocab("model.vocab", tokens, located)
    for id, text in own.items():
        if id in vocab:
            shown = to_visible(vocab[id])
            raise ValueError(f"added_tokens gives {quote(text)} the id {id}, which {quote(shown)} has")
        vocab[id] = text.encode("utf-8")
    return vocab, pairs


def _read_added(fields: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the added tokens by text: those of tokenizer.json, and those that only tokenizer_config.json has."""
    added = fields.get("added_tokens", [])
    if not isinstance(added, list):
        raise ValueError(f"'added_tokens' must be a list, got {type(added).__name__}")
    tokens: dict[str, Mapping[str, Any]] = {}
    ids: set[int] = set()
    decoder = _checked(config.get("added_tokens_decoder") or {}, "added_tokens_decoder")
    more = [{**_checked(token, "added_tokens_decoder"), "id": _to_id(id)} for id, token in decoder.items()]
    for token in (*added, *more):
        checked = _added(token)
        text = checked["content"]
        if text in tokens and tokens[text]["id"] == checked["id"]:
            continue
        if text in tokens or checked["id"] in ids:
            raise ValueError(f"an added token must have one text and one id, got {quote(text)}: {checked['id']}")
        tokens[text] = checked
        ids.add(checked["id"])
    return tokens


def _to_id(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 10 else text


def _added(token: Any) -> Mapping[str, Any]:
    """Return an added token; ValueError unless it has a text, an id and flags."""
    token = _checked(token, "added_tokens")
    text, id = token.get("content"), token.get("id")
    if not isinstance(text, str) or not text or type(id) is not int or not 0 <= id < 2**31:
        found = quote(dict(token))
        raise ValueError(f"an added token must have a text as content and an integer id, got {found}")
    for flag in (*FLAGS, "special"):
        if not isinstance(token.get(flag, False), bool):
            raise ValueError(f"added token {quote(text)}: {flag} must be true or false")
    return token


def _check_decoder(decoder: Any) -> None:
    """Raise ValueError unless the bytes of the tokens, joined, are the text."""
    kinds = [kind_of(step) for step in steps_of(decoder, "decoder", "decoders")]
    if decoder is not None and kinds != ["ByteLevel"]:
        found = " and ".join(kinds) or "none"
        raise ValueError(f"decoder must be ByteLevel or null, got {short(found)}, which is not supported")


def to_huggingface(tokenizer: BPETokenizer | SentencePieceTokenizer) -> dict[str, Any]:
    """Return an object that Hugging Face's `Tokenizer.from_file` reads as the same tokenizer.

    It always reads special tokens in a text as their ids.
    """
    if isinstance(tokenizer, SentencePieceTokenizer):
        return to_huggingface_sentencepiece(tokenizer)
    special = tokenizer.special_tokens
    by_id = {id: text for text, id in special.items()}
    plain = {id: to_visible(token) for id, token in sorted(tokenizer.vocab.items()) if id not in by_id}
    vocab = plain
    parts = {token for pair in tokenizer.merges for token in (*pair, pair[0] + pair[1])}
    after = list(
        range(len(plain), len(plain) + len(special))
    )  # the ids that its reader gives, if the vocabulary has none
    if sorted(by_id) != after or not parts.isdisjoint(tokenizer.vocab[id] for id in by_id):
        both = sorted([*plain.items(), *by_id.items()])
        vocab = {id: to_visible(tokenizer.vocab[id]) if tokenizer.vocab[id] in parts else text for id, text in both}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": id,
                "content": text,
                **{flag: flag in tokenizer.flags.get(text, ()) for flag in FLAGS},
                "special": text not in tokenizer.allowed_special,
            }
            for id, text in sorted(by_id.items())
        ],
        **write_pretokenizer(tokenizer.pattern),
        "post_processor": write_post_processor(tokenizer) if tokenizer.adds_bos else None,
        "decoder": byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": tokenizer.ignore_merges,
            "vocab": {text: id for id, text in vocab.items()},
            "merges": [f"{to_visible(left)} {to_visible(right)}" for left, right in tokenizer.merges],
        },
    }


def _split_merge(merge: Any) -> Any:
    """Return the two tokens of a merge; older files write them as one text."""
    return merge.split(" ") if isinstance(merge, str) else merge if isinstance(merge, list) else [merge]


def _checked(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"'{name}' must be an object, got {type(value).__name__}")
    return value
