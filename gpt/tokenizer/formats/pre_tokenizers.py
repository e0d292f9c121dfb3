"""The sections of a tokenizer.json that say how a text becomes words: normalizer and pre_tokenizer, read and written.

Source: https://github.com/huggingface/tokenizers, tokenizers/src/pre_tokenizers (split.rs, digits.rs, byte_level.rs)
"""

import re
from collections.abc import Mapping
from typing import Any

from gpt.tokenizer.splits import PATTERNS, QWEN2, Pretokenizer, Split, resolve
from nanograd.runtime.typed_json import quote, short

GPT2 = PATTERNS["gpt2"]  # built into the step ByteLevel
# Other spellings of the same pattern
SAME = {
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": GPT2,
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s": GPT2,
}
COVERING = (*PATTERNS.values(), QWEN2)  # these match every character, so there are no gaps


def read_pretokenizer(normalizer: Any, pre_tokenizer: Any) -> Pretokenizer:
    """Return the pre-tokenizer; ValueError names what is not supported."""
    steps = steps_of(pre_tokenizer, "pre_tokenizer", "pretokenizers")
    kinds = [kind_of(step) for step in steps]
    if "ByteLevel" not in kinds or kinds.index("ByteLevel") != len(kinds) - 1:
        raise ValueError(
            f"pre_tokenizer must end with ByteLevel, got {' and '.join(kinds) or 'none'}, which is not supported"
        )
    splits: list[Split] = []
    for step, kind in zip(steps[:-1], kinds, strict=False):
        if kind == "Split":
            splits.append(_split(step))
        elif kind == "Digits":
            splits.append(Split(r"\p{N}" if _flag(step, "individual_digits", False) else r"\p{N}+"))
        else:
            raise ValueError(
                f"pre_tokenizer must be of Split, Digits and ByteLevel, got {kind}, which is not supported"
            )
    prefix_space = _flag(steps[-1], "add_prefix_space", True)
    if prefix_space and splits:
        raise ValueError("pre_tokenizer.ByteLevel.add_prefix_space must be false after another step, got true")
    if _flag(steps[-1], "use_regex", True):
        splits.append(Split(GPT2))
    names = _normalizers(normalizer)
    return Pretokenizer(tuple(splits), "NFC" if names else None, prefix_space)


def write_pretokenizer(pattern: str | Pretokenizer) -> dict[str, Any]:
    """Return the sections normalizer and pre_tokenizer."""
    pretokenizer = resolve(pattern)
    splits = list(pretokenizer.splits)
    use_regex = splits[-1:] == [Split(GPT2)]
    steps = [
        {
            "type": "Split",
            "pattern": {"Regex": split.regex},
            "behavior": "Isolated" if split.keep == "all" else "Removed",
            "invert": split.keep == "matches",
        }
        for split in (splits[:-1] if use_regex else splits)
    ]
    # The step Digits knows the digits of another Unicode than Split, so the pattern is written as it is
    steps.append(byte_level(use_regex=use_regex, add_prefix_space=pretokenizer.prefix_space))
    return {
        "normalizer": {"type": pretokenizer.normalizer} if pretokenizer.normalizer else None,
        "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
    }


def byte_level(*, use_regex: bool, add_prefix_space: bool = False) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def _split(step: Mapping[str, Any]) -> Split:
    """Return a step of the type Split."""
    pattern, behavior, invert = step.get("pattern"), step.get("behavior"), _flag(step, "invert", False)
    if isinstance(pattern, Mapping) and list(pattern) == ["Regex"] and isinstance(pattern["Regex"], str):
        expression = SAME.get(pattern["Regex"], pattern["Regex"])
    elif isinstance(pattern, Mapping) and list(pattern) == ["String"] and isinstance(pattern["String"], str):
        expression = re.sub(r"([^\w\s])", r"\\\1", pattern["String"])
    else:
        raise ValueError(f"pre_tokenizer.Split.pattern must be a Regex or a String, got {quote(pattern)}")
    if not expression:
        raise ValueError("pre_tokenizer.Split.pattern must not be empty")
    if behavior == "Isolated":
        return Split(expression)
    if behavior != "Removed":
        rule = "pre_tokenizer.Split.behavior must be Isolated or Removed"
        raise ValueError(f"{rule}, got {quote(behavior)}, which is not supported")
    return Split(expression, "all" if invert and expression in COVERING else "matches" if invert else "gaps")


def _normalizers(normalizer: Any) -> list[str]:
    """Return the names of the normalizers: NFC, once or more, or none."""
    names = [kind_of(step) for step in steps_of(normalizer, "normalizer", "normalizers")]
    if wrong := [name for name in names if name != "NFC"]:
        raise ValueError(f"normalizer must be NFC or null, got {wrong[0]}, which is not supported")
    return names


def steps_of(section: Any, name: str, key: str, depth: int = 0) -> list[Any]:
    """Return the steps of a section: those of a Sequence, which lie under its `key`, one by one; none if it is null."""
    if section is None:
        return []
    if kind_of(section) != "Sequence":
        return [section]
    steps = section.get(key)
    if not isinstance(steps, list) or depth > 8:
        raise ValueError(f"{name}.{key} must be a list of steps, got {type(steps).__name__}")
    return [step for member in steps for step in steps_of(member, name, key, depth + 1)]


def _flag(step: Mapping[str, Any], key: str, default: bool) -> bool:
    value = step.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"pre_tokenizer.{kind_of(step)}.{key} must be true or false, got {quote(value)}")
    return value


def kind_of(value: Any) -> str:
    """Return the type that a step names."""
    return short(
        str(value.get("type", "an object without type")) if isinstance(value, Mapping) else type(value).__name__
    )
