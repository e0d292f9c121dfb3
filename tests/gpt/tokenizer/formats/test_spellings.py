"""tokenizer.json in the spellings of other projects: ids worked by hand, notes, and hostile patterns."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from gpt.tokenizer import BPETokenizer, load_tokenizer, splits, to_huggingface
from gpt.tokenizer.formats.openai import CHARACTER_OF
from gpt.tokenizer.formats.pre_tokenizers import byte_level
from gpt.tokenizer.splits import KNOWN, PATTERNS, compile_regex
from gpt.tokenizer.unicode import nfc

LO, LOW, TWELVE, SPACE_LOW, E_ACUTE, LOW_LOW, S, AT = 256, 257, 258, 259, 260, 261, 300, 301
PAIRS = ["l o", "lo w", "1 2", "Ġ low", "Ã ©", "low low"]


def regex(expression: str, behavior: str = "Isolated", invert: bool = False, key: str = "Regex") -> dict[str, Any]:
    return {"type": "Split", "pattern": {key: expression}, "behavior": behavior, "invert": invert}


def steps(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": [*parts, byte_level(use_regex=False)]}


def digits(individual: bool) -> dict[str, Any]:
    return {"type": "Digits", "individual_digits": individual}


def added(text: str, id: int, **flags: bool) -> dict[str, Any]:
    return {"id": id, "content": text, "special": True, **flags}


def file(**sections: Any) -> dict[str, Any]:
    vocab = {CHARACTER_OF[byte]: byte for byte in range(256)}
    vocab |= {pair.replace(" ", ""): LO + rank for rank, pair in enumerate(PAIRS)}
    model = {"type": "BPE", "vocab": vocab, "merges": PAIRS, **sections.pop("model", {})}
    fields = {"added_tokens": [added("<s>", S)], "pre_tokenizer": byte_level(use_regex=True)}
    return {**fields, "decoder": byte_level(use_regex=True), **sections, "model": model}


def load(folder: Path, fields: Any, config: Any = None, notes: list[str] | None = None) -> BPETokenizer:
    (folder / "tokenizer.json").write_text(json.dumps(fields), encoding="utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = load_tokenizer(folder, warn=(notes if notes is not None else []).append)
    assert isinstance(tokenizer, BPETokenizer)
    return tokenizer


a, b, l, one, two, space, x = b"abl12 x"
TABLE = [
    ({}, "low low12", [LOW, SPACE_LOW, TWELVE]),
    ({"pre_tokenizer": steps(digits(True))}, "low12", [LOW, one, two]),
    ({"pre_tokenizer": steps(digits(False))}, "low12", [LOW, TWELVE]),
    ({"pre_tokenizer": steps()}, "lowlow low", [LOW_LOW, SPACE_LOW]),  # ByteLevel without regex: one word
    ({"pre_tokenizer": steps(regex(r"\p{L}"))}, "low", [*b"low"]),
    ({"pre_tokenizer": steps(regex(r"\s+", "Removed"))}, "low low", [LOW, LOW]),
    ({"pre_tokenizer": steps(regex(r"\w".replace("w", "p{L}") + "+", "Removed", True))}, "low 12low", [LOW, LOW]),
    ({"pre_tokenizer": steps(regex(PATTERNS["gpt2"], "Removed", True))}, "low low", [LOW, SPACE_LOW]),
    ({"pre_tokenizer": steps(regex("o", key="String"))}, "lowo", [*b"lowo"]),
    ({"pre_tokenizer": steps(regex("1.", "Removed", key="String"))}, "1.x12", [x, TWELVE]),  # no expression
    ({"pre_tokenizer": steps(regex(r"(?=w)"))}, "low", [LO, ord("w")]),  # an empty match cuts too
    ({"pre_tokenizer": steps(regex(r"(1)(2)?"))}, "x12x", [x, TWELVE, x]),  # groups are no pieces
    ({"pre_tokenizer": byte_level(use_regex=True, add_prefix_space=True)}, "low low", [SPACE_LOW, SPACE_LOW]),
    ({"normalizer": {"type": "NFC"}}, "e\u0301", [E_ACUTE]),
    ({"normalizer": {"type": "Sequence", "normalizers": []}}, "e\u0301", [ord("e"), 0xCC, 0x81]),
    ({"model": {"ignore_merges": True, "merges": PAIRS[:1]}}, "low lowx", [LOW, space, LO, *b"wx"]),
    ({"model": {"merges": [["l", "o"], ["lo", "w"]]}}, "low", [LOW]),
    ({"model": {"merges": ["lo w", "l o"]}}, "low", [LOW]),  # an order in which no training learns
    ({"model": {"byte_fallback": True}}, "low é", [LOW, space, E_ACUTE]),
    ({"added_tokens": [added("low", LOW)]}, "xlowx", [x, LOW, x]),  # made by a merge too
    ({"added_tokens": [added("12", TWELVE), added("1", one)]}, "121", [TWELVE, one]),  # in the vocabulary
    ({"added_tokens": [added("  ", S)]}, "low  low", [LOW, S, LOW]),
    ({"added_tokens": [added("@@", AT, lstrip=True)]}, "low \n@@ low", [LOW, AT, SPACE_LOW]),
    ({"added_tokens": [added("@@", AT, rstrip=True)]}, "low @@ \nlow", [LOW, space, AT, LOW]),
    ({"added_tokens": [added("at", AT, single_word=True)]}, "at low,at lat", [AT, SPACE_LOW, ord(","), AT, space, *b"lat"]),
    (
        {"added_tokens": [added("e\u0301", AT, normalized=True)], "normalizer": {"type": "NFC"}},
        "\u00e9e\u0301x",
        [AT, AT, x],
    ),
    ({"added_tokens": [added("ab", S, normalized=True), added("ba", AT)]}, "aba", [a, AT]),  # these are found first
]  # fmt: skip


@pytest.mark.parametrize(("sections", "text", "expected"), TABLE)
def test_ids_worked_by_hand(tmp_path: Path, sections: dict[str, Any], text: str, expected: list[int]) -> None:
    tokenizer = load(tmp_path, file(**sections))
    assert tokenizer.encode(text, allowed_special="all") == expected
    stored = BPETokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert stored.encode(text, allowed_special="all") == expected
    assert stored.sha256 == tokenizer.sha256
    written = load(tmp_path, to_huggingface(tokenizer))
    assert written.encode(text, allowed_special="all") == expected
    for cut in range(len(text) + 1):
        assert list(tokenizer.encode_iterable([text[:cut], text[cut:]], allowed_special="all")) == expected
    assert [id for part in tokenizer.explain(text, allowed_special="all") for id in part.ids] == expected


def template(before: list[str], after: list[str]) -> dict[str, Any]:
    def piece(token: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": 0}}

    single = [*map(piece, before), {"Sequence": {"id": "A", "type_id": 0}}, *map(piece, after)]
    known = {"<s>": {"id": "<s>", "ids": [S], "tokens": ["<s>"]}, "@@": {"id": "@@", "ids": [AT], "tokens": ["@@"]}}
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": known}


def test_the_ends_of_texts_are_read(tmp_path: Path) -> None:
    tokens = [added("<s>", S), added("@@", AT)]
    post = {"type": "Sequence", "processors": [byte_level(use_regex=True), template(["<s>"], ["@@"])]}
    notes: list[str] = []
    both = load(tmp_path, file(added_tokens=tokens, post_processor=post), notes=notes)
    assert (both.bos_id, both.prefix, both.end_ids) == (S, [S], (AT,))
    assert len(notes) == 1
    assert (both.encode("low"), load(tmp_path, to_huggingface(both)).prefix) == ([LOW], [S])
    config = {"bos_token": {"content": "<s>"}, "eos_token": "@@", "add_bos_token": True}
    named = load(tmp_path, file(added_tokens=tokens), config)
    assert (named.bos_id, named.prefix, named.end_ids) == (S, [S], (AT,))
    more = {"299": {"content": "<t>", "special": False}, str(S): {"content": "<s>"}}
    other = load(tmp_path, file(), {"added_tokens_decoder": more, "bos_token": "<s>"})
    assert (other.encode("low<t>"), other.bos_id, other.prefix) == ([LOW, 299], S, [])


def test_what_has_no_effect_here_is_noted(tmp_path: Path) -> None:
    notes: list[str] = []
    vocab = {CHARACTER_OF[byte]: byte for byte in range(256) if byte != 7}
    padding = {"strategy": "BatchLongest"}
    tokenizer = load(tmp_path, file(padding=padding, truncation={}, model={"vocab": vocab, "merges": []}), notes=notes)
    assert [note[:20] for note in notes] == [
        "truncation in tokenizer.json"[:20], "padding in tokenizer.json"[:20], "1 bytes (0x07) have no token"[:20],
    ]  # fmt: skip
    assert tokenizer.encode("a\x07b") == [a, b]
    assert [part.ids for part in tokenizer.explain("a\x07b")] == [[a], [], [b]]


@pytest.mark.parametrize("expression", ["(x+x+)+y", "(a|aa)+c"])
def test_a_pattern_that_takes_forever_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    monkeypatch.setattr(splits, "SECONDS", 0.1)
    tokenizer = load(tmp_path, file(pre_tokenizer=steps(regex(expression))))
    start = time.process_time()
    rule = f"a pattern must be searched in a time in proportion to the text, got '{expression}'"
    with pytest.raises(ValueError, match=re.escape(rule)):
        tokenizer.encode("aaaaax" + "a" * 4000 + "x" * 4000)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "expression",
    [
        *(
            r"\w",
            r"\b",
            r"x{2}+",
            r"x{2}?",
            "^a",
            "a$",
            r"[[:alpha:]]",
            "[a&&b]",
            "(?i)a",
            r"\1",
            "(?P<n>a)",
            r"\p{Foo}",
        ),
        *(
            "a{999999}",
            "((a{99}){99}){99}",
            "(" * 99 + ")" * 99,
            "a" * 10_001,
            "[a",
            "(a",
            "a)",
            "a**",
            "[z-a]",
            "[]a]",
        ),
    ],
)
def test_an_expression_that_engines_read_in_two_ways_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="a pattern must be an expression that is read alike by all engines, got"):
        compile_regex(expression)


def test_the_patterns_of_known_models_are_expressions_that_are_read_alike() -> None:
    for expression in (*KNOWN, r"[^(\s|[.,!?…。，、।۔،])]+", r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++|\s++(?!\S)"):
        compile_regex(expression)


def test_nfc_composes_what_unicode_9_composed() -> None:
    assert nfc("e\u0301 \u212b \u1112\u1161\u11ab") == "\u00e9 \u00c5 \ud55c"
    assert nfc("a\u1ac0\u0301") == "a\u1ac0\u0301"  # U+1AC0 combines since Unicode 13; then the accent would compose
    assert nfc("\U00011935\U00011930e\u0301") == "\U00011935\U00011930\u00e9"
