"""The page of byte-pair merges: its states are those of the trainer, and of a tokenizer."""

import re
from itertools import pairwise

import pytest

from gpt.study import merges
from gpt.tokenizer import BPETokenizer
from gpt.tokenizer.pairs import train_naively
from gpt.tokenizer.trainer import count_words

TEXT = "low lower lowest, naïve naïve"


def test_states_are_the_merges_of_the_specification() -> None:
    found = merges.states(TEXT, 12)
    assert [state.merge for state in found[1:]] == train_naively(count_words([TEXT]), 12)
    for before, after in pairwise(found):
        assert after.merge is not None
        assert after.counts[after.merge] == max(after.counts.values())
        assert sum(map(len, after.words)) < sum(map(len, before.words))
        assert b"".join(b"".join(word) for word in after.words).decode() == TEXT


def test_a_tokenizer_ends_at_its_own_ids() -> None:
    tokenizer = BPETokenizer.train("lower slower flower low low", vocab_size=262)
    tokens = [token for word in merges.states("a lower tower", 100, tokenizer)[-1].words for token in word]
    assert tokens == [tokenizer.vocab[i] for i in tokenizer.encode("a lower tower")]


def test_bytes_that_are_no_characters_are_hexadecimal() -> None:
    assert [merges.show(t) for t in (b"\xc3", b"\xc3\xa9", b" a", b"\n", b"\x00")] == ["C3", "é", "␣a", "↵", "00"]


def test_the_page_has_every_state_and_no_markup_of_the_text() -> None:
    page = merges.topic("<b>&amp;</b> <b>", 5).page()
    assert page.count('class="state"') == 6
    assert page == merges.topic("<b>&amp;</b> <b>", 5).page()
    assert "<b>&amp;" not in page
    assert not re.search(r"<[^>]* style=", page)
    assert "Merge by merge" in merges.topic("abab", 5).text()


@pytest.mark.parametrize("text", ["", "  ", "x" * 301])
def test_a_text_must_have_some_characters_and_not_too_many(text: str) -> None:
    with pytest.raises(ValueError, match="merges: the text must have 1 to 300 characters"):
        merges.states(text, 3)
