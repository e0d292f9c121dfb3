"""Cutting a text at added tokens."""

import pytest

from gpt.tokenizer.added_tokens import AddedToken, TokenFinder

TOKENS = [
    AddedToken("<s>", 1),
    AddedToken("<s><s>", 2),
    AddedToken("<end>", 3, lstrip=True),
    AddedToken("<user>", 4, rstrip=True),
    AddedToken("word", 5, single_word=True),
    AddedToken("\n", 6),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no token", ["no token"]),
        ("a<s>b", ["a", 1, "b"]),
        ("<s><s><s>", [2, 1]),  # the longest of those that begin together
        ("<s<s>", ["<s", 1]),
        ("hi \u3000<end> x", ["hi", 3, " x"]),
        ("<user> \n <user>x", [4, 6, " ", 4, "x"]),  # a token in the white space of another is read too
        ("hi <user> <end>x", ["hi ", 4, 3, "x"]),
        ("word, word_ swords é-word", [5, ", word_ swords é-", 5]),
        ("\x1c<end>", ["\x1c", 3]),  # white space to Python, not to Rust
    ],
)
def test_a_text_is_cut_at_tokens(text: str, expected: list[str | int]) -> None:
    assert [token.id if token else between for between, token in TokenFinder(TOKENS).split(text)] == expected
