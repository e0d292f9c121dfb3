"""Conversations as they are read: what each entry becomes, what is left out and counted, and what is an error."""

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
    read = read_conversations(file(tmp_path, alpaca("Add.", "5", input="2, 3"), alpaca("Say hi.", "Hi", input="")))
    assert read.conversations == [
        Conversation((Message("user", "Add.", "2, 3"), Message("assistant", "5"))),
        Conversation((Message("user", "Say hi."), Message("assistant", "Hi"))),
    ]
    assert read.notes() == []


@pytest.mark.parametrize("lines", [True, False])
def test_a_chat_has_several_turns_and_may_begin_with_the_system(tmp_path: Path, lines: bool) -> None:
    entries = chat("system", "user", "assistant", "user", "assistant"), alpaca("Add.", "5")
    first, second = read_conversations(file(tmp_path, *entries, lines=lines)).conversations
    assert [(m.role, m.content) for m in first.messages] == [
        ("system", "system 1"),
        ("user", "user 2"),
        ("assistant", "assistant 3"),
        ("user", "user 4"),
        ("assistant", "assistant 5"),
    ]
    assert first.question.content == "user 2"
    assert second.question.content == "Add."


def test_text_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    said = " é\u2028\n[{content}"
    messages = [{"role": "user", "content": said, "input": "in"}, {"role": "assistant", "content": said}]
    path.write_text(json.dumps({"messages": messages}, ensure_ascii=False), encoding="utf-8")
    (read,) = read_conversations(path).conversations
    assert read == Conversation((Message("user", said, "in"), Message("assistant", said)))
    assert [message.to_dict() for message in read.messages] == messages


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    read = read_conversations(
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
    assert [each.messages[-1].content for each in read.conversations] == ["b", "c", "assistant 2", "h"]
    assert dict(read.counts) == {
        "the same as one before: left out": 2,
        "the field 'topic': not used": 2,
        "an empty message of the assistant: left out": 1,
        "an empty message of the user: left out": 1,
        "a last message that nobody answers: the message left out": 1,
    }
    assert "2 with the field 'topic': not used" in read.notes()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([chat("assistant", "user")], "entry 1, message 1: a conversation must not begin with the assistant; put the"),
        ([chat("system", "assistant")], "entry 1, message 2: a conversation must not begin with the assistant"),
        ([chat("user", "user")], "entry 1, message 2: user and assistant must take turns, got user twice"),
        (
            [chat("user", "assistant", "assistant")],
            "message 3: user and assistant must take turns, got assistant twice",
        ),
        ([chat("user", "system")], "entry 1, message 2: the system may speak only first"),
        ([chat("system")], "entry 1: there is only a system message"),
        ([chat("user")], "entry 1: there is no message of the assistant to learn from"),
        ([chat("user", "asistant")], "role must be system, user or assistant, got 'asistant'; did you mean assistant?"),
        ([chat("user", "tool")], "entry 1, message 2: the role must be system, user or assistant, got 'tool'"),
        ([{"messages": []}], "entry 1: 'messages' must be a list of messages, got []"),
        ([{"messages": ["hi"]}], "entry 1, message 1: must be an object with 'role' and 'content', got str"),
        ([{"messages": [{"role": "user"}]}], "message 1: needs 'role' and 'content', and has no 'content'"),
        ([{"messages": [{"role": "user", "content": None}]}], "message 1: 'content' must be a text, got NoneType"),
        (
            [{"messages": [{"role": "user", "content": "a", "tool_calls": []}]}],
            "message 1: has 'tool_calls', beside 'role' and 'content'; it cannot be learned, take it out",
        ),
        (
            [alpaca("a", "b"), {"instrution": "a", "output": "b"}],
            "entry 2: needs 'instruction' and 'output', or 'messages', and has 'instrution', 'output'; did you mean "
            "instruction?",
        ),
        ([{}], "entry 1: needs 'instruction' and 'output', or 'messages', and has nothing"),
        ([alpaca("a", 5)], "entry 1: 'output' must be a text, got int"),  # type: ignore[arg-type]
        ([alpaca("a\ud800", "b")], "entry 1: 'instruction' has half of a character (a lone surrogate) at 1"),
        (["a"], "entry 1: must be an object like {'messages': …}, got str"),
        (
            [alpaca("a", "b", id=7), alpaca("c", "d", id="7"), alpaca("c", "e", id=7)],
            "entry 3: the id 7 is that of {path}, entry 1 too; give each its own",
        ),
        ([alpaca("a", "")], "has no conversation to learn from (1 with an empty message of the assistant: left out)"),
        ([], "has no conversation to learn from"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_names_the_entry(
    tmp_path: Path, entries: list[Any], message: str
) -> None:
    path = file(tmp_path, *entries)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        read_conversations(path)
    assert message.replace("{path}", str(path)) in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"instruction": "a"}'.encode("utf-16-le"), "is binary, or UTF-16"),
        (b" \n", "is empty"),
        (b'{"messages": []', "line 1: a line must be one JSON object, but"),
        (b'{\n"messages": []}', "; a list of entries begins with ["),
        (b'[{"instruction": "a"},]', "must be a JSON list, but"),
        (b"[" * 9999, "must be a JSON list, but"),
        (b'{"instruction": "a", "output": "b", "output": "c"}', "a key is there twice, of instruction, output, output"),
        (b"5", "line 1: must be an object like {'messages': …}, got int"),
    ],
)
def test_a_file_that_is_something_else_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        read_conversations(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_byte_order_mark_windows_line_ends_and_empty_lines_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    lines = (json.dumps(alpaca(a, "é"), ensure_ascii=False) for a in "ab")
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    assert [each.question.content for each in read_conversations(path).conversations] == ["a", "b"]


def told(n: int, questions: int) -> list[Conversation]:
    return [Conversation((Message("user", f"q{k % questions}"), Message("assistant", f"answer {k}"))) for k in range(n)]


def test_a_split_has_everything_once_and_a_question_on_one_side_only() -> None:
    conversations = told(100, 60)
    parts = split_conversations(conversations, (0.1, 0.2), seed=1)
    train, val, test = parts
    assert sorted(map(repr, train + val + test)) == sorted(map(repr, conversations))
    assert 10 <= len(val) <= 11
    assert 20 <= len(test) <= 21
    asked = [{each.question for each in part} for part in parts]
    assert len(set.union(*asked)) == sum(map(len, asked)) == 60
    assert parts == split_conversations(conversations, (0.1, 0.2), seed=1)
    assert parts != split_conversations(conversations, (0.1, 0.2), seed=2)


def test_a_part_of_nothing_is_empty_and_one_of_all_leaves_none() -> None:
    assert [len(part) for part in split_conversations(told(5, 5), (0, 0.2), seed=0)] == [4, 0, 1]
    with pytest.raises(ValueError, match=r"of 3 conversations, on 1 different questions, none is left to train on"):
        split_conversations(told(3, 1), (0.1, 0.1), seed=0)


def test_the_real_instructions(data_dir: Path) -> None:
    read = read_conversations(data_dir / "instruction-data.json")
    assert len(read.conversations) == 1100
    assert read.notes() == []
    assert sum(bool(each.question.input) for each in read.conversations) == 1100 - 775
