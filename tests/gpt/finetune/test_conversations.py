"""Conversations: how entries are read, which are left out and counted, which are errors, and how they are split."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpt.finetune.conversations import Conversation, Message, read_conversations, split_conversations


def file(tmp_path: Path, *entries: Any, lines: bool = False) -> Path:
    """Write entries as a JSON list, or one a line."""
    path = tmp_path / ("data.jsonl" if lines else "data.json")
    text = "\n".join(map(json.dumps, entries)) if lines else json.dumps(entries)
    path.write_text(text, encoding="utf-8")
    return path


def alpaca(instruction: str, output: str, **fields: Any) -> dict[str, Any]:
    return {"instruction": instruction, "output": output, **fields}


def chat(*roles: str, **fields: Any) -> dict[str, Any]:
    """Return a chat in which the n-th message, from 1, says "<role> n"."""
    messages = [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles, start=1)]
    return {"messages": messages, **fields}


def test_alpaca_entries_are_a_question_with_its_input_and_a_response(tmp_path: Path) -> None:
    path = file(tmp_path, alpaca("Add.", "5", input="2, 3"), alpaca("Say hi.", "Hi", input=""))
    conversations, notes = read_conversations(path)
    assert conversations == [
        Conversation((Message("user", "Add.", "2, 3"), Message("assistant", "5"))),
        Conversation((Message("user", "Say hi."), Message("assistant", "Hi"))),
    ]
    assert notes == []


@pytest.mark.parametrize("lines", [True, False])
def test_a_chat_has_several_turns_and_may_begin_with_the_system(tmp_path: Path, lines: bool) -> None:
    entries = chat("system", "user", "assistant", "user", "assistant"), alpaca("Add.", "5")
    first, second = read_conversations(file(tmp_path, *entries, lines=lines))[0]
    assert [(m.role, m.content) for m in first.messages] == [
        ("system", "system 1"),
        ("user", "user 2"),
        ("assistant", "assistant 3"),
        ("user", "user 4"),
        ("assistant", "assistant 5"),
    ]
    assert first.question.content == "user 2"
    assert second.question.content == "Add."


def test_texts_are_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    text = " é\u2028\n[{content}"
    messages = [{"role": "user", "content": text, "input": "in"}, {"role": "assistant", "content": text}]
    path.write_text(json.dumps({"messages": messages}, ensure_ascii=False), encoding="utf-8")
    ((conversation,), _) = read_conversations(path)
    assert conversation == Conversation((Message("user", text, "in"), Message("assistant", text)))
    assert [message.to_dict() for message in conversation.messages] == messages


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    conversations, notes = read_conversations(
        file(
            tmp_path,
            alpaca("a", "b", id=1),
            alpaca("a", "b", id=1, input=" "),  # the same: a blank input is none
            alpaca("a", "c", id=2, topic="x"),  # another answer to the same question stays
            alpaca("d", " \n"),
            alpaca("", "e", input="f"),
            chat("user", "assistant", "user"),
            chat("user", "assistant"),  # the same as what is left of the one before
            alpaca("g", "h", topic="y"),
        )
    )
    assert [conversation.messages[-1].content for conversation in conversations] == ["b", "c", "assistant 2", "h"]
    assert sorted(notes) == [
        "1 with a last message without an answer: the message left out",
        "1 with an empty message of the assistant: left out",
        "1 with an empty message of the user: left out",
        "2 with the field 'topic': not used",
        "2 with the same content as an earlier one: left out",
    ]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([chat("assistant", "user")], "entry 1, message 1: the assistant must not begin; put the user's"),
        ([chat("system", "assistant")], "entry 1, message 2: the assistant must not begin"),
        ([chat("user", "user")], "entry 1, message 2: user and assistant must take turns, got user twice"),
        (
            [chat("user", "assistant", "assistant")],
            "message 3: user and assistant must take turns, got assistant twice",
        ),
        ([chat("user", "system")], "entry 1, message 2: a system message must be the first"),
        ([chat("system")], "entry 1: there is only a system message"),
        ([chat("user")], "entry 1: no message of the assistant to learn from"),
        ([chat("user", "asistant")], "role must be system, user or assistant, got 'asistant'; did you mean assistant?"),
        ([chat("user", "tool")], "entry 1, message 2: the role must be system, user or assistant, got 'tool'"),
        ([{"messages": []}], "entry 1: 'messages' must be a list of messages, got []"),
        ([{"messages": ["hi"]}], "entry 1, message 1: must be an object with 'role' and 'content', got str"),
        ([{"messages": [{"role": "user"}]}], "message 1: needs 'role' and 'content', and has no 'content'"),
        ([{"messages": [{"role": "user", "content": None}]}], "message 1: 'content' must be a text, got NoneType"),
        (
            [{"messages": [{"role": "user", "content": "a", "tool_calls": []}]}],
            "message 1: has 'tool_calls', which cannot be learned; take it out",
        ),
        (
            [alpaca("a", "b"), {"instrution": "a", "output": "b"}],
            "entry 2: needs 'instruction' and 'output', or 'messages', and has 'instrution', 'output'; did you mean "
            "instruction?",
        ),
        ([{}], "entry 1: needs 'instruction' and 'output', or 'messages', and has nothing"),
        ([alpaca("a", 5)], "entry 1: 'output' must be a text, got int"),  # type: ignore[arg-type]
        ([alpaca("a\ud800", "b")], "entry 1: 'instruction' has a lone surrogate at 1"),
        (["a"], 'entry 1: must be an object like {"text": …}, got str'),
        (
            [alpaca("a", "b", id=7), alpaca("c", "d", id="7"), alpaca("c", "e", id=7)],
            "entry 3: has the id 7 of {path}, entry 1; give each its own",
        ),
        ([alpaca("a", "")], "has no conversation to learn from (1 with an empty message of the assistant: left out)"),
        ([], "has no conversation to learn from"),
    ],
)
def test_an_invalid_entry_is_an_error_with_its_location(tmp_path: Path, entries: list[Any], message: str) -> None:
    path = file(tmp_path, *entries)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        read_conversations(path)
    assert message.replace("{path}", str(path)) in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"instruction": "a"}'.encode("utf-16-le"), "is binary, or UTF-16"),
        (b'{"messages": []', "line 1: a line must be one JSON object, but"),
        (b'{"instruction": "a", "output": "b", "output": "c"}', "the key 'output' is there twice"),
    ],
)
def test_a_file_that_is_not_json_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        read_conversations(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_byte_order_mark_windows_line_ends_and_empty_lines_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    lines = (json.dumps(alpaca(a, "é"), ensure_ascii=False) for a in "ab")
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    assert [conversation.question.content for conversation in read_conversations(path)[0]] == ["a", "b"]


def make_conversations(n: int, questions: int) -> list[Conversation]:
    return [Conversation((Message("user", f"q{k % questions}"), Message("assistant", f"answer {k}"))) for k in range(n)]


def test_splits_are_disjoint_and_share_no_question() -> None:
    conversations = make_conversations(100, 60)
    splits = split_conversations(conversations, (0.1, 0.2), seed=1)
    train, val, test = splits
    assert sorted(map(repr, train + val + test)) == sorted(map(repr, conversations))
    assert 10 <= len(val) <= 11
    assert 20 <= len(test) <= 21
    questions = [{conversation.question for conversation in split} for split in splits]
    assert len(set.union(*questions)) == sum(map(len, questions)) == 60
    assert splits == split_conversations(conversations, (0.1, 0.2), seed=1)
    assert splits != split_conversations(conversations, (0.1, 0.2), seed=2)


def test_a_fraction_of_0_is_empty_and_fractions_that_leave_no_training_data_are_refused() -> None:
    assert [len(split) for split in split_conversations(make_conversations(5, 5), (0, 0.2), seed=0)] == [4, 0, 1]
    with pytest.raises(ValueError, match=r"of 3 conversations, on 1 questions, none is left to train on"):
        split_conversations(make_conversations(3, 1), (0.1, 0.1), seed=0)


def test_the_real_instructions(data_dir: Path) -> None:
    conversations, notes = read_conversations(data_dir / "instruction-data.json")
    assert len(conversations) == 1100
    assert notes == []
    assert sum(bool(conversation.question.input) for conversation in conversations) == 1100 - 775
