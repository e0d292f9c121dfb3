"""Tests of gpt/text/clean.py: each step by hand, and that cleaning clean text changes nothing."""

import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gpt.text.clean
from gpt.text.clean import DEFAULT, DESTRUCTIVE, STEPS, Cleaner, Duplicates, clean, to_chunks

START = "*** START OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***\n"
END = "*** END OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("a\x00b\x07c\x1b[0m\x7f\x9f", "abc[0m"),
        ("\ufeffa\u200bb\u200cc\u200dd\u2060e\u00adf\u200e\u202eg", "abcdefg"),
        ("a\r\nb\rc\fd\ve\x85f\u2028g\u2029h", "a\nb\nc\nd\ne\nf\ng\nh"),  # words of two lines are not glued
        (
            "e\u0301 \u0600 \u00a0 \ufe0f \U0001f600",
            "e\u0301 \u0600 \u00a0 \ufe0f \U0001f600",
        ),  # these have a look or a width
    ],
)
def test_control_characters_go(text: str, expected: str) -> None:
    assert clean(text, ["remove_control"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301 \u212b \u1100\u1161", "\u00e9 \u00c5 \uac00"),
        ("\ufb01 \u00b2", "\ufb01 \u00b2"),  # a ligature and a power are characters of their own: that would be NFKC
    ],
)
def test_characters_are_written_in_one_way(text: str, expected: str) -> None:
    assert clean(text, ["normalise_unicode"]) == expected


def test_what_is_destructive_does_what_its_name_says() -> None:
    assert clean("ÀB C ΣΑΣ", ["lowercase"]) == "àb c σας"
    assert clean("“Don’t”—(he) said… ¿no? a_b 3<4 $5 +1", ["remove_punctuation"]) == "Dont" + "he said no ab 3<4 $5 +1"
    assert clean("cafe\u0301 café naïve – 日本 ok", ["remove_non_ascii"]) == "caf caf nave   ok"
    assert set(DESTRUCTIVE).isdisjoint(DEFAULT)
    assert {*DESTRUCTIVE, *DEFAULT} == set(STEPS)
    assert clean("“Où?” A–B") == "“Où?” A–B"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \n\t\n", ""),
        ("a  b \t c", "a b c"),
        ("a\tb", "a\tb"),
        ("a \t\nb\u00a0\n", "a\nb"),
        ("a\u00a0b\u3000\u2003c", "a b c"),
        ("\n \n    a\n  b\n", "    a\n  b"),  # verse and code are indented
        ("a\nb\n\nc\n\n\nd\n \n\t\n\ne", "a\nb\n\nc\n\nd\n\ne"),
    ],
)
def test_white_space_is_tidied(text: str, expected: str) -> None:
    assert clean(text, ["tidy_whitespace"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call me\nIshmael.\n", "Call me\nIshmael.\n"),
        (f"Title\n\n{START}\nCall me\n\n{END}Licence\n", "\nCall me\n\n"),
        (f"Title\n{START}Call me", "Call me"),
        (f"Call me\n{END}Licence", "Call me\n"),
        (f"Title\n{START}one\n{END}licence\nTitle\n{START}two\n{END}licence", "one\n\ntwo\n"),
        (f"{START}{START}a\n{END}{END}b", "\na\n"),
        ("x\n***START OF THIS PROJECT GUTENBERG EBOOK X***\na\n  *** end of this project gutenberg ebook x\nb", "a\n"),
        ("x\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\na", "a"),
        ("He said *** START OF THE PROJECT GUTENBERG EBOOK", "He said *** START OF THE PROJECT GUTENBERG EBOOK"),
        ("*** START OF THE RACE ***\na", "*** START OF THE RACE ***\na"),
        ("a\n" * (1 << 15) + START + "b", "a\n" * (1 << 15) + "\nb"),  # no header is that long
        ("a\n" * (1 << 15) + END + "b", "a\n" * (1 << 15)),
        ("a\n" * ((1 << 15) - 1) + START + "b", "b"),
    ],
)
def test_gutenberg_stays_outside(text: str, expected: str) -> None:
    assert clean(text, ["strip_gutenberg"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\nb\n\na\n\nc", "a\n\nb\n\nc"),
        ("a\n\na", "a\n\n"),
        ("a\nb\n\nb\na\n\na b\n", "a\nb\n\nb\na\n\n"),  # the same words on other lines
        ("a\n \t\n\na\nb", "a\n \t\n\na\nb"),
        ("A\n\na\n\na.", "A\n\na\n\na."),  # exact: nearly the same is not the same
        ("\n\na\n\n\n\na", "\n\na\n\n\n\n"),
        ("a\na\na", "a\na\na"),  # lines are no paragraphs
    ],
)
def test_a_paragraph_comes_once(text: str, expected: str) -> None:
    assert clean(text, ["drop_duplicates"]) == expected


