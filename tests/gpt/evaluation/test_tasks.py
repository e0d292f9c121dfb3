"""Tests of gpt/evaluation/tasks.py: the items of a file, and examples before them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.evaluation.tasks import BETWEEN_SHOTS, Item, add_shots, fingerprint, read_items

CHOICE = {"context": "Grass is", "choices": ["green", "loud"], "answer": 0}
COMPLETION = {"prompt": "2 + 3 =", "completion": "5"}
HELLASWAG = {
    "ind": 24, "activity_label": "Boiling eggs", "ctx_a": "A pot stands here.", "ctx_b": "the cook [sic]",
    "ctx": "A pot stands here. the cook", "endings": ["sings.", "stirs it.", "[step] flies  off.", "is blue."],
    "source_id": "x", "split": "val", "split_type": "indomain", "label": "1",
}  # fmt: skip


def read(folder: Path, *entries: Any) -> list[Item]:
    path = folder / "tasks.jsonl"
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_items(path, "mine", warn=pytest.fail)


def test_the_formats(tmp_path: Path) -> None:
    harness = {"query": "Snow is", "choices": [" white", "hot"], "gold": 1, "task": "other"}
    joined = {"context": "f(x", "choices": [")", "]"], "answer": 0, "separator": ""}
    assert read(tmp_path, CHOICE, COMPLETION, HELLASWAG, harness, joined) == [
        Item(1, "mine", "Grass is", (" green", " loud"), 0),
        Item(2, "mine", "2 + 3 =", (" 5",)),
        Item(
            3,
            "mine",
            "Boiling eggs: A pot stands here. The cook ",
            ("sings.", "stirs it.", " flies off.", "is blue."),
            1,
        ),
        Item(4, "other", "Snow is", (" white", " hot"), 1),
        Item(5, "mine", "f(x", (")", "]"), 0),
    ]
    only_ctx = {name: HELLASWAG[name] for name in ("ctx", "endings", "label")}
    assert read(tmp_path, only_ctx)[0].context == "A pot stands here. the cook"


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({**CHOICE, "answers": 1}, "unknown field 'answers'; did you mean answer?"),
        ({**CHOICE, "why": 1}, "unknown field 'why'; an item has context, choices, answer"),
        ({"context": "a", "choices": ["b", "c"]}, "'answer' must be from 0 to 1, got None"),
        ({**CHOICE, "answer": 2}, "'answer' must be from 0 to 1, got 2"),
        ({**CHOICE, "answer": True}, "'answer' must be from 0 to 1, got True"),
        ({**HELLASWAG, "label": ""}, "'label' must be from 0 to 3, got ''"),
        ({**CHOICE, "choices": ["a"]}, "'choices' must be a list of two texts or more"),
        ({**CHOICE, "choices": ["a", ""]}, "'choices' has an empty text"),
        ({**CHOICE, "choices": ["a", 3]}, "'choices' must be a text, got int"),
        ({**CHOICE, "context": None}, "'context' must be a text, got NoneType"),
        ({"choices": ["a", "b"], "answer": 0}, "there is no 'context'"),
        ({"prompt": "a"}, "there is no 'completion'"),
        ({**COMPLETION, "completion": ""}, "'completion' must not be empty"),
        ("[1, 2", "a line must be one JSON object"),
    ],
)
def test_what_is_no_item_is_named_with_its_line(tmp_path: Path, entry: Any, error: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read(tmp_path, CHOICE, entry)
    assert "tasks.jsonl, line 2: " in str(caught.value)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_items(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no items; write one a line, with context, choices and answer"):
        read(tmp_path, "[]")


ITEMS = [Item(i + 1, "ab"[i % 2], f"<{i}>", (" no", f" yes{i}"), 1) for i in range(12)]


@given(st.integers(0, 5), st.integers(0, 2**32))
def test_shots_are_other_items_of_the_task_with_their_answers(k: int, seed: int) -> None:
    for item, asked in zip(ITEMS, add_shots(ITEMS, k, seed), strict=True):
        *shots, question = asked.context.split(BETWEEN_SHOTS)
        assert question == item.context
        assert (asked.choices, asked.answer, asked.number) == (item.choices, item.answer, item.number)
        others = {f"{o.context} yes{o.number - 1}" for o in ITEMS if o.task == item.task and o is not item}
        assert len(set(shots)) == len(shots) == k  # the item itself is none of them, and none comes twice
        assert set(shots) <= others


def test_shots_depend_on_the_seed_and_on_the_item() -> None:
    def drawn(seed: int) -> list[str]:
        return [item.context for item in add_shots(ITEMS, 2, seed)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len({context.rpartition(BETWEEN_SHOTS)[0] for context in drawn(1)}) > 6
    with pytest.raises(ValueError, match="shots: a has 5 other items, got shots=6; give at most as many"):
        list(add_shots(ITEMS, 6, 0))


def test_the_fingerprint_says_that_items_are_the_same() -> None:
    assert fingerprint(ITEMS) == fingerprint(list(ITEMS))
    assert fingerprint(ITEMS) != fingerprint(ITEMS[:-1])
