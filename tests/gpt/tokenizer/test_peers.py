"""Beside tiktoken and Hugging Face's tokenizers: the same ids for every text, the same verdict on special tokens.

Run by `pytest -m peers`; they are in the extra [bench]. The peers need no network: their vocabularies are made from
GPT-2's files, or from ranks that our trainer made.
"""

import functools
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt.tokenizer import EOT, PATTERNS, BPETokenizer, load_tokenizer, to_huggingface
from gpt.tokenizer.formats.huggingface import from_huggingface
from gpt.tokenizer.unicode import as_unicode_16

pytestmark = pytest.mark.peers
EXAMPLES = 4000  # for each of the three patterns

# As tiktoken 0.14 writes them, tiktoken_ext/openai_public.py; o200k is as in PATTERNS.
PEER_PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": PATTERNS["o200k"],
}

MIXED = st.lists(
    st.sampled_from(
        [
            *("'s", "'LL", "'ſ", "'re", "I'm", "don't", " the", "The", "hello", "fooBar", "123", "١٢٣٤", "½", "²"),
            *(" ", "  ", "    ", "\t", "\n", "\r\n", "\n\n\n", "\u00a0", "\u3000", "\u2028", "\x1c", "\x85", "\x0b"),
            *("😀", "👨‍👩‍👧", "🇩🇪", "é", "e\u0301", "中文", "привет", "שלום", "हिन्दी", "ǅ", "ʰ", "ß", "İ", "!?", "/", "_"),
        ]
    ),
    max_size=24,
).map("".join)  # fmt: skip
TEXTS = st.text(max_size=60) | MIXED | st.lists(MIXED | st.text(max_size=9), max_size=5).map("".join)


def ranks(tokenizer: BPETokenizer) -> dict[bytes, int]:
    special = set(tokenizer.special_tokens.values())
    return {token: id for id, token in tokenizer.vocab.items() if id not in special}


def as_tiktoken(tokenizer: BPETokenizer) -> Any:
    tiktoken = pytest.importorskip("tiktoken")
    return tiktoken.Encoding(
        "peer",
        pat_str=PEER_PATTERNS[str(tokenizer.pattern)],
        mergeable_ranks=ranks(tokenizer),
        special_tokens=tokenizer.special_tokens,
    )


def as_huggingface(tokenizer: BPETokenizer) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.Tokenizer.from_str(json.dumps(to_huggingface(tokenizer)))


def texts(data_dir: Path) -> dict[str, str]:
    files = sorted(path for path in data_dir.rglob("*") if path.is_file())
    return {str(path.relative_to(data_dir)): path.read_bytes().decode("utf-8") for path in files}


@pytest.fixture(scope="module", params=PATTERNS)
def ours(request: pytest.FixtureRequest, data_dir: Path) -> BPETokenizer:
    """Return GPT-2's own tokenizer, and for the newer patterns one that our trainer made of all the texts."""
    if request.param == "gpt2":
        gpt2 = load_tokenizer(data_dir / "gpt2")
        assert isinstance(gpt2, BPETokenizer)
        return gpt2
    text = "\n".join(texts(data_dir).values())
    return BPETokenizer.train(text, 8000, pattern=request.param, special_tokens=(EOT, "<|pad|>"))


@pytest.fixture(scope="module")
def tiktoken_peer(ours: BPETokenizer) -> Any:
    return as_tiktoken(ours)


@pytest.fixture(scope="module")
def huggingface_peer(ours: BPETokenizer) -> Any:
    return as_huggingface(ours)


def test_the_ids_of_real_texts(ours: BPETokenizer, tiktoken_peer: Any, huggingface_peer: Any, data_dir: Path) -> None:
    for name, text in texts(data_dir).items():
        ids = ours.encode_ordinary(text)
        assert ids == tiktoken_peer.encode_ordinary(text), name
        assert ours.encode(text, allowed_special="all") == huggingface_peer.encode(text).ids, name
        assert ours.decode(ids) == tiktoken_peer.decode(ids) == text


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=TEXTS)
def test_the_ids_of_any_text(ours: BPETokenizer, tiktoken_peer: Any, text: str) -> None:
    assert ours.encode_ordinary(text) == tiktoken_peer.encode_ordinary(text)


