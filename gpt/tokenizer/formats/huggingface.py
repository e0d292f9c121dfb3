"""Read and write Hugging Face's tokenizer.json, if it describes byte-level BPE.

That file may have settings that change the ids: normalizers, other ways to split, tokens added around the text. A setting
that this project does not support is an error that names it, so the ids are never silently different.
"""

from collections.abc import Mapping
from typing import Any

from gpt.tokenizer.bpe import BPETokenizer
from gpt.tokenizer.formats.openai import read_vocab, to_visible
from gpt.tokenizer.pretokens import PATTERNS

# The supported values of "model": the usual one, and one with the same meaning.
MODEL = {
    "dropout": (None, 0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (False, None),
    "ignore_merges": (False, None),
}
NAMES = {pattern: name for name, pattern in PATTERNS.items()}


def from_huggingface(fields: Mapping[str, Any]) -> BPETokenizer:
    """Make the tokenizer from the object of a tokenizer.json; ValueError names a setting that is not supported.

    All its added tokens become special tokens. `encode` reads those it calls special only if they are allowed, as in all
    tokenizers here; it always reads the others.
    """
    model = _checked(fields.get("model"), "model")
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"the model must be BPE, got {model.get('type')!r}")
    for key, allowed in MODEL.items():
        if model.get(key) not in allowed:
            raise ValueError(f"model.{key} must be {allowed[0]!r}, got {model[key]!r}, which is not supported")
    for key in ("normalizer", "truncation", "padding"):
        if fields.get(key) is not None:
            raise ValueError(f"{key} must be null, got {_kind(fields[key])}, which is not supported")
    for key in ("post_processor", "decoder"):
        if fields.get(key) is not None and _kind(fields[key]) != "ByteLevel":
            raise ValueError(f"{key} must be ByteLevel or null, got {_kind(fields[key])}, which is not supported")
    pattern = _pattern(fields.get("pre_tokenizer"))
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise ValueError(f"'model.merges' must be a list, got {type(merges).__name__}")
    located = ((f"model.merges[{n}]", _split_merge(merge)) for n, merge in enumerate(merges))
    added = fields.get("added_tokens", [])
    if not isinstance(added, list):
        raise ValueError(f"'added_tokens' must be a list, got {type(added).__name__}")
    added_ids = {token["content"]: token["id"] for token in map(_added, added)}
    tokens = dict(_checked(model.get("vocab"), "model.vocab"))
    for text, id in added_ids.items():
        if tokens.pop(text, id) != id:  # it may be in both
            raise ValueError(f"added_tokens gives {text!r} the id {id}, and model.vocab another")
    vocab, pairs = read_vocab("model.vocab", tokens, located)
    for text, id in added_ids.items():
        if id in vocab:
            raise ValueError(f"added_tokens gives {text!r} the id {id}, which {to_visible(vocab[id])!r} has")
        vocab[id] = text.encode("utf-8")
    always = [token["content"] for token in added if token.get("special") is False]
    return BPETokenizer(vocab, pairs, added_ids, pattern=pattern, allowed_special=always)


def to_huggingface(tokenizer: BPETokenizer) -> dict[str, Any]:
    """Return an object that Hugging Face's `Tokenizer.from_file` reads as the same tokenizer.

    It always reads special tokens in a text as their ids.
    """
    special = tokenizer.special_tokens
    vocab = {to_visible(token): id for id, token in sorted(tokenizer.vocab.items()) if id not in special.values()}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id, "content": text, **plain, "special": text not in tokenizer.allowed_special}
            for text, id in sorted(special.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(tokenizer.pattern),
        "post_processor": None,
        "decoder": _byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [f"{to_visible(left)} {to_visible(right)}" for left, right in tokenizer.merges],
        },
    }


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _pre_tokenizer(pattern: str) -> dict[str, Any]:
    if pattern == "gpt2":
        return _byte_level(use_regex=True)  # GPT-2's pattern is built in
    split = {"type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


def _pattern(pre_tokenizer: Any) -> str:
    """Return the name of a pre-tokenizer's pattern."""
    steps = [pre_tokenizer]
    if isinstance(pre_tokenizer, Mapping) and pre_tokenizer.get("type") == "Sequence":
        steps = pre_tokenizer.get("pretokenizers")  # type: ignore[assignment]
    kinds = [_kind(step) for step in steps] if isinstance(steps, list) else []
    if kinds not in (["ByteLevel"], ["Split", "ByteLevel"]):
        found = " and ".join(kinds) or "none"
        raise ValueError(f"pre_tokenizer must be ByteLevel or Split and ByteLevel, got {found}, which is not supported")
    if steps[-1].get("add_prefix_space", True):
        raise ValueError("pre_tokenizer.add_prefix_space must be false, got true, which is not supported")
    if steps[-1].get("use_regex", True) != (len(steps) == 1):
        raise ValueError("pre_tokenizer must split once: by Split, or by ByteLevel's use_regex")
    if len(steps) == 1:
        return "gpt2"
    split = steps[0]
    value = split.get("pattern")
    regex = value.get("Regex") if isinstance(value, Mapping) else None
    if regex not in NAMES:
        raise ValueError(f"pre_tokenizer.Split must have one of the patterns {', '.join(PATTERNS)}, got {value!r}")
    if split.get("behavior") != "Isolated" or split.get("invert"):
        raise ValueError(f"pre_tokenizer.Split must have the behavior Isolated, got {split.get('behavior')!r}")
    return NAMES[regex]


def _added(token: Any) -> Mapping[str, Any]:
    """Return an added token; ValueError unless it matches its text wherever that occurs."""
    token = _checked(token, "added_tokens")
    if not isinstance(token.get("content"), str) or type(token.get("id")) is not int:
        raise ValueError(f"an added token must have a text as content and an integer id, got {dict(token)!r}")
    for flag in ("single_word", "lstrip", "rstrip"):
        if token.get(flag):
            raise ValueError(f"added token {token['content']!r}: {flag} must be false, got true, which is unsupported")
    return token


def _split_merge(merge: Any) -> Any:
    """Return the two tokens of a merge; older files write them as one text."""
    return merge.split(" ") if isinstance(merge, str) else merge if isinstance(merge, list) else [merge]


def _kind(value: Any) -> str:
    return str(value.get("type", "an object without type")) if isinstance(value, Mapping) else type(value).__name__


def _checked(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"'{name}' must be an object, got {type(value).__name__}")
    return value
