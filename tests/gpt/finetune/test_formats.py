"""Data as other programs write it: what each format is read as, what is said, and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpt.finetune.conversations import UNLEARNED, Message, read_conversations
from gpt.finetune.dpo import SEVERAL, encode_pair, read_pairs
from gpt.finetune.examples import encode
from gpt.finetune.formats import DOLLY, HH, IMPLICIT, NAME, PARTS, SHAREGPT
from gpt.finetune.templates import Template
from gpt.tokenizer import BPETokenizer

Entry = dict[str, Any]
BYTES = BPETokenizer.train("ab", 257)
SHORT = Template(name="short", user="<{content}>", reply=":", between="/")
U, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
QA = (Message("user", "q"), Message("assistant", "a"))
B = {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}


def write(tmp_path: Path, *entries: Entry) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def part(text: str) -> Entry:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("entry", "notes"),
    [
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, [SHAREGPT]),
        ({"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]}, [SHAREGPT]),
        ({"conversations": [U, A]}, [SHAREGPT]),
        ({"instruction": "q", "input": None, "output": "a", "topic": None, "id": None}, []),
        ({"instruction": "q", "context": "", "response": "a"}, [DOLLY]),
        ({"instruction": "q", "response": "a", "category": "x"}, [DOLLY, "the field 'category': not used"]),
        ({"messages": [{**U, "tool_calls": None, "weight": None}, {**A, "weight": 1}]}, []),
        ({"messages": [{**U, "name": "Ada"}, A]}, [NAME]),
        ({"messages": [{**U, "content": [part("q")]}, {**A, "content": [part("a")]}]}, [PARTS]),
        ({"messages": None, "instruction": "q", "output": "a"}, []),
    ],
)
def test_every_format_gives_the_same_conversation_and_is_said(entry: Entry, notes: list[str], tmp_path: Path) -> None:
    (conversation,), said = read_conversations(write(tmp_path, entry))
    assert conversation.messages == QA
    assert [line.split(" with ", 1)[1] for line in said] == notes


def test_the_fields_of_a_format_keep_their_texts(tmp_path: Path) -> None:
    turns = [("system", "s"), ("human", "q"), ("gpt", "a"), ("human", "r"), ("gpt", "b")]
    sharegpt = {"id": "x_0", "conversations": [{"from": role, "value": text} for role, text in turns]}
    dolly = {"instruction": "q", "context": "c", "response": "a"}
    parts = {"messages": [{"role": "user", "content": [part("one"), part("two")]}, A]}
    first, second, third = read_conversations(write(tmp_path, sharegpt, dolly, parts))[0]
    roles = ["system", "user", "assistant", "user", "assistant"]
    assert [(m.role, m.content) for m in first.messages] == list(zip(roles, "sqarb", strict=True))
    assert second.messages == (Message("user", "q", "c"), Message("assistant", "a"))
    assert third.question.content == "one\ntwo"


def test_columns_of_any_name(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "q", "about": "c", "answer": "a", "output": "z", "source": "x"})
    (conversation,), notes = read_conversations(path, "instruction=question, output=answer,input=about")
    assert conversation.messages == (Message("user", "q", "c"), Message("assistant", "a"))
    assert notes == ["1 with the field 'output': not used", "1 with the field 'source': not used"]
    pairs, _ = read_pairs(write(tmp_path, {"q": "q", "good": "a", "bad": "b"}), "prompt=q,chosen=good,rejected=bad")
    assert (pairs[0].prompt, pairs[0].chosen, pairs[0].rejected) == (QA[:1], "a", "b")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            "instruction=question,output=anser",
            "line 1: columns names 'anser', and it has 'question', 'answer'; did you",
        ),
        ("instuction=question", "columns: there is no field 'instuction'; did you mean instruction?; fields: instruc"),
        ("question", "columns must be like instruction=question,messages=answer, got 'question'"),
        ("output=answer,input=answer", "columns: 'input=answer' names a field or a column for the second time"),
        ("output=answer", "needs 'instruction' and 'output', or 'messages', and has 'question', 'output'; for other"),
    ],
)
def test_a_column_that_is_not_there_is_an_error_that_says_what_is(columns: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        read_conversations(write(tmp_path, {"question": "q", "answer": "a"}), columns)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"role": "user", "content": [part("q"), {"type": "image_url", "image_url": {}}]}, "text, got 'image_url'"),
        ({"role": "user", "content": ["q"]}, "a part of a content must have the type text, got 'str'"),
        ({"role": "user", "content": [{"type": "text"}]}, "'text' must be a text, got NoneType"),
        ({"from": "function_call", "value": "q"}, "the role must be system, user or assistant, got 'function_call'"),
        ({"from": "human", "value": None}, "'content' must be a text, got NoneType"),
        (
            {"role": "user", "content": "q", "weight": 1},
            "the weight must be 0 in a message of the user, which is never",
        ),
        ({"role": "user", "content": "q", "tool_calls": []}, "has 'tool_calls', which cannot be learned; take it out"),
    ],
)
def test_what_cannot_be_learned_is_refused_by_name(message: Entry, error: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 1, message 1: ") as caught:
        read_conversations(write(tmp_path, {"messages": [message, A]}))
    assert error in str(caught.value)


def test_an_answer_of_weight_0_is_read_and_not_learned(tmp_path: Path) -> None:
    """Its tokens and its end are inputs as before; no target is among them."""
    first, second = {**A, "weight": 0}, {**B, "weight": 1}
    path = write(tmp_path, {"messages": [U, first, U, second]}, {"messages": [U, first]})
    (conversation,), notes = read_conversations(path)
    assert notes == ["2 with the weight 0: read, but not learned", f"1 with {UNLEARNED}"]
    assert [message.to_dict() for message in conversation.messages] == [U, first, U, B]
    example = encode(conversation.messages, SHORT, BYTES)
    end = BYTES.eot_id
    assert example.tokens.tolist() == [*b"<q>:a", end, *b"/<q>:b", end]
    assert example.loss_mask.tolist() == [False] * 11 + [True] * 2
    with pytest.raises(ValueError, match=r"message 2: the weight must be 0 or 1, got 0\.5"):
        read_conversations(write(tmp_path, {"messages": [U, {**A, "weight": 0.5}]}))


HUMAN = "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:"
MORE = [U, A, {"role": "user", "content": "r"}]


@pytest.mark.parametrize(
    ("entry", "prompt", "notes"),
    [
        ({"prompt": [U], "chosen": [A], "rejected": [B]}, [U], []),
        ({"prompt": [SYSTEM, *MORE], "chosen": [A], "rejected": [B]}, [SYSTEM, *MORE], []),
        ({"chosen": [U, A], "rejected": [U, B]}, [U], [IMPLICIT]),
        ({"chosen": [*MORE, A], "rejected": [*MORE, B], "prompt": None}, MORE, [IMPLICIT]),
        ({"prompt": "q", "chosen": [A], "rejected": [B]}, [U], []),
        ({"prompt": "q", "chosen": [U, A], "rejected": [U, B]}, [U], ["the field 'prompt': not used", IMPLICIT]),
        ({"chosen": HUMAN + " a", "rejected": HUMAN + " b"}, MORE, [HH, IMPLICIT]),
    ],
)
def test_conversational_preferences(entry: Entry, prompt: list[Entry], notes: list[str], tmp_path: Path) -> None:
    (pair,), said = read_pairs(write(tmp_path, entry))
    assert [(m.role, m.content) for m in pair.prompt] == [(m["role"], m["content"]) for m in prompt]
    assert (pair.chosen, pair.rejected) == ("a", "b")
    assert [line.split(" with ", 1)[1] for line in said] == notes
    example, _ = encode_pair(pair, SHORT, BYTES, 64)
    assert example is not None
    assert example.chosen.loss_mask.sum() == example.rejected.loss_mask.sum() == 2  # the last answer and its end


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"prompt": [U], "chosen": "a", "rejected": [B]}, "'chosen' must be a list of messages, as the prompt is"),
        ({"prompt": "q", "chosen": "a", "rejected": [B]}, "'rejected' must be a text, got list"),
        ({"prompt": [U], "chosen": [U, A], "rejected": [B]}, "chosen, message 2: user and assistant must take turns"),
        (
            {"chosen": [A], "rejected": [B]},
            "needs 'prompt' or 'instruction', 'chosen' and 'rejected', and has 'chosen'",
        ),
        ({"prompt": [], "chosen": [A], "rejected": [B]}, "message 1: the assistant must not begin"),
        ({"prompt": [U], "chosen": [], "rejected": [B]}, "the last message of both answers must be the assistant's"),
        ({"prompt": [U], "chosen": [*MORE[1:], A], "rejected": [B]}, f"no pair to learn from (1 with {SEVERAL})"),
    ],
)
def test_invalid_conversational_preferences(entry: Entry, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        read_pairs(write(tmp_path, entry))
    assert message in str(caught.value)
