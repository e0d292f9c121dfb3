"""Read the files of a model's folder that a conversation needs: its BOS and EOS tokens and its chat template.

    generation_config.json   bos_token_id, eos_token_id (one or several), suggestions for sampling
    config.json              the two ids, where there is no generation_config.json
    tokenizer_config.json    bos_token and eos_token as texts, chat_template
    chat_template.jinja      the template, in newer folders

All files may be missing: a text then begins with the end-of-text token. An id counts only if it is a special token:
transformers writes default ids into every config.json, and in a small vocabulary these are ordinary letters.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.pretrained.hf_config import read_json_object
from gpt.tokenizer import Tokenizer
from gpt.tokenizer.formats.bos_eos import token_text
from nanograd.runtime.files import read_input

GENERATION, CONFIG, TOKENIZER = "generation_config.json", "config.json", "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
LARGEST = 16 << 20  # bytes; tokenizer_config.json lists all special tokens, 1.2 MB in Gemma 3
SUGGESTIONS = {"temperature": float, "top_p": float, "top_k": int, "repetition_penalty": float, "min_p": float}


@dataclass(frozen=True)
class ChatFiles:
    """What the files hold.

    tokenizer    the model's tokenizer, with its BOS and EOS tokens
    template     the source of its chat template, in Jinja; "" without one
    bos_token, eos_token  the texts that a template means by these names
    suggestions  settings for sampling
    notes        what was not used, and why
    """

    tokenizer: Tokenizer
    template: str = ""
    bos_token: str = ""
    eos_token: str = ""
    suggestions: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()


def read_chat_files(folder: Path, tokenizer: Tokenizer) -> ChatFiles:
    """Read the files in a folder; ValueError, with the file and the key, for what is malformed."""
    generation = _read(folder / GENERATION)
    config = _read(folder / CONFIG)
    own = _read(folder / TOKENIZER)
    bos_token, eos_token = (_token(own, name, folder / TOKENIZER) for name in ("bos_token", "eos_token"))
    notes: list[str] = []
    bos_ids, end_ids = list[int](), list[int]()
    for key, ids in (("bos_token_id", bos_ids), ("eos_token_id", end_ids)):
        name = GENERATION if key in generation else CONFIG
        for id in _ids((generation if key in generation else config).get(key), folder / name, key):
            if id in tokenizer.special_tokens.values():
                ids.append(id)
            else:
                notes.append(f"{key} {id} of {name} is no special token of the tokenizer: not used")
    bos_ids += [tokenizer.special_tokens[token] for token in (bos_token,) if token in tokenizer.special_tokens]
    end_ids += [tokenizer.special_tokens[token] for token in (eos_token,) if token in tokenizer.special_tokens]
    bos_id = tokenizer.bos_id if tokenizer.adds_bos else next(iter(bos_ids), tokenizer.eot_id)
    ends = tuple(dict.fromkeys(end_ids)) or tokenizer.end_ids
    if (bos_id, ends) != (tokenizer.bos_id, tokenizer.end_ids):
        tokenizer = tokenizer.with_bos_eos(bos_id=bos_id, adds_bos=tokenizer.adds_bos, end_ids=ends)
    suggestions = {key: generation[key] for key in SUGGESTIONS if type(generation.get(key)) in (int, float)}
    return ChatFiles(tokenizer, _template(folder, own), bos_token, eos_token, suggestions, tuple(notes))


def _is_there(path: Path) -> bool:
    """Return whether there is a file; ValueError where there is a folder, a link to nothing or a device instead."""
    if path.is_file():
        return True
    if os.path.lexists(path):
        raise ValueError(f"{path}: must be a file, and is none; take it away, or put the model's there")
    return False


def _read(path: Path) -> Mapping[str, Any]:
    return read_json_object(path, LARGEST) if _is_there(path) else {}


def _ids(value: Any, path: Path, key: str) -> list[int]:
    """Return an id, or a list of them, as a list; none if null."""
    ids = [] if value is None else value if isinstance(value, list) else [value]
    for id in ids:
        if type(id) is not int or id < 0:
            raise ValueError(f"{path}: {key} must be a whole number from 0, a list of them or null, got {id!r:.60}")
    return ids


def _token(config: Mapping[str, Any], name: str, path: Path) -> str:
    """Return the text of a token, "" where it is null; an error names the file."""
    try:
        return token_text(config, name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _template(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the source of the chat template: of its own file, or of tokenizer_config.json, alone or named "default"."""
    file, path = folder / TEMPLATE, folder / TOKENIZER
    if _is_there(file):
        try:
            return read_input(file, LARGEST).decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}: must be UTF-8, got byte 0x{error.object[error.start]:02x}") from None
    value = config.get("chat_template")
    if isinstance(value, list):
        named: dict[Any, Any] = {}
        for entry in value:
            if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
                raise ValueError(f"{path}: chat_template must hold objects with name and template, got {entry!r:.60}")
            named[entry["name"]] = entry.get("template")
        if "default" not in named:
            names = ", ".join(map(repr, named)) or "none"
            raise ValueError(
                f"{path}: of several templates, chat_template must have one named 'default', got {names:.80}"
            )
        value = named["default"]
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{path}: chat_template must be a text, a list of named ones or null, got {value!r:.60}")
    return value or ""
