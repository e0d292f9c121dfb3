"""Load a tokenizer from a file or folder, in any of the known formats."""

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt.text.read import Warn
from gpt.tokenizer.base import FORMAT, VERSION, Tokenizer
from gpt.tokenizer.bpe import BPETokenizer
from gpt.tokenizer.char import CharTokenizer
from gpt.tokenizer.formats.huggingface import from_huggingface, with_config
from gpt.tokenizer.formats.llama2c import ScoredTokenizer
from gpt.tokenizer.formats.openai import from_openai
from gpt.tokenizer.formats.pre_tokenizers import read_pretokenizer
from gpt.tokenizer.formats.sentencepiece_model import from_sentencepiece_model
from gpt.tokenizer.formats.tiktoken import SpecialIds, from_tiktoken
from gpt.tokenizer.pretokens import EOT
from gpt.tokenizer.sentencepiece import SentencePieceTokenizer
from gpt.tokenizer.splits import NAMED, Pretokenizer
from nanograd.runtime.files import StrPath, read_input
from nanograd.runtime.typed_json import parse_json

_CLASSES = (BPETokenizer, CharTokenizer, SentencePieceTokenizer, ScoredTokenizer)
KINDS: dict[str, type[Tokenizer]] = {cls.kind: cls for cls in _CLASSES}
# OpenAI's names, and Hugging Face's for the same
COMPANIONS = {"encoder.json": "vocab.bpe", "vocab.json": "merges.txt"}
TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
CLASSES = {"Qwen2Tokenizer": "qwen2"}  # of tokenizer_config.json, and their patterns
_RANKS = re.compile(rb"\s*[A-Za-z0-9+/]+=* \d+\s*[\r\n]")


def load_tokenizer(
    path: StrPath, *, pattern: str | None = None, special_tokens: SpecialIds | None = None, warn: Warn = warnings.warn
) -> Tokenizer:
    """Read a tokenizer from a file, or from the folder it is in.

    The formats: a file of `Tokenizer.save`; Hugging Face's tokenizer.json; SentencePiece's tokenizer.model; OpenAI's
    encoder.json with vocab.bpe (or vocab.json with merges.txt), of which either may be named; tiktoken's .tiktoken.
    `pattern` and `special_tokens` are for files that lack them: both for a .tiktoken file of unknown name, the pattern for
    OpenAI's pair. The tokenizer_config.json beside a tokenizer.json or tokenizer.model is read too; `warn` gets what in the
    two has no meaning here.

    Raises OSError if a file cannot be read, ValueError with its name if it is damaged or of another format.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_folder(path)
    companions = COMPANIONS | {merges: vocab for vocab, merges in COMPANIONS.items()}
    if path.name in companions:
        with _name_errors(path):
            if special_tokens is not None:
                raise ValueError("special_tokens must be left out: the file itself has them")
            other = path.with_name(companions[path.name])
            if not other.is_file():
                raise ValueError(f"{other.name} must be in the same folder; the tokenizer consists of both files")
        vocab, merges = (path, other) if path.suffix == ".json" else (other, path)
        with _name_errors(vocab):
            tokens = parse_json(read_input(vocab))
        with _name_errors(merges):
            lines = read_input(merges).decode("utf-8")
        config = _read_config(path.with_name(CONFIG))
        with _name_errors(path):
            tokenizer = from_openai(tokens, lines, pattern=pattern or _pattern_beside(path, tokens, config))
            return with_config(tokenizer, config, warn=warn)
    with _name_errors(path):
        data = read_input(path)
        if path.suffix == ".tiktoken" or _RANKS.match(data):
            return from_tiktoken(data, name=path.stem, pattern=pattern, special_tokens=special_tokens)
        if pattern is not None or special_tokens is not None:
            raise ValueError("pattern and special_tokens must be left out: the file itself has them")
        if path.suffix == ".model":
            return from_sentencepiece_model(data, _read_config(path.with_name(CONFIG)))
        fields = parse_json(data)
        if isinstance(fields, Mapping) and "model" in fields:
            return from_huggingface(fields, _read_config(path.with_name(CONFIG)), warn=warn)
        return tokenizer_from_dict(fields)


def tokenizer_from_dict(fields: Mapping[str, Any]) -> Tokenizer:
    """Make the tokenizer from the object that its `to_dict` returned; ValueError if the object is invalid."""
    if not isinstance(fields, Mapping) or fields.get("format") != FORMAT:
        raise ValueError(f'this is not a tokenizer: it must be an object with "format": "{FORMAT}"')
    version, kind = fields.get("version"), fields.get("kind")
    if version != VERSION:
        raise ValueError(
            f"'version' must be {VERSION}, got {repr(version)[:40]}; another version of this program wrote it"
        )
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"'kind' must be one of {', '.join(map(repr, KINDS))}, got {repr(kind)[:40]}")
    return KINDS[kind].from_dict(fields)


def _read_config(path: Path) -> Mapping[str, Any]:
    """Return the object of a tokenizer_config.json, empty if there is no such file."""
    if not path.is_file():
        return {}
    with _name_errors(path):
        fields = parse_json(read_input(path))
        if not isinstance(fields, Mapping):
            raise ValueError(f"it must be an object, got {type(fields).__name__}")
        return fields


def _pattern_beside(path: Path, tokens: Any, config: Mapping[str, Any]) -> str | Pretokenizer:
    """Return how the tokenizer of vocab.json and merges.txt splits text, which the two do not say, from the files beside.

    Many models have these two files, with patterns of their own; only OpenAI's names, GPT-2's vocabulary and a config.json
    of GPT-2 mean GPT-2's pattern.
    """
    if path.name in ("encoder.json", "vocab.bpe"):
        return "gpt2"
    if path.with_name(TOKENIZER).is_file():
        fields = parse_json(read_input(path.with_name(TOKENIZER)))
        if isinstance(fields, Mapping) and "model" in fields:
            return read_pretokenizer(fields.get("normalizer"), fields.get("pre_tokenizer"))
    kind = str(config.get("tokenizer_class")).removesuffix("Fast")
    if kind in CLASSES:
        return CLASSES[kind]
    model = _read_config(path.with_name("config.json")).get("model_type")
    if model == "gpt2" or (isinstance(tokens, Mapping) and len(tokens) == 50257 and tokens.get(EOT) == 50256):
        return "gpt2"
    way_out = "python -m gpt tokenizer convert FOLDER --pattern NAME -o FILE, where NAME is one of " + ", ".join(NAMED)
    raise ValueError(f"vocab.json and merges.txt do not say how to split text: put tokenizer.json beside, or {way_out}")


def _in_folder(folder: Path) -> Path:
    """Return the file to load from a folder."""
    for name in ("tokenizer.json", "tokenizer.model", *COMPANIONS):
        if (folder / name).is_file():
            return folder / name
    ranks = sorted(folder.glob("*.tiktoken"))
    if len(ranks) == 1:
        return ranks[0]
    pairs = "an encoder.json with vocab.bpe, a vocab.json with merges.txt"
    files = f"a tokenizer.json, a tokenizer.model, {pairs} or one .tiktoken file"
    found = len(ranks) or "none of them"
    raise ValueError(f"load_tokenizer: {folder} must have {files}, got {found}; name the file itself")


@contextlib.contextmanager
def _name_errors(path: Path) -> Iterator[None]:
    """Put the name of the file before the message of an error."""
    try:
        yield
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}"
        raise ValueError(f"load_tokenizer: {path}: {reason}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"load_tokenizer: {path}: {error}") from None
