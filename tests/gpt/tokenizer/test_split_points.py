"""Where a text can be cut: by hand, and so that no id changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.tokenizer import PATTERNS, BPETokenizer
from gpt.tokenizer.split_points import first_cut, last_cut

NEW_LETTER = "\U00016ea0"  # since Unicode 17; no letter to the patterns
BPE = {name: BPETokenizer.train("the cat\n the hat 12 \n", 270, pattern=name) for name in PATTERNS}


def test_by_hand() -> None:
    text = "a, b c. d"
    assert (first_cut(text), last_cut(text, 0, len(text))) == (4, 4)
    assert last_cut(text, 0, 4) is None  # the white space after b is outside
    assert (first_cut("one. two"), first_cut("")) == (None, None)


def test_a_letter_of_later_unicode_is_no_place_to_cut() -> None:
    text = f"a b{NEW_LETTER}\nx"
    assert (first_cut(text), last_cut(text, 0, len(text))) == (1, 1)
    assert last_cut(f"{NEW_LETTER}\nx", 0, 3) is None


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text(st.sampled_from(f"ab1 .'\n\té{NEW_LETTER}"), max_size=30))
def test_the_parts_have_the_ids_of_the_whole(pattern: str, text: str) -> None:
    tokenizer = BPE[pattern]
    for place in (first_cut(text), last_cut(text, 0, len(text))):
        if place is not None:
            parts = tokenizer.encode(text[:place]) + tokenizer.encode(text[place:])
            assert parts == tokenizer.encode(text)
