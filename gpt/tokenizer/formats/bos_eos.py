"""Read the BOS and EOS tokens, which begin and end a text, from tokenizer.json and the tokenizer_config.json beside it."""

from collections.abc import Mapping
from typing import Any, TypeVar

from gpt.text.read import Warn
from gpt.tokenizer.formats.pre_tokenizers import kind_of, steps_of
from gpt.tokenizer.special_tokens import SpecialTokenizer
from nanograd.runtime.typed_json import quote

_T = TypeVar("_T", bound=SpecialTokenizer)


def read_bos_eos(tokenizer: _T, processor: Any, config: Mapping[str, Any], warn: Warn) -> _T:
    """Return the tokenizer with the BOS and EOS tokens of the two files.

    A token after every text is not added: in data each document ends with one, and a prompt must not end.
    """
    before, after = _read_post_processor(processor)
    bos_id, eos_id = (_named_id(tokenizer, config, key) for key in ("bos_token", "eos_token"))
    adds_bos = before is not None
    bos_id = before if before is not None else bos_id
    if isinstance(config.get("add_bos_token"), bool) and bos_id is not None:
        adds_bos = config["add_bos_token"]
    if after is not None:
        eos_id = after if eos_id is None else eos_id
        warn(f"the token {after} after every text, for the ends of documents, is not added to prompts")
    for id in (bos_id, eos_id):
        if id is not None and id not in tokenizer.vocab:
            raise ValueError(f"post_processor must add tokens of the vocabulary, got the id {id}")
    end_ids = tokenizer.end_ids if eos_id is None else (eos_id,)
    if (bos_id, adds_bos, end_ids) == (None, False, tokenizer.end_ids):
        return tokenizer
    return tokenizer.with_bos_eos(bos_id=bos_id, adds_bos=adds_bos, end_ids=end_ids)


def _named_id(tokenizer: SpecialTokenizer, config: Mapping[str, Any], key: str) -> int | None:
    """Return the id of a special token that tokenizer_config.json names, None if it names none."""
    return tokenizer.special_tokens.get(token_text(config, key))


def token_text(config: Mapping[str, Any], key: str) -> str:
    """Return the text of a token in tokenizer_config.json, which may be an object with settings; "" if it is null."""
    token = config.get(key)
    text = token.get("content") if isinstance(token, Mapping) else token
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{key} must be a text, an object with 'content' or null, got {quote(token)}")
    return text or ""


def _read_post_processor(processor: Any) -> tuple[int | None, int | None]:
    """Return the ids of the tokens that are added before and after a text, if any."""
    templates = []
    for step in steps_of(processor, "post_processor", "processors"):
        kind = kind_of(step)
        if kind == "TemplateProcessing":
            templates.append(step)
        elif kind != "ByteLevel":  # ByteLevel concerns offsets, and no ids
            raise ValueError(
                f"post_processor must be ByteLevel or TemplateProcessing, got {kind}, which is not supported"
            )
    if not templates:
        return None, None
    rule = "post_processor.TemplateProcessing.single must be a text with at most one token before and one after it"
    single = templates[0].get("single")
    if len(templates) > 1 or not isinstance(single, list) or not all(isinstance(piece, Mapping) for piece in single):
        raise ValueError(rule)
    ids = [_template_id(piece, templates[0], rule) for piece in single]
    if ids.count(None) != 1 or ids.index(None) > 1 or len(ids) - ids.index(None) > 2:
        raise ValueError(f"{rule}, got {len(ids)} pieces")
    text = ids.index(None)
    return (ids[0] if text == 1 else None), (ids[-1] if len(ids) > text + 1 else None)


def _template_id(piece: Mapping[str, Any], template: Mapping[str, Any], rule: str) -> int | None:
    """Return the id of a token in a template, or None for the text."""
    if list(piece) == ["Sequence"]:
        return None
    token = piece.get("SpecialToken")
    known = template.get("special_tokens")
    name = token.get("id") if isinstance(token, Mapping) else None
    entry = known.get(name) if isinstance(known, Mapping) and isinstance(name, str) else None
    ids = entry.get("ids") if isinstance(entry, Mapping) else None
    if not isinstance(ids, list) or len(ids) != 1 or type(ids[0]) is not int:
        raise ValueError(f"{rule}, got {quote(dict(piece))}")
    return int(ids[0])


def write_post_processor(tokenizer: SpecialTokenizer) -> dict[str, Any]:
    """Return a post-processor that adds the BOS before every text."""
    id = tokenizer.bos_id
    name = next((text for text, token in tokenizer.special_tokens.items() if token == id), f"token {id}")
    bos = [{"SpecialToken": {"id": name, "type_id": type_id}} for type_id in (0, 1)]
    text, second = ({"Sequence": {"id": which, "type_id": type_id}} for type_id, which in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [bos[0], text],
        "pair": [bos[0], text, bos[1], second],
        "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]}},
    }
