"""Real tokenizer.json files beside Hugging Face's tokenizers: the same ids for real and random texts, and back.

Run by `pytest -m peers`, with the folders that GPT_TOKENIZERS_DIR and GPT_SMOLLM2_DIR name.
"""

import json
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gpt.tokenizer import BPETokenizer, load_tokenizer, to_huggingface, tokenizer_from_dict
from gpt.tokenizer.splits import NAMED

pytestmark = pytest.mark.peers
FAMILIES = ("smollm2", "qwen3", "llama3_1", "gptoss", "deepseek_v3")
LONGEST = 1 << 19  # characters of a real text

PIECES = (
    *(
        "'s",
        "'LL",
        "'ſ",
        "'re",
        "I'm",
        "don't",
        " the",
        "The",
        "hello",
        "fooBar",
        "HELLO",
        "123",
        "7",
        "١٢٣٤",
        "½",
        "²",
    ),
    *(
        " ",
        "  ",
        "    ",
        "\t",
        "\n",
        "\r\n",
        "\n\n\n",
        "\r",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\x1c",
        "\x85",
        "\x0b",
        "\0",
    ),
    *("\ufeff", "😀", "👨‍👩‍👧", "🇩🇪", "é", "e\u0301", "\u0301", "a\u0327\u0301", "中文", "日本語・テスト", "한국어"),
    *(
        "\u1112\u1161\u11ab",
        "привет",
        "שלום",
        "हिन्दी",
        "ǅ",
        "ʰ",
        "ʕ",
        "ß",
        "İ",
        "!?",
        "/",
        "_",
        "...",
        "://",
        "#",
        "$x",
    ),
    *(
        "{",
        "}",
        "(a",
        '"',
        "—",
        "、。",
        "\u200d",
        "def f(x):\n    return",
        "😀😀😀",
        "\u0344",
        "\u212b",
        "\uac00\u11a8",
    ),
)
PLANES = ((0x20, 0x7F), (0x80, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000))


def random_text(draw: random.Random, specials: Sequence[str]) -> str:
    """Return words, numbers, spaces, runs, special tokens, their beginnings and characters of all planes."""
    parts = []
    for _ in range(draw.randrange(1, 14)):
        kind = draw.random()
        if kind < 0.5:
            parts.append(draw.choice(PIECES))
        elif kind < 0.6:
            parts.append(draw.choice(specials))
        elif kind < 0.65:
            parts.append(draw.choice(specials)[: draw.randrange(1, 12)])
        elif kind < 0.7:
            parts.append(
                draw.choice([" ", "a", "\n", "1", "ab", "-", "\r\n", "é", "中", " \n"]) * draw.randrange(1, 90)
            )
        else:
            parts += [chr(draw.randrange(*draw.choice(PLANES))) for _ in range(draw.randrange(1, 7))]
    return "".join(parts)


@cache
def open_both(folder: Path) -> tuple[BPETokenizer, Any]:
    tokenizers = pytest.importorskip("tokenizers")
    ours = load_tokenizer(folder, warn=lambda note: None)
    assert isinstance(ours, BPETokenizer)
    return ours, tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(params=FAMILIES)
def both(request: pytest.FixtureRequest) -> tuple[BPETokenizer, Any]:
    if request.param == "smollm2":
        return open_both(request.getfixturevalue("smollm2"))
    return open_both(request.getfixturevalue("real_tokenizers") / request.param)


def check(ours: BPETokenizer, peer: Any, text: str, name: str) -> None:
    ids = ours.encode(text, allowed_special="all")
    assert ids == peer.encode(text, add_special_tokens=False).ids, name
    assert ours.decode(ids) == peer.decode(ids, skip_special_tokens=False), name


def test_the_ids_of_real_texts(both: tuple[BPETokenizer, Any], data_dir: Path) -> None:
    ours, peer = both
    for path in sorted(path for path in data_dir.rglob("*") if path.is_file()):
        text = path.read_bytes().decode("utf-8")[:LONGEST]
        check(ours, peer, text, path.name)
        lines = text[: LONGEST // 4].splitlines(keepends=True)
        streamed = list(ours.encode_iterable(lines, allowed_special="all"))
        assert streamed == ours.encode("".join(lines), allowed_special="all"), path.name


def test_the_ids_of_random_texts(both: tuple[BPETokenizer, Any]) -> None:
    ours, peer = both
    draw, specials = random.Random(19), list(ours.special_tokens)
    for _ in range(2000):
        text = random_text(draw, specials)
        check(ours, peer, text, ascii(text))
        cut = draw.randrange(len(text) + 1)
        streamed = list(ours.encode_iterable([text[:cut], text[cut:]], allowed_special="all"))
        assert streamed == ours.encode(text, allowed_special="all"), ascii(text)


def test_what_is_written_is_the_same_tokenizer(both: tuple[BPETokenizer, Any]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    ours, peer = both
    written = tokenizers.Tokenizer.from_str(json.dumps(to_huggingface(ours)))
    stored = tokenizer_from_dict(json.loads(json.dumps(ours.to_dict())))
    draw, specials = random.Random(20), list(ours.special_tokens)
    assert stored.sha256 == ours.sha256
    assert written.get_vocab_size() == peer.get_vocab_size()
    for _ in range(300):
        text = random_text(draw, specials)
        ids = peer.encode(text, add_special_tokens=False).ids
        assert written.encode(text, add_special_tokens=False).ids == ids
        assert stored.encode(text, allowed_special="all") == ids  # type: ignore[call-arg]
        assert written.encode("a").ids == [*ours.prefix, *ours.encode("a")]


def test_the_two_files_of_qwen3_alone(tmp_path: Path, real_tokenizers: Path) -> None:
    """vocab.json, merges.txt and tokenizer_config.json give the ids of tokenizer.json."""
    ours, peer = open_both(real_tokenizers / "qwen3")
    model = json.loads((real_tokenizers / "qwen3" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("\n".join(map(" ".join, model["merges"])), encoding="utf-8")
    config = json.loads((real_tokenizers / "qwen3" / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    pair = load_tokenizer(tmp_path)
    assert pair.sha256 == ours.sha256
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match=r"vocab\.json and merges\.txt do not say how to split text"):
        load_tokenizer(tmp_path)
    named = load_tokenizer(tmp_path, pattern="qwen2")
    text = "Year 2024, 12345 x's\n\n  y DON'T (word e\u0301"
    assert named.encode(text) == peer.encode(text).ids


@pytest.mark.parametrize("name", NAMED)
def test_named_patterns_split_alike(name: str) -> None:
    """What is named, and written for Hugging Face, splits every character as their engine does."""
    tokenizers = pytest.importorskip("tokenizers")
    ours = BPETokenizer.train("low low lower", 257, pattern=name)
    peer = tokenizers.Tokenizer.from_str(json.dumps(to_huggingface(ours)))
    draw = random.Random(21)
    for _ in range(1000):
        text = random_text(draw, ["<|endoftext|>"])
        assert ours.encode(text, allowed_special="all") == peer.encode(text).ids, ascii(text)