def test_paragraphs_are_remembered_across_texts_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaner = Cleaner()
    assert ["".join(cleaner.clean([text])) for text in ("a\n\nb", "b\n\nc", "c", "d")] == ["a\n\nb", "c", "", "d"]
    assert cleaner.duplicates.dropped == 2
    monkeypatch.setattr(gpt.text.clean, "MAX_PARAGRAPHS", 2)
    assert clean("a\n\nb\n\nc\n\nc\n\nb\n\na\n\nc", ["drop_duplicates"]) == "a\n\nb\n\nc\n\nc\n\nc"


def test_a_remembered_paragraph_takes_the_memory_that_was_said() -> None:
    duplicates = Duplicates()
    tracemalloc.start()
    duplicates.drop("\n\n".join(map(str, range(50_000))))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(duplicates.seen) == 50_000
    assert used < 50_000 * 160  # the table of a set doubles or quadruples: at 4,000,000 it is 100 bytes


def test_an_unknown_step_is_named() -> None:
    with pytest.raises(ValueError, match=r"clean: no step is named 'lowercas'; did you mean lowercase\?"):
        clean("a", ["lowercas"])


def test_steps_are_done_in_their_order_whatever_the_order_they_are_named_in() -> None:
    assert clean("A  b", ["tidy_whitespace", "lowercase"]) == clean("A  b", ("lowercase", "tidy_whitespace")) == "a b"
    assert clean("A  b", ()) == "A  b"


def test_what_each_step_removed_is_counted_by_hand() -> None:
    cleaner = Cleaner([*DEFAULT, "remove_punctuation"])
    assert "".join(cleaner.clean(["<p>e\u0301t\u200be&eacute;</p><p>a  b.</p>", "<p>a b"], html=True)) == "éteé\n\na b"
    assert cleaner.removed == {
        "strip_html": len("<p>&eacute;</p><p>  </p><p>") - len("é\n\n \n\n"),
        "remove_control": 1,
        "strip_gutenberg": 0,
        "remove_punctuation": 1,
        "normalise_unicode": 1,
        "drop_duplicates": 3,
        "tidy_whitespace": 2,  # the line ends before what was dropped
    }
    assert cleaner.read - sum(cleaner.removed.values()) == cleaner.written == len("éteé\n\na b")
    assert cleaner.table().splitlines() == [
        "step                    characters",
        "read                            38",
        "strip_html                      21",
        "remove_control                   1",
        "strip_gutenberg                  0",
        "remove_punctuation               1",
        "normalise_unicode                1",
        "drop_duplicates                  3  (1 paragraphs)",
        "tidy_whitespace                  2",
        "written                          9",
    ]


# Letters and signs that meet: what lowers to two characters, composes, separates, breaks lines, begins a marker
ALPHABET = (
    "aA  \n\n\t.,*\r\f\x00\x1c\u200b\u00adİΣςσJj\u030c\u0301\u0323é\u212a\u212b\u1100\u1161\u2000\u00a0\u2028\u037e日-'"
)
FRAGMENTS = [
    *ALPHABET,
    START,
    END,
    START[:-1],
    "\n" + START.lower(),
    "*** START\u00a0OF THE PRO\u00e9JECT GUTENBERG",
    "a\n\n",
    "b b\n\n",
]
texts = st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
SUBSETS = [s for size in range(len(STEPS) + 1) for s in itertools.combinations(STEPS, size)]


