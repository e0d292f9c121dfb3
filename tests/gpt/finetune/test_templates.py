"""Templates: the text of a conversation, and how a template is checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpt.finetune.conversations import Message
from gpt.finetune.templates import ALPACA, CHAT, TEMPLATES, Segment, Template, load_template

ASK, SAY = Message("user", "Add.", "2, 3"), Message("assistant", "5")


def test_alpaca_by_hand() -> None:
    system = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    )
    prompt = "### Instruction:\nAdd.\n\n### Input:\n2, 3\n\n### Response:\n"
    assert ALPACA.render([ASK, SAY]) == [Segment(system + prompt, False), Segment("5", True)]
    assert ALPACA.render([Message("user", "Hi"), SAY])[0].text == system + "### Instruction:\nHi\n\n### Response:\n"
    assert ALPACA.render([Message("system", "Be brief."), ASK, SAY])[0].text == "Be brief.\n\n" + prompt


def test_chat_by_hand_with_two_turns_and_a_question() -> None:
    messages = [Message("system", "S"), ASK, SAY, Message("user", "And 7?"), Message("assistant", "12"), ASK]
    assert CHAT.render(messages) == [
        Segment("S\nUser: Add.\n2, 3\nAssistant:\n", False),
        Segment("5", True),
        Segment("\nUser: And 7?\nAssistant:\n", False),
        Segment("12", True),
        Segment("\nUser: Add.\n2, 3\nAssistant:\n", False),
    ]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_prompt_is_the_same_in_training_and_in_generation(template: Template) -> None:
    conversation = [ASK, SAY, Message("user", "And 7?"), Message("assistant", "12")]
    for n in (1, 3):
        assert template.render(conversation[:n]) == template.render(conversation)[:n]


def test_messages_are_not_interpreted() -> None:
    text = "{content} {} {0} {name} ### Response:\n%s \\1"
    (segment, response) = CHAT.render([Message("user", text, text), Message("assistant", text)])
    assert segment.text == f"User: {text}\n{text}\nAssistant:\n"
    assert response.text == text


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_survives_json(template: Template) -> None:
    assert Template.from_dict(json.loads(json.dumps(template.to_dict()))) == template
    assert TEMPLATES[template.name] is template
    assert load_template(template.name) is template


def test_a_template_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "user": "Q {content}\n", "reply": "Ä ", "end": "¶"}), encoding="utf-8")
    template = load_template(path)
    assert template == Template(name="mine", user="Q {content}\n", reply="Ä ", end="¶")
    assert template.render([Message("user", "x")]) == [Segment("Q x\nÄ ", False)]
    assert load_template(path, end="§").end == "§"
    assert load_template("chat", end="\n\n").end == "\n\n"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a", "user": "{content}"}, "the field 'reply' is missing"),
        ({"name": "a", "user": "{content}", "replay": "A"}, "unknown field 'replay'; did you mean reply?; the fields:"),
        ({"name": "a", "user": "Q", "reply": "A"}, "'user' must have {content} once, got 'Q'"),
        ({"name": "a", "user": "{content}{content}", "reply": "A"}, "'user' must have {content} once, got"),
        ({"name": "a", "user": "{content}", "reply": "{content}"}, "'reply' must not have {content}"),
        ({"name": "a", "user": "{content}", "reply": ""}, "'reply' must not be empty"),
        ({"name": "a", "user": 5, "reply": "A"}, "'user' must be a text, got int"),
        (["a"], "must be an object of texts, got list"),
    ],
)
def test_an_invalid_template_is_an_error(tmp_path: Path, fields: Any, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        load_template(path)
    assert str(caught.value).startswith(f"{path}: template: ")
    assert message in str(caught.value)


def test_an_unknown_template_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got 'alpacca', which is no file; did you mean alpaca\?"):
        load_template("alpacca")
    path = tmp_path / "mine.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.json must be JSON, but"):
        load_template(path)