@settings(max_examples=500, deadline=None)
@given(text=TEXTS)
def test_the_ids_of_any_text_by_hugging_face(ours: BPETokenizer, huggingface_peer: Any, text: str) -> None:
    assert ours.encode(text, allowed_special="all") == huggingface_peer.encode(text).ids


def test_the_ids_of_every_character(ours: BPETokenizer, tiktoken_peer: Any) -> None:
    # where almost nothing is assigned, each 97th: the classes of all are compared below
    every = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x34000), *range(0x34000, sys.maxunicode + 1, 97))]
    text = "".join(f"{character}a {character}1{character}\n" for character in every)
    assert ours.encode_ordinary(text) == tiktoken_peer.encode_ordinary(text)


@pytest.mark.parametrize("name", ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N"])
def test_characters_are_of_the_classes_that_tiktoken_sees(name: str) -> None:
    """Where this fails, `regex` knows a newer Unicode, and NEWER in unicode.py lacks its additions."""
    tiktoken = pytest.importorskip("tiktoken")
    single = {bytes([byte]): byte for byte in range(256)}
    peer = tiktoken.Encoding("class", pat_str=rf"\p{{{name}}}", mergeable_ranks=single, special_tokens={})
    every = "".join(chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    ours = "".join(every[found.start()] for found in regex.finditer(rf"\p{{{name}}}", as_unicode_16(every)))
    assert ours == peer.decode(peer.encode_ordinary(every))


def test_the_ids_of_long_runs(ours: BPETokenizer, tiktoken_peer: Any) -> None:
    for unit, length in itertools.product(
        ["a", " ", "\n", "1", "ab", "😀", " \n", "!", "\r\n", "'s"], [2, 63, 64, 65, 999]
    ):
        text = unit * length
        assert ours.encode_ordinary(text) == tiktoken_peer.encode_ordinary(text), (unit, length)


Call = Callable[[Any], list[int]]


def verdict(call: Call, tokenizer: Any) -> list[int] | None:
    """Return the ids, or None where the text is refused."""
    try:
        return call(tokenizer)
    except ValueError:
        return None


SPECIALS = (EOT, "<|pad|>", "<|a b|>", "Ġ<x>", "aa\nbb")
TEXTS_WITH_SPECIALS = st.lists(st.sampled_from([*SPECIALS, "<|", "|>", "a", "aa", " ", "\n", "b", "Ġ"]), max_size=12)
SOME = st.just("all") | st.sets(st.sampled_from(SPECIALS))


@functools.cache
def with_specials() -> tuple[BPETokenizer, Any]:
    tokenizer = BPETokenizer.train("aa bb aa\nbb <|pad|> the end", 290, special_tokens=SPECIALS)
    return tokenizer, as_tiktoken(tokenizer)


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=TEXTS_WITH_SPECIALS.map("".join), allowed=SOME, disallowed=SOME)
def test_special_tokens_are_allowed_and_refused_alike(text: str, allowed: Any, disallowed: Any) -> None:
    ours, peer = with_specials()

    def call(tokenizer: Any) -> list[int]:
        ids: list[int] = tokenizer.encode(text, allowed_special=allowed, disallowed_special=disallowed)
        return ids

    assert verdict(call, ours) == verdict(call, peer)
    assert ours.encode_ordinary(text) == peer.encode_ordinary(text)
    assert verdict(lambda each: each.encode(text), ours) == verdict(lambda each: each.encode(text), peer)


@functools.cache
def from_their_trainer() -> tuple[BPETokenizer, Any]:
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[EOT],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train_from_iterator(["the cat's hat, 123 and the fat cat sat; été 中文 hello HELLO 😀" * 3] * 9, trainer)
    ours = from_huggingface(json.loads(peer.to_str()))
    assert isinstance(ours, BPETokenizer)
    return ours, peer


@settings(max_examples=500, deadline=None)
@given(text=TEXTS)
def test_a_file_that_hugging_face_trained(text: str) -> None:
    ours, peer = from_their_trainer()
    assert ours.encode(text, allowed_special="all") == peer.encode(text).ids
