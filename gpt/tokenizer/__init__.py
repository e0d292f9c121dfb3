"""Turn text into ids and back. A ladder of small files, each adding one thing to the one before:

- `base.py`          what every tokenizer can do, and how it is saved
- `char.py`          one id for each character
- `pairs.py`         byte-pair encoding in its shortest form: the specification
- `pretokens.py`     the words across whose edges nothing is merged, and special tokens, in text that comes in parts
- `trainer.py`       learning the merges, fast
- `word_encoder.py`  encoding a word by its merges, fast
- `bpe.py`           the tokenizer that joins them
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt.tokenizer.base import FORMAT, VERSION, Tokenizer
from gpt.tokenizer.bpe import BPETokenizer
from gpt.tokenizer.char import CharTokenizer
from gpt.tokenizer.pretokens import EOT, PATTERNS
from gpt.tokenizer.trainer import train_bpe

__all__ = [
    "EOT",
    "PATTERNS",
    "BPETokenizer",
    "CharTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "tokenizer_from_dict",
    "train_bpe",
]

KINDS: dict[str, type[BPETokenizer] | type[CharTokenizer]] = {"bpe": BPETokenizer, "char": CharTokenizer}


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a tokenizer that `Tokenizer.save` wrote.

    Raises OSError when the file cannot be read, ValueError naming it when it is damaged or something else.
    """
    try:
        return tokenizer_from_dict(_parse(Path(path).read_bytes()))
    except ValueError as error:
        raise ValueError(f"load_tokenizer: {os.fspath(path)}: {error}") from None


def tokenizer_from_dict(fields: Mapping[str, Any]) -> Tokenizer:
    """Make the tokenizer whose `to_dict` gave `fields`; ValueError says what is wrong with them."""
    if not isinstance(fields, Mapping) or fields.get("format") != FORMAT:
        raise ValueError(f'this is no tokenizer: it must be an object with "format": "{FORMAT}"')
    version, kind = fields.get("version"), fields.get("kind")
    if version != VERSION:
        raise ValueError(f"'version' must be {VERSION}, got {version!r}; another version of this program wrote it")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"'kind' must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    return KINDS[kind].from_dict(fields)


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_distinct)
    except UnicodeDecodeError as error:
        raise ValueError(f"it must be UTF-8, got byte 0x{data[error.start]:02x} at {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it must be JSON, but {error}") from None
    except RecursionError:
        raise ValueError("it must be a tokenizer's JSON, but it is nested too deeply") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a JSON object that gives a key twice, of which Python would silently take the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return fields
