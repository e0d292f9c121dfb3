"""The character tokenizer: ids by hand, and what it refuses."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.tokenizer import CharTokenizer


def test_ids_are_the_places_of_the_sorted_characters() -> None:
    tokenizer = CharTokenizer.train("hello é!")  # sorted: " " ! e h l o é
    assert tokenizer.characters == " !ehloé"
    assert tokenizer.vocab_size == 7
    assert tokenizer.encode("hé! o") == [3, 6, 1, 0, 5]
    assert tokenizer.decode([3, 6, 1, 0, 5]) == "hé! o"
    assert tokenizer.decode_bytes([6, 2]) == b"\xc3\xa9e"
    assert tokenizer.eot_id is None
    assert tokenizer.encode("") == []


@settings(deadline=None)
@given(st.text(min_size=1))
def test_every_text_comes_back_from_its_own_vocabulary(text: str) -> None:
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocab_size == len(set(text))


def test_unknown_characters_are_named() -> None:
    tokenizer = CharTokenizer.train("abc")
    with pytest.raises(
        ValueError, match=r"the 3 of the vocabulary, got 2 others: '€' \(U\+20AC\), '😀' \(U\+1F600\); train"
    ):
        tokenizer.encode("a€b😀€")
    with pytest.raises(ValueError, match=r"got 26 others: 'A' \(U\+0041\), .*'E' \(U\+0045\), …; train"):
        tokenizer.encode("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="encode: text must be a str, got bytes; bytes become text with"):
        CharTokenizer.train("abc").encode(b"abc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"encode: UTF-8 cannot encode a lone surrogate, got U\+D800 at index 1"):
        CharTokenizer.train("abc").encode("a\ud800")
    with pytest.raises(ValueError, match=r"CharTokenizer.train: UTF-8 cannot encode a lone surrogate"):
        CharTokenizer.train("a\udfff")


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ("", "at least one character, got none"),
        ("abb", r"must be distinct, got 'b' \(U\+0062\) twice"),
        ("ba", r"must be sorted, got 'a' \(U\+0061\) after 'b' \(U\+0062\); give them sorted"),
    ],
)
def test_the_vocabulary_must_be_sorted_and_distinct(characters: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CharTokenizer(characters)


def test_shakespeare_comes_back(data_dir: Path) -> None:
    text = (data_dir / "tinyshakespeare.txt").read_text(encoding="utf-8")
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.vocab_size == 65
    assert tokenizer.decode(tokenizer.encode(text)) == text
