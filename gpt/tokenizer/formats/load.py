"""Load a tokenizer from a file or folder, in whichever of the formats people have."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt.text.records import parse_json
from gpt.tokenizer.base import FORMAT, VERSION, Tokenizer
from gpt.tokenizer.bpe import BPETokenizer
from gpt.tokenizer.char import CharTokenizer
from gpt.tokenizer.formats.huggingface import from_huggingface
from gpt.tokenizer.formats.openai import from_openai
from gpt.tokenizer.formats.sentencepiece_bpe import ScoredTokenizer
from gpt.tokenizer.formats.tiktoken import from_tiktoken

KINDS: dict[str, type[BPETokenizer] | type[CharTokenizer] | type[ScoredTokenizer]] = {
    "bpe": BPETokenizer,
    "char": CharTokenizer,
    "scored": ScoredTokenizer,
}
TWINS = {"encoder.json": "vocab.bpe", "vocab.json": "merges.txt"}  # OpenAI's names, and Hugging Face's for the same
_RANKS = re.compile(rb"\s*[A-Za-z0-9+/]+=* \d+\s*[\r\n]")


def load_tokenizer(
    path: str | os.PathLike[str],
    *,
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | Iterable[str] | None = None,
) -> Tokenizer:
    """Read a tokenizer from a file, or from the folder it is in.

    The formats: what `Tokenizer.save` wrote; Hugging Face's tokenizer.json; OpenAI's encoder.json with vocab.bpe (or
    vocab.json with merges.txt), of which either may be named; tiktoken's .tiktoken. `pattern` and `special_tokens` are
    for those that do not say them: a .tiktoken file of unknown name, and, of the pattern alone, OpenAI's pair.

    Raises OSError when a file cannot be read, ValueError naming it when it is damaged or something else.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_folder(path)
    twins = TWINS | {merges: vocab for vocab, merges in TWINS.items()}
    with _blaming(path):
        if path.name in twins:
            if special_tokens is not None:
                raise ValueError("special_tokens must be left out: the file itself says them")
            return _load_twins(path, path.with_name(twins[path.name]), pattern or "gpt2")
        data = path.read_bytes()
        if path.suffix == ".tiktoken" or _RANKS.match(data):
            return from_tiktoken(data, name=path.stem, pattern=pattern, special_tokens=special_tokens)
        fields = parse_json(data)
        if pattern is not None or special_tokens is not None:
            raise ValueError("pattern and special_tokens must be left out: the file itself says them")
        if isinstance(fields, Mapping) and "model" in fields:
            return from_huggingface(fields)
        return tokenizer_from_dict(fields)


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


def _in_folder(folder: Path) -> Path:
    """Return the file to load from a folder."""
    for name in ("tokenizer.json", *TWINS):
        if (folder / name).is_file():
            return folder / name
    ranks = sorted(folder.glob("*.tiktoken"))
    if len(ranks) == 1:
        return ranks[0]
    raise ValueError(
        f"load_tokenizer: {folder} must have a tokenizer.json, an encoder.json with vocab.bpe, a vocab.json with "
        f"merges.txt or one .tiktoken file, got {len(ranks) or 'none of them'}; name the file itself"
    )


def _load_twins(path: Path, twin: Path, pattern: str) -> BPETokenizer:
    """Read the pair of files that GPT-2 came in, whichever of the two is `path`."""
    if not twin.is_file():
        raise ValueError(f"{twin.name} must be beside it, and is not; the tokenizer is in both files together")
    vocab, merges = (path, twin) if path.suffix == ".json" else (twin, path)
    with _blaming(vocab):
        tokens = parse_json(vocab.read_bytes())
    with _blaming(merges):
        try:
            lines = merges.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise ValueError(f"it is not UTF-8: byte 0x{byte:02x} at position {error.start}") from None
    return from_openai(tokens, lines, pattern=pattern)


class _BlamedError(ValueError):
    """A ValueError that names its file."""


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Put the name of the file before what is wrong with it."""
    try:
        yield
    except _BlamedError:
        raise
    except (ValueError, TypeError) as error:
        raise _BlamedError(f"load_tokenizer: {path}: {error}") from None
