"""Pairs of answers: how entries are read, which are left out and counted, which are errors, and their tokens."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpt.data.batches import IGNORE
from gpt.finetune.conversations import DUPLICATE, Message
from gpt.finetune.preference_data import EQUAL, SWAPPED, TOO_LONG, Pair, encode_pairs, pad_pairs, read_pairs
from gpt.finetune.templates import Template
from gpt.tokenizer import BPETokenizer

BYTES = BPETokenizer.train("ab", 257)  # a token for each byte, and 256 ends a text
SHORT = Template(name="short", user="<{content}>", reply=":")


def write(folder: Path, entries: list[dict[str, Any]]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def test_a_pair_by_hand(tmp_path: Path) -> None:
    pairs, _ = read_pairs(write(tmp_path, [{"prompt": "q", "chosen": "yes", "rejected": "no"}]))
    (example,), _ = encode_pairs(pairs, SHORT, BYTES, 64)
    ids, targets = pad_pairs([example])
    end, _ = BYTES.eot_id, IGNORE
    assert ids.tolist() == [[[*b"<q>:yes"], [*b"<q>:no", 0]]]
    assert targets.tolist() == [[[_, _, _, *b"yes", end], [_, _, _, *b"no", end, _]]]


def test_instructions_with_an_input_are_pairs_too(tmp_path: Path) -> None:
    entries = [{"id": 3, "instruction": "Add.", "input": "2 and 3", "chosen": "5", "rejected": "6", "score": 0.9}]
    (pair,), notes = read_pairs(write(tmp_path, entries))
    assert (pair.question.content, pair.question.input, pair.chosen, pair.rejected) == ("Add.", "2 and 3", "5", "6")
    assert [message.content for message in pair.rejected_messages] == ["Add.", "6"]
    assert notes == ["1 with the field 'score': not used"]


def test_useless_pairs_are_left_out_and_counted(tmp_path: Path) -> None:
    good = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    entries = [
        good,
        {**good, "rejected": " yes\n"},
        {**good, "chosen": ""},
        {**good, "rejected": "  "},
        {**good, "prompt": ""},
        good,
        {**good, "chosen": "no", "rejected": "yes"},
        {**good, "prompt": "other"},
    ]
    pairs, notes = read_pairs(write(tmp_path, entries))
    assert [pair.question.content for pair in pairs] == ["q", "other"]
    rules = [
        EQUAL,
        DUPLICATE,
        SWAPPED,
        *(f"an empty {text}: left out" for text in ("chosen answer", "rejected answer", "prompt")),
    ]
    assert sorted(notes) == sorted(f"1 with {rule}" for rule in rules)


def test_a_pair_with_an_answer_beyond_the_context_is_left_out_and_counted() -> None:
    question = (Message("user", "q"), Message("assistant", "yes"))
    pairs = [Pair(question, "here", "n" * n) for n in range(1, 6)]
    context_length = len(b"<q>:nnnn")  # the end is a target, and no input
    examples, counts = encode_pairs(pairs, SHORT, BYTES, context_length)
    assert [len(example.rejected.ids) for example in examples] == [5, 6, 7, 8]
    assert counts == {TOO_LONG: 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "q", "chosen": "a"}', "line 1: needs 'prompt' or 'instruction', 'chosen' and 'rejected', and has"),
        ('{"prompt": "q", "choosen": "a", "rejected": "b"}', "did you mean chosen?"),
        ('{"prompt": "q", "chosen": "a", "rejected": 3}', "line 1: 'rejected' must be a text, got int"),
        (
            '{"prompt": "q", "instruction": "r", "chosen": "a", "rejected": "b"}',
            "has both 'prompt' and 'instruction'; take one out",
        ),
        (
            '{"prompt": "q", "chosen": "a", "rejected": "a"}',
            "has no pair to learn from (1 with equal chosen and rejected answers",
        ),
    ],
)
def test_invalid_entries_are_refused(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(ValueError, match=r".*") as caught:
        read_pairs(path)
    assert message in str(caught.value)