@settings(max_examples=500, deadline=None)
@given(texts, st.sampled_from(SUBSETS))
@example("*\u00e9** START OF THE PROJECT GUTENBERG\na", tuple(STEPS))
@example("e.\u0301 \u1100-\u1161 J\u030c", tuple(STEPS)[:-1])
@example("a\n\na\n\nb", ("drop_duplicates", "tidy_whitespace"))
def test_clean_text_stays_as_it_is(text: str, steps: tuple[str, ...]) -> None:
    once = clean(text, steps)
    assert clean(once, steps) == once


@pytest.mark.parametrize("text", ["a  b\n\na b\n\n\nE\u0301.\u200b\u0301 é\n", f"T\n{START}A\n\nA\u00a0\n{END}b"])
def test_every_subset_of_steps_agrees_with_doing_them_one_by_one(text: str) -> None:
    for steps in SUBSETS:
        result = text
        for name in steps:
            result = "".join(STEPS[name]([result]))
        assert clean(text, steps) == result
        assert clean(result, steps) == result


def parts_of(text: str, size: int) -> Iterator[str]:
    return (text[i : i + size] for i in range(0, len(text), size))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join), st.integers(1, 9), st.integers(1, 40))
def test_a_text_in_parts_is_cleaned_as_the_whole(text: str, part: int, piece: int) -> None:
    assert "".join(to_chunks(parts_of(text, part), piece)) == text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpt.text.clean, "CHUNK", piece)
        steps = [name for name in STEPS if name != "drop_duplicates"]  # a long paragraph is compared in pieces
        assert "".join(Cleaner(steps).clean(parts_of(text, part))) == clean_whole(text, steps)


def clean_whole(text: str, steps: list[str]) -> str:
    for name in steps:
        text = "".join(STEPS[name]([text]))
    return text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b c", "d\ne"]), min_size=1), st.integers(8, 30), st.integers(1, 9))
def test_duplicates_are_found_across_pieces(paragraphs: list[str], piece: int, part: int) -> None:
    text = "\n \n\n".join(paragraphs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpt.text.clean, "CHUNK", piece)
        cleaned = "".join(Cleaner().clean(parts_of(text, part)))
    assert cleaned == "\n\n".join(dict.fromkeys(paragraphs))


def test_pieces_are_cut_where_blank_lines_end_or_else_lines() -> None:
    assert list(to_chunks(["a\n\nb\nc", "\nd"], 6)) == ["a\n\n", "b\nc\nd"]
    assert list(to_chunks(["abcdefg", "h\nij", "k"], 4)) == ["abcdefgh\n", "ijk"]
    assert list(to_chunks([], 4)) == [""]


def test_a_long_text_takes_the_memory_of_a_few_pieces() -> None:
    def parts() -> Iterator[str]:
        for i in range(400):
            yield f"Paragraph {i} of a text without an end.\n\n" * 500  # 20 kB

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpt.text.clean, "CHUNK", 1 << 14)
        tracemalloc.start()
        length = sum(map(len, Cleaner(["remove_control", "tidy_whitespace"]).clean(parts())))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert length > 7_000_000
    assert most < 1_000_000


def test_real_texts_lose_little(data_dir: Path) -> None:
    text = (data_dir / "the-verdict.txt").read_text(encoding="utf-8")
    cleaned = clean(text)
    assert cleaned.split() == text.split()  # no word is lost
    assert clean(cleaned) == cleaned
    play = (data_dir / "tinyshakespeare.txt").read_text(encoding="utf-8")
    speeches = dict.fromkeys(" ".join(speech.split()) for speech in play.split("\n\n"))
    assert [" ".join(speech.split()) for speech in clean(play).split("\n\n")] == [
        speech for speech in speeches if speech
    ]
